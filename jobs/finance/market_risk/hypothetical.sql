-- What the book of the trading day before, held unchanged, made or lost by today's close, in US dollars: the
-- hypothetical P&L that a backtest holds against that day's VaR. Time stands still, as in the scenarios.
SELECT
    CASE WHEN grouping(desk) = 1 THEN 'firm' ELSE desk END AS desk,
    any_value(held_on) AS held_on,
    CAST(count(*) AS INTEGER) AS positions,
    CAST(sum(CAST(round(quantity * (today.price - before.price), 2) AS DECIMAL(18, 2))) AS DECIMAL(18, 2))
        AS hypothetical_pnl
FROM (SELECT position_id, desk, quantity FROM trades WHERE action = 'open') AS opening
JOIN (SELECT position_id, price FROM scores WHERE scenario = -1) AS before USING (position_id)
JOIN (SELECT position_id, price FROM scores WHERE scenario = -2) AS today USING (position_id)
CROSS JOIN (SELECT DISTINCT made_on AS held_on FROM history WHERE ago = 1) AS sessions
GROUP BY GROUPING SETS ((desk), ())
HAVING count(*) > 0
