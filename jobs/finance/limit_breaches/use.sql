-- How much of its limits each desk, and the firm, uses today, and for how long it has been at or beyond them.
--
-- One row per (desk, measure). amount is as published, its sign says which way; used is its absolute value as a share
-- of the red limit. Of a desk and a measure the limit with the latest `since` up to today holds. A desk that holds
-- nothing today is in neither table: it uses 0 of its limits.
--
-- days_amber counts the days in a row, this one included, on which amber was reached (so red, too), days_red those on
-- which red was; first_day and first_red_day are the first of each. They are days that this job has published, from its
-- own table of the last one.
WITH
measured AS (
    SELECT desk, 'var_99' AS measure, var_99 AS amount FROM risk
    UNION ALL
    SELECT desk, 'es_975', CAST(es_975 AS DECIMAL(18, 2)) FROM risk
    UNION ALL
    SELECT desk, 'delta_per_percent', delta_per_percent FROM greeks WHERE symbol = 'all'
    UNION ALL
    SELECT desk, 'gamma_per_percent', gamma_per_percent FROM greeks WHERE symbol = 'all'
    UNION ALL
    SELECT desk, 'vega_per_point', vega_per_point FROM greeks WHERE symbol = 'all'
),
in_force AS (
    SELECT desk, measure, arg_max(amber, since) AS amber, arg_max(red, since) AS red
    FROM limits
    WHERE since <= getvariable('day')
    GROUP BY desk, measure
),
before AS (
    SELECT desk, measure, first_day, first_red_day, days_amber, days_red
    FROM previous
    WHERE day = (SELECT max(day) FROM previous)
),
limited AS (
    SELECT
        desk, measure, amber, red,
        CASE
            WHEN desk IN (SELECT desk FROM measured) THEN amount
            WHEN measure IN (SELECT measure FROM measured) THEN 0
        END AS amount
    FROM measured
    FULL JOIN in_force USING (desk, measure)
),
used AS (
    SELECT
        desk, measure, amount, amber, red,
        CASE WHEN abs(amount) >= red THEN 'red' WHEN abs(amount) >= amber THEN 'amber' ELSE 'green' END AS status
    FROM limited
)
SELECT
    desk, measure, amount, amber, red,
    round(CAST(abs(amount) AS DOUBLE) / nullif(CAST(red AS DOUBLE), 0), 4) AS used,
    status,
    CASE WHEN status <> 'green' THEN coalesce(first_day, getvariable('day')) END AS first_day,
    CASE WHEN status = 'red' THEN coalesce(first_red_day, getvariable('day')) END AS first_red_day,
    CAST(CASE WHEN status <> 'green' THEN coalesce(days_amber, 0) + 1 ELSE 0 END AS INTEGER) AS days_amber,
    CAST(CASE WHEN status = 'red' THEN coalesce(days_red, 0) + 1 ELSE 0 END AS INTEGER) AS days_red
FROM used
LEFT JOIN before USING (desk, measure)
