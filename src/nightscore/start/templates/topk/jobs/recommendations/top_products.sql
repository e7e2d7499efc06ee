SELECT
    customer_id,
    product_id,
    score,
    row_number() OVER (PARTITION BY customer_id ORDER BY score DESC, product_id) AS rank
FROM scores
QUALIFY rank <= getvariable('places')
