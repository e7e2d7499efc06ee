-- The mails as a mail system takes them: one row a household, whose texts are escaped for HTML.
SELECT
    household_id,
    concat(title, CASE WHEN count(coupon_upc) > 0 THEN ', and a coupon' ELSE '' END) AS subject,
    list(product_id ORDER BY slot) AS products,
    list(coalesce(CAST(coupon_upc AS VARCHAR), '') ORDER BY slot) AS coupons,
    list(text ORDER BY slot) AS texts,
    concat(
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>', title, '</title></head>',
        '<body style="font-family:sans-serif;max-width:36rem;margin:auto;padding:.75rem"><h1 style="font-size:1.3rem">',
        title, '</h1>',
        string_agg(
            concat(
                '<div style="border:1px solid #ccc;border-radius:6px;margin:.5rem 0;padding:.75rem">',
                CASE WHEN kind = 'coupon' THEN '<b style="color:#0a6b2d">Coupon</b> ' ELSE '' END,
                html_text(text),
                CASE WHEN kind = 'coupon' THEN concat('<br><code>', coupon_upc, '</code>') ELSE '' END,
                '</div>'
            ),
            '' ORDER BY slot
        ),
        '<p style="color:#666;font-size:.8rem">You get this because your card is in a campaign. ',
        '<a href="{unsubscribe}">No more mails</a></p></body></html>'
    ) AS html
FROM mail_list
JOIN (
    SELECT household_id, concat(CASE count(*) WHEN 4 THEN 'Four' WHEN 5 THEN 'Five' ELSE 'Six' END, ' for you') AS title
    FROM mail_list
    GROUP BY household_id
) USING (household_id)
GROUP BY household_id, title
