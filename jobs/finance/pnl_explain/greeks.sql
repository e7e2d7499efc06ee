-- What today's book gains or loses by small moves from today's close, in US dollars, by desk and stock; symbol 'all' is
-- all stocks, desk 'firm' all desks.
--
--   delta_per_percent   if all its stocks rise by 1 %             vega_per_point  if volatilities rise by a point, 0.01
--   gamma_per_percent   by how much that delta grows by then      theta_per_day   by a calendar day
--   rho_per_basis_point if the rate rises by 0.0001
SELECT
    CASE WHEN grouping(desk) = 1 THEN 'firm' ELSE desk END AS desk,
    CASE WHEN grouping(symbol) = 1 THEN 'all' ELSE symbol END AS symbol,
    CAST(count(*) AS INTEGER) AS positions,
    CAST(sum(CAST(round(quantity * delta * spot * 0.01, 2) AS DECIMAL(18, 2))) AS DECIMAL(18, 2))
        AS delta_per_percent,
    CAST(sum(CAST(round(quantity * gamma * spot * spot * 0.0001, 2) AS DECIMAL(18, 2))) AS DECIMAL(18, 2))
        AS gamma_per_percent,
    CAST(sum(CAST(round(quantity * vega * 0.01, 2) AS DECIMAL(18, 2))) AS DECIMAL(18, 2)) AS vega_per_point,
    CAST(sum(CAST(round(quantity * theta / 365, 2) AS DECIMAL(18, 2))) AS DECIMAL(18, 2)) AS theta_per_day,
    CAST(sum(CAST(round(quantity * rho * 0.0001, 2) AS DECIMAL(18, 2))) AS DECIMAL(18, 2)) AS rho_per_basis_point
FROM scores
JOIN (SELECT position_id, desk, symbol, quantity FROM trades WHERE action = 'open') AS opening USING (position_id)
WHERE state = 'close' AND is_held
GROUP BY GROUPING SETS ((desk, symbol), (desk), ())
HAVING count(*) > 0
