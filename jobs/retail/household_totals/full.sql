-- The same rows by one query over all lines since the first: what totals.sql keeps day by day must be.
SELECT
    household_id,
    count(DISTINCT basket_id) AS trips,
    count(*) AS lines,
    CAST(sum(quantity) AS BIGINT) AS units,
    CAST(sum(sales_value) AS DECIMAL(18, 2)) AS spend,
    CAST(sum(retail_disc + coupon_disc + coupon_match_disc) AS DECIMAL(18, 2)) AS saved,
    min(day) AS first_day,
    max(day) AS last_day
FROM transactions
GROUP BY household_id
