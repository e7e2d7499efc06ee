-- What each position is worth, and what it makes or loses in each scenario: pnl[k] is scenario k, in US dollars.
--
-- Money is rounded to the cent position by position, so that every sum of it is exact in any order. The five million
-- prices are gathered here, once: risk.sql reads the lists.
WITH
valued AS (
    SELECT
        position_id, desk, symbol, kind, quantity, price, CAST(round(quantity * price, 2) AS DECIMAL(18, 2)) AS value
    FROM (SELECT position_id, desk, symbol, kind, quantity FROM trades WHERE action = 'open') AS opening
    JOIN (SELECT position_id, price FROM scores WHERE scenario = 0) AS base USING (position_id)
),
moved AS (
    SELECT
        position_id,
        list(CAST(round(quantity * (scores.price - valued.price), 2) AS DECIMAL(18, 2)) ORDER BY scenario) AS pnl
    FROM valued
    JOIN scores USING (position_id)
    WHERE scenario > 0
    GROUP BY position_id
)
SELECT position_id, desk, symbol, kind, quantity, price, value, pnl
FROM valued
JOIN moved USING (position_id)
