-- What each open loan may lose, in US dollars, and the three features that cost it most points.
--
-- * loss is that of the loan's stage, weighted over scenarios; loss_downturn, loss_base and loss_upturn are those
--   of each. Money is rounded to the cent loan by loan, so that every sum of it is exact in any order.
-- * pd is that of the next twelve months, pd_lifetime that of all that are left; both are 1 in stage 3.
--   pd_at_origination is that of twelve months by the application, which is all that is known of then. What is known
--   since is whether it is late, so that pd exceeds it for late loans alone, and so does the test of a risk that has
--   risen: a loan that is paid stays in stage 1, however its borrower fares.
-- * stage_without_cure is the stage without regard to the past. staged_by says what put a loan where it is.
-- * exposure_at_default: were it to default at once, with the interest of the instalments that are unpaid then.
-- * reason_1 to reason_3 are the scorer's (scorers/scorecard_points.py): a feature that costs nothing is none.
SELECT
    loan_id, grade, CAST(stage AS SMALLINT) AS stage,
    CAST(stage_without_cure AS SMALLINT) AS stage_without_cure,
    CASE
        WHEN stage = 1 THEN NULL
        WHEN stage > stage_without_cure THEN 'not cured'
        WHEN stage = stage_by_arrears THEN 'days late'
        ELSE 'risk since origination'
    END AS staged_by,
    status, days_late, exposure,
    CAST(round(exposure_at_default, 2) AS DECIMAL(18, 2)) AS exposure_at_default,
    pd_at_origination, pd, pd_lifetime,
    CAST(round(score) AS SMALLINT) AS score,
    CAST(round(loss, 2) AS DECIMAL(18, 2)) AS loss,
    CAST(round(loss_12_months, 2) AS DECIMAL(18, 2)) AS loss_12_months,
    CAST(round(loss_lifetime, 2) AS DECIMAL(18, 2)) AS loss_lifetime,
    CAST(round(scenario_losses[1], 2) AS DECIMAL(18, 2)) AS loss_downturn,
    CAST(round(scenario_losses[2], 2) AS DECIMAL(18, 2)) AS loss_base,
    CAST(round(scenario_losses[3], 2) AS DECIMAL(18, 2)) AS loss_upturn,
    reasons[1] AS reason_1,
    reasons[2] AS reason_2,
    reasons[3] AS reason_3,
    CAST(reason_points[1] AS DECIMAL(5, 1)) AS points_lost_1,
    CAST(reason_points[2] AS DECIMAL(5, 1)) AS points_lost_2,
    CAST(reason_points[3] AS DECIMAL(5, 1)) AS points_lost_3
FROM scores
WHERE as_of = getvariable('day') AND moved = 'nothing'
