-- Every loan on which something is owed: today's, and once more those of the day that was published last.
--
-- One row per (loan_id, as_of, moved). The day before is scored again by today's model and parameters (moved is
-- 'nothing'), so that the movement can tell what the model changed from what the loans did. Today's loans are there
-- once with each assumption as it is ('nothing') and once for each assumption that is moved alone, by name:
-- sensitivity.sql adds them up. Some 180,000 rows. A year is made of 12 equal months.
--
-- * days_late: the source has ranges (1 to 15, 16 to 30, 31 to 120, and Default beyond, until the lender writes the loan
--   off). Within a range it is the least that fits the instalments missed: with m of them missed, 30 (m - 1) + 1.
-- * late_share: the scorecard knows the application alone, and a loan that is late is far more likely to default.
--   The shares (23, 58 and 75 %) are those of the principal of loans in grace, late by 16 days, and by 31, that the
--   lender expects to be written off (2015, second hand, from a forum of its investors); it took them from what was
--   written off within nine months (its help page, second hand, too). So they are shares of late_months, 9, and no
--   hazard runs on from them. It fits what the lender does: it writes a loan off some 150 days after the first
--   instalment that was missed. An assumption for these loans.
-- * stage_held: a loan goes back to a better stage when three months (cure_months) have passed since the first close
--   at which it would have been there: its stage is no better than any that its days late and its risk gave it at
--   closes of that time. Closes that were not published are not known. Nor is forbearance: the book has no word of it.
-- * income is that of all who owe: of both in a joint application.
-- * lgd: an assumption by grade; see data/README.md.
WITH
moves AS (  -- some other value of each assumption: a lender may well argue for it
    SELECT *
    FROM (VALUES
        ('nothing', NULL),
        ('stage_2_after', 0),  -- a lifetime's loss from the first day late
        ('stage_3_after', 20),  -- in default as early as the scorecard's outcomes are bad
        ('stage_2_times', 2),
        ('stage_2_from', 0.25),
        ('cure_months', 0),
        ('pd_in_grace', 0.33),
        ('pd_late', 0.68),
        ('pd_later', 0.85),
        ('late_months', 60),  -- the shares spread over all months that are left
        ('bad_in_default', 0.8),  -- what the card finds of this book
        ('unpaid_instalments', 0),
        ('prepayment', 0),
        ('shift_downturn', 1),
        ('shift_upturn', 0),
        ('weight_downturn', 0.5),
        ('weight_upturn', 0.5),
        ('loss_given_default', 0.8)
    ) AS moves (moved, moved_to)
),
assumptions AS (
    SELECT
        moved, CAST(moved_to AS DOUBLE) AS moved_to,
        CASE moved WHEN 'stage_2_after' THEN moved_to ELSE stage_2_after END AS stage_2_after,
        CASE moved WHEN 'stage_3_after' THEN moved_to ELSE stage_3_after END AS stage_3_after,
        CASE moved WHEN 'stage_2_times' THEN moved_to ELSE stage_2_times END AS stage_2_times,
        CASE moved WHEN 'stage_2_from' THEN moved_to ELSE stage_2_from END AS stage_2_from,
        CASE moved WHEN 'cure_months' THEN moved_to ELSE cure_months END AS cure_months,
        CASE moved WHEN 'pd_in_grace' THEN moved_to ELSE pd_in_grace END AS pd_in_grace,
        CASE moved WHEN 'pd_late' THEN moved_to ELSE pd_late END AS pd_late,
        CASE moved WHEN 'pd_later' THEN moved_to ELSE pd_later END AS pd_later,
        CASE moved WHEN 'late_months' THEN moved_to ELSE late_months END AS late_months,
        CASE moved WHEN 'bad_in_default' THEN moved_to ELSE bad_in_default END AS bad_in_default,
        CASE moved WHEN 'unpaid_instalments' THEN moved_to ELSE unpaid_instalments END AS unpaid_instalments,
        CASE moved WHEN 'prepayment' THEN moved_to ELSE prepayment END AS prepayment,
        CASE moved WHEN 'shift_downturn' THEN moved_to ELSE shift_downturn END AS shift_downturn,
        CASE moved WHEN 'shift_upturn' THEN moved_to ELSE shift_upturn END AS shift_upturn,
        CASE moved WHEN 'weight_downturn' THEN moved_to ELSE weight_downturn END AS weight_downturn,
        CASE moved WHEN 'weight_upturn' THEN moved_to ELSE weight_upturn END AS weight_upturn,
        CASE moved WHEN 'loss_given_default' THEN moved_to END AS other_lgd
    FROM moves
    CROSS JOIN params
),
days AS (
    SELECT CAST(getvariable('day') AS DATE) AS as_of
    UNION ALL
    SELECT max(day) FROM before
),
books AS (
    SELECT as_of, assumptions.*
    FROM days
    JOIN assumptions ON as_of = getvariable('day') OR moved = 'nothing'
),
held AS (
    SELECT as_of, moved, loan_id, max(stage_without_cure) AS stage_held
    FROM past
    JOIN books ON day < as_of AND date_diff('month', day, as_of) <= cure_months
    WHERE stage_without_cure > 1
    GROUP BY as_of, moved, loan_id
),
owed AS (
    SELECT
        loans.*, books.*, date_diff('month', issued_on, as_of) AS due,
        coalesce(annual_income_joint, annual_income) AS income
    FROM loans
    JOIN books ON as_of = loans.day
    WHERE balance > 0
),
late AS (
    SELECT *, 30 * (greatest(due - instalments_paid, 1) - 1) + 1 AS missed_for
    FROM owed
),
staged AS (
    SELECT
        *,
        CASE status
            WHEN 'Current' THEN 0
            WHEN 'In Grace Period' THEN least(missed_for, 15)
            WHEN 'Late (16-30 days)' THEN least(greatest(missed_for, 16), 30)
            WHEN 'Late (31-120 days)' THEN least(greatest(missed_for, 31), 120)
            WHEN 'Default' THEN greatest(missed_for, 121)
        END AS days_late
    FROM late
)
SELECT
    loan_id,
    as_of,
    moved,
    moved_to,
    grade,
    status,
    CAST(days_late AS SMALLINT) AS days_late,
    balance AS exposure,

    -- the scorecard's features
    CAST(5 * (ascii(sub_grade) - ascii('A')) + CAST(sub_grade[2] AS INTEGER) AS DOUBLE) AS sub_grade,
    CAST(inquiries_12m AS DOUBLE) AS inquiries_12m,
    CAST(instalment_accounts AS DOUBLE) AS instalment_accounts,
    CAST(employment_years AS DOUBLE) AS employment_years,
    CAST(CASE income_verification
        WHEN 'Not Verified' THEN 0 WHEN 'Source Verified' THEN 1 WHEN 'Verified' THEN 2
    END AS DOUBLE) AS income_verification,
    12 * CAST(instalment AS DOUBLE) / nullif(CAST(income AS DOUBLE), 0) AS instalment_to_income,

    -- the stage
    CASE
        WHEN days_late > stage_3_after THEN 3::DOUBLE
        WHEN days_late > stage_2_after THEN 2::DOUBLE
        WHEN days_late >= 0 THEN 1::DOUBLE
    END AS stage_by_arrears,
    CAST(coalesce(stage_held, 1) AS DOUBLE) AS stage_held,
    CAST(stage_2_times AS DOUBLE) AS stage_2_times,
    CAST(stage_2_from AS DOUBLE) AS stage_2_from,

    -- the loss
    CAST(balance AS DOUBLE) AS balance,
    CAST(greatest(term - due, 1) AS DOUBLE) AS months,
    CAST(interest_rate AS DOUBLE) / 1200 AS monthly_rate,
    CAST(coalesce(other_lgd, loss_given_default) AS DOUBLE) AS lgd,
    CAST(unpaid_instalments AS DOUBLE) AS unpaid_instalments,
    CAST(prepayment AS DOUBLE) AS prepayment,
    CAST(bad_in_default AS DOUBLE) AS bad_in_default,
    CAST(CASE
        WHEN days_late > 30 THEN pd_later
        WHEN days_late > 15 THEN pd_late
        WHEN days_late > 0 THEN pd_in_grace
        ELSE 0
    END AS DOUBLE) AS late_share,
    CAST(late_months AS DOUBLE) AS late_months,
    CAST(shift_downturn AS DOUBLE) AS shift_downturn,
    CAST(shift_upturn AS DOUBLE) AS shift_upturn,
    CAST(weight_downturn AS DOUBLE) AS weight_downturn,
    CAST(weight_upturn AS DOUBLE) AS weight_upturn
FROM staged
LEFT JOIN held USING (loan_id, as_of, moved)
LEFT JOIN loss_given_default USING (grade)
