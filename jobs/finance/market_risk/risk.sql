-- Value at risk and expected shortfall over one day, of each desk and of the firm, in US dollars; losses are > 0.
--
-- * var_99 is the fifth largest of the 500 losses, var_975 the twelfth: the chance that the next loss is beyond the
--   k-th largest of n like it is k / (n + 1), so 1.00 % and 2.40 %. (As a quantile of the 500 alone the sixth would do,
--   McNeil, Frey and Embrechts, Quantitative Risk Management, 2015, section 2.3; the next is beyond it with 1.20 %.)
-- * es_975 is the mean of the worst 2.5 %, which is twelve and a half losses (Acerbi and Tasche, On the coherence
--   of expected shortfall, 2002, definition 2.6): (2 * twelve worst + the thirteenth) / 25.
-- * component_var_99 of a desk is its own loss in the scenario that is the firm's VaR: the conditional expectation
--   of Tasche (1999) and Hallerbach (2003) at one scenario. It adds up to the cent; it also moves a lot from
--   day to day, for it rests on one scenario. component_es_975 is the same over the firm's tail, and steadier.
-- * scenario and moved_on name that scenario: which one it is, and the day on which prices moved so.
-- * _historical is the same by moves as they were, of the job historical_simulation, to be seen beside it.
WITH
positions AS (
    SELECT desk, value, unnest(pnl) AS pnl, generate_subscripts(pnl, 1) AS scenario
    FROM market_risk_pnl
),
losses AS (  -- the firm is summed from positions too, not from desks: an audit holds the two together
    SELECT
        CASE WHEN grouping(desk) = 1 THEN 'firm' ELSE desk END AS desk, scenario,
        -sum(pnl) AS loss, count(*) AS positions, sum(value) AS value
    FROM positions
    GROUP BY GROUPING SETS ((desk, scenario), (scenario))
),
ranked AS (
    SELECT *, row_number() OVER (PARTITION BY desk ORDER BY loss DESC, scenario) AS rank
    FROM losses
),
tail AS (  -- what each scenario weighs in the firm's VaR and ES: twice, once, or not at all
    SELECT scenario, rank = 5 AS is_var, CASE WHEN rank <= 12 THEN 2 WHEN rank = 13 THEN 1 ELSE 0 END AS weight
    FROM ranked
    WHERE desk = 'firm'
)
SELECT
    desk,
    CAST(any_value(positions) AS INTEGER) AS positions,
    CAST(any_value(value) AS DECIMAL(18, 2)) AS value,
    CAST(sum(loss) FILTER (rank = 5) AS DECIMAL(18, 2)) AS var_99,
    CAST(sum(loss) FILTER (rank = 12) AS DECIMAL(18, 2)) AS var_975,
    CAST(sum(loss * CASE WHEN rank <= 12 THEN 2 WHEN rank = 13 THEN 1 ELSE 0 END) * 0.04 AS DECIMAL(18, 4))
        AS es_975,
    CAST(sum(loss) FILTER (is_var) AS DECIMAL(18, 2)) AS component_var_99,
    CAST(sum(loss * weight) * 0.04 AS DECIMAL(18, 4)) AS component_es_975,
    CAST(any_value(scenario) FILTER (rank = 5) AS SMALLINT) AS scenario,
    any_value(moved_on) FILTER (rank = 5) AS moved_on,
    any_value(historical.var_99) AS var_99_historical,
    any_value(historical.var_975) AS var_975_historical,
    any_value(historical.es_975) AS es_975_historical,
    list(CAST(-loss AS DECIMAL(18, 2)) ORDER BY scenario) AS pnl
FROM ranked
JOIN tail USING (scenario)
JOIN (SELECT DISTINCT ago + 1 AS scenario, made_on AS moved_on FROM history) AS sessions USING (scenario)
LEFT JOIN (SELECT desk, var_99, var_975, es_975 FROM historical) AS historical USING (desk)
GROUP BY desk
