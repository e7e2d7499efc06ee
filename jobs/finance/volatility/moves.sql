-- What each stock did on the day and on the 500 trading days before it, and what its next-day volatility is
-- forecast from.
--
-- One row per symbol and day (made_on; ago = 0 is the scored day itself), so that a consumer has today's model on
-- the days of the past too.
--
-- * proxy stands in for implied volatility, of which there is none: the square root of the exponentially weighted
--   mean of 250 squared log returns (RiskMetrics, 1996), a year of 252 days, times exp(index_slope x shock). The shock
--   is the sum of the S&P 500's last 66 log returns, each over the volatility that the index had by the day before
--   (66 days, decay 0.94), the latest in full and each older one index_decay times the next. So volatilities rise as the
--   index falls, fall as it rises, and find back. Decays and slope were fitted to the VIX of 2014 to 2016, and held
--   to that of 2017 and 2018: data/models/finance/implied_volatility_card.md.
-- * variance_n is the mean squared log return of n trading days, as in the heterogeneous autoregressive model
--   (Corsi, A simple approximate long-memory model of realized volatility, 2009); down_n counts falls alone;
--   index_5 is that of the S&P 500. All are variances of a day.
WITH
returns AS (
    SELECT
        symbol, kind, day, close,
        dense_rank() OVER (ORDER BY day DESC) - 1 AS ago,
        ln(close / lag(close) OVER (PARTITION BY symbol ORDER BY day)) AS log_return
    FROM prices
    WHERE kind = 'stock' OR symbol = 'SP500'
),
squared AS (  -- lists, oldest first: their sums are in a fixed order, so the same bits at every run
    SELECT
        symbol, kind, day, ago, close, log_return,
        list(log_return * log_return) OVER spans AS squares,
        list(pow(least(log_return, 0), 2)) OVER spans AS falls
    FROM returns
    WHERE log_return IS NOT NULL
    WINDOW spans AS (PARTITION BY symbol ORDER BY ago DESC ROWS 251 PRECEDING)
),
weights AS (  -- oldest first, as the squares; they add up to 1
    SELECT
        list(pow(decay, 249 - i) * (1 - decay) / (1 - pow(decay, 250)) ORDER BY i) AS weights
    FROM range(250) AS days (i)
    CROSS JOIN (SELECT CAST(decay AS DOUBLE) AS decay FROM params)
),
index_weights AS (
    SELECT
        list(pow(0.94::DOUBLE, 65 - i) * (1 - 0.94::DOUBLE) / (1 - pow(0.94::DOUBLE, 66)) ORDER BY i) AS weights,
        list(pow(index_decay, 65 - i) ORDER BY i) AS fading
    FROM range(66) AS days (i)
    CROSS JOIN (SELECT CAST(index_decay AS DOUBLE) AS index_decay FROM params)
),
index AS (
    SELECT
        ago, list_avg(squares[-5:]) AS index_5,
        log_return / sqrt(list_inner_product(squares[-67:-2], weights)) AS standardised
    FROM squared
    CROSS JOIN index_weights
    WHERE symbol = 'SP500' AND len(squares) > 66
),
shocks AS (
    SELECT
        ago, index_5,
        list(standardised) OVER (ORDER BY ago DESC ROWS 65 PRECEDING) AS standardised
    FROM index
)
SELECT
    symbol,
    day AS made_on,
    CAST(ago AS SMALLINT) AS ago,
    close,
    log_return,
    sqrt(252 * list_inner_product(squares[-250:], weights.weights))
    * exp(CAST(getvariable('index_slope') AS DOUBLE) * list_inner_product(standardised, fading)) AS proxy,
    list_avg(squares[-1:]) AS variance_1,
    list_avg(squares[-5:]) AS variance_5,
    list_avg(squares[-22:]) AS variance_22,
    list_avg(squares[-66:]) AS variance_66,
    list_avg(squares) AS variance_252,
    list_avg(falls[-5:]) AS down_5,
    list_avg(falls[-22:]) AS down_22,
    index_5
FROM squared
JOIN shocks USING (ago)
CROSS JOIN weights
CROSS JOIN index_weights
WHERE kind = 'stock' AND ago <= 500 AND len(squares) = 252
