-- What the book would lose, in US dollars, with one assumption moved and all others as they are.
--
-- * difference is to the loss of the summary, share is the difference as a share of it. Assumptions that are moved
--   together make more or less than the sum of their rows.
-- * from_value of the loss given default is the mean by exposure: a table has it by grade.
-- * The past is what was published of it: a loan that is not cured stays so, whatever is moved but cure_months.
-- * A row of 0 is no mistake: no loan of the day turns on that assumption.
WITH
assumed AS (
    SELECT assumption, from_value
    FROM (
        UNPIVOT (SELECT CAST(COLUMNS(* EXCLUDE (day)) AS DOUBLE) FROM params)
        ON COLUMNS(*) INTO NAME assumption VALUE from_value
    )
    UNION ALL
    SELECT
        'loss_given_default',
        round(CAST(sum(exposure * loss_given_default) AS DOUBLE) / CAST(sum(exposure) AS DOUBLE), 6)
    FROM scores
    JOIN loss_given_default USING (grade)
    WHERE as_of = getvariable('day') AND moved = 'nothing'
),
losses AS (
    SELECT moved, max(moved_to) AS to_value, sum(CAST(round(loss, 2) AS DECIMAL(18, 2))) AS loss
    FROM scores
    WHERE as_of = getvariable('day')
    GROUP BY moved
),
as_it_is AS (
    SELECT loss
    FROM losses
    WHERE moved = 'nothing'
)
SELECT
    assumption, from_value, to_value,
    CAST(losses.loss AS DECIMAL(18, 2)) AS loss,
    CAST(losses.loss - as_it_is.loss AS DECIMAL(18, 2)) AS difference,
    round(CAST(losses.loss - as_it_is.loss AS DOUBLE) / nullif(CAST(as_it_is.loss AS DOUBLE), 0), 6) AS share
FROM losses
JOIN assumed ON assumption = moved
CROSS JOIN as_it_is
