-- The queue of the day: the transactions that people look at, from the dearest expected loss down.
--
-- Those that are alike are one alert, which has their number and the sum of their amounts. Most places go by expected
-- loss, the chance of a fraud times amount and handling cost; the last ones are drawn by hash from all others (why is
-- 'chance'), with the probability in share, so that what the model misses can be estimated.
--
-- reasons are the columns that raise the log-odds most, three at most, by fraud_contributions.parquet: an approximation
-- (the mean of the trees' SHAP values at values like this one), not the trees' own account of this row.
WITH
alike AS (
    SELECT
        first_id AS transaction_id,
        min(transaction_time) AS transaction_time,
        CAST(count(*) AS INTEGER) AS transactions,
        CAST(sum(charged) AS DECIMAL(14, 2)) AS amount,
        max(fraud_chance) AS fraud_chance
    FROM scores
    GROUP BY first_id
),
valued AS (
    SELECT *, fraud_chance * (CAST(amount AS DOUBLE) + getvariable('handling_cost')) AS expected_loss
    FROM alike
),
placed AS (
    SELECT *, rank_all(expected_loss, transaction_id) AS rank
    FROM valued
),
queued AS (
    SELECT
        *,
        queue_of(rank, transaction_id, getvariable('day'), getvariable('capacity'), getvariable('drawn')) AS why,
        CAST(queue_share(rank, getvariable('capacity'), getvariable('drawn')) AS DOUBLE) AS share
    FROM placed
),
chosen AS (
    SELECT * FROM queued WHERE why IS NOT NULL
),
parts AS (  -- a row for each column of a chosen transaction, with what a value like this one adds
    SELECT known.transaction_id, known.name, contributions.adds
    FROM (
        SELECT transaction_id, name, CAST(CAST(value AS FLOAT) AS DOUBLE) AS value
        FROM (
            SELECT * EXCLUDE (day, transaction_time, amount), CAST(amount AS DOUBLE) AS amount
            FROM transactions
            WHERE day = getvariable('day') AND transaction_id IN (SELECT transaction_id FROM chosen)
        )
        UNPIVOT (value FOR name IN (COLUMNS(* EXCLUDE (transaction_id))))
    ) AS known
    ASOF JOIN contributions ON contributions.name = known.name AND known.value >= contributions.since
),
reasons AS (
    SELECT transaction_id, list(upper(name) ORDER BY adds DESC, name) AS reasons
    FROM (FROM parts WHERE adds > 0 QUALIFY within_cap(transaction_id, adds, name, 3))
    GROUP BY transaction_id
)
SELECT
    rank_all(expected_loss, transaction_id) AS place,
    transaction_id, transaction_time, transactions, amount, fraud_chance, expected_loss,
    why, share, coalesce(reasons, []) AS reasons
FROM chosen
LEFT JOIN reasons USING (transaction_id)
