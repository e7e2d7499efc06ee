-- Every loan on which something is owed: today's, and once more those of the day that was published last.
--
-- One row per (loan_id, as_of), about 20,000. The day before is scored again by today's model and parameters, so
-- that the movement can tell what the model changed from what the loans did. A year is made of 12 equal months.
--
-- * days_late: the source has ranges (1 to 15, 16 to 30, 31 to 120). Within a range it is the least that fits the
--   instalments missed: with m of them missed, 30 (m - 1) + 1.
-- * late_share: the scorecard knows the application alone, and a loan that is late is far more likely to default.
--   The shares (23, 58 and 75 %) are those of the principal of loans in grace, late by 16 days, and by 31, that the
--   lender expects to be written off (2015, second hand, from a forum of its investors); it took them from what was
--   written off within nine months (its help page, second hand, too). So they are shares of late_months, 9, and no
--   hazard runs on from them. It fits what the lender does: it writes a loan off some 150 days after the first
--   instalment that was missed. An assumption for these loans.
-- * income is that of all who owe: of both in a joint application.
-- * lgd: an assumption by grade; see data/README.md.
WITH
books AS (
    SELECT CAST(getvariable('day') AS DATE) AS as_of
    UNION ALL
    SELECT max(day) FROM before
),
owed AS (
    SELECT
        loans.*, as_of, date_diff('month', issued_on, as_of) AS due,
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
        END AS days_late
    FROM late
)
SELECT
    loan_id,
    as_of,
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

    -- the loss
    CAST(balance AS DOUBLE) AS balance,
    CAST(greatest(term - due, 1) AS DOUBLE) AS months,
    CAST(interest_rate AS DOUBLE) / 1200 AS monthly_rate,
    CAST(loss_given_default AS DOUBLE) AS lgd,
    CASE
        WHEN days_late > getvariable('stage_3_after') THEN 3::DOUBLE
        WHEN days_late > getvariable('stage_2_after') THEN 2::DOUBLE
        WHEN days_late >= 0 THEN 1::DOUBLE
    END AS stage,
    CAST(CASE
        WHEN days_late > 30 THEN getvariable('pd_later')
        WHEN days_late > 15 THEN getvariable('pd_late')
        WHEN days_late > 0 THEN getvariable('pd_in_grace')
        ELSE 0
    END AS DOUBLE) AS late_share,
    CAST(getvariable('late_months') AS DOUBLE) AS late_months,
    CAST(getvariable('shift_downturn') AS DOUBLE) AS shift_downturn,
    CAST(getvariable('shift_upturn') AS DOUBLE) AS shift_upturn,
    CAST(getvariable('weight_downturn') AS DOUBLE) AS weight_downturn,
    CAST(getvariable('weight_upturn') AS DOUBLE) AS weight_upturn
FROM staged
LEFT JOIN loss_given_default USING (grade)
