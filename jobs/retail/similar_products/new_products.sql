-- One row per product that was never sold before the day, or not before the last days.
SELECT
    product_id,
    description,
    first_sold,
    embedding,
    [CAST(product_id AS BIGINT)] AS itself
FROM embeddings
WHERE first_sold IS NULL OR first_sold > getvariable('day') - getvariable('new_days')
