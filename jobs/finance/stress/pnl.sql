-- What each desk, and the firm, would make or lose with today's book, by each move: of a day, from the close before to
-- the day's (is_day), or of a window as one move. US dollars, summed from positions that are rounded to the cent.
WITH moves AS (
    SELECT
        desk, unnest(moved_from) AS moved_from, unnest(moved_on) AS moved_on,
        generate_subscripts(moved_on, 1) <= days AS is_day,
        CAST(round(unnest(pnl), 2) AS DECIMAL(18, 2)) AS pnl
    FROM scores
)
SELECT
    CASE WHEN grouping(desk) = 1 THEN 'firm' ELSE desk END AS desk,
    moved_from, moved_on, is_day,
    CAST(sum(pnl) AS DECIMAL(18, 2)) AS pnl
FROM moves
GROUP BY GROUPING SETS ((desk, moved_from, moved_on, is_day), (moved_from, moved_on, is_day))
HAVING count(*) > 0
