-- Which coupon might a household redeem, and what was known of each pair before its campaign began?
--
-- One row per (household_id, campaign_id, coupon_upc): every coupon of the campaigns that run on the day, for
-- every household that is in them. About 240,000 rows while a campaign of type A runs, else some 5,000.
--
-- All features are of before the campaign's first day, whichever of its days is scored: purchases, redemptions
-- and campaigns that began earlier. So a pair has the same features on each day of its campaign, and the model,
-- which learnt what is redeemed within a campaign, is asked the same question. Windows end on the day before the
-- first; "ago" counts days back from the first, which is 0. Sums run over integers and decimals only.
-- Features are FLOAT, and NULL where they have no meaning (days since a purchase that never was).
WITH
running AS (
    SELECT campaign_id, campaign_type, start_date, end_date
    FROM campaign_descriptions
    WHERE getvariable('day') BETWEEN start_date AND end_date
),
members AS (  -- who is in them
    SELECT DISTINCT household_id, campaign_id, start_date
    FROM campaigns
    JOIN running USING (campaign_id)
),
offers AS (  -- what their coupons are good for
    SELECT DISTINCT campaign_id, coupon_upc, product_id, start_date
    FROM coupons
    JOIN running USING (campaign_id)
),
catalogue AS (  -- some products have no type; their department stands in
    SELECT product_id, coalesce(product_type, department) AS type
    FROM products
),
lines AS (  -- one line of a till receipt, as each first day sees it: half a year back
    SELECT
        start_date, household_id, product_id, basket_id, start_date - day AS ago,
        sales_value, retail_disc, coupon_disc, quantity,
        -- what a purchase still counts, in millionths: half as much after 4 weeks
        CAST(round(1e6 * pow(0.5, (start_date - day) / 28.0)) AS BIGINT) AS weight
    FROM transactions
    JOIN (SELECT DISTINCT start_date FROM running) ON day < start_date AND start_date - day <= 168
),
households AS (
    SELECT
        household_id, start_date,
        count(DISTINCT basket_id) FILTER (ago <= 84) AS trips_84,
        sum(sales_value) FILTER (ago <= 84) AS spend_84,
        sum(retail_disc) FILTER (ago <= 84) AS discount_84,
        sum(sales_value + retail_disc) FILTER (ago <= 84) AS full_price_84,
        count(*) FILTER (coupon_disc > 0 AND ago <= 84) AS coupon_lines_84,
        count(*) FILTER (coupon_disc > 0) AS coupon_lines
    FROM lines
    WHERE household_id IN (SELECT household_id FROM members)
    GROUP BY household_id, start_date
),
redeemed AS (  -- what it redeemed before
    SELECT
        household_id, start_date,
        count(DISTINCT (past.campaign_id, past.coupon_upc)) AS coupons,
        min(start_date - redemption_date) AS last_ago
    FROM (SELECT DISTINCT household_id, start_date FROM members)
    JOIN coupon_redemptions AS past USING (household_id)
    WHERE redemption_date < start_date AND start_date - redemption_date <= 168
    GROUP BY household_id, start_date
),
own_product AS (  -- a household and a product of a coupon
    SELECT
        household_id, campaign_id, coupon_upc, product_id,
        count(*) FILTER (ago <= 84) AS times_84, count(*) AS times,
        sum(weight) AS weight, min(ago) AS last_ago,
        sum(sales_value) FILTER (ago <= 84) AS spend_84,
        count(*) FILTER (coupon_disc > 0) AS coupon_lines
    FROM lines
    JOIN offers USING (product_id, start_date)
    JOIN members USING (household_id, campaign_id)
    GROUP BY household_id, campaign_id, coupon_upc, product_id
),
own AS (  -- a household and a coupon
    SELECT
        household_id, campaign_id, coupon_upc,
        sum(times_84) AS times_84, sum(times) AS times, sum(weight) AS weight,
        min(last_ago) AS last_ago, count(*) AS products,
        max(times_84) AS top_times_84, sum(spend_84) AS spend_84, sum(coupon_lines) AS coupon_lines,
        rank() OVER (PARTITION BY household_id, campaign_id ORDER BY sum(weight) DESC) AS place
    FROM own_product
    GROUP BY household_id, campaign_id, coupon_upc
),
owned AS (  -- all coupons of whose products it has bought none share the place after these
    SELECT household_id, campaign_id, count(*) AS coupons
    FROM own
    GROUP BY household_id, campaign_id
),
household_type AS (
    SELECT
        household_id, start_date, type,
        count(*) FILTER (ago <= 84) AS times_84, count(*) AS times, min(ago) AS last_ago
    FROM lines
    JOIN catalogue USING (product_id)
    WHERE household_id IN (SELECT household_id FROM members)
    GROUP BY household_id, start_date, type
),
own_type AS (  -- a household and all products of a coupon's types
    SELECT
        household_id, campaign_id, coupon_upc,
        sum(times_84) AS times_84, sum(times) AS times, min(last_ago) AS last_ago
    FROM (SELECT DISTINCT campaign_id, coupon_upc, start_date, type FROM offers JOIN catalogue USING (product_id))
    JOIN household_type USING (start_date, type)
    JOIN members USING (household_id, campaign_id)
    GROUP BY household_id, campaign_id, coupon_upc
),
breadth AS (
    SELECT campaign_id, coupon_upc, count(*) AS products, count(*) OVER (PARTITION BY campaign_id) AS coupons
    FROM offers
    GROUP BY campaign_id, coupon_upc
),
sold AS (  -- a coupon's products over all households
    SELECT
        campaign_id, coupon_upc,
        count(DISTINCT household_id) FILTER (ago <= 84) AS buyers_84,
        count(*) FILTER (ago <= 84) AS times_84,
        sum(sales_value) AS sales, sum(quantity) AS quantity,
        sum(retail_disc) FILTER (ago <= 84) AS discount_84,
        sum(sales_value + retail_disc) FILTER (ago <= 84) AS full_price_84,
        count(*) FILTER (coupon_disc > 0) AS coupon_lines, sum(coupon_disc) AS coupon_disc
    FROM lines
    JOIN offers USING (product_id, start_date)
    GROUP BY campaign_id, coupon_upc
),
-- What a redemption costs where none of the coupon's own products was ever redeemed: the mean of what coupons of
-- its campaign type are good for, in campaigns that began by then; else that of all lines with a coupon.
of_type AS (
    SELECT DISTINCT running.campaign_type, running.start_date, coupons.product_id
    FROM running
    JOIN campaign_descriptions AS past
        ON past.campaign_type = running.campaign_type AND past.start_date <= running.start_date
    JOIN coupons ON coupons.campaign_id = past.campaign_id
),
sold_type AS (
    SELECT campaign_type, start_date, sum(coupon_disc) AS coupon_disc, count(*) AS coupon_lines
    FROM lines
    JOIN of_type USING (product_id, start_date)
    WHERE coupon_disc > 0
    GROUP BY campaign_type, start_date
),
sold_all AS (
    SELECT start_date, sum(coupon_disc) AS coupon_disc, count(*) AS coupon_lines
    FROM lines
    WHERE coupon_disc > 0
    GROUP BY start_date
)
SELECT
    household_id,
    campaign_id,
    coupon_upc,
    running.campaign_type,
    running.start_date,
    running.end_date,
    -- NULL only where no coupon was ever redeemed: then what a redemption costs is not known
    CAST(coalesce(
        CAST(sold.coupon_disc AS DOUBLE) / nullif(sold.coupon_lines, 0),
        CAST(sold_type.coupon_disc AS DOUBLE) / nullif(sold_type.coupon_lines, 0),
        CAST(sold_all.coupon_disc AS DOUBLE) / nullif(sold_all.coupon_lines, 0)
    ) AS DECIMAL(9, 2)) AS mean_discount,

    -- the household and the coupon's products
    CAST(coalesce(own.times_84, 0) AS FLOAT) AS own_times_84,
    CAST(coalesce(own.times, 0) AS FLOAT) AS own_times,
    CAST(coalesce(own.weight, 0) / 1e6 AS FLOAT) AS own_recent,
    CAST(own.last_ago AS FLOAT) AS own_days_since,
    CAST(coalesce(own.products, 0) AS FLOAT) AS own_products,
    CAST(coalesce(own.top_times_84, 0) AS FLOAT) AS own_top_times_84,
    CAST(coalesce(own.spend_84, 0) AS FLOAT) AS own_spend_84,
    CAST(coalesce(own.coupon_lines, 0) AS FLOAT) AS own_coupon_lines,
    CAST(own.times_84 / CAST(nullif(households.trips_84, 0) AS DOUBLE) AS FLOAT) AS own_times_per_trip,
    CAST(coalesce(own.place, coalesce(owned.coupons, 0) + 1) AS FLOAT) AS own_rank,

    -- its product types
    CAST(coalesce(own_type.times_84, 0) AS FLOAT) AS type_times_84,
    CAST(own_type.last_ago AS FLOAT) AS type_days_since,
    CAST(own.times / CAST(nullif(own_type.times, 0) AS DOUBLE) AS FLOAT) AS own_share_of_type,

    -- the household
    CAST(coalesce(households.trips_84, 0) AS FLOAT) AS household_trips_84,
    CAST(coalesce(households.spend_84, 0) AS FLOAT) AS household_spend_84,
    CAST(CAST(households.discount_84 AS DOUBLE) / CAST(nullif(households.full_price_84, 0) AS DOUBLE) AS FLOAT)
        AS household_discount,
    CAST(coalesce(households.coupon_lines_84, 0) AS FLOAT) AS household_coupon_lines_84,
    CAST(coalesce(households.coupon_lines, 0) AS FLOAT) AS household_coupon_lines,
    CAST(coalesce(redeemed.coupons, 0) AS FLOAT) AS household_redeemed,
    CAST(redeemed.last_ago AS FLOAT) AS household_redeemed_ago,

    -- the coupon
    CAST(breadth.products AS FLOAT) AS coupon_products,
    CAST(breadth.coupons AS FLOAT) AS campaign_coupons,
    CAST(coalesce(sold.buyers_84, 0) AS FLOAT) AS coupon_buyers_84,
    CAST(sold.times_84 / CAST(nullif(sold.buyers_84, 0) AS DOUBLE) AS FLOAT) AS coupon_times_per_buyer,
    CAST(CAST(sold.sales AS DOUBLE) / nullif(sold.quantity, 0) AS FLOAT) AS coupon_price,
    CAST(CAST(sold.discount_84 AS DOUBLE) / CAST(nullif(sold.full_price_84, 0) AS DOUBLE) AS FLOAT)
        AS coupon_retail_discount,
    CAST(coalesce(sold.coupon_lines, 0) AS FLOAT) AS coupon_lines,
    CAST(CAST(sold.coupon_disc AS DOUBLE) / nullif(sold.coupon_lines, 0) AS FLOAT) AS coupon_discount,
    CAST(running.end_date - running.start_date + 1 AS FLOAT) AS campaign_days
FROM members
JOIN running USING (campaign_id, start_date)
JOIN breadth USING (campaign_id)
LEFT JOIN households USING (household_id, start_date)
LEFT JOIN redeemed USING (household_id, start_date)
LEFT JOIN own USING (household_id, campaign_id, coupon_upc)
LEFT JOIN owned USING (household_id, campaign_id)
LEFT JOIN own_type USING (household_id, campaign_id, coupon_upc)
LEFT JOIN sold USING (campaign_id, coupon_upc)
LEFT JOIN sold_type ON sold_type.campaign_type = running.campaign_type AND sold_type.start_date = running.start_date
LEFT JOIN sold_all ON sold_all.start_date = running.start_date
