-- Which products might a household buy in the next two weeks, and what do we know about each pair?
--
-- One row per (household_id, product_id): for every household with a purchase on or before the day,
-- what it bought lately or repeatedly, and what sells well in the chain, in its store and in the kinds
-- of product that it buys. About 500,000 rows a day. Products outside the catalogue are left out.
--
-- Two rules keep the numbers the same on every machine and with any number of threads:
-- * sums run over integers and decimals only; the one floating-point step is the last division;
-- * every "first n" has a total order, down to an id.
-- Features are FLOAT, and NULL where they have no meaning (a gap after a single purchase): the model
-- has learnt what a missing value says. "Ago" counts days back from the scored day, which is 0.
WITH
lines AS (  -- one line of a till receipt; (household, basket, product) is unique
    SELECT
        household_id, product_id, basket_id, store_id, day, quantity, sales_value, retail_disc,
        getvariable('day') - day AS ago,
        -- what a purchase still counts, in millionths: half as much after 4 weeks, or after 12
        CAST(round(1e6 * pow(0.5, (getvariable('day') - day) / 28.0)) AS BIGINT) AS weight,
        CAST(round(1e6 * pow(0.5, (getvariable('day') - day) / 84.0)) AS BIGINT) AS slow_weight
    FROM transactions
),
products_by_kind AS (  -- some products have no category or type; their department stands in
    SELECT  -- both as numbers in the order of their names: those are grouped and joined in less time
        product_id,
        CASE WHEN category IS NOT NULL THEN dense_rank() OVER (ORDER BY category) END AS category,
        CASE WHEN type IS NOT NULL THEN dense_rank() OVER (ORDER BY type) END AS type
    FROM (
        SELECT
            product_id,
            coalesce(product_category, department) AS category,
            coalesce(product_type, department) AS type
        FROM products
    )
),
catalogue AS (SELECT * FROM products_by_kind WHERE type IS NOT NULL),
trips AS (  -- one basket; the latest of a household has number 1
    SELECT
        household_id, basket_id,
        min(store_id) AS store_id, min(ago) AS ago, count(*) AS items, min(slow_weight) AS slow_weight,
        row_number() OVER (PARTITION BY household_id ORDER BY min(ago), basket_id DESC) AS number
    FROM lines
    GROUP BY household_id, basket_id
),
households AS (
    SELECT
        household_id,
        count(*) AS trips, count(*) FILTER (ago < 28) AS trips_28, sum(slow_weight) AS slow_weight,
        min(ago) AS last_ago, max(ago) AS first_ago, sum(items) AS items
    FROM trips
    GROUP BY household_id
),
home_store AS (  -- where the household shops most, of late
    SELECT household_id, store_id
    FROM trips
    GROUP BY household_id, store_id
    QUALIFY 1 = row_number() OVER (
        PARTITION BY household_id ORDER BY count(*) FILTER (ago < 84) DESC, count(*) DESC, store_id
    )
),
own AS (  -- a household and a product that it has bought
    SELECT
        household_id, product_id,
        count(*) AS times, count(*) FILTER (lines.ago < 28) AS times_28,
        count(*) FILTER (lines.ago < 84) AS times_84,
        min(lines.ago) AS last_ago, max(lines.ago) AS first_ago, max(day) AS last_bought,
        min(trips.number) AS last_trip,
        -- of the latest trip; as one number, for a row of two takes four times as long
        sum(quantity) AS quantity, arg_min(quantity, trips.number * 4294967296 + quantity) AS last_quantity,
        sum(retail_disc) AS discount, sum(sales_value + retail_disc) AS full_price,
        sum(lines.weight) AS weight, sum(lines.slow_weight) AS slow_weight
    FROM lines
    JOIN trips USING (household_id, basket_id)
    GROUP BY household_id, product_id
),
came_back AS (  -- of the products it bought four weeks ago or earlier, which came back since?
    SELECT household_id, count(*) AS had, count(*) FILTER (last_ago < 28) AS again
    FROM own
    WHERE first_ago >= 28
    GROUP BY household_id
),
sold AS (  -- a product over all households, and how its buyers come back to it
    SELECT *
    FROM (
        SELECT
            product_id,
            count(*) AS buyers, count(*) FILTER (last_ago < 28) AS buyers_28,
            sum(times_28) AS times_28, sum(times_84) AS times_84, sum(quantity) AS quantity,
            count(*) FILTER (times > 1) AS repeaters,
            sum(first_ago - last_ago) AS span, sum(times - 1) AS repeats,
            count(*) FILTER (first_ago >= 14) AS had,
            count(*) FILTER (first_ago >= 14 AND last_ago < 14) AS again
        FROM own
        GROUP BY product_id
    )
    JOIN (
        SELECT
            product_id, sum(sales_value) AS sales, count(*) FILTER (ago < 7) AS times_7,
            sum(retail_disc) FILTER (ago < 7) AS discount_7,
            sum(sales_value + retail_disc) FILTER (ago < 7) AS full_price_7
        FROM lines
        GROUP BY product_id
    ) USING (product_id)
    SEMI JOIN catalogue USING (product_id)
),
own_type AS (  -- a household and a type, such as FLUID MILK WHITE ONLY
    SELECT *
    FROM (
        SELECT
            household_id, type, count(*) AS products, min(last_ago) AS last_ago, max(first_ago) AS first_ago,
            sum(weight) AS weight, sum(slow_weight) AS slow_weight
        FROM own
        JOIN catalogue USING (product_id)
        GROUP BY household_id, type
    )
    JOIN (
        SELECT household_id, type, count(*) AS times, count(*) FILTER (ago < 28) AS times_28
        FROM (  -- all that a basket has of a type counts once
            SELECT household_id, type, basket_id, min(ago) AS ago
            FROM lines
            JOIN catalogue USING (product_id)
            GROUP BY household_id, type, basket_id
        )
        GROUP BY household_id, type
    ) USING (household_id, type)
),
own_category AS (  -- a household and a category, such as FLUID MILK PRODUCTS
    SELECT household_id, category, count(*) AS times, min(last_ago) AS last_ago
    FROM (
        SELECT household_id, category, basket_id, min(ago) AS last_ago
        FROM lines
        JOIN products_by_kind USING (product_id)
        GROUP BY household_id, category, basket_id
    )
    GROUP BY household_id, category
),
sold_type AS (
    SELECT type, sum(times_28) AS times_28, sum(times_84) AS times_84
    FROM sold
    JOIN catalogue USING (product_id)
    GROUP BY type
),
sold_at_store AS (
    SELECT store_id, product_id, count(DISTINCT household_id) AS buyers, count(*) AS times
    FROM lines
    JOIN catalogue USING (product_id)
    WHERE ago < 56
    GROUP BY store_id, product_id
),
candidates AS (  -- UNION removes the pairs that several of the four roads lead to
    -- 1. What it has bought. One purchase long ago is left out: 1 in 100 of those comes back.
    SELECT household_id, product_id
    FROM own
    JOIN catalogue USING (product_id)
    WHERE times > 1 OR last_ago < 56
    UNION
    -- 2. The chain's best-sellers, so that a new household has something to choose from as well.
    SELECT household_id, product_id
    FROM households
    CROSS JOIN (SELECT product_id FROM sold ORDER BY buyers_28 DESC, product_id LIMIT 50)
    UNION
    -- 3. The best-sellers of its own store: assortments differ.
    SELECT household_id, product_id
    FROM home_store
    JOIN (
        SELECT store_id, product_id
        FROM sold_at_store
        QUALIFY row_number() OVER (
            PARTITION BY store_id ORDER BY buyers DESC, times DESC, product_id
        ) <= 30
    ) USING (store_id)
    UNION
    -- 4. The leading products of the types that it buys most: what it has not discovered yet.
    SELECT household_id, product_id
    FROM (
        SELECT household_id, type
        FROM own_type
        QUALIFY row_number() OVER (
            PARTITION BY household_id ORDER BY weight DESC, times DESC, type
        ) <= 20
    )
    JOIN (
        SELECT type, product_id
        FROM sold
        JOIN catalogue USING (product_id)
        QUALIFY row_number() OVER (PARTITION BY type ORDER BY buyers_28 DESC, product_id) <= 3
    ) USING (type)
),
ranked AS (  -- before the features are there: sorting fifty columns takes four times as long
    SELECT
        household_id, product_id,
        rank() OVER (PARTITION BY household_id ORDER BY own.slow_weight DESC NULLS LAST) AS own_rank
    FROM candidates
    LEFT JOIN own USING (household_id, product_id)
)
SELECT
    ranked.household_id,
    ranked.product_id,
    own.last_bought,

    -- the household and this product
    CAST(own.times AS FLOAT) AS own_times,
    CAST(own.times_28 AS FLOAT) AS own_times_28,
    CAST(own.times_84 AS FLOAT) AS own_times_84,
    CAST(own.last_ago AS FLOAT) AS own_days_since,
    CAST(own.first_ago AS FLOAT) AS own_days_since_first,
    CAST(own.last_trip AS FLOAT) AS own_trips_since,
    CAST(own.weight / 1e6 AS FLOAT) AS own_recent,
    CAST(own.slow_weight / 1e6 AS FLOAT) AS own_lasting,
    CAST(own.weight / 1e6 / nullif(households.trips_28, 0) AS FLOAT) AS own_recent_per_trip,
    CAST(own.slow_weight / CAST(households.slow_weight AS DOUBLE) AS FLOAT) AS own_lasting_per_trip,
    CAST(own_rank AS FLOAT) AS own_rank,
    CAST((own.first_ago - own.last_ago) / CAST(nullif(own.times - 1, 0) AS DOUBLE) AS FLOAT)
        AS own_gap,
    CAST(own.last_ago - (own.first_ago - own.last_ago) / CAST(nullif(own.times - 1, 0) AS DOUBLE)
        AS FLOAT) AS own_days_overdue,
    CAST(own.last_ago * (own.times - 1) / CAST(nullif(own.first_ago - own.last_ago, 0) AS DOUBLE)
        AS FLOAT) AS own_gaps_overdue,
    CAST(own.quantity / CAST(own.times AS DOUBLE) AS FLOAT) AS own_quantity,
    CAST(own.last_quantity * own.times / CAST(nullif(own.quantity, 0) AS DOUBLE) AS FLOAT)
        AS own_last_quantity,
    CAST(CAST(own.discount AS DOUBLE) / CAST(nullif(own.full_price, 0) AS DOUBLE) AS FLOAT)
        AS own_discount,

    -- the household
    CAST(households.trips AS FLOAT) AS household_trips,
    CAST(households.trips_28 AS FLOAT) AS household_trips_28,
    CAST(households.last_ago AS FLOAT) AS household_days_since,
    CAST(households.first_ago AS FLOAT) AS household_days_since_first,
    CAST(households.items / CAST(households.trips AS DOUBLE) AS FLOAT) AS household_items,
    CAST(came_back.again / CAST(came_back.had AS DOUBLE) AS FLOAT) AS household_returning,

    -- the product
    CAST(sold.buyers AS FLOAT) AS product_buyers,
    CAST(sold.buyers_28 AS FLOAT) AS product_buyers_28,
    CAST(sold.times_7 AS FLOAT) AS product_times_7,
    CAST(sold.times_28 AS FLOAT) AS product_times_28,
    CAST(4 * sold.times_7 / CAST(nullif(sold.times_28, 0) AS DOUBLE) AS FLOAT) AS product_week_trend,
    CAST(3 * sold.times_28 / CAST(nullif(sold.times_84, 0) AS DOUBLE) AS FLOAT) AS product_trend,
    CAST(CAST(sold.discount_7 AS DOUBLE) / CAST(nullif(sold.full_price_7, 0) AS DOUBLE) AS FLOAT)
        AS product_discount_7,
    CAST(CAST(sold.sales AS DOUBLE) / nullif(sold.quantity, 0) AS FLOAT) AS product_price,
    CAST(sold.repeaters / CAST(sold.buyers AS DOUBLE) AS FLOAT) AS product_repeaters,
    CAST(sold.span / CAST(nullif(sold.repeats, 0) AS DOUBLE) AS FLOAT) AS product_gap,
    -- with few buyers, close to the 3 % of all products: as if 20 more had bought like that
    CAST((sold.again + 0.6) / (sold.had + 20.0) AS FLOAT) AS product_returning,

    -- its type and its category
    CAST(own_type.times AS FLOAT) AS type_times,
    CAST(own_type.times_28 AS FLOAT) AS type_times_28,
    CAST(own_type.products AS FLOAT) AS type_products,
    CAST(own_type.last_ago AS FLOAT) AS type_days_since,
    CAST(own_type.last_ago * (own_type.times - 1)
        / CAST(nullif(own_type.first_ago - own_type.last_ago, 0) AS DOUBLE) AS FLOAT)
        AS type_gaps_overdue,
    CAST(own.slow_weight / CAST(own_type.slow_weight AS DOUBLE) AS FLOAT) AS own_share_of_type,
    CAST(sold.times_28 / CAST(nullif(sold_type.times_28, 0) AS DOUBLE) AS FLOAT)
        AS product_share_of_type,
    CAST(3 * sold_type.times_28 / CAST(nullif(sold_type.times_84, 0) AS DOUBLE) AS FLOAT)
        AS type_trend,
    CAST(own_category.times AS FLOAT) AS category_times,
    CAST(own_category.last_ago AS FLOAT) AS category_days_since,

    -- the household's store
    CAST(coalesce(sold_at_store.times, 0) AS FLOAT) AS store_times
FROM ranked
JOIN catalogue USING (product_id)
JOIN households USING (household_id)
JOIN home_store USING (household_id)
JOIN sold USING (product_id)
JOIN sold_type USING (type)
LEFT JOIN came_back USING (household_id)
LEFT JOIN own USING (household_id, product_id)
LEFT JOIN own_type USING (household_id, type)
LEFT JOIN own_category USING (household_id, category)
LEFT JOIN sold_at_store USING (store_id, product_id)
