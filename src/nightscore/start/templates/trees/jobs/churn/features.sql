-- What the model takes, by its own names. A null is a missing value, which trees have a branch for.
SELECT
    customer_id,
    spend_90d,
    tenure_months,
    visits_90d,
    CAST(complaints_90d AS FLOAT) AS complaints_90d,
    CAST(getvariable('day') - last_order AS INTEGER) AS days_since_order
FROM customers
WHERE day = getvariable('day')
