-- The tests of the last 250 days, and the zone of the Basel traffic light.
--
-- * kupiec: proportion of failures (Kupiec 1995), chi-square with 1 degree of freedom; independence of the
--   exceptions (Christoffersen 1998), 1; conditional coverage, their sum, 2. The _p are p-values.
-- * binomial_p: the chance of so many exceptions or more, if each day has one with 1 % (exact).
-- * zone: green up to 4 exceptions in 250 days, yellow up to 9, red from 10 on (Basel Committee, Supervisory framework
--   for the use of "backtesting", 1996; MAR32 of the 2019 standard); null until there are 250 days.
WITH
counted AS (
    SELECT desk, CAST(days AS INTEGER) AS days, CAST(exceptions AS INTEGER) AS exceptions
    FROM scores
),
binomial AS (
    SELECT
        desk,
        list_sum(list_transform(
            range(exceptions, days + 1),
            lambda k: exp(
                lgamma(days + 1) - lgamma(k + 1) - lgamma(days - k + 1) + k * ln(0.01) + (days - k) * ln(0.99)
            )
        )) AS binomial_p
    FROM counted
)
SELECT
    desk, held_on, var_99, hypothetical_pnl, is_exception, counted.days, counted.exceptions,
    kupiec, kupiec_p, independence, independence_p, coverage, coverage_p, binomial_p,
    CASE
        WHEN counted.days < 250 THEN NULL
        WHEN counted.exceptions <= 4 THEN 'green'
        WHEN counted.exceptions <= 9 THEN 'yellow'
        ELSE 'red'
    END AS zone
FROM scores
JOIN counted USING (desk)
JOIN binomial USING (desk)
