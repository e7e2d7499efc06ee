-- Every offer of the campaigns' first days, and whether it was redeemed: NULL until its campaign is over.
--
-- A redemption that is seen before then is not counted yet either: those that are not redeemed yet are no zeros, and
-- ones alone would flatter or blame the model. Some coupons were redeemed twice; that is one label.
SELECT
    household_id, campaign_id, coupon_upc,
    start_date AS scored_on,
    probability,
    CASE WHEN end_date < getvariable('day') THEN redeemed.household_id IS NOT NULL END AS redeemed
FROM offers
LEFT JOIN (
    SELECT DISTINCT household_id, campaign_id, coupon_upc
    FROM redemptions
    WHERE redemption_date <= getvariable('day')
) AS redeemed USING (household_id, campaign_id, coupon_upc)
WHERE day = start_date
