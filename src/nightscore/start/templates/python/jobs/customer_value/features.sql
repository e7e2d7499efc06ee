SELECT
    customer_id,
    spend_90d / 3 AS spend_month,
    CAST(getvariable('day') - last_order AS INTEGER) AS days_since_order
FROM customers
WHERE day = getvariable('day')
