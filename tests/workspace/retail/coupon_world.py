"""Campaigns and coupons over the slice, made up, and what the job makes of them, counted again in pandas."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from tests.workspace.retail.world import REPOSITORY, SLICE, Sql

JOB = "coupon_response"
FOLDER = Path("jobs/retail/coupon_response")
SPEC: dict[str, Any] = yaml.safe_load((REPOSITORY / FOLDER / "job.yaml").read_text())
OFFERS, RESPONSE = ((REPOSITORY / FOLDER / name).read_text() for name in ("offers.sql", "response.sql"))
DAY = "2017-11-01"
KEY = ["household_id", "campaign_id", "coupon_upc"]
MADE = ("campaign_descriptions", "campaigns", "coupons", "coupon_redemptions", "coupon_calibration")

# Campaign 1 has ended, 2 and 3 began on different days, 4 is to come. Household 99999 has bought nothing.
# Every third product was bought with a coupon. Lines of `coupons` come twice, as in the source; one coupon is
# good for nothing that the catalogue has, another for petrol alone. A redemption in campaign 2 is known to 3.
# Some baskets are moved back behind 84 days, others behind the 168 that are looked at.
WORLD = """
UPDATE transactions SET day = day - CASE basket_id % 6 WHEN 0 THEN 100 WHEN 1 THEN 180 ELSE 0 END;
UPDATE transactions SET coupon_disc = product_id % 7 * 0.25 WHERE product_id % 3 = 0;
CREATE TABLE campaign_descriptions AS
    SELECT CAST(col0 AS INTEGER) AS campaign_id, col1 AS campaign_type,
        CAST(col2 AS DATE) AS start_date, CAST(col3 AS DATE) AS end_date
    FROM (VALUES (1, 'Type A', '2017-10-21', '2017-10-24'), (2, 'Type A', '2017-10-26', '2017-11-20'),
        (3, 'Type B', '2017-10-30', '2017-11-05'), (4, 'Type C', '2017-11-02', '2017-11-30'));
CREATE TABLE campaigns AS
    SELECT campaign_id, CAST(household_id AS INTEGER) AS household_id
    FROM campaign_descriptions
    CROSS JOIN (SELECT unnest([20, 552, 661, 906, 1550, 2376, 99999]) AS household_id)
    WHERE (household_id + campaign_id) % 4 > 0;
CREATE TABLE coupons AS
    WITH numbered AS (
        SELECT product_id, row_number() OVER (ORDER BY product_id) AS place
        FROM (SELECT DISTINCT product_id FROM transactions WHERE day < DATE '2017-10-26')
    )
    SELECT CAST(100 * campaign_id + place * campaign_id % 9 AS BIGINT) AS coupon_upc, product_id, campaign_id
    FROM numbered CROSS JOIN campaign_descriptions
    WHERE place * campaign_id % 9 < 8;
INSERT INTO coupons SELECT * FROM coupons WHERE product_id % 5 = 0;
INSERT INTO coupons VALUES (290, 1, 2);
INSERT INTO coupons SELECT 291, product_id, 2 FROM products WHERE product_type LIKE 'GASOLINE%';
CREATE TABLE coupon_redemptions AS
    SELECT CAST(col0 AS INTEGER) AS household_id, CAST(col1 AS BIGINT) AS coupon_upc,
        CAST(col2 AS INTEGER) AS campaign_id, CAST(col3 AS DATE) AS redemption_date
    FROM (VALUES (20, 101, 1, '2017-10-22'), (20, 101, 1, '2017-10-24'), (661, 103, 1, '2017-10-23'),
        (661, 202, 2, '2017-10-28'), (906, 302, 3, '2017-11-01'));
CREATE TABLE coupon_calibration AS
    SELECT col0 AS campaign_type, CAST(col1 AS DECIMAL(9, 6)) AS factor
    FROM (VALUES ('all', 1.5), ('Type A', 0.8));
"""


def world(day: str = DAY) -> Sql:
    """The job's inputs as they are on a day."""
    sql = Sql.over(SLICE, DAY)
    sql.connection.execute(WORLD)
    sql.connection.execute(f"DELETE FROM transactions WHERE day > DATE '{day}'")
    sql.connection.execute(f"SET VARIABLE day = DATE '{day}'")
    return sql


def frames(sql: Sql) -> dict[str, pd.DataFrame]:
    """Its tables in pandas: money as float64, days as datetime64."""
    names = (*MADE, "transactions", "products", "eligibility")
    found = {name: sql.table(f"FROM {name}").to_pandas() for name in names}
    for frame in found.values():
        for name in frame.columns.intersection(["sales_value", "retail_disc", "coupon_disc", "factor"]):
            frame[name] = frame[name].astype(float)
        for name in frame.columns.intersection(["day", "start_date", "end_date", "redemption_date"]):
            frame[name] = pd.to_datetime(frame[name])
    return found


