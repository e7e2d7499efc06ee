-- Today's losses beside the VaR of the trading day before, and the counts since the first day, which tomorrow goes on
-- from.
SELECT
    desk, held_on, var_99, var_975, es_975, hypothetical_pnl, actual_pnl,
    is_exception, is_exception_actual, is_exception_975, is_exception_975_actual, shortfall, since,
    CAST(days AS INTEGER) AS days,
    CAST(exceptions AS INTEGER) AS exceptions, exceptions_actual, exceptions_975, exceptions_975_actual,
    CAST(quiet_quiet AS INTEGER) AS quiet_quiet,
    CAST(quiet_exception AS INTEGER) AS quiet_exception,
    CAST(exception_quiet AS INTEGER) AS exception_quiet,
    CAST(exception_exception AS INTEGER) AS exception_exception,
    shortfalls
FROM scores
WHERE span = 'all'
