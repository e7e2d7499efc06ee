-- Of each desk and the firm: how alike the P&L that the greeks explain and the hypothetical P&L are, over the last 250
-- days for which both were published.
--
-- * spearman is the correlation of their ranks, equal ones sharing the mean of theirs; ks is the largest distance
--   between their empirical distribution functions (MAR32.38 to 32.40 of the Basel framework, 2019). One day has no
--   correlation.
-- * unexplained_share is the standard deviation of their difference over that of the hypothetical P&L.
WITH
days AS (
    SELECT
        desk, day,
        CAST(hypothetical_pnl AS DOUBLE) AS hypothetical, CAST(risk_theoretical_pnl AS DOUBLE) AS theoretical,
        CAST(hypothetical_pnl - risk_theoretical_pnl AS DOUBLE) AS unexplained
    FROM explained
    WHERE symbol = 'all'
    QUALIFY row_number() OVER (PARTITION BY desk ORDER BY day DESC) <= 250
),
ranked AS (
    SELECT
        *,
        rank() OVER (PARTITION BY desk ORDER BY hypothetical)
        + (count(*) OVER (PARTITION BY desk, hypothetical) - 1) / 2.0 AS hypothetical_rank,
        rank() OVER (PARTITION BY desk ORDER BY theoretical)
        + (count(*) OVER (PARTITION BY desk, theoretical) - 1) / 2.0 AS theoretical_rank
    FROM days
),
values_of_both AS (
    SELECT desk, hypothetical AS pnl, 1 AS step FROM days
    UNION ALL
    SELECT desk, theoretical, -1 FROM days
),
apart AS (  -- the distance of the two functions at each value, in days: equal values count before it is taken
    SELECT desk, abs(sum(step) OVER (PARTITION BY desk ORDER BY pnl RANGE UNBOUNDED PRECEDING)) AS days_apart
    FROM values_of_both
),
furthest AS (
    SELECT desk, max(days_apart) AS days_apart FROM apart GROUP BY desk
)
SELECT
    desk,
    CAST(count(*) AS INTEGER) AS days,
    min(day) AS first_day,
    nullif(corr(CAST(hypothetical_rank AS DOUBLE), CAST(theoretical_rank AS DOUBLE)), 'NaN') AS spearman,
    CAST(any_value(days_apart) AS DOUBLE) / count(*) AS ks,
    stddev_samp(unexplained) / nullif(stddev_samp(hypothetical), 0) AS unexplained_share
FROM ranked
JOIN furthest USING (desk)
GROUP BY desk
