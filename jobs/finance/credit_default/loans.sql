-- Every loan on which something is owed on the day, by loan_id: about 10,000 rows.
--
-- The model's features as train_default.py has them; FLOAT, as the model computes. What is missing (years in the
-- present job, an income) is NULL, and the trees take it for a missing value. income is that of all who owe: of
-- both in a joint application.
WITH
owed AS (
    SELECT *, coalesce(annual_income_joint, annual_income) AS income
    FROM loans
    WHERE day = getvariable('day') AND balance > 0
)
SELECT
    loan_id,
    grade,
    status,
    balance AS exposure,
    CAST(5 * (ascii(sub_grade) - ascii('A')) + CAST(sub_grade[2] AS INTEGER) AS FLOAT) AS sub_grade,
    CAST(inquiries_12m AS FLOAT) AS inquiries_12m,
    CAST(instalment_accounts AS FLOAT) AS instalment_accounts,
    CAST(employment_years AS FLOAT) AS employment_years,
    CAST(CASE income_verification
        WHEN 'Not Verified' THEN 0 WHEN 'Source Verified' THEN 1 WHEN 'Verified' THEN 2
    END AS FLOAT) AS income_verification,
    CAST(12 * CAST(instalment AS DOUBLE) / nullif(CAST(income AS DOUBLE), 0) AS FLOAT) AS instalment_to_income,
    CAST(interest_rate AS FLOAT) AS interest_rate,
    CAST(loan_amount AS FLOAT) AS loan_amount,
    CAST(term AS FLOAT) AS term,
    CAST(income AS FLOAT) AS annual_income,
    CAST(delinquencies_2y AS FLOAT) AS delinquencies_2y
FROM owed
