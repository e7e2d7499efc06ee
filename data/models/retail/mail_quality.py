"""What tonight's mails are worth: hits within 14 days, beside lists without a model, on six days.

    python data/models/retail/mail_quality.py           # a quarter of an hour on two cores

Each day is a real night of the four jobs in a workspace that is thrown away, at the job's own parameters but
that everybody has their turn and nobody is held out: so the figures are of the whole audience, some 1,200
households and not of a seventh. Written are mail_metrics.json and mail_card.md beside this script.

A hit is a block whose product the household bought within the 14 days after the mail's. The lists without a
model have six products of the same catalogue (nothing ruled out, all sold within 28 days), two of
a category, as mails have: the household's own most bought, or the same six for everybody.
"""

import datetime as dt
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))  # the root, for data.lakes

from data.lakes.retail import write_lake
from nightscore import load, query, run

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[2]
AFTER = 14  # days
DAYS = [dt.date(2017, month, day) for month, day in ((10, 4), (10, 18), (11, 1), (11, 15), (12, 1), (12, 15))]
JOBS = ("recommendations", "coupon_response", "mail_suppressions", "mail_plan")
ALL = {"rotation": 1, "hold_out": 0.0, "per_week": 7, "per_month": 28}
BLOCKS, OF_CATEGORY = 6, 2


