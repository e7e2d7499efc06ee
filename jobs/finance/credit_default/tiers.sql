-- The probability of default of each open loan, and its tier; a threshold belongs to the tier above it.
SELECT
    loan_id,
    pd,
    CASE
        WHEN pd >= getvariable('very_high_from') THEN 'very high'
        WHEN pd >= getvariable('high_from') THEN 'high'
        WHEN pd >= getvariable('medium_from') THEN 'medium'
        ELSE 'low'
    END AS tier
FROM scores
