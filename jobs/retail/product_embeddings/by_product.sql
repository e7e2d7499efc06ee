-- One row per product. The description comes first: rows are sorted by it, so that equal embeddings lie side by
-- side, and take next to no room.
SELECT
    description,
    product_id,
    first_sold,                             -- null: never, as far as the job sees
    coalesce(households, 0) AS households,  -- that have bought it so far
    embedding
FROM (SELECT description, unnest(products) AS product_id, embedding FROM scores)
LEFT JOIN (
    SELECT product_id, min(day) AS first_sold, count(DISTINCT household_id) AS households
    FROM transactions
    GROUP BY product_id
) USING (product_id)
