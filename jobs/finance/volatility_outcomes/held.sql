-- Of each stock: the returns of the last 250 trading days beside the forecasts that were made the trading day before.
--
-- Only forecasts that were published then count, and of these the last 250 days that have one.
--
-- * pit is the probability integral transform (Diebold, Gunther and Tay, Evaluating density forecasts, 1998): where
--   the return lies in the distribution that was forecast, which is the volatility times the standardised returns of
--   the training years. Uniform if the forecasts are right.
-- * loss_n is the pinball loss of the forecast n % quantile (Koenker and Bassett, 1978), usual_loss_n that of
--   RiskMetrics' (1996): exponentially weighted volatility (250 returns, decay 0.97), and the normal law.
WITH
weights AS (  -- oldest first; they add up to 1
    SELECT list(pow(0.97::DOUBLE, 249 - i) * (1 - 0.97::DOUBLE) / (1 - pow(0.97::DOUBLE, 250)) ORDER BY i) AS weights
    FROM range(250) AS days (i)
),
returns AS (
    SELECT
        symbol, ago, made_on, log_return,
        list(log_return * log_return) OVER (PARTITION BY symbol ORDER BY ago DESC ROWS 249 PRECEDING) AS squares
    FROM history
),
realised AS (  -- of the days in the history, each with the one before it
    SELECT
        now.symbol, before.made_on AS forecast_on, now.made_on AS realised_on, now.log_return,
        CASE WHEN len(before.squares) = 250 THEN sqrt(list_inner_product(before.squares, weights)) END AS usual
    FROM returns AS now
    JOIN returns AS before ON before.symbol = now.symbol AND before.ago = now.ago + 1
    CROSS JOIN weights
),
compared AS (
    SELECT realised.*, volatility, quantile_1, quantile_5
    FROM realised
    JOIN forecasts ON forecasts.day = realised.forecast_on AND forecasts.symbol = realised.symbol
    QUALIFY dense_rank() OVER (ORDER BY realised_on DESC) <= 250
),
steps AS (  -- the distribution between two of its quantiles is a straight line
    SELECT
        standardised, probability,
        lead(standardised) OVER (ORDER BY standardised) AS next_standardised,
        lead(probability) OVER (ORDER BY standardised) AS next_probability
    FROM shape
)
SELECT
    symbol, forecast_on, realised_on, volatility, quantile_1, quantile_5, log_return,
    coalesce(  -- below the least of the training years is 0, above the largest 1
        probability + coalesce(
            (next_probability - probability)
            * (log_return / volatility - standardised) / (next_standardised - standardised), 0),
        0) AS pit,
    greatest(0.01 * (log_return - quantile_1), -0.99 * (log_return - quantile_1)) AS loss_1,
    greatest(0.05 * (log_return - quantile_5), -0.95 * (log_return - quantile_5)) AS loss_5,
    greatest(
        0.01 * (log_return + 2.3263478740408408 * usual), -0.99 * (log_return + 2.3263478740408408 * usual)
    ) AS usual_loss_1,
    greatest(
        0.05 * (log_return + 1.6448536269514722 * usual), -0.95 * (log_return + 1.6448536269514722 * usual)
    ) AS usual_loss_5
FROM compared
ASOF LEFT JOIN steps ON log_return / volatility >= standardised
