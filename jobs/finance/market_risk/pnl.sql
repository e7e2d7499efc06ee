-- What each position is worth, and what it makes or loses in each scenario: pnl[k] is scenario k, in US dollars.
--
-- Money is rounded to the cent position by position, so that every sum of it is exact in any order.
SELECT
    position_id, desk, symbol, kind, quantity, base.price,
    CAST(round(quantity * base.price, 2) AS DECIMAL(18, 2)) AS value,
    list(CAST(round(quantity * (scores.price - base.price), 2) AS DECIMAL(18, 2)) ORDER BY scores.scenario) AS pnl
FROM (SELECT position_id, desk, symbol, kind, quantity FROM trades WHERE action = 'open') AS opening
JOIN (SELECT position_id, price FROM scores WHERE scenario = 0) AS base USING (position_id)
JOIN scores USING (position_id)
WHERE scores.scenario > 0
GROUP BY ALL
