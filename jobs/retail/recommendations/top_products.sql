-- Ten products for every household that shopped on or before the day.
--
-- The rules, each of which an audit in job.yaml holds on every published day:
-- * nothing that `eligibility` rules out on the day, and nothing that was sold nowhere in the last
--   getvariable('unsold_days'); what is masked is gone before anything is ranked, on every rung;
-- * ten distinct products, at most getvariable('category_places') of one category;
-- * getvariable('discovery_slots') are kept for what the household has never bought, where that is at
--   least getvariable('discovery_floor') times as likely to be bought as the product in tenth place;
-- * a ladder, so that nobody gets nine: `personal` (scored by the model for this household), then
--   `segment` (what sells to households like it; one without demographics skips this rung), then
--   `store` (what sells to everybody);
-- * a tie goes to the smaller product_id.
-- Only a catalogue that cannot fill ten places within these rules gives fewer, and then the audit
-- keeps the day from being published.
WITH
catalogue AS (  -- what may be named today
    SELECT product_id, coalesce(product_category, department, 'UNKNOWN') AS category
    FROM products
    ANTI JOIN (
        FROM eligibility
        WHERE getvariable('day') BETWEEN "from" AND coalesce(until, DATE '9999-12-31')
    ) USING (product_type)
    WHERE getvariable('unsold_days') = 0
        OR product_id IN (
            SELECT product_id FROM transactions WHERE day > getvariable('day') - getvariable('unsold_days')
        )
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
            household_id, least(count(*), getvariable('category_places')) AS places,
            least(count(*) FILTER (is_discovery), getvariable('category_places')) AS discoveries
        FROM personal
        GROUP BY household_id, category
    ) USING (household_id)
    GROUP BY household_id
    HAVING coalesce(sum(places), 0) < 10 OR coalesce(sum(discoveries), 0) < getvariable('discovery_slots')
),
-- Rungs 2 and 3. A rung goes as deep in a category as the household's own purchases there plus its places,
-- so that it always holds as many that the household has never bought, where the category has them.
depth AS (
    SELECT household_id, category, count(*) + getvariable('category_places') AS places
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
    WHERE place <= coalesce(depth.places, getvariable('category_places'))
    UNION ALL
    SELECT
        household_id, product_id, category, 3 AS rung, NULL AS score, buyers AS strength,
        bought.product_id IS NULL AS is_discovery
    FROM short
    CROSS JOIN store_sales
    LEFT JOIN depth USING (household_id, category)
    LEFT JOIN bought USING (household_id, product_id)
    WHERE place <= coalesce(depth.places, getvariable('category_places'))
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
plain AS (  -- the ten, were there no discovery slots
    SELECT *
    FROM (
        SELECT *
        FROM pool
        QUALIFY row_number() OVER (PARTITION BY household_id, category ORDER BY position)
            <= getvariable('category_places')
    )
    QUALIFY row_number() OVER (PARTITION BY household_id ORDER BY position) <= 10
),
tenth AS (  -- what a discovery has to be measured with: the product that it would push out
    SELECT household_id, max(rung) AS rung, min(score) AS score
    FROM plain
    GROUP BY household_id
),
discoveries AS (
    SELECT *
    FROM (
        SELECT *
        FROM pool
        WHERE is_discovery
        QUALIFY row_number() OVER (PARTITION BY household_id, category ORDER BY position)
            <= getvariable('category_places')
    )
    QUALIFY row_number() OVER (PARTITION BY household_id ORDER BY position)
        <= getvariable('discovery_slots')
),
-- First the discoveries that are worth a slot, then the plain ten by position: nothing else can be chosen,
-- for a discovery pushes products down and never up. As the slots count towards the places of a category,
-- and come first in that count, the cap can never take one away again.
chosen AS (
    SELECT *
    FROM (
        SELECT *
        FROM (
            SELECT discoveries.*, false AS after_discoveries
            FROM discoveries
            JOIN tenth USING (household_id)
            WHERE getvariable('discovery_floor') = 0
                OR discoveries.rung < tenth.rung
                OR discoveries.rung = tenth.rung
                    AND coalesce(discoveries.score >= getvariable('discovery_floor') * tenth.score, true)
            UNION ALL
            SELECT plain.*, true AS after_discoveries
            FROM plain
        )
        QUALIFY 1 = row_number() OVER (PARTITION BY household_id, product_id ORDER BY after_discoveries)
    )
    QUALIFY row_number() OVER (PARTITION BY household_id, category ORDER BY after_discoveries, position)
        <= getvariable('category_places')
),
ten AS (
    SELECT *
    FROM chosen
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
FROM ten
JOIN products USING (product_id)
