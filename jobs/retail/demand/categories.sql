-- How has each product category sold lately? One row for every category that sold in the last 28 days.
--
-- What is counted are lines of receipts: a product in a basket is one, however many of it (the units of petrol
-- and of some tills' keys are no units). Windows end with the scored day. Features are FLOAT and say how the
-- category moves, not how large it is, so that one model serves all; NULL where they have no meaning.
WITH
lines AS (  -- some products have no category; their department stands in
    SELECT
        coalesce(product_category, department) AS category,
        household_id, basket_id, sales_value, retail_disc,
        getvariable('day') - day AS ago
    FROM transactions
    JOIN products USING (product_id)
),
sold AS (
    SELECT
        category,
        count(*) FILTER (ago < 7) AS lines_7,
        count(*) FILTER (ago BETWEEN 7 AND 13) AS lines_14,
        count(*) FILTER (ago BETWEEN 14 AND 20) AS lines_21,
        count(*) FILTER (ago BETWEEN 21 AND 27) AS lines_28,
        count(*) FILTER (ago < 28) AS lines,
        count(*) FILTER (ago BETWEEN 28 AND 55) AS lines_56,
        count(*) FILTER (ago BETWEEN 56 AND 83) AS lines_84,
        count(DISTINCT household_id) FILTER (ago < 28) AS buyers,
        sum(retail_disc) FILTER (ago < 7) AS discount_7,
        sum(sales_value + retail_disc) FILTER (ago < 7) AS full_price_7,
        sum(retail_disc) FILTER (ago < 28) AS discount_28,
        sum(sales_value + retail_disc) FILTER (ago < 28) AS full_price_28
    FROM lines
    GROUP BY category
),
chain AS (  -- all categories together
    SELECT sum(lines_7) AS lines_7, sum(lines_14) AS lines_14, sum(lines) AS lines, sum(lines_56) AS lines_56
    FROM sold
)
SELECT
    category,
    sold.lines AS lines_28_days,
    CAST(sold.lines AS FLOAT) AS level,
    CAST(4 * sold.lines_7 / CAST(sold.lines AS DOUBLE) AS FLOAT) AS week_1,
    CAST(4 * sold.lines_14 / CAST(sold.lines AS DOUBLE) AS FLOAT) AS week_2,
    CAST(4 * sold.lines_21 / CAST(sold.lines AS DOUBLE) AS FLOAT) AS week_3,
    CAST(4 * sold.lines_28 / CAST(sold.lines AS DOUBLE) AS FLOAT) AS week_4,
    CAST(least(10, sold.lines_56 / CAST(sold.lines AS DOUBLE)) AS FLOAT) AS month_2,
    CAST(least(10, sold.lines_84 / CAST(sold.lines AS DOUBLE)) AS FLOAT) AS month_3,
    CAST(sold.lines / CAST(buyers AS DOUBLE) AS FLOAT) AS lines_a_buyer,
    CAST(CAST(discount_7 AS DOUBLE) / CAST(nullif(full_price_7, 0) AS DOUBLE) AS FLOAT) AS discount_week,
    CAST(CAST(discount_28 AS DOUBLE) / CAST(nullif(full_price_28, 0) AS DOUBLE) AS FLOAT) AS discount_month,
    CAST(4 * chain.lines_7 / CAST(chain.lines AS DOUBLE) AS FLOAT) AS chain_week_1,
    CAST(4 * chain.lines_14 / CAST(chain.lines AS DOUBLE) AS FLOAT) AS chain_week_2,
    CAST(chain.lines_56 / CAST(chain.lines AS DOUBLE) AS FLOAT) AS chain_month_2
FROM sold
CROSS JOIN chain
WHERE sold.lines > 0 AND category IS NOT NULL
