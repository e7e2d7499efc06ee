-- The blocks of tonight's mails: up to two coupons, what the household needs again, and one product that is new.
--
-- * what `eligibility` rules out, or nobody has bought in 28 days, is no block, nor is what was mailed to the
--   household in 28 days; a mail has one product of a type and size, for two would read alike, and two of one
--   category at most; where it has two of a type, it says their sizes;
-- * `again`: bought at least twice, and not in the last getvariable('rest_days'), by the chance that the ranker
--   gives it, which knows the gaps between purchases; they fill what is left of six;
-- * `new`: never bought, the likeliest of a category that has a place left, where it is at least
--   getvariable('new_floor') times as likely to be bought as the sixth that it pushes out;
-- * a mail with fewer than four blocks is not sent.
WITH catalogue AS (
    SELECT
        product_id, coalesce(product_category, department, 'UNKNOWN') AS category,
        coalesce(product_type, department, 'UNKNOWN') AS type, coalesce(package_size, '') AS size
    FROM products
    ANTI JOIN (FROM eligibility WHERE holds_on("from", until, getvariable('day'))) AS ruled USING (product_type)
    SEMI JOIN (FROM transactions WHERE day > getvariable('day') - 28) AS sold USING (product_id)
),
mailed AS (
    SELECT DISTINCT household_id, product_id
    FROM sent
    WHERE day >= getvariable('day') - 28
),
owned AS (
    SELECT household_id, product_id
    FROM transactions
    GROUP BY household_id, product_id
    HAVING count(DISTINCT basket_id) >= 2 AND getvariable('day') - max(day) >= getvariable('rest_days')
),
candidates AS (
    SELECT household_id, product_id, category, type, size, score, last_bought IS NULL AS is_new
    FROM ranked
    JOIN scores USING (household_id)
    JOIN catalogue USING (product_id)
    ANTI JOIN mailed USING (household_id, product_id)
    WHERE scores.reason IS NULL AND ranked.day = getvariable('day')
),
usual AS (
    SELECT household_id, product_id, category, type, size, 1 AS turn, 'coupon' AS kind, CAST(worth AS DOUBLE) AS score
    FROM mail_budget
    JOIN catalogue USING (product_id)
    WHERE is_paid
    UNION ALL
    SELECT household_id, product_id, category, type, size, 2 AS turn, 'again' AS kind, score
    FROM candidates
    SEMI JOIN owned USING (household_id, product_id)
),
once AS (
    SELECT *
    FROM usual
    QUALIFY 1 = slot_in((household_id, type, size), turn, score, concat_ws('|', product_id, turn))
),
capped AS (
    SELECT *
    FROM once
    QUALIFY slot_in((household_id, category), turn, score, product_id) <= 2
),
placed AS (
    SELECT *, slot_in(household_id, turn, score, product_id) AS place
    FROM capped
),
full_categories AS (  -- of the first five blocks
    SELECT household_id, category
    FROM placed
    WHERE place <= 5
    GROUP BY household_id, category
    HAVING count(*) = 2
),
new AS (
    SELECT household_id, product_id, category, type, size, 3 AS turn, 'new' AS kind, score
    FROM candidates
    ANTI JOIN full_categories USING (household_id, category)
    ANTI JOIN once USING (household_id, type, size)
    LEFT JOIN (SELECT household_id, score AS sixth FROM placed WHERE place = 6) AS pushed_out USING (household_id)
    WHERE is_new AND (sixth IS NULL OR score >= getvariable('new_floor') * sixth)
    QUALIFY within_cap(household_id, score, product_id, 1)
),
blocks AS (
    SELECT household_id, product_id, category, type, size, turn, kind, score
    FROM placed
    LEFT JOIN (SELECT household_id, true AS has_new FROM new) AS those USING (household_id)
    WHERE place <= CASE WHEN has_new THEN 5 ELSE 6 END
    UNION ALL
    SELECT household_id, product_id, category, type, size, turn, kind, score
    FROM new
),
enough AS (
    SELECT household_id
    FROM blocks
    GROUP BY household_id
    HAVING count(*) >= 4
),
named AS (
    SELECT
        *,
        lower(CASE WHEN count(*) OVER (PARTITION BY household_id, type) > 1 AND size <> '' THEN concat(type, ', ', size) ELSE type END)
            AS name
    FROM blocks
    SEMI JOIN enough USING (household_id)
)

SELECT
    household_id,
    CAST(slot_in(household_id, turn, score, product_id) AS INTEGER) AS slot,
    kind, product_id, category, coupon_upc, campaign_id,
    CAST(coalesce(expected_cost, 0) AS DECIMAL(12, 6)) AS expected_cost,
    CASE kind
        WHEN 'coupon' THEN concat('Your coupon for ', name)
        WHEN 'again' THEN concat('Time for ', name, ' again?')
        ELSE concat('New for you: ', name)
    END AS text
FROM named
LEFT JOIN (SELECT *, 'coupon' AS kind FROM mail_budget WHERE is_paid) AS coupon
    USING (household_id, product_id, kind)
