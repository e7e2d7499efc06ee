-- Every transaction that is not in the queue itself, and why: it is alike one that is, or below the line.
SELECT
    scores.transaction_id,
    CASE WHEN alerts.transaction_id IS NULL THEN 'below the line' ELSE 'duplicate of an alert' END AS reason,
    alerts.transaction_id AS alert_id
FROM scores
LEFT JOIN fraud_alerts AS alerts ON alerts.transaction_id = scores.first_id
WHERE scores.transaction_id NOT IN (SELECT transaction_id FROM fraud_alerts)
