-- The two groups, and their difference with its 95 % interval: Welch's, without a pooled variance, by the normal
-- quantile. Where the interval holds 0 the verdict is "too few": nothing can be said of the mails' worth.
--
-- Sums run over decimals, so that the order of rows changes no digit; the roots come last. Held out are
-- households of the audience whatever their turn, mailed are those whose turn it was: a draw, too, by another md5.
WITH groups AS (
    SELECT
        grp, count(*) AS households, sum(hits) AS hits, sum(redeemed) AS redeemed, sum(spend) AS spend,
        sum(CAST(spend * spend AS DECIMAL(30, 4))) AS squares
    FROM scores
    GROUP BY grp
),
means AS (
    SELECT
        grp, households, hits, redeemed, CAST(spend AS DOUBLE) / households AS mean,
        (CAST(squares AS DOUBLE) - CAST(spend AS DOUBLE) * CAST(spend AS DOUBLE) / households)
            / nullif(households - 1, 0) / households AS variance_of_mean
    FROM groups
),
difference AS (
    SELECT
        mailed.mean - held.mean AS mean,
        1.959963984540054 * sqrt(mailed.variance_of_mean + held.variance_of_mean) AS half
    FROM (FROM means WHERE grp = 'mailed') AS mailed
    CROSS JOIN (FROM means WHERE grp = 'held out') AS held
)

SELECT
    grp, CAST(households AS BIGINT) AS households,
    CASE WHEN grp = 'mailed' THEN CAST(hits / households AS DECIMAL(9, 4)) END AS hits_a_mail,
    CASE WHEN grp = 'mailed' THEN CAST(redeemed AS BIGINT) END AS redeemed,
    CAST(mean AS DECIMAL(12, 2)) AS mean_spend,
    CAST(NULL AS DECIMAL(12, 2)) AS low, CAST(NULL AS DECIMAL(12, 2)) AS high, CAST(NULL AS VARCHAR) AS verdict
FROM means
UNION ALL
SELECT
    'difference' AS grp, NULL AS households, NULL AS hits_a_mail, NULL AS redeemed, CAST(mean AS DECIMAL(12, 2)) AS mean_spend,
    CAST(mean - half AS DECIMAL(12, 2)) AS low, CAST(mean + half AS DECIMAL(12, 2)) AS high,
    CASE WHEN mean - half > 0 THEN 'more' WHEN mean + half < 0 THEN 'less' ELSE 'too few' END AS verdict
FROM difference
