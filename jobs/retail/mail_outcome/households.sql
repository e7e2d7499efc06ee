-- The households of two weeks ago: those that were mailed, and those that were held out, and what they did since.
--
-- A hit is a block whose product was bought within the 14 days after the mail's; a redemption is a coupon of the
-- mail that was redeemed in them. Spend is all that the household paid in these days.
WITH mailed AS (
    SELECT household_id, product_id, coupon_upc, campaign_id
    FROM mails
    WHERE day = getvariable('day') - 14
),
bought AS (
    SELECT DISTINCT household_id, product_id
    FROM transactions
),
spent AS (
    SELECT household_id, sum(sales_value) AS spend
    FROM transactions
    GROUP BY household_id
),
redeemed AS (
    SELECT DISTINCT household_id, coupon_upc, campaign_id
    FROM redemptions
    WHERE redemption_date > getvariable('day') - 14 AND redemption_date <= getvariable('day')
),
members AS (
    SELECT
        household_id, 'mailed' AS grp, count(*) AS blocks, count(bought.product_id) AS hits,
        count(redeemed.coupon_upc) AS redeemed
    FROM mailed
    LEFT JOIN bought USING (household_id, product_id)
    LEFT JOIN redeemed USING (household_id, coupon_upc, campaign_id)
    GROUP BY household_id
    UNION ALL
    SELECT household_id, 'held out' AS grp, 0 AS blocks, 0 AS hits, 0 AS redeemed
    FROM not_mailed
    WHERE day = getvariable('day') - 14 AND reason = 'held out'
)

SELECT
    household_id, grp, CAST(blocks AS INTEGER) AS blocks, CAST(hits AS INTEGER) AS hits,
    CAST(redeemed AS INTEGER) AS redeemed, CAST(coalesce(spend, 0) AS DECIMAL(12, 2)) AS spend
FROM members
LEFT JOIN spent USING (household_id)
