-- Those with the most to lose: the chance to leave times what is spent in 90 days.
SELECT
    customer_id,
    score,
    score * spend_90d AS at_risk,
    row_number() OVER (ORDER BY score * spend_90d DESC, customer_id) AS rank
FROM scores
QUALIFY rank <= getvariable('offers')
