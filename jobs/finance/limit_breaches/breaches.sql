-- What is at or beyond a limit today, and who has acknowledged it, until when, and why.
--
-- An acknowledgement is of one breach: it counts from its from_day, which is a day of the breach, to its last, and
-- not for a breach that began anew after it. Of a red one it is from a day on which red was reached: who has
-- acknowledged amber has not seen red. Of several the latest counts, and once that has ended, none: so it can be
-- shortened.
WITH
acknowledged AS (
    SELECT
        desk, measure, acknowledgements.acknowledged_by, acknowledgements.because,
        acknowledgements.until AS acknowledged_until
    FROM scores
    JOIN (SELECT DISTINCT * FROM acknowledgements) AS acknowledgements USING (desk, measure)
    WHERE from_day BETWEEN coalesce(first_red_day, first_day) AND getvariable('day')
    QUALIFY row_number() OVER (
        PARTITION BY desk, measure ORDER BY acknowledged_at DESC, acknowledged_by, because, until, from_day
    ) = 1
)
SELECT
    desk, measure, amount, amber, red, used, status, first_day, first_red_day, days_amber, days_red,
    acknowledged_by, because, acknowledged_until
FROM scores
LEFT JOIN (FROM acknowledged WHERE acknowledged_until >= getvariable('day')) AS acknowledged USING (desk, measure)
WHERE status <> 'green'
