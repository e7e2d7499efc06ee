-- The lists as rows: rank 1 is the most similar.
SELECT
    lists.product_id,
    lists.rank,
    lists.similar_id,
    lists.similarity,
    lists.description,
    embeddings.description AS similar_description
FROM (
    SELECT
        product_id,
        description,
        CAST(unnest(range(1, len(items) + 1)) AS INTEGER) AS rank,
        CAST(unnest(items) AS INTEGER) AS similar_id,
        unnest(scores) AS similarity
    FROM scores
) AS lists
LEFT JOIN embeddings ON embeddings.product_id = lists.similar_id
