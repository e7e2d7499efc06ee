-- What each coupon may bring, what it may cost, and the product to name with it.
--
-- * probability: the model's score times the factor of the campaign's type (coupon_calibration; the row 'all' for
--   a type that has none), at most 1. The factors are from training campaigns: see the model's card.
-- * expected_cost: probability times the mean discount of redemptions before the campaign.
-- * product_id: of the coupon's products the one that the household has bought in most baskets of the last 84 days,
--   then the one with most buyers, then the smallest id. What `eligibility` rules out on the day is never named, nor
--   what was sold nowhere in the last getvariable('unsold_days'); a coupon that is good for nothing else is left out.
-- * a coupon whose discount nobody can know, because no coupon was ever redeemed before its campaign, is left out.
WITH
catalogue AS (  -- what may be named today
    SELECT product_id
    FROM products
    ANTI JOIN (
        FROM eligibility
        WHERE holds_on("from", until, getvariable('day'))
    ) USING (product_type)
    WHERE getvariable('unsold_days') = 0
        OR product_id IN (
            SELECT product_id FROM transactions WHERE day > getvariable('day') - getvariable('unsold_days')
        )
),
lately AS (
    SELECT household_id, product_id, count(*) AS times
    FROM transactions
    WHERE day > getvariable('day') - 84
    GROUP BY household_id, product_id
),
nameable AS (
    SELECT campaign_id, coupon_upc, product_id, coalesce(buyers, 0) AS buyers
    FROM (SELECT DISTINCT campaign_id, coupon_upc, product_id FROM coupons)
    JOIN catalogue USING (product_id)
    LEFT JOIN (SELECT product_id, count(*) AS buyers FROM lately GROUP BY product_id) USING (product_id)
    WHERE campaign_id IN (SELECT campaign_id FROM scores)
),
popular AS (  -- for a household that has bought none of them
    SELECT campaign_id, coupon_upc, product_id
    FROM nameable
    QUALIFY 1 = row_number() OVER (PARTITION BY campaign_id, coupon_upc ORDER BY buyers DESC, product_id)
),
own AS (
    SELECT household_id, campaign_id, coupon_upc, product_id
    FROM lately
    JOIN nameable USING (product_id)
    JOIN (SELECT household_id, campaign_id, coupon_upc FROM scores) USING (household_id, campaign_id, coupon_upc)
    QUALIFY 1 = row_number() OVER (
        PARTITION BY household_id, campaign_id, coupon_upc ORDER BY times DESC, buyers DESC, product_id
    )
),
calibrated AS (
    SELECT
        scores.*,
        CAST(least(1, CAST(score AS DOUBLE) * CAST(coalesce(typed.factor, whole.factor) AS DOUBLE)) AS DECIMAL(9, 6))
            AS probability
    FROM scores
    CROSS JOIN (SELECT factor FROM coupon_calibration WHERE campaign_type = 'all') AS whole
    LEFT JOIN coupon_calibration AS typed USING (campaign_type)
    WHERE isfinite(score) AND mean_discount IS NOT NULL
)
SELECT
    household_id,
    campaign_id,
    coupon_upc,
    campaign_type,
    coalesce(own.product_id, popular.product_id) AS product_id,
    probability,
    mean_discount,
    CAST(probability * mean_discount AS DECIMAL(12, 6)) AS expected_cost,
    start_date,
    end_date
FROM calibrated
JOIN popular USING (campaign_id, coupon_upc)
LEFT JOIN own USING (household_id, campaign_id, coupon_upc)
