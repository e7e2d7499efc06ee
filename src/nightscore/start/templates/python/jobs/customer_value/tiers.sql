SELECT
    customer_id,
    value,
    CASE WHEN value >= 500 THEN 'gold' WHEN value >= 100 THEN 'silver' ELSE 'bronze' END AS tier
FROM scores
