-- The P&L attribution test of each desk, and beside them of the firm, which the rule does not ask for.
--
-- zone: green if spearman > 0.80 and ks < 0.09, red if spearman < 0.70 or ks > 0.12, amber between (MAR32.43 and 32.44
-- of the Basel framework); null until there are 250 days. A red desk may not be capitalised by its own model.
SELECT
    desk, days, first_day, spearman, ks, unexplained_share,
    CASE
        WHEN days < 250 THEN NULL
        WHEN spearman < 0.70 OR ks > 0.12 THEN 'red'
        WHEN spearman > 0.80 AND ks < 0.09 THEN 'green'
        ELSE 'amber'
    END AS zone
FROM scores
