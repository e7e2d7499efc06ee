-- What the forecasts of the last 250 days were worth, of each stock and of all of them, and whether a person should look.
--
-- * share_n of the returns lay below the n % quantile; error_n is the standard error of that share by days (stocks move
--   together, so days are what is independent), at least that of independent returns; errors_n is how many of them it
--   is too high.
-- * gain_n is the mean pinball loss over that of RiskMetrics, less 1: below 0 the model is better.
-- * pit_tenths counts the returns by tenths of the forecast distribution; pit_distance is Kolmogorov's, from uniform.
-- * review: too many returns below a quantile, no better than RiskMetrics, or another distribution (the last two of all
--   stocks together alone); reasons say which. Null until there are 250 days.
WITH
returns AS (
    SELECT *, CAST(log_return < quantile_1 AS INTEGER) AS is_1, CAST(log_return < quantile_5 AS INTEGER) AS is_5
    FROM scores
),
groups AS (
    SELECT symbol AS member, returns.* FROM returns
    UNION ALL
    SELECT 'all', returns.* FROM returns
),
ranked AS (
    SELECT
        member, pit,
        rank() OVER (PARTITION BY member ORDER BY pit) AS first_place,  -- of those that tie, by their first and last
        count(*) OVER (PARTITION BY member ORDER BY pit) AS last_place,
        count(*) OVER (PARTITION BY member) AS places
    FROM groups
),
distances AS (
    SELECT member, max(greatest(last_place / places - pit, pit - (first_place - 1) / places)) AS pit_distance
    FROM ranked
    GROUP BY member
),
tenths AS (
    SELECT member, list(returns ORDER BY tenth) AS pit_tenths
    FROM (
        SELECT members.member, tenth, count(groups.member) AS returns
        FROM (SELECT DISTINCT member FROM groups) AS members
        CROSS JOIN range(10) AS tenths (tenth)
        LEFT JOIN groups
            ON groups.member = members.member AND least(floor(10 * groups.pit), 9) = tenth
        GROUP BY members.member, tenth
    )
    GROUP BY member
),
days AS (
    SELECT member, realised_on, count(*) AS returns, sum(is_1) / count(*) AS day_1, sum(is_5) / count(*) AS day_5
    FROM groups
    GROUP BY member, realised_on
),
errors AS (
    SELECT
        member, count(*) AS days,
        greatest(stddev_pop(day_1), sqrt(0.01 * 0.99 / avg(returns))) / sqrt(count(*)) AS error_1,
        greatest(stddev_pop(day_5), sqrt(0.05 * 0.95 / avg(returns))) / sqrt(count(*)) AS error_5
    FROM days
    GROUP BY member
),
summed AS (
    SELECT
        member, count(*) AS forecasts, sum(is_1) AS below_1, sum(is_5) AS below_5,
        avg(loss_1) AS loss_1, avg(loss_5) AS loss_5,
        avg(loss_1) / avg(usual_loss_1) - 1 AS gain_1, avg(loss_5) / avg(usual_loss_5) - 1 AS gain_5
    FROM groups
    GROUP BY member
),
measured AS (
    SELECT
        member AS symbol, days, forecasts, CAST(below_1 AS BIGINT) AS below_1, CAST(below_5 AS BIGINT) AS below_5,
        below_1 / forecasts AS share_1, below_5 / forecasts AS share_5, error_1, error_5,
        (below_1 / forecasts - 0.01) / error_1 AS errors_1, (below_5 / forecasts - 0.05) / error_5 AS errors_5,
        loss_1, loss_5, gain_1, gain_5, pit_tenths, pit_distance,
        CASE
            WHEN member = 'all' THEN getvariable('review_errors') ELSE getvariable('review_errors_stock')
        END AS most_errors
    FROM summed
    JOIN errors USING (member)
    JOIN tenths USING (member)
    JOIN distances USING (member)
),
asked AS (
    SELECT
        * EXCLUDE (most_errors),
        list_filter([
            CASE WHEN errors_1 > most_errors THEN 'too many below the 1 % quantile' END,
            CASE WHEN errors_5 > most_errors THEN 'too many below the 5 % quantile' END,
            CASE WHEN symbol = 'all' AND gain_1 > getvariable('review_gain') THEN 'no better than RiskMetrics at 1 %' END,
            CASE WHEN symbol = 'all' AND gain_5 > getvariable('review_gain') THEN 'no better than RiskMetrics at 5 %' END,
            CASE WHEN symbol = 'all' AND pit_distance > getvariable('review_pit') THEN 'another distribution' END
        ], lambda reason: reason IS NOT NULL) AS reasons
    FROM measured
)
SELECT
    * EXCLUDE (reasons),
    CASE WHEN days >= 250 THEN len(reasons) > 0 END AS review,
    CASE WHEN days >= 250 THEN reasons END AS reasons
FROM asked
