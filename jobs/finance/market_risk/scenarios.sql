-- Every position that is held at the day's close, at that close and under 500 scenarios of history.
--
-- One row per (position_id, scenario): about 5 million. Scenario 0 is the close itself; scenario k is the move of
-- all stocks together from k trading days ago to the day after that, made once more from today's close: 1 is
-- today's own move, 500 the oldest. What moves is the price, by its ratio, and the volatility proxy, by its
-- ratio; time stands still. For the backtest the book of the trading day before is there as well: scenario -1 is
-- that day's close, -2 today's. Each book is valued at the interest rate of its own day, which stands still as time
-- does: a difference of two values of a book is of prices and volatilities alone.
--
-- * With simulation = 'filtered', the default, the log return of scenario k is multiplied by tomorrow's forecast
--   volatility over the one that was forecast for its own day: filtered historical simulation (Barone-Adesi, Giannopoulos
--   and Vosper, 1999; Hull and White, 1998). So prices move by how unusual the move was, times today's volatility. The
--   move of the volatility proxy goes with how unusual the move was, and no more (those of the VIX hardly grow with
--   volatility: data/models/finance/implied_volatility_card.md), so that there is nothing in it to scale.
-- * A share goes through the same model: it is the call that is struck at nothing.
WITH
scaling AS (  -- of the returns of a stock's scenario
    SELECT
        symbol, ago AS scenario,
        CASE getvariable('simulation') WHEN 'filtered' THEN volatility / forecast ELSE 1 END AS factor
    FROM history
    JOIN forecasts USING (symbol)
),
moves AS (
    SELECT
        later.symbol, scenario, exp(later.log_return * factor) AS price_ratio,
        later.proxy / earlier.proxy AS volatility_ratio
    FROM history AS later
    JOIN history AS earlier ON earlier.symbol = later.symbol AND earlier.ago = later.ago + 1
    JOIN scaling ON scaling.symbol = later.symbol AND scenario = later.ago + 1
    UNION ALL
    SELECT symbol, 0, 1, 1
    FROM forecasts
),
states AS (  -- of the market; book 0 is today's, 1 that of the trading day before
    SELECT 0 AS book, symbol, scenario, close * price_ratio AS spot, proxy * volatility_ratio AS volatility
    FROM history
    JOIN moves USING (symbol)
    WHERE ago = 0
    UNION ALL
    SELECT 1, symbol, CASE ago WHEN 1 THEN -1 ELSE -2 END, close, proxy
    FROM history
    WHERE ago <= 1
),
sessions AS (  -- today and the trading day before, each with the latest rate that there was
    SELECT ago, made_on, arg_max(rates.rate, since) + getvariable('rate_shift') AS rate
    FROM (SELECT DISTINCT ago, made_on FROM history WHERE ago <= 1) AS days
    LEFT JOIN rates ON since <= made_on
    GROUP BY ago, made_on
),
books AS (  -- what was held at the close of today, and of the trading day before
    SELECT
        ago AS book, position_id, opening.symbol, opening.kind, opening.strike, rate,
        (opening.expiry - made_on) / 365.0 AS years
    FROM sessions
    JOIN trades AS opening ON opening.action = 'open' AND opening.day <= made_on
    LEFT JOIN (SELECT position_id, day FROM trades WHERE action = 'close') AS closing USING (position_id)
    WHERE (closing.day IS NULL OR closing.day > made_on)
        AND (opening.expiry IS NULL OR opening.expiry > made_on)
)
SELECT
    position_id,
    CAST(scenario AS SMALLINT) AS scenario,
    spot,
    coalesce(CAST(strike AS DOUBLE), 0) AS strike,
    rate,
    coalesce(CAST(years AS DOUBLE), 0) AS years,
    volatility,
    CASE kind WHEN 'put' THEN -1::DOUBLE ELSE 1::DOUBLE END AS right
FROM books
JOIN states ON states.book = books.book AND states.symbol = books.symbol
