-- The most probable digit (of two as probable the smaller), and whether a person should look at the scan.
SELECT
    scan_id,
    CAST(list_position(probabilities, confidence) - 1 AS TINYINT) AS digit,
    confidence,
    confidence < getvariable('sure') AS review
FROM (SELECT scan_id, probabilities, list_max(probabilities) AS confidence FROM scores)