def main() -> int:
    """Run the six nights, measure and write; returns the exit code."""
    with tempfile.TemporaryDirectory(prefix="nightscore-mail-") as folder:
        workspace = prepare(Path(folder))
        sales, products = read_sales(workspace), read_products(workspace)
        for number in range((DAYS[-1] - DAYS[0]).days + 1):  # each waits for the day before
            run(load("mail_suppressions", workspace), DAYS[0] + dt.timedelta(days=number))
        # The last one first: each is a first mail, before which its household has got none.
        days = {str(day): measure(workspace, day, sales, products) for day in DAYS[::-1]}
    names = (
        "hits_a_mail",
        "own_most_bought",
        "same_six_for_all",
        "mails_with_a_hit",
        "new_hits",
        "coupon_hits",
    )
    metrics = {
        "after_days": AFTER,
        "mean": {name: round(sum(day[name] for day in days.values()) / len(days), 3) for name in names},
        "coupons": {
            name: round(sum(day[name] for day in days.values()), 2)
            for name in ("coupons", "redeemed", "expected_redemptions")
        },
        "days": days,
    }
    (HERE / "mail_metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
    (HERE / "mail_card.md").write_text(card(metrics))
    return 0


def prepare(workspace: Path) -> Path:
    """A workspace with the lake, the jobs and their models."""
    write_lake(workspace)
    for name in JOBS:
        shutil.copytree(REPOSITORY / "jobs/retail" / name, workspace / "jobs/retail" / name)
    (workspace / "data/models").mkdir()
    shutil.copytree(
        HERE, workspace / "data/models/retail", ignore=shutil.ignore_patterns("*.py", "__pycache__")
    )
    return workspace


def read_sales(workspace: Path) -> pd.DataFrame:
    """Household, product and day of each line, once a basket."""
    files = (workspace / "data/lake/retail/transactions").glob("day=*/*.parquet")
    columns = ["household_id", "product_id", "basket_id"]
    parts = [
        pq.read_table(file, columns=columns, partitioning=None)
        .to_pandas()
        .assign(day=pd.Timestamp(file.parent.name.removeprefix("day=")))
        for file in files
    ]
    return pd.concat(parts).drop_duplicates()


def read_products(workspace: Path) -> pd.DataFrame:
    """The category of each product that no rule names; the rules of the sample have no end."""
    lake = workspace / "data/lake/retail"
    products = pq.read_table(lake / "products.parquet").to_pandas()
    ruled = pq.read_table(lake / "eligibility.parquet").to_pandas()["product_type"]
    kept = products[~products["product_type"].isin(ruled)]
    department = kept["department"].fillna("UNKNOWN")
    return kept[["product_id"]].assign(category=kept["product_category"].fillna(department))


def measure(workspace: Path, day: dt.date, sales: pd.DataFrame, products: pd.DataFrame) -> dict[str, Any]:
    """The figures of one night, beside those of the lists without a model for the same households."""
    for name in ("retail_recommendations", "coupon_response"):
        run(load(name, workspace), day)
    run(load("mail_plan", workspace), day, params=ALL)
    mails = query("SELECT * FROM mail_list WHERE day = $1", workspace, values=[day]).to_pandas()
    now, last = pd.Timestamp(day), pd.Timestamp(day) + pd.Timedelta(days=AFTER)
    known, later = sales[sales["day"] <= now], sales[(sales["day"] > now) & (sales["day"] <= last)]
    catalogue = products[
        products["product_id"].isin(known[known["day"] > now - pd.Timedelta(days=28)]["product_id"])
    ]
    audience = mails["household_id"].unique()
    count = hits_of(later, audience)
    own = (
        known[known["household_id"].isin(audience)]
        .groupby(["household_id", "product_id"])["basket_id"]
        .nunique()
    )
    popular = (
        known[known["day"] > now - pd.Timedelta(days=28)].groupby("product_id")["household_id"].nunique()
    )
    everybody = pd.DataFrame({"household_id": audience}).merge(
        popular.rename("score").reset_index(), how="cross"
    )
    figures = {
        "mails": len(audience),
        "hits_a_mail": count(mails),
        "own_most_bought": count(six(own.rename("score").reset_index(), catalogue)),
        "same_six_for_all": count(
            six(everybody[everybody["score"] >= popular.nlargest(200).min()], catalogue)
        ),
        "mails_with_a_hit": round(
            float((with_hits(mails, later).groupby("household_id")["hit"].sum() > 0).mean()), 3
        ),
        "new_hits": count(mails[mails["kind"] == "new"]),
        "coupon_hits": count(mails[mails["kind"] == "coupon"]),
    }
    print(day, figures, flush=True)
    return figures | coupons(workspace, day, mails)


def with_hits(blocks: pd.DataFrame, later: pd.DataFrame) -> pd.DataFrame:
    """Blocks, and whether each is one."""
    bought = later[["household_id", "product_id"]].drop_duplicates().assign(hit=1)
    return blocks.merge(bought, how="left", on=["household_id", "product_id"]).fillna({"hit": 0})


def hits_of(later: pd.DataFrame, audience: Any) -> Callable[[pd.DataFrame], float]:
    """What counts the hits a household of the audience."""
    return lambda blocks: round(float(with_hits(blocks, later)["hit"].sum()) / len(audience), 3)


def six(scored: pd.DataFrame, catalogue: pd.DataFrame) -> pd.DataFrame:
    """The best six of each household, two of a category; ties to the smaller product."""
    best = scored.merge(catalogue, on="product_id").sort_values(
        ["household_id", "score", "product_id"], ascending=[True, False, True]
    )
    best = best[best.groupby(["household_id", "category"]).cumcount() < OF_CATEGORY]
    return best[best.groupby("household_id").cumcount() < BLOCKS]


def coupons(workspace: Path, day: dt.date, mails: pd.DataFrame) -> dict[str, float]:
    """How many of the mailed coupons were redeemed from the mail's day until their campaign's end."""
    sent = mails[mails["kind"] == "coupon"][["household_id", "coupon_upc", "campaign_id"]]
    told = pq.read_table(workspace / "data/lake/retail/coupon_redemptions.parquet").to_pandas()
    told = told[pd.to_datetime(told["redemption_date"]) > pd.Timestamp(day)]
    redeemed = sent.merge(told.drop(columns="redemption_date").drop_duplicates())
    expected = query(
        "SELECT coalesce(sum(probability), 0) AS n FROM mail_budget WHERE day = $1 AND is_paid",
        workspace,
        values=[day],
    )["n"][0].as_py()
    return {"coupons": len(sent), "redeemed": len(redeemed), "expected_redemptions": float(expected)}


def card(metrics: dict[str, Any]) -> str:
    """The figures as a page."""
    mean, sent = metrics["mean"], metrics["coupons"]
    lines = [_line(day, one) for day, one in sorted(metrics["days"].items())]
    lines.append(_line("**mean**", {"mails": "", **mean}))
    return f"""# Tonight's mails: what they are worth

Written by `mail_quality.py`, from six real nights of `mail_plan`, each to its whole audience. A hit is a
block whose product the household bought within {metrics["after_days"]} days after the mail's.

| day | mails | hits a mail | own most bought | the same six for all | mails with a hit |
| --- | --- | --- | --- | --- | --- |
{"".join(lines)}
Of the hits a mail {mean["new_hits"]:.2f} are of the product that is new to the household, and
{mean["coupon_hits"]:.2f} of the products that its coupons name. The lists beside have no new product and no
coupon: a mail gives up hits for both.

{sent["coupons"]:,.0f} coupons were in these mails, {sent["redeemed"]:,.0f} of which were redeemed after the
mail's day, by the household and in the campaign that they were sent for; {sent["expected_redemptions"]:,.1f}
were expected over the whole campaign, whose first days were over by then.

## Three mails, looked at

Of 2017-11-02, the three with the lowest md5 of their household (134, 1024, 2262). None has a coupon, for the
budget of one night pays for few; all six blocks of each are *again*: bananas, milk, bread. What is odd:
texts are the catalogue's own words, made for buyers and not for customers. "Time for primal again?" is of
beef, "regular garden" of a salad mix, "sft drnk 2 liter btl carb incl" a soft drink. A shop has names for its
shelves, and puts them in the place of `product_type` in `list.sql`. Household 1024 has two soft drinks: two
blocks of a category are allowed, and that is what it buys.

## What can't be said

- **No uplift.** The Complete Journey knows no mail: nobody read one of these. What a mail changes is not
  claimed; it can be measured by the hold-out from its first real night on (`mail_outcome`).
- The audience are the households of running campaigns, who buy more than others: figures of all households
  are lower.
- The rules of the list (what counts as *again*, when a product that is new has a place) were chosen with an
  eye on 2017-11-01 and 2017-12-15: those two days are no test of them, the other four are.
- Who has unsubscribed is seeded, and the rules of eligibility are made up.
"""


def _line(day: str, one: dict[str, Any]) -> str:
    cells = (one[name] for name in ("hits_a_mail", "own_most_bought", "same_six_for_all"))
    shown = " | ".join(f"{cell:.2f}" for cell in cells)
    return f"| {day} | {one['mails']} | {shown} | {one['mails_with_a_hit']:.0%} |\n"


if __name__ == "__main__":
    sys.exit(main())
