-- One row per household with a purchase on or before the day: its factors, and what it has bought so far.
--
-- A household that is new since the factors were trained gets those of the average household (the row of
-- `tastes` without a household), whose best products are by and large the best-sellers.
SELECT
    household_id,
    tastes.factors IS NOT NULL AS has_factors,
    coalesce(tastes.factors, average.factors) AS factors,
    bought
FROM (
    SELECT household_id, list(DISTINCT CAST(product_id AS BIGINT) ORDER BY CAST(product_id AS BIGINT)) AS bought
    FROM transactions
    GROUP BY household_id
)
CROSS JOIN (SELECT factors FROM tastes WHERE household_id IS NULL) AS average
LEFT JOIN tastes USING (household_id)
