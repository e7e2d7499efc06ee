-- How many lines each category may sell in the 14 days after the scored one, and between what bounds.
--
-- The model says how often the 14-day mean of the last 28 days will be sold: low, mid and high. Its three answers
-- come from three sets of trees, which may cross in a rare row: then low and high give way to mid.
SELECT
    category,
    getvariable('day') + 1 AS from_day,
    getvariable('day') + 14 AS until_day,
    CAST(lines_28_days / 2.0 * greatest(0, least(low, mid)) AS DECIMAL(12, 1)) AS low,
    CAST(lines_28_days / 2.0 * greatest(0, mid) AS DECIMAL(12, 1)) AS mid,
    CAST(lines_28_days / 2.0 * greatest(0, high, mid) AS DECIMAL(12, 1)) AS high,
    CAST(lines_28_days / 2.0 AS DECIMAL(12, 1)) AS as_before
FROM scores
