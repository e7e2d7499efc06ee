"""How good is a ranking of coupons? Pairs of households and coupons, counted against what was redeemed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from sklearn.metrics import average_precision_score, roc_auc_score

Numbers = npt.NDArray[Any]
MODEL = "model"
BASELINES = {"own purchases, 84 days": "own_times_84", "buyers, 84 days": "coupon_buyers_84"}
BEST = 5_000  # pairs that a mailing may have room for
PLACES = (16, 5)  # a household was sent 16 coupons in a campaign of type A; a mail may have room for 5
PAIR = ["household_id", "campaign_id", "coupon_upc"]


@dataclass(frozen=True)
class Offers:
    """Pairs [n] with their features [n, columns], and what became of them."""

    rows: npt.NDArray[np.float32]
    columns: list[str]
    household: Numbers
    campaign: Numbers
    kind: Numbers  # the campaign's type
    discount: Numbers  # US dollars that a redemption is expected to cost
    redeemed: npt.NDArray[np.int8]
    cost: Numbers  # US dollars on receipts of the days it was redeemed; NaN where no receipt has a discount

    @staticmethod
    def of(table: pa.Table, rows: npt.NDArray[np.float32], columns: list[str], lake: Path) -> "Offers":
        """The job's rows with their outcome, which `lake` has."""
        outcome = _outcomes(lake)
        numbered = table.select([*PAIR, "campaign_type", "mean_discount"]).append_column(
            "number", pa.array(np.arange(table.num_rows))
        )
        joined = numbered.join(outcome, PAIR).sort_by("number").combine_chunks()
        return Offers(
            rows,
            columns,
            joined["household_id"].to_numpy(),
            joined["campaign_id"].to_numpy(),
            np.array(joined["campaign_type"].to_pylist()),
            joined["mean_discount"].cast(pa.float64()).to_numpy(),
            pc.fill_null(joined["redeemed"], 0).to_numpy().astype(np.int8),
            joined["cost"].cast(pa.float64()).to_numpy(),
        )

    def is_in(self, campaigns: Sequence[int]) -> npt.NDArray[np.bool_]:
        """Which pairs are of these campaigns, [n]."""
        return np.isin(self.campaign, campaigns)

    def some(self, kept: npt.NDArray[np.bool_]) -> "Offers":
        """Some of the pairs."""
        names = ("household", "campaign", "kind", "discount", "redeemed", "cost")
        return Offers(self.rows[kept], self.columns, *(getattr(self, name)[kept] for name in names))


def _outcomes(lake: Path) -> pa.Table:
    """Each redeemed pair once: `redeemed` 1, and `cost`, what its receipts say of the day, or null."""
    redeemed = (
        pq.read_table(lake / "coupon_redemptions.parquet").group_by([*PAIR, "redemption_date"]).aggregate([])
    )
    products = pq.read_table(lake / "coupons.parquet").group_by(["campaign_id", "coupon_upc", "product_id"])
    receipt = ["household_id", "product_id", "redemption_date"]
    lines = redeemed.join(products.aggregate([]), PAIR[1:]).join(_discounts(lake), receipt)
    found = lines.group_by(PAIR).aggregate([("coupon_disc", "sum")]).rename_columns([*PAIR, "cost"])
    return found.append_column("redeemed", pa.array(np.ones(found.num_rows, np.int8)))


def _discounts(lake: Path) -> pa.Table:
    """What coupons took off, by household, product and day."""
    year = pq.read_table(
        lake / "transactions", columns=["household_id", "product_id", "day", "coupon_disc"],
        filters=pc.field("coupon_disc") > pa.scalar(Decimal("0.00"), pa.decimal128(9, 2)),
        partitioning=ds.partitioning(pa.schema([("day", pa.date32())]), flavor="hive"),
    )  # fmt: skip
    grouped = year.group_by(["household_id", "product_id", "day"]).aggregate([("coupon_disc", "sum")])
    return grouped.rename_columns(["household_id", "product_id", "redemption_date", "coupon_disc"])


def evaluate(
    offers: Offers, score: Numbers, factors: pa.Table, tested: Mapping[str, Sequence[int]]
) -> dict[str, Any]:
    """Figures of each group of campaigns, and what was expected beside what came, by campaign type."""
    by_kind = dict(
        zip(factors["campaign_type"].to_pylist(), map(float, factors["factor"].to_pylist()), strict=True)
    )
    probability = np.minimum(1, score * [by_kind.get(kind, by_kind["all"]) for kind in offers.kind])
    unseen = offers.is_in([campaign for some in tested.values() for campaign in some])
    return {
        "best": BEST,
        "groups": {
            name: _figures(offers.some(kept), probability[kept])
            for name, kept in ((name, offers.is_in(some)) for name, some in tested.items())
        },
        "calibration": {
            f"{kind}": _expected(offers, score, probability, unseen & (offers.kind == kind))
            for kind in np.unique(offers.kind[unseen])
        },
        "campaigns": {
            str(one): _expected(offers, score, probability, offers.campaign == one)
            for one in np.unique(offers.campaign[unseen])
        },
        "factors": factors.set_column(1, "factor", factors["factor"].cast(pa.float64())).to_pylist(),
    }


def _figures(offers: Offers, probability: Numbers) -> dict[str, Any]:
    scores = {
        MODEL: probability,
        **{name: offers.rows[:, offers.columns.index(column)] for name, column in BASELINES.items()},
    }
    return {
        "pairs": len(offers.redeemed),
        "households": len(np.unique(offers.household)),
        "redeemed": int(offers.redeemed.sum()),
        "rankings": {name: _ranking(offers, one) for name, one in scores.items()},
    }


def _ranking(offers: Offers, score: Numbers) -> dict[str, float]:
    """Ties are in the order of the job's rows: by household, campaign, coupon."""
    order = np.argsort(-score, kind="stable")
    by_household = np.lexsort((np.arange(len(score)), -score, offers.household))
    place = np.arange(len(score)) - np.searchsorted(
        offers.household[by_household], offers.household[by_household]
    )
    found = offers.redeemed[by_household]
    return {
        "auc": round(float(roc_auc_score(offers.redeemed, score)), 4),
        "ap": round(float(average_precision_score(offers.redeemed, score)), 4),
        "within_best": int(offers.redeemed[order[:BEST]].sum()),
        **{
            f"within_{few}": round(float(found[place < few].sum() / offers.redeemed.sum()), 4)
            for few in PLACES
        },
    }


def _expected(
    offers: Offers, score: Numbers, probability: Numbers, kept: npt.NDArray[np.bool_]
) -> dict[str, Any]:
    """Real cost: what receipts say, and what was expected of those without a discount there."""
    redeemed = offers.redeemed[kept] == 1
    cost, discount = offers.cost[kept][redeemed], offers.discount[kept]
    known = ~np.isnan(cost)
    real = float(np.where(known, cost, discount[redeemed]).sum())
    expected = float(probability[kept].sum())
    expected_cost = float((probability[kept] * discount).sum())
    return {
        "pairs": int(kept.sum()),
        "redeemed": int(redeemed.sum()),
        "expected": round(expected, 1),
        "uncalibrated": round(float(score[kept].sum()), 1),
        "expected_over_redeemed": round(expected / max(1, redeemed.sum()), 3),
        "with_a_receipt": int(known.sum()),
        "cost": round(real, 2),
        "expected_cost": round(expected_cost, 2),
        "expected_cost_over_cost": round(expected_cost / real, 3) if real else None,
    }
