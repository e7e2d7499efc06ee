-- Ten products for every household that shopped on or before the day.
--
-- The rules, each of which an audit in job.yaml holds on every published day:
-- * ten distinct products, at most three of one category;
-- * at least getvariable('discovery_slots') that the household has never bought, as far as the
--   catalogue has that many for it;
-- * a ladder, so that nobody gets nine: `personal` (scored by the model for this household), then
--   `segment` (what sells to households like it; one without demographics skips this rung), then
--   `store` (what sells to everybody, down to products that nobody has bought yet);
-- * a tie goes to the smaller product_id.
-- Only a catalogue that cannot fill ten places within three a category gives fewer, and then the
-- audit keeps the day from being published.
WITH
catalogue AS (
    SELECT product_id, coalesce(product_category, department, 'UNKNOWN') AS category
    FROM products
),
bought AS (
    SELECT DISTINCT household_id, product_id
    FROM transactions
),
households AS (
    SELECT DISTINCT household_id
    FROM transactions
),
segments AS (  -- age and family: some 20 groups of the 801 households that told us
    SELECT household_id, age || ', ' || household_comp AS segment
    FROM demographics
    WHERE age IS NOT NULL AND household_comp IS NOT NULL
),
-- Rung 1. A household that the model did not score has no row here and takes the next rungs.
personal AS (
    SELECT
        household_id, product_id, category, CAST(score AS DOUBLE) AS score,
        bought.product_id IS NULL AS is_discovery
    FROM scores
    JOIN households USING (household_id)
    JOIN catalogue USING (product_id)
    LEFT JOIN bought USING (household_id, product_id)
    WHERE isfinite(score)  -- NaN would sort above every score
),
-- Who can't fill ten places, or the discovery slots, from rung 1 alone? In practice nobody, and then
-- the next rungs cost nothing.
short AS (
    SELECT household_id
    FROM households
    LEFT JOIN (
        SELECT
            household_id, least(count(*), 3) AS places,
            least(count(*) FILTER (is_discovery), 3) AS discoveries
        FROM personal
        GROUP BY household_id, category
    ) USING (household_id)
    GROUP BY household_id
    HAVING coalesce(sum(places), 0) < 10 OR coalesce(sum(discoveries), 0) < getvariable('discovery_slots')
),
-- Rungs 2 and 3. A rung goes as deep in a category as the household's own purchases there plus three,
-- so that it always holds three that the household has never bought, where the category has them.
depth AS (
    SELECT household_id, category, count(*) + 3 AS places
    FROM short
    JOIN bought USING (household_id)
    JOIN catalogue USING (product_id)
    GROUP BY household_id, category
),
segment_sales AS (
    SELECT
        segment, product_id, category, count(DISTINCT household_id) AS buyers,
        row_number() OVER (
            PARTITION BY segment, category ORDER BY count(DISTINCT household_id) DESC, product_id
        ) AS place
    FROM transactions
    JOIN segments USING (household_id)
    JOIN catalogue USING (product_id)
    WHERE day > getvariable('day') - 84
    GROUP BY segment, product_id, category
),
store_sales AS (
    SELECT
        product_id, category, count(DISTINCT household_id) AS buyers,
        row_number() OVER (
            PARTITION BY category ORDER BY count(DISTINCT household_id) DESC, product_id
        ) AS place
    FROM catalogue
    LEFT JOIN (SELECT * FROM transactions WHERE day > getvariable('day') - 28) USING (product_id)
    GROUP BY product_id, category
),
ladder AS (
    SELECT household_id, product_id, category, 1 AS rung, score, score AS strength, is_discovery
    FROM personal
    UNION ALL
    SELECT
        household_id, product_id, category, 2 AS rung, NULL AS score, buyers AS strength,
        bought.product_id IS NULL AS is_discovery
    FROM short
    JOIN segments USING (household_id)
    JOIN segment_sales USING (segment)
    LEFT JOIN depth USING (household_id, category)
    LEFT JOIN bought USING (household_id, product_id)
    WHERE place <= coalesce(depth.places, 3)
    UNION ALL
    SELECT
        household_id, product_id, category, 3 AS rung, NULL AS score, buyers AS strength,
        bought.product_id IS NULL AS is_discovery
    FROM short
    CROSS JOIN store_sales
    LEFT JOIN depth USING (household_id, category)
    LEFT JOIN bought USING (household_id, product_id)
    WHERE place <= coalesce(depth.places, 3)
),
pool AS (  -- a product on several rungs counts on the highest; position 1 is the best of the household
    SELECT *, row_number() OVER (
        PARTITION BY household_id ORDER BY rung, strength DESC, product_id
    ) AS position
    FROM (
        SELECT *
        FROM ladder
        QUALIFY 1 = row_number() OVER (PARTITION BY household_id, product_id ORDER BY rung)
    )
),
-- First the discovery slots, then everything else by position. As the slots count towards the three of
-- a category, and come first in that count, the cap can never take one away again.
discoveries AS (
    SELECT household_id, product_id
    FROM (
        SELECT *
        FROM pool
        WHERE is_discovery
        QUALIFY row_number() OVER (PARTITION BY household_id, category ORDER BY position) <= 3
    )
    QUALIFY row_number() OVER (PARTITION BY household_id ORDER BY position)
        <= getvariable('discovery_slots')
),
chosen AS (
    SELECT *
    FROM (
        SELECT pool.*, discoveries.product_id IS NULL AS after_discoveries
        FROM pool
        LEFT JOIN discoveries USING (household_id, product_id)
        QUALIFY row_number() OVER (
            PARTITION BY household_id, category ORDER BY after_discoveries, position
        ) <= 3
    )
    QUALIFY row_number() OVER (PARTITION BY household_id ORDER BY after_discoveries, position) <= 10
)
SELECT
    household_id,
    CAST(row_number() OVER (PARTITION BY household_id ORDER BY position) AS INTEGER) AS rank,
    product_id,
    score,
    CASE rung WHEN 1 THEN 'personal' WHEN 2 THEN 'segment' ELSE 'store' END AS rung,
    is_discovery,
    category AS product_category,
    products.product_type,
    products.department,
    products.brand,
    products.package_size
FROM chosen
JOIN products USING (product_id)
