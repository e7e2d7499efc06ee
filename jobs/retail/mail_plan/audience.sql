-- Who could be written to today, one row a household, and the first reason why not, if there is one.
--
-- The audience are the households of the campaigns that run on the day. What can be known before a block is
-- chosen is decided here; what comes after (too few blocks) in list.sql.
WITH audience AS (
    SELECT DISTINCT household_id
    FROM campaigns
    JOIN campaign_descriptions USING (campaign_id)
    WHERE holds_on(start_date, end_date, getvariable('day'))
),
mails AS (
    SELECT
        household_id,
        sends_within(day, getvariable('day'), 7) AS week,
        sends_within(day, getvariable('day'), 28) AS month
    FROM (SELECT DISTINCT household_id, day FROM sent)
    GROUP BY household_id
)

SELECT
    household_id,
    first_reason(MAP {
        'suppressed': suppressed.household_id IS NOT NULL,
        'held out': in_hold_out(household_id, getvariable('season'), getvariable('hold_out')),
        'mailed this week': coalesce(week, 0) >= getvariable('per_week'),
        'mailed often this month': coalesce(month, 0) >= getvariable('per_month'),
        'not its turn': NOT in_rotation(household_id, getvariable('day'), getvariable('rotation'))
    }) AS reason
FROM audience
LEFT JOIN mails USING (household_id)
LEFT JOIN (FROM suppressed WHERE day = getvariable('day')) AS suppressed USING (household_id)
