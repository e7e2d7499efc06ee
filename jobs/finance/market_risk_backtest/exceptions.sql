-- Of each desk and the firm: was the loss of today beyond the VaR of the trading day before, and how often was it so in
-- the last 250 days (span '250') and in all of them (span 'all')?
--
-- One row per (desk, span). An exception is a loss larger than the VaR that was first published for the book that it was
-- made with: by hypothetical P&L (that book, held unchanged, time and rate standing still) and by actual P&L (what it
-- made until the close, with options that expired at their payoffs; trades are made at the close and make nothing yet).
-- Counted are the days for which there are both, and the pairs of days that follow each other among them. What was
-- before the last 250 days comes from the counts of the day before, so days are to be run oldest first.
--
-- shortfall is the loss over the ES of the day before where it is beyond the 97.5 % VaR, else 0; shortfalls is its sum.
WITH
today AS (
    SELECT
        hypothetical.desk, hypothetical.day, held_on, var_99, var_975, es_975, hypothetical_pnl, actual_pnl,
        -hypothetical_pnl > var_99 AS is_exception,
        -actual_pnl > var_99 AS is_exception_actual,
        -hypothetical_pnl > var_975 AS is_exception_975,
        -actual_pnl > var_975 AS is_exception_975_actual,
        CASE
            WHEN -hypothetical_pnl > var_975 THEN -CAST(hypothetical_pnl AS DOUBLE) / CAST(es_975 AS DOUBLE)
            ELSE 0
        END AS shortfall
    FROM hypothetical
    JOIN risk ON risk.day = hypothetical.held_on AND risk.desk = hypothetical.desk
    JOIN (SELECT desk, actual_pnl FROM actual WHERE symbol = 'all') AS actual ON actual.desk = hypothetical.desk
),
recent AS (  -- today and the days before it, 250 at most
    SELECT desk, day, is_exception, is_exception_actual, is_exception_975, is_exception_975_actual, shortfall
    FROM (SELECT * FROM today UNION ALL BY NAME SELECT * FROM past)
    WHERE desk IN (SELECT desk FROM today)
    QUALIFY row_number() OVER (PARTITION BY desk ORDER BY day DESC) <= 250
),
pairs AS (
    SELECT *, lag(is_exception) OVER (PARTITION BY desk ORDER BY day) AS was_exception
    FROM recent
),
counts AS (
    SELECT
        desk, '250' AS span, min(day) AS since,
        count(*) AS days,
        count(*) FILTER (is_exception) AS exceptions,
        count(*) FILTER (is_exception_actual) AS exceptions_actual,
        count(*) FILTER (is_exception_975) AS exceptions_975,
        count(*) FILTER (is_exception_975_actual) AS exceptions_975_actual,
        count(*) FILTER (NOT was_exception AND NOT is_exception) AS quiet_quiet,
        count(*) FILTER (NOT was_exception AND is_exception) AS quiet_exception,
        count(*) FILTER (was_exception AND NOT is_exception) AS exception_quiet,
        count(*) FILTER (was_exception AND is_exception) AS exception_exception,
        list_sum(list(shortfall ORDER BY day)) AS shortfalls
    FROM pairs
    GROUP BY desk
    UNION ALL
    SELECT
        today.desk, 'all', coalesce(since, today.day),
        coalesce(days, 0) + 1,
        coalesce(exceptions, 0) + CAST(today.is_exception AS INTEGER),
        coalesce(exceptions_actual, 0) + CAST(today.is_exception_actual AS INTEGER),
        coalesce(exceptions_975, 0) + CAST(today.is_exception_975 AS INTEGER),
        coalesce(exceptions_975_actual, 0) + CAST(today.is_exception_975_actual AS INTEGER),
        coalesce(quiet_quiet + CAST(NOT before.is_exception AND NOT today.is_exception AS INTEGER), 0),
        coalesce(quiet_exception + CAST(NOT before.is_exception AND today.is_exception AS INTEGER), 0),
        coalesce(exception_quiet + CAST(before.is_exception AND NOT today.is_exception AS INTEGER), 0),
        coalesce(exception_exception + CAST(before.is_exception AND today.is_exception AS INTEGER), 0),
        coalesce(shortfalls, 0) + today.shortfall
    FROM today
    LEFT JOIN (
        SELECT * FROM past
        QUALIFY row_number() OVER (PARTITION BY desk ORDER BY day DESC) = 1
    ) AS before ON before.desk = today.desk
)
SELECT
    counts.desk, span, held_on, var_99, var_975, es_975, hypothetical_pnl, actual_pnl,
    is_exception, is_exception_actual, is_exception_975, is_exception_975_actual, shortfall, since,
    CAST(days AS DOUBLE) AS days,
    CAST(exceptions AS DOUBLE) AS exceptions,
    CAST(exceptions_actual AS INTEGER) AS exceptions_actual,
    CAST(exceptions_975 AS INTEGER) AS exceptions_975,
    CAST(exceptions_975_actual AS INTEGER) AS exceptions_975_actual,
    CAST(quiet_quiet AS DOUBLE) AS quiet_quiet,
    CAST(quiet_exception AS DOUBLE) AS quiet_exception,
    CAST(exception_quiet AS DOUBLE) AS exception_quiet,
    CAST(exception_exception AS DOUBLE) AS exception_exception,
    CAST(shortfalls AS DOUBLE) AS shortfalls
FROM counts
JOIN today ON today.desk = counts.desk
