-- The desk that answers: that of the language, or where the model is not sure a person who looks at the message first.
SELECT
    message_id,
    language,
    confidence,
    CASE WHEN confidence >= getvariable('sure') THEN language ELSE 'person' END AS desk
FROM scores
