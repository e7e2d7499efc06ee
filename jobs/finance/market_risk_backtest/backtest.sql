-- The tests of the last 250 days and (all_) of all days since the first, and what they mean for desks and the firm.
--
-- By hypothetical P&L:
-- * kupiec: proportion of failures (Kupiec 1995), chi-square with 1 degree of freedom; independence of the
--   exceptions (Christoffersen 1998), 1; conditional coverage, their sum, 2. The _p are p-values.
-- * binomial_p: the chance of so many exceptions or more, if each day has one with 1 % (exact).
-- * kupiec_power, binomial_power: the chance (exact, binomial) that the test refuses at 5 % a VaR that is really one of
--   98 %, with that many days: a test that is not likely to has said little by refusing nothing.
-- * z2 tests ES (Acerbi and Szekely, Backtesting expected shortfall, 2014, test 2): 0 is expected, less says that
--   losses are larger than ES; -0.7 is what their tables refuse at 5 % with 250 days.
-- By hypothetical or actual P&L, whichever has more exceptions (worst_), null until there are 250 days:
-- * keeps_model: a desk has at most 12 exceptions at 99 % and 30 at 97.5 % in twelve months (MAR32.18 of the Basel
--   framework); one with more has to leave its internal model.
-- * zone and multiplier, of the firm alone: green up to 4 exceptions, yellow up to 9, red from 10 on; 1.5 and the
--   add-on of MAR32.9 and MAR33.44.
WITH
counted AS (
    SELECT
        *, CAST(days AS INTEGER) AS n, CAST(exceptions AS INTEGER) AS x,
        greatest(CAST(exceptions AS INTEGER), exceptions_actual) AS worst,
        greatest(exceptions_975, exceptions_975_actual) AS worst_975
    FROM scores
),
chances AS (  -- of k exceptions on n days, each with 1 % (held) or with 2 % (short)
    SELECT
        n, k,
        lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1) AS ways,
        exp(ways + k * ln(0.01) + (n - k) * ln(0.99)) AS held,
        exp(ways + k * ln(0.02) + (n - k) * ln(0.98)) AS short,
        2 * (
            CASE WHEN k = 0 THEN 0 ELSE k * ln(k / n / 0.01) END
            + CASE WHEN k = n THEN 0 ELSE (n - k) * ln((1 - k / n) / 0.99) END
        ) > 3.841458820694124 AS is_refused  -- by Kupiec's test: the 95 % quantile of chi-square
    FROM (SELECT n, unnest(range(n + 1)) AS k FROM (SELECT DISTINCT n FROM counted))
),
lists AS (  -- the least likely number of exceptions first, so that small numbers are added before large ones
    SELECT
        n,
        list(held ORDER BY k DESC) AS held,
        list(short ORDER BY k DESC) AS short,
        list_sum(list(short ORDER BY k DESC) FILTER (is_refused)) AS kupiec_power
    FROM chances
    GROUP BY n
),
tails AS (  -- how many of the largest numbers together have a chance of at most 5 %
    SELECT
        n, held, short, kupiec_power,
        len(list_filter(range(1, n + 2), lambda m: list_sum(held[1:m]) <= 0.05)) AS refused
    FROM lists
),
tested AS (
    SELECT
        counted.*,
        list_sum(held[1:counted.n - x + 1]) AS binomial_p,
        coalesce(kupiec_power, 0) AS kupiec_power,
        CASE WHEN refused = 0 THEN 0 ELSE list_sum(short[1:refused]) END AS binomial_power,
        1 - shortfalls / (0.025 * days) AS z2
    FROM counted
    JOIN tails ON tails.n = counted.n
)
SELECT
    recent.desk, recent.held_on, recent.var_99, recent.var_975, recent.es_975,
    recent.hypothetical_pnl, recent.actual_pnl, recent.is_exception, recent.is_exception_actual,
    recent.n AS days, recent.x AS exceptions, recent.exceptions_actual, recent.exceptions_975,
    recent.exceptions_975_actual,
    recent.kupiec, recent.kupiec_p, recent.kupiec_power, recent.independence, recent.independence_p,
    recent.coverage, recent.coverage_p, recent.binomial_p, recent.binomial_power, recent.z2,
    recent.worst AS worst_exceptions, recent.worst_975 AS worst_exceptions_975,
    CASE WHEN recent.n >= 250 AND recent.desk <> 'firm' THEN recent.worst <= 12 AND recent.worst_975 <= 30 END
        AS keeps_model,
    CASE
        WHEN recent.n < 250 OR recent.desk <> 'firm' THEN NULL
        WHEN recent.worst <= 4 THEN 'green'
        WHEN recent.worst <= 9 THEN 'yellow'
        ELSE 'red'
    END AS zone,
    CASE
        WHEN recent.n < 250 OR recent.desk <> 'firm' THEN NULL
        ELSE CAST([1.50, 1.50, 1.50, 1.50, 1.50, 1.70, 1.76, 1.83, 1.88, 1.92, 2.00][least(recent.worst, 10) + 1]
            AS DECIMAL(3, 2))
    END AS multiplier,
    every.since, every.n AS all_days, every.x AS all_exceptions, every.exceptions_actual AS all_exceptions_actual,
    every.exceptions_975 AS all_exceptions_975, every.exceptions_975_actual AS all_exceptions_975_actual,
    every.kupiec_p AS all_kupiec_p, every.kupiec_power AS all_kupiec_power,
    every.independence_p AS all_independence_p, every.coverage_p AS all_coverage_p,
    every.binomial_p AS all_binomial_p, every.binomial_power AS all_binomial_power, every.z2 AS all_z2
FROM (SELECT * FROM tested WHERE span = '250') AS recent
JOIN (SELECT * FROM tested WHERE span = 'all') AS every ON every.desk = recent.desk
