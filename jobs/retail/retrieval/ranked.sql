-- The lists as rows: rank 1 is the best.
SELECT
    household_id,
    CAST(unnest(range(1, len(items) + 1)) AS INTEGER) AS rank,
    CAST(unnest(items) AS INTEGER) AS product_id,
    unnest(scores) AS score,
    has_factors
FROM scores
