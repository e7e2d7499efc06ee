-- Today's book, and every move that the market has made in a day since there is a price for it.
--
-- One row per (desk, symbol), of the positions that a desk holds in a stock; what they are, and the moves, are lists,
-- so that a row is all that the stock's history means for it: positions in the order of their id, moves from close to
-- close in the order of their days, and after those of a day (there are `days`) the windows, each as one move.
--
-- What moves is the price, by its ratio, and the proxy of implied volatility, by its ratio; time and rate stand still.
-- The proxy is that of the job volatility, which says what it is, over all days instead of its last 501; an audit
-- holds the two together.
WITH
returns AS (
    SELECT symbol, kind, day, close, ln(close / lag(close) OVER (PARTITION BY symbol ORDER BY day)) AS log_return
    FROM prices
    WHERE kind = 'stock' OR symbol = 'SP500'
),
weights AS (  -- oldest first; the first two add up to 1
    SELECT
        list(pow(0.99::DOUBLE, 249 - i) * (1 - 0.99::DOUBLE) / (1 - pow(0.99::DOUBLE, 250)) ORDER BY i) AS of_stock,
        list(pow(0.94::DOUBLE, 65 - i) * (1 - 0.94::DOUBLE) / (1 - pow(0.94::DOUBLE, 66)) ORDER BY i)
            FILTER (i < 66) AS of_index,
        list(pow(0.9::DOUBLE, 65 - i) ORDER BY i) FILTER (i < 66) AS fading
    FROM range(250) AS days (i)
),
index AS (  -- the S&P 500's moves over the volatility that it had by the day before
    SELECT day, log_return / sqrt(list_inner_product(squares[:66], of_index)) AS standardised
    FROM (
        SELECT day, log_return, list(log_return * log_return) OVER (ORDER BY day ROWS 66 PRECEDING) AS squares
        FROM returns
        WHERE symbol = 'SP500' AND log_return IS NOT NULL
    )
    CROSS JOIN weights
    WHERE len(squares) = 67
),
shocks AS (
    SELECT day, list_inner_product(standardised, fading) AS shock
    FROM (SELECT day, list(standardised) OVER (ORDER BY day ROWS 65 PRECEDING) AS standardised FROM index)
    CROSS JOIN weights
    WHERE len(standardised) = 66
),
marks AS (
    SELECT
        symbol, day, close, sqrt(252 * list_inner_product(squares, of_stock)) * exp(-0.07 * shock) AS proxy
    FROM (
        SELECT
            symbol, day, close,
            list(log_return * log_return) OVER (PARTITION BY symbol ORDER BY day ROWS 249 PRECEDING) AS squares
        FROM returns
        WHERE kind = 'stock' AND log_return IS NOT NULL
    )
    JOIN shocks USING (day)
    CROSS JOIN weights
    WHERE len(squares) = 250
),
days AS (
    SELECT lag(day) OVER (ORDER BY day) AS moved_from, day AS moved_on
    FROM (SELECT DISTINCT day FROM marks)
),
windows AS (  -- from the last close before a window's first month to the last close of its last month
    SELECT max(day) FILTER (day < first_day) AS moved_from, max(day) FILTER (day <= end_day) AS moved_on
    FROM (
        SELECT
            CAST(string_split(months, ':')[1] || '-01' AS DATE) AS first_day,
            last_day(CAST(string_split(months, ':')[-1] || '-01' AS DATE)) AS end_day
        FROM (SELECT DISTINCT unnest(string_split(getvariable('windows'), ' ')) AS months)
    )
    CROSS JOIN (SELECT DISTINCT day FROM marks)
    GROUP BY first_day, end_day
),
moves AS (
    SELECT moved_from, moved_on, true AS is_day FROM days WHERE moved_from IS NOT NULL
    UNION ALL
    SELECT moved_from, moved_on, false FROM windows WHERE moved_from IS NOT NULL
),
histories AS (
    SELECT
        later.symbol,
        CAST(count(*) FILTER (is_day) AS INTEGER) AS days,
        list(moved_from ORDER BY is_day DESC, moved_from, moved_on) AS moved_from,
        list(moved_on ORDER BY is_day DESC, moved_from, moved_on) AS moved_on,
        list(later.close / earlier.close ORDER BY is_day DESC, moved_from, moved_on) AS price_ratios,
        list(later.proxy / earlier.proxy ORDER BY is_day DESC, moved_from, moved_on) AS volatility_ratios
    FROM moves
    JOIN marks AS later ON later.day = moved_on
    JOIN marks AS earlier ON earlier.day = moved_from AND earlier.symbol = later.symbol
    GROUP BY later.symbol
),
positions AS (
    SELECT
        desk, symbol,
        CAST(count(*) AS INTEGER) AS positions,
        list(CAST(quantity AS DOUBLE) ORDER BY position_id) AS quantities,
        list(coalesce(CAST(strike AS DOUBLE), 0) ORDER BY position_id) AS strikes,
        list(coalesce((expiry - getvariable('day')) / 365.0, 0) ORDER BY position_id) AS years,
        list(CASE kind WHEN 'put' THEN -1::DOUBLE ELSE 1::DOUBLE END ORDER BY position_id) AS rights
    FROM trades AS opening
    ANTI JOIN (SELECT position_id FROM trades WHERE action = 'close') AS closing USING (position_id)
    WHERE action = 'open' AND (expiry IS NULL OR expiry > getvariable('day'))
    GROUP BY desk, symbol
)
SELECT
    desk, symbol, positions, days, moved_from, moved_on,
    close AS spot, proxy AS volatility,
    (SELECT arg_max(rate, since) FROM rates WHERE since <= getvariable('day')) AS rate,
    quantities, strikes, years, rights, price_ratios, volatility_ratios
FROM positions
JOIN histories USING (symbol)
JOIN marks USING (symbol)
WHERE marks.day = getvariable('day')
