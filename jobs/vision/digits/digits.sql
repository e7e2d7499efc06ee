-- One row per image: the most probable digit (of two as probable the smaller), and who should look at it.
SELECT
    image_id,
    CAST(list_position(probabilities, confidence) - 1 AS TINYINT) AS digit,
    confidence,
    CASE
        WHEN confidence >= getvariable('sure') THEN 'none'
        WHEN confidence >= getvariable('doubtful') THEN 'one person'
        ELSE 'two people'
    END AS review
FROM (SELECT image_id, probabilities, list_max(probabilities) AS confidence FROM scores)
