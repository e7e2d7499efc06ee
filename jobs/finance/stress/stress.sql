-- The worst of all days for today's book, and its expected shortfall in the worst 250 of them that follow each other,
-- beside that of the last 250, by desk and for the firm; US dollars, losses are > 0 but in worst_pnl.
--
-- * es_975 is the mean of the worst 2.5 %, which is six and a quarter of 250 losses (Acerbi and Tasche, On the
--   coherence of expected shortfall, 2002, definition 2.6): (4 * six worst + the seventh) / 25.
-- * stressed_es_975 is the largest of any 250 days in a row, the earliest of equal ones; window_first and window_last
--   are the first and the last of them. A desk's window is its own, and es_975_in_firm_window is what it would be in
--   the firm's, the one that a stressed calibration takes (MAR33 of the Basel framework).
-- * ratio is the stressed one over the one of now: how much calmer the last 250 days were.
WITH
losses AS (SELECT desk, moved_on, -pnl AS loss FROM stress_pnl WHERE is_day),
spans AS (
    SELECT
        desk, moved_on, loss,
        min(moved_on) OVER last_250 AS since,
        list(loss) OVER last_250 AS losses
    FROM losses
    WINDOW last_250 AS (PARTITION BY desk ORDER BY moved_on ROWS 249 PRECEDING)
),
shortfalls AS (
    SELECT
        desk, moved_on, since,
        CAST((4 * list_sum(list_reverse_sort(losses)[1:6]) + list_reverse_sort(losses)[7]) * 0.04 AS DECIMAL(18, 4))
            AS es_975
    FROM spans
    WHERE len(losses) = 250
),
worst AS (
    SELECT desk, moved_on AS worst_day, CAST(-loss AS DECIMAL(18, 2)) AS worst_pnl
    FROM losses
    QUALIFY row_number() OVER (PARTITION BY desk ORDER BY loss DESC, moved_on) = 1
),
stressed AS (
    SELECT desk, since AS window_first, moved_on AS window_last, es_975 AS stressed_es_975
    FROM shortfalls
    QUALIFY row_number() OVER (PARTITION BY desk ORDER BY es_975 DESC, moved_on) = 1
)
SELECT
    desk, worst_day, worst_pnl, now.es_975, stressed_es_975, window_first, window_last,
    in_firm_window.es_975 AS es_975_in_firm_window,
    round(CAST(stressed_es_975 AS DOUBLE) / nullif(CAST(now.es_975 AS DOUBLE), 0), 4) AS ratio
FROM worst
LEFT JOIN (SELECT desk, es_975 FROM shortfalls WHERE moved_on = getvariable('day')) AS now USING (desk)
LEFT JOIN stressed USING (desk)
LEFT JOIN (
    SELECT shortfalls.desk, shortfalls.es_975
    FROM shortfalls
    JOIN stressed ON stressed.desk = 'firm' AND moved_on = stressed.window_last
) AS in_firm_window USING (desk)
