-- Chances beside what came true, by tenths of a day's offers: tenth 1 has the highest chances.
WITH placed AS (
    SELECT *, score_tenth(score_place(scored_on, probability, redeemed)) AS tenth
    FROM scores
)

SELECT
    scored_on, tenth,
    count(*) AS offers,
    count(*) FILTER (redeemed) AS redeemed,
    avg(labelled_chance(probability, redeemed)) AS mean_chance,
    avg(label_01(redeemed)) AS base_rate
FROM placed
WHERE redeemed IS NOT NULL
GROUP BY scored_on, tenth
