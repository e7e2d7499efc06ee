-- The coupons that would be sent, two a household, and which of them the night's budget pays for.
--
-- What has been redeemed is sent no more; of two coupons for one product the better one is kept, and of a
-- product that nobody has bought in 28 days none. Those of all households stand in one line, from the one with
-- the most expected sales for a dollar of discount down; the first that does not fit ends it.
WITH prices AS (
    SELECT product_id, sum(sales_value) / sum(quantity) AS price
    FROM transactions
    WHERE day > getvariable('day') - 84
    GROUP BY product_id
    HAVING sum(quantity) > 0
),
offered AS (
    SELECT
        household_id, campaign_id, coupon_upc, coupons.product_id, probability, expected_cost,
        concat_ws('|', household_id, coupon_upc, campaign_id) AS id,
        CAST(probability * price / mean_discount AS DECIMAL(18, 6)) AS worth
    FROM coupons
    JOIN scores USING (household_id)
    JOIN prices USING (product_id)
    SEMI JOIN (FROM transactions WHERE day > getvariable('day') - 28) AS sold USING (product_id)
    ANTI JOIN (FROM sent WHERE day >= getvariable('day') - 28) AS sent USING (household_id, product_id)
    ANTI JOIN (FROM redemptions WHERE redemption_date <= getvariable('day')) AS redeemed
        USING (household_id, campaign_id, coupon_upc)
    WHERE reason IS NULL AND mean_discount > 0
),
distinct_products AS (
    SELECT *
    FROM offered
    QUALIFY within_cap((household_id, product_id), worth, id, 1)
),
two AS (
    SELECT *
    FROM distinct_products
    QUALIFY within_cap(household_id, worth, id, 2)
)

SELECT
    household_id, campaign_id, coupon_upc, product_id, probability, expected_cost, worth,
    CAST(running_cost(expected_cost, worth, id) AS DECIMAL(18, 6)) AS running_cost,
    within_budget(expected_cost, worth, id, CAST(getvariable('budget') AS DECIMAL(18, 2))) AS is_paid
FROM two
