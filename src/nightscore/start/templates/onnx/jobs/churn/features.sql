-- The columns as the model was trained with them: it holds the codes of its texts and the scale of its numbers.
SELECT
    customer_id,
    region,
    plan,
    tenure_months,
    visits_90d,
    spend_90d,
    coalesce(complaints_90d, 0) AS complaints_90d
FROM customers
WHERE day = getvariable('day')