def recount(tables: dict[str, pd.DataFrame], household: int, campaign: int, coupon: int) -> dict[str, float]:
    """Every feature of one pair, as one would tell it, and the mean discount; NaN where there is none."""
    about = tables["campaign_descriptions"].set_index("campaign_id").loc[campaign]
    lines = tables["transactions"]
    lines = lines[
        (lines["day"] < about["start_date"]) & (lines["day"] >= about["start_date"] - pd.Timedelta(168, "D"))
    ]
    lines = lines.assign(ago=(about["start_date"] - lines["day"]).dt.days)
    coupons = tables["coupons"].drop_duplicates()
    coupons = coupons[coupons["campaign_id"] == campaign]
    good_for = set(coupons.loc[coupons["coupon_upc"] == coupon, "product_id"])
    catalogue = tables["products"].set_index("product_id")
    kind = catalogue["product_type"].fillna(catalogue["department"])
    types = set(kind.reindex(list(good_for)).dropna())
    sold = lines[lines["product_id"].isin(good_for)]
    theirs = lines[lines["household_id"] == household]
    own = sold[sold["household_id"] == household]
    like = theirs[theirs["product_id"].map(kind).isin(types)]
    own_84, theirs_84, sold_84 = (some[some["ago"] <= 84] for some in (own, theirs, sold))
    past = tables["coupon_redemptions"]
    past = past[(past["household_id"] == household) & (past["redemption_date"] < about["start_date"])]

    def recent(some: pd.DataFrame) -> float:
        return float(np.round(1e6 * 0.5 ** (some["ago"] / 28)).sum())

    def ratio(a: float, b: float) -> float:
        return a / b if b else np.nan

    def least(values: Any) -> float:
        return float(values.min()) if len(values) else np.nan

    mine = {
        c: theirs[theirs["product_id"].isin(set(g["product_id"]))] for c, g in coupons.groupby("coupon_upc")
    }
    better = [c for c, some in mine.items() if recent(some) > recent(own)]
    used, of_type = sold[sold["coupon_disc"] > 0], _of_type(tables, about)
    used_like = lines[(lines["coupon_disc"] > 0) & lines["product_id"].isin(of_type)]
    used_all = lines[lines["coupon_disc"] > 0]
    means = [some["coupon_disc"].mean() for some in (used, used_like, used_all) if len(some)]
    bought = len(own) > 0
    return {
        "mean_discount": round(means[0] + 1e-9, 2) if means else np.nan,
        "own_times_84": len(own_84),
        "own_times": len(own),
        "own_recent": recent(own) / 1e6,
        "own_days_since": least(own["ago"]),
        "own_products": own["product_id"].nunique(),
        "own_top_times_84": own_84["product_id"].value_counts().max() if len(own_84) else 0,
        "own_spend_84": own_84["sales_value"].sum(),
        "own_coupon_lines": (own["coupon_disc"] > 0).sum(),
        "own_times_per_trip": ratio(len(own_84), theirs_84["basket_id"].nunique()) if bought else np.nan,
        "own_rank": 1 + len(better),
        "type_times_84": (like["ago"] <= 84).sum(),
        "type_days_since": least(like["ago"]),
        "own_share_of_type": ratio(len(own), len(like)) if bought else np.nan,
        "household_trips_84": theirs_84["basket_id"].nunique(),
        "household_spend_84": theirs_84["sales_value"].sum(),
        "household_discount": ratio(
            theirs_84["retail_disc"].sum(), (theirs_84["sales_value"] + theirs_84["retail_disc"]).sum()
        ),
        "household_coupon_lines_84": (theirs_84["coupon_disc"] > 0).sum(),
        "household_coupon_lines": (theirs["coupon_disc"] > 0).sum(),
        "household_redeemed": len(past[["campaign_id", "coupon_upc"]].drop_duplicates()),
        "household_redeemed_ago": least((about["start_date"] - past["redemption_date"]).dt.days),
        "coupon_products": len(good_for),
        "campaign_coupons": coupons["coupon_upc"].nunique(),
        "coupon_buyers_84": sold_84["household_id"].nunique(),
        "coupon_times_per_buyer": ratio(len(sold_84), sold_84["household_id"].nunique()),
        "coupon_price": ratio(sold["sales_value"].sum(), sold["quantity"].sum()),
        "coupon_retail_discount": ratio(
            sold_84["retail_disc"].sum(), (sold_84["sales_value"] + sold_84["retail_disc"]).sum()
        ),
        "coupon_lines": len(used),
        "coupon_discount": used["coupon_disc"].mean() if len(used) else np.nan,
        "campaign_days": (about["end_date"] - about["start_date"]).days + 1,
    }


def _of_type(tables: dict[str, pd.DataFrame], about: Any) -> set[int]:
    campaigns = tables["campaign_descriptions"]
    begun = campaigns[
        (campaigns["campaign_type"] == about["campaign_type"])
        & (campaigns["start_date"] <= about["start_date"])
    ]
    coupons = tables["coupons"]
    return set(coupons.loc[coupons["campaign_id"].isin(begun["campaign_id"]), "product_id"])
