-- Today's book, and the moves of the last 500 trading days.
--
-- One row per (desk, symbol), of the positions that a desk holds in a stock: they are lists, in the order of their id,
-- and so are the moves, in the order of market_risk's scenarios: the first is today's own. What moves is the price, by
-- its ratio, and the volatility proxy, by its ratio; time and rate stand still.
WITH
moves AS (
    SELECT
        later.symbol,
        list(exp(later.log_return) ORDER BY later.ago) AS price_ratios,
        list(later.proxy / earlier.proxy ORDER BY later.ago) AS volatility_ratios
    FROM history AS later
    JOIN history AS earlier ON earlier.symbol = later.symbol AND earlier.ago = later.ago + 1
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
    desk, symbol, positions, close AS spot, proxy AS volatility,
    (SELECT arg_max(rate, since) FROM rates WHERE since <= getvariable('day')) AS rate,
    quantities, strikes, years, rights, price_ratios, volatility_ratios
FROM positions
JOIN moves USING (symbol)
JOIN history USING (symbol)
WHERE history.ago = 0
