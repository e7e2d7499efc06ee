-- Today's book in the named windows, by desk and for the firm, in US dollars: the worst of a window's days, the sum of
-- its days, each as a move from today's close, and the whole window as one move (at_once), from the last close before
-- its first month to the last close of its last.
SELECT
    whole.desk,
    strftime(min(days.moved_on), '%Y-%m') || coalesce(':' || nullif(
        strftime(whole.moved_on, '%Y-%m'), strftime(min(days.moved_on), '%Y-%m')
    ), '') AS months,
    whole.moved_from, whole.moved_on,
    CAST(count(*) AS INTEGER) AS days,
    arg_min(days.moved_on, (days.pnl, days.moved_on)) AS worst_day,
    CAST(min(days.pnl) AS DECIMAL(18, 2)) AS worst_pnl,
    CAST(sum(days.pnl) AS DECIMAL(18, 2)) AS sum_of_days,
    CAST(whole.pnl AS DECIMAL(18, 2)) AS at_once
FROM (SELECT * FROM stress_pnl WHERE NOT is_day) AS whole
JOIN (SELECT * FROM stress_pnl WHERE is_day) AS days
    ON days.desk = whole.desk AND days.moved_on > whole.moved_from AND days.moved_on <= whole.moved_on
GROUP BY whole.desk, whole.moved_from, whole.moved_on, whole.pnl
