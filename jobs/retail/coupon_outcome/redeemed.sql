-- Every offer of the campaigns' first days, and whether it was redeemed: NULL until its campaign is over.
--
-- A redemption that is seen before then is not counted yet either: those that are not redeemed yet are no zeros, and
-- ones alone would flatter or blame the model. Some coupons were redeemed twice; that is one label. One that was
-- redeemed before it was offered is no outcome of its chance: it counts apart, as early.
SELECT
    household_id, campaign_id, coupon_upc,
    start_date AS scored_on,
    probability,
    CASE
        WHEN end_date < getvariable('day')
        THEN label_told(first_on IS NOT NULL, coalesce(first_on, end_date), start_date)
    END AS redeemed,
    coalesce(first_on < start_date, false) AS early
FROM offers
LEFT JOIN (
    SELECT household_id, campaign_id, coupon_upc, min(redemption_date) AS first_on
    FROM redemptions
    WHERE redemption_date <= getvariable('day')
    GROUP BY household_id, campaign_id, coupon_upc
) AS redeemed USING (household_id, campaign_id, coupon_upc)
WHERE day = start_date
