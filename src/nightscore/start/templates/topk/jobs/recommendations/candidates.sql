-- Each customer who bought something in the week, with each product.
WITH bought AS (
    SELECT customer_id, product_id, count(*) AS times, max(day) AS last
    FROM purchases
    GROUP BY ALL
),
popular AS (
    SELECT product_id, count(*) AS buyers FROM bought GROUP BY ALL
),
category AS (
    SELECT customer_id, category, sum(times) AS times FROM bought JOIN products USING (product_id) GROUP BY ALL
)
SELECT
    customers.customer_id,
    products.product_id,
    coalesce(bought.times, 0) AS times_bought,
    CAST(getvariable('day') - bought.last AS FLOAT) AS days_since,   -- null: not bought in the week
    coalesce(popular.buyers, 0) AS buyers,
    CAST(coalesce(category.times, 0) AS INTEGER) AS times_category,
    products.price
FROM (SELECT DISTINCT customer_id FROM bought) AS customers
CROSS JOIN products
LEFT JOIN bought USING (customer_id, product_id)
LEFT JOIN popular USING (product_id)
LEFT JOIN category ON category.customer_id = customers.customer_id AND category.category = products.category
