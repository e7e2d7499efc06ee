-- From the loss that was published last to today's, by grade and stage, in US dollars (IFRS 7 35H and 35I):
--
--   opening         as it was published
--   model_change    the same loans of the same day once more, by what is known of them, and by the model,
--                   parameters and losses given default, of today
--   new             loans that were not there
--   repaid          loans on which nothing is owed any more
--   written_off     loans that were charged off
--   transfer        loans that changed their stage: what they had, less in the old one, more in the new one
--   remeasurement   what else became of loans that stayed; of exposure, what they paid
--   closing         today
--
-- The first seven add up to the eighth, to the cent. A line is left out where it has no loan. On the first day all
-- loans are new.
WITH
published AS (
    SELECT loan_id, grade, stage, exposure, loss
    FROM before
    WHERE day = (SELECT max(day) FROM before)
),
again AS (  -- that day by today's model
    SELECT loan_id, exposure, CAST(round(loss, 2) AS DECIMAL(18, 2)) AS loss
    FROM scores
    WHERE as_of < getvariable('day')
),
today AS (
    SELECT
        loan_id, grade, CAST(stage AS SMALLINT) AS stage, exposure,
        CAST(round(loss, 2) AS DECIMAL(18, 2)) AS loss
    FROM scores
    WHERE as_of = getvariable('day') AND moved = 'nothing'
),
ended AS (
    SELECT published.*, status = 'Charged Off' AS is_written_off
    FROM published
    LEFT JOIN (SELECT loan_id, status FROM loans WHERE day = getvariable('day')) AS loans USING (loan_id)
    ANTI JOIN today USING (loan_id)
),
lines AS (
    SELECT 1 AS step, 'opening' AS line, grade, stage, 1 AS loans, exposure, loss
    FROM published
    UNION ALL
    SELECT 2, 'model_change', grade, stage, 0, again.exposure - published.exposure, again.loss - published.loss
    FROM published
    JOIN again USING (loan_id)
    UNION ALL
    SELECT 3, 'new', grade, stage, 1, exposure, loss
    FROM today
    ANTI JOIN published USING (loan_id)
    UNION ALL
    SELECT
        CASE WHEN is_written_off THEN 5 ELSE 4 END, CASE WHEN is_written_off THEN 'written_off' ELSE 'repaid' END,
        grade, stage, -1, -again.exposure, -again.loss
    FROM ended
    JOIN again USING (loan_id)
    UNION ALL
    SELECT 6, 'transfer', grade, stage, sign * 1, sign * exposure, sign * loss
    FROM (
        SELECT
            unnest([published.grade, today.grade]) AS grade, unnest([published.stage, today.stage]) AS stage,
            unnest([-1, 1]) AS sign, again.exposure, again.loss
        FROM published
        JOIN again USING (loan_id)
        JOIN today USING (loan_id)
        WHERE (published.grade, published.stage) <> (today.grade, today.stage)
    )
    UNION ALL
    SELECT
        7, 'remeasurement', today.grade, today.stage, 0,
        today.exposure - again.exposure, today.loss - again.loss
    FROM today
    JOIN again USING (loan_id)
    UNION ALL
    SELECT 8, 'closing', grade, stage, 1, exposure, loss
    FROM today
)
SELECT
    grade, stage, CAST(step AS SMALLINT) AS step, line,
    CAST(sum(loans) AS INTEGER) AS loans,
    CAST(sum(exposure) AS DECIMAL(18, 2)) AS exposure,
    CAST(sum(loss) AS DECIMAL(18, 2)) AS loss
FROM lines
GROUP BY grade, stage, step, line
