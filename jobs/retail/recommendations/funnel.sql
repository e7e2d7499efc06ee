-- How the day's candidates became the products that were published: counts that add up.
--
-- candidates = what each reason masked + ranked, and ranked = outranked + published by the model; the other
-- rungs fill what is left. A pair that two reasons mask counts for the rule of `eligibility`, and of two rules
-- for the first in the alphabet. `households` are those that a step touches, so they don't add up.
WITH
ruled AS (
    SELECT product_type, min(reason) AS reason
    FROM eligibility
    WHERE getvariable('day') BETWEEN "from" AND coalesce(until, DATE '9999-12-31')
    GROUP BY product_type
),
sold AS (
    SELECT DISTINCT product_id
    FROM transactions
    WHERE day > getvariable('day') - getvariable('unsold_days')
),
pairs AS (
    SELECT
        scores.household_id,
        CASE
            WHEN ruled.reason IS NOT NULL THEN ruled.reason
            WHEN getvariable('unsold_days') > 0 AND sold.product_id IS NULL THEN 'not sold of late'
        END AS masked,
        chosen.rung
    FROM scores
    LEFT JOIN products USING (product_id)
    LEFT JOIN ruled USING (product_type)
    LEFT JOIN sold USING (product_id)
    LEFT JOIN (FROM retail_recommendations WHERE rung = 'personal') AS chosen USING (household_id, product_id)
),
steps AS (
    SELECT 1 AS number, 'candidates' AS step, NULL AS reason, household_id FROM pairs
    UNION ALL
    SELECT 2 AS number, 'masked' AS step, masked AS reason, household_id FROM pairs WHERE masked IS NOT NULL
    UNION ALL
    SELECT 3 AS number, 'ranked' AS step, NULL AS reason, household_id FROM pairs WHERE masked IS NULL
    UNION ALL
    SELECT 4 AS number, 'outranked' AS step, NULL AS reason, household_id
    FROM pairs
    WHERE masked IS NULL AND rung IS NULL
    UNION ALL
    SELECT 5 AS number, 'published' AS step, rung AS reason, household_id FROM retail_recommendations
)
SELECT
    CAST(number AS INTEGER) AS number, step, reason,
    count(*) AS products, count(DISTINCT household_id) AS households
FROM steps
GROUP BY ALL
