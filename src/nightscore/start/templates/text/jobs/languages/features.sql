SELECT message_id, text
FROM messages
WHERE day = getvariable('day')
