-- Value at risk and expected shortfall over one day by plain historical simulation, of each desk and of the firm, in US
-- dollars; losses are > 0. The estimators are those of market_risk: the fifth and the twelfth largest of 500 losses, and
-- the mean of the worst twelve and a half.
WITH
moves AS (
    SELECT
        desk, CAST(round(value, 2) AS DECIMAL(18, 2)) AS value, positions,
        unnest(pnl) AS pnl, generate_subscripts(pnl, 1) AS scenario
    FROM scores
),
losses AS (
    SELECT
        CASE WHEN grouping(desk) = 1 THEN 'firm' ELSE desk END AS desk, scenario,
        sum(positions) AS positions, sum(value) AS value, -sum(CAST(round(pnl, 2) AS DECIMAL(18, 2))) AS loss
    FROM moves
    GROUP BY GROUPING SETS ((desk, scenario), (scenario))
),
ranked AS (
    SELECT *, row_number() OVER (PARTITION BY desk ORDER BY loss DESC, scenario) AS rank
    FROM losses
)
SELECT
    desk,
    CAST(any_value(positions) AS INTEGER) AS positions,
    CAST(any_value(value) AS DECIMAL(18, 2)) AS value,
    CAST(sum(loss) FILTER (rank = 5) AS DECIMAL(18, 2)) AS var_99,
    CAST(sum(loss) FILTER (rank = 12) AS DECIMAL(18, 2)) AS var_975,
    CAST(sum(loss * CASE WHEN rank <= 12 THEN 2 WHEN rank = 13 THEN 1 ELSE 0 END) * 0.04 AS DECIMAL(18, 4))
        AS es_975,
    CAST(any_value(scenario) FILTER (rank = 5) AS SMALLINT) AS scenario
FROM ranked
GROUP BY desk
