-- The probability of default of each open loan that is paid as it should be, and its tier; a threshold belongs to the
-- tier above it.
--
-- The model knows the application alone. A loan in arrears is far more likely to default than that says, so it has a
-- tier of its own, 'in arrears', and no pd: credit_loss has one that knows how late it is. What the model gives for
-- it is in credit_default_scores.
SELECT
    loan_id,
    status,
    CASE WHEN status = 'Current' THEN pd END AS pd,
    CASE
        WHEN status <> 'Current' THEN 'in arrears'
        WHEN pd >= getvariable('very_high_from') THEN 'very high'
        WHEN pd >= getvariable('high_from') THEN 'high'
        WHEN pd >= getvariable('medium_from') THEN 'medium'
        ELSE 'low'
    END AS tier
FROM scores
