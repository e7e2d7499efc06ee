-- What the chances of each day were worth, by the labels known so far: a row for each day of the score.
--
-- Means are of the offers that have a label, so that both are of the same rows.
WITH placed AS (
    SELECT *, score_place(scored_on, probability, redeemed) AS place
    FROM scores
)

SELECT
    scored_on,
    count(*) AS offers,
    count(redeemed) AS labelled,
    count(*) FILTER (redeemed) AS redeemed,
    count(*) FILTER (early) AS early,
    avg(label_01(redeemed)) AS base_rate,
    avg(labelled_chance(probability, redeemed)) AS mean_chance,
    auc(redeemed, place) AS auc,
    average_precision(redeemed, place) AS average_precision,
    brier_score(probability, redeemed) AS brier_score,
    log_loss(probability, redeemed) AS log_loss,
    calibration_error(probability, redeemed, score_tenth(place)) AS calibration_error,
    unmeasured(redeemed) AS unmeasured
FROM placed
GROUP BY scored_on
