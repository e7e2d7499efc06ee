-- What the book may lose by grade and stage, in US dollars: grade 'all' is all grades, stage 0 all stages.
--
-- coverage is the loss as a share of the exposure; pd is weighted by exposure.
SELECT
    CASE WHEN grouping(grade) = 1 THEN 'all' ELSE grade END AS grade,
    CASE WHEN grouping(stage) = 1 THEN 0::SMALLINT ELSE CAST(stage AS SMALLINT) END AS stage,
    CAST(count(*) AS INTEGER) AS loans,
    CAST(sum(exposure) AS DECIMAL(18, 2)) AS exposure,
    CAST(sum(CAST(round(loss, 2) AS DECIMAL(18, 2))) AS DECIMAL(18, 2)) AS loss,
    CAST(sum(CAST(round(scenario_losses[1], 2) AS DECIMAL(18, 2))) AS DECIMAL(18, 2)) AS loss_downturn,
    CAST(sum(CAST(round(scenario_losses[2], 2) AS DECIMAL(18, 2))) AS DECIMAL(18, 2)) AS loss_base,
    CAST(sum(CAST(round(scenario_losses[3], 2) AS DECIMAL(18, 2))) AS DECIMAL(18, 2)) AS loss_upturn,
    round(
        CAST(sum(CAST(round(loss, 2) AS DECIMAL(18, 2))) AS DOUBLE) / nullif(CAST(sum(exposure) AS DOUBLE), 0), 6
    ) AS coverage,
    round(sum(pd * CAST(exposure AS DOUBLE)) / nullif(CAST(sum(exposure) AS DOUBLE), 0), 6) AS pd
FROM scores
WHERE as_of = getvariable('day') AND moved = 'nothing'
GROUP BY GROUPING SETS ((grade, stage), (grade), (stage), ())
HAVING count(*) > 0
