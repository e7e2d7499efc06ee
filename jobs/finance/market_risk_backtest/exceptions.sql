-- Of each desk and the firm: was the loss of today beyond the VaR of the trading day before, and how often of late?
--
-- An exception is a hypothetical loss larger than the VaR that was published for the book that it was made with.
-- Counted are the last 250 days for which there are both, and the pairs of days that follow each other among them.
WITH
compared AS (
    SELECT
        hypothetical.desk, hypothetical.day, held_on, var_99, hypothetical_pnl,
        -hypothetical_pnl > var_99 AS is_exception
    FROM hypothetical
    JOIN risk ON risk.day = hypothetical.held_on AND risk.desk = hypothetical.desk
    QUALIFY row_number() OVER (PARTITION BY hypothetical.desk ORDER BY hypothetical.day DESC) <= 250
),
pairs AS (
    SELECT *, lag(is_exception) OVER (PARTITION BY desk ORDER BY day) AS was_exception
    FROM compared
),
counts AS (
    SELECT
        desk, CAST(count(*) AS DOUBLE) AS days,
        CAST(count(*) FILTER (is_exception) AS DOUBLE) AS exceptions,
        CAST(count(*) FILTER (NOT was_exception AND NOT is_exception) AS DOUBLE) AS quiet_quiet,
        CAST(count(*) FILTER (NOT was_exception AND is_exception) AS DOUBLE) AS quiet_exception,
        CAST(count(*) FILTER (was_exception AND NOT is_exception) AS DOUBLE) AS exception_quiet,
        CAST(count(*) FILTER (was_exception AND is_exception) AS DOUBLE) AS exception_exception
    FROM pairs
    GROUP BY desk
)
SELECT counts.*, held_on, var_99, hypothetical_pnl, is_exception
FROM counts
JOIN compared USING (desk)
WHERE compared.day = getvariable('day')
