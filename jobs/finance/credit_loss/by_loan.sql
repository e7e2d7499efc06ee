-- What each open loan may lose, in US dollars, and the three features that cost it most points.
--
-- * loss is that of the loan's stage, weighted over scenarios; loss_downturn, loss_base and loss_upturn are those
--   of each. Money is rounded to the cent loan by loan, so that every sum of it is exact in any order.
-- * points_lost is in the model's order, which its metadata has under `features`; so are the reasons here. Of
--   features that cost as much the first comes first; one that costs nothing is no reason.
WITH
reasons AS (
    SELECT [
        'the lender''s own grade of the loan',
        'credit inquiries in the last 12 months',
        'instalment loans that run already',
        'years in the present job, or not known',
        'the lender had the income verified',
        'instalments are high for the income, or no income'
    ] AS texts
),
today AS (
    SELECT
        scores.*,
        list_reverse_sort(list_transform(
            range(1, len(points_lost) + 1),
            lambda i: {'lost': round(points_lost[i], 1), 'place': -i, 'text': texts[i]}
        )) AS strongest
    FROM scores
    CROSS JOIN reasons
    WHERE as_of = getvariable('day')
)
SELECT
    loan_id, grade, CAST(stage AS SMALLINT) AS stage, status, days_late, exposure, pd,
    CAST(round(score) AS SMALLINT) AS score,
    CAST(round(loss, 2) AS DECIMAL(18, 2)) AS loss,
    CAST(round(loss_12_months, 2) AS DECIMAL(18, 2)) AS loss_12_months,
    CAST(round(loss_lifetime, 2) AS DECIMAL(18, 2)) AS loss_lifetime,
    CAST(round(scenario_losses[1], 2) AS DECIMAL(18, 2)) AS loss_downturn,
    CAST(round(scenario_losses[2], 2) AS DECIMAL(18, 2)) AS loss_base,
    CAST(round(scenario_losses[3], 2) AS DECIMAL(18, 2)) AS loss_upturn,
    CASE WHEN strongest[1].lost > 0 THEN strongest[1].text END AS reason_1,
    CASE WHEN strongest[2].lost > 0 THEN strongest[2].text END AS reason_2,
    CASE WHEN strongest[3].lost > 0 THEN strongest[3].text END AS reason_3,
    CAST(strongest[1].lost AS DECIMAL(5, 1)) AS points_lost_1,
    CAST(strongest[2].lost AS DECIMAL(5, 1)) AS points_lost_2,
    CAST(strongest[3].lost AS DECIMAL(5, 1)) AS points_lost_3
FROM today
