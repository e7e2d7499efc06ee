-- Every alert of the day, and whether it was a fraud: about a hundred rows.
--
-- An alert of several transactions that are alike is a fraud where one of them was; lost is the amount of those.
SELECT
    alerts.transaction_id, alerts.why, alerts.share, alerts.transactions, alerts.amount, alerts.fraud_chance,
    bool_or(labels.is_fraud) AS is_fraud,
    CAST(coalesce(sum(scored.charged) FILTER (labels.is_fraud), 0) AS DECIMAL(14, 2)) AS lost
FROM alerts
JOIN scored ON scored.first_id = alerts.transaction_id AND scored.day = getvariable('day')
JOIN labels ON labels.transaction_id = scored.transaction_id AND labels.day = getvariable('day')
WHERE alerts.day = getvariable('day')
GROUP BY ALL
