-- One row per household that has ever bought: its totals up to and including the day.
--
-- The newest totals that are published, and the lines since. So a night reads one day of lines, however long
-- the history is; and a night that was left out is made up for by the next. Sums of integers and decimals are
-- the same in any order, so that what is added up day by day is what one query over all days gives.
WITH
known AS (  -- the newest totals before the day; none on the first night
    SELECT household_id, trips, lines, units, spend, saved, first_day, last_day
    FROM before
    WHERE day = (SELECT max(day) FROM before)
),
added AS (  -- a basket is of one household and one day
    SELECT
        household_id,
        count(DISTINCT basket_id) AS trips, count(*) AS lines, sum(quantity) AS units,
        sum(sales_value) AS spend, sum(retail_disc + coupon_disc + coupon_match_disc) AS saved,
        min(day) AS first_day, max(day) AS last_day
    FROM transactions
    WHERE day > coalesce((SELECT max(day) FROM before), DATE '0001-01-01')
    GROUP BY household_id
)
SELECT
    household_id,
    CAST(sum(trips) AS BIGINT) AS trips,
    CAST(sum(lines) AS BIGINT) AS lines,
    CAST(sum(units) AS BIGINT) AS units,
    CAST(sum(spend) AS DECIMAL(18, 2)) AS spend,
    CAST(sum(saved) AS DECIMAL(18, 2)) AS saved,
    min(first_day) AS first_day,
    max(last_day) AS last_day
FROM (FROM known UNION ALL BY NAME FROM added)
GROUP BY household_id
