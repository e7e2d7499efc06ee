-- One row per scan: by how many degrees clockwise it is turned (of two as probable the smaller).
SELECT
    scan_id,
    CAST(90 * (list_position(probabilities, confidence) - 1) AS SMALLINT) AS turned,
    confidence,
    confidence < getvariable('sure') AS review
FROM (SELECT scan_id, probabilities, list_max(probabilities) AS confidence FROM scores)
