-- What the queue of the day was worth: one row. Frauds and alerts are counted as alerts are, with those alike as one.
--
-- * recall is what it was, since all labels are known here. recall_estimated is what a bank could say that learns of the
--   alerts alone: frauds that were drawn by chance stand for 1 / share each (Horvitz and Thompson, 1952). Its interval
--   is Wilson's (1927) for the share of frauds among those that were not chosen by score, 95 %.
-- * saved is the amount of the frauds in the queue: all of it, as if each were stopped.
-- * psi is the Population Stability Index of the scores, over ten bins of the training day's.
WITH
day_scores AS (
    SELECT scored.first_id, scored.fraud_chance, scored.charged, labels.is_fraud
    FROM scored
    JOIN labels USING (transaction_id)
    WHERE scored.day = getvariable('day') AND labels.day = getvariable('day')
),
different AS (
    SELECT first_id, bool_or(is_fraud) AS is_fraud
    FROM day_scores
    GROUP BY first_id
),
day_totals AS (
    SELECT
        (SELECT count(*) FROM different) AS transactions,
        (SELECT count(*) FROM different WHERE is_fraud) AS frauds,
        CAST(coalesce(sum(charged) FILTER (is_fraud), 0) AS DECIMAL(18, 2)) AS lost
    FROM day_scores
),
queue AS (
    SELECT
        count(*) AS alerts,
        count(*) FILTER (is_fraud) AS frauds_found,
        count(*) FILTER (why = 'score') AS by_score,
        count(*) FILTER (is_fraud AND why = 'score') AS found_by_score,
        count(*) FILTER (why = 'chance') AS drawn,
        count(*) FILTER (is_fraud AND why = 'chance') AS found_by_chance,
        CAST(sum(lost) AS DECIMAL(18, 2)) AS saved
    FROM scores
),
drawing AS (  -- the share of frauds among those that are not in the queue by score, and its interval
    SELECT
        *,
        transactions - by_score AS rest,
        found_by_chance / nullif(drawn, 0) AS rate,
        (found_by_chance + 1.9207) / (drawn + 3.8415) AS middle,
        1.96 * sqrt(found_by_chance * (drawn - found_by_chance) / greatest(drawn, 1) + 0.9604) / (drawn + 3.8415) AS half
    FROM queue, day_totals
),
totals AS (
    SELECT
        *,
        found_by_score + rest * rate AS frauds_estimated,
        greatest(frauds_found, found_by_score + rest * greatest(0, middle - half)) AS frauds_low,
        found_by_score + rest * least(1, middle + half) AS frauds_high
    FROM drawing
),
bins AS (
    SELECT
        since, share AS expected,
        (SELECT count(*) FROM day_scores WHERE fraud_chance >= training.since
            AND (training.until IS NULL OR fraud_chance < training.until)) / (SELECT count(*) FROM day_scores) AS found
    FROM (SELECT since, share, lead(since) OVER (ORDER BY since) AS until FROM training_scores) AS training
)
SELECT
    alerts, frauds_found,
    frauds_found / alerts AS precision,
    found_by_score / nullif(by_score, 0) AS precision_by_score,
    drawn, found_by_chance,
    frauds, frauds_found / nullif(frauds, 0) AS recall,
    frauds_estimated,
    frauds_found / nullif(frauds_estimated, 0) AS recall_estimated,
    frauds_found / nullif(frauds_high, 0) AS recall_low,
    frauds_found / nullif(frauds_low, 0) AS recall_high,
    lost, saved, CAST(saved AS DOUBLE) / nullif(CAST(lost AS DOUBLE), 0) AS share_saved,
    (SELECT sum((greatest(found, 1e-6) - expected) * ln(greatest(found, 1e-6) / expected)) FROM bins) AS psi
FROM totals
