-- One row per household with a purchase on or before the day: its factors, and what it must not be given, which
-- is what it has bought so far and what `eligibility` rules out on the day: denied before anything is ranked.
-- What is sold no longer is the model's to know: its items say whether they are available.
--
-- A household that is new since the factors were trained gets those of the average household (the row of
-- `tastes` without a household), whose best products are by and large the best-sellers.
WITH
masked AS (  -- of the model's own products: others are never given
    SELECT list(item ORDER BY item) AS products
    FROM items
    JOIN products ON products.product_id = items.item
    SEMI JOIN (
        FROM eligibility
        WHERE getvariable('day') BETWEEN "from" AND coalesce(until, DATE '9999-12-31')
    ) USING (product_type)
)
SELECT
    household_id,
    tastes.factors IS NOT NULL AS has_factors,
    coalesce(tastes.factors, average.factors) AS factors,
    list_concat(bought, masked.products) AS denied
FROM (
    SELECT household_id, list(DISTINCT CAST(product_id AS BIGINT) ORDER BY CAST(product_id AS BIGINT)) AS bought
    FROM transactions
    GROUP BY household_id
)
CROSS JOIN masked
CROSS JOIN (SELECT factors FROM tastes WHERE household_id IS NULL) AS average
LEFT JOIN tastes USING (household_id)
