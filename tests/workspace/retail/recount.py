"""The features of candidates.sql once more, in pandas and plain Python, from their meaning in the model card.

Written against the descriptions, not against the SQL: a test holds the two together.
"""

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

NAN = math.nan


@dataclass
class Recount:
    """All lines up to the scored day, with `ago` in days, and the catalogue."""

    lines: pd.DataFrame
    products: pd.DataFrame
    _households: dict[int, dict[str, Any]] = field(default_factory=dict)
    _products: dict[int, dict[str, float]] = field(default_factory=dict)

    @staticmethod
    def of(transactions: pd.DataFrame, products: pd.DataFrame, day: str) -> "Recount":
        """Cut at the day; ids, quantities and money as float64."""
        lines = transactions.assign(ago=(pd.Timestamp(day) - pd.to_datetime(transactions["day"])).dt.days)
        lines = lines[lines["ago"] >= 0].copy()
        for name in ("sales_value", "retail_disc"):
            lines[name] = lines[name].astype(float)
        products = products.assign(
            category=products["product_category"].fillna(products["department"]),
            type=products["product_type"].fillna(products["department"]),
        )
        lines = lines.merge(products[["product_id", "category", "type"]], how="left", on="product_id")
        return Recount(lines, products.set_index("product_id"))

    @cached_property
    def known(self) -> pd.DataFrame:
        """The lines of products in the catalogue."""
        return self.lines[self.lines["type"].notna()]

    @cached_property
    def sold(self) -> Any:
        """The lines of the catalogue's products, grouped by product."""
        return self.known.groupby("product_id")

    @cached_property
    def sold_type(self) -> dict[Any, pd.DataFrame]:
        """The lines of each type, of the last 84 days."""
        return dict(list(self.known[self.known["ago"] < 84].groupby("type")))

    @cached_property
    def buyers(self) -> Any:
        """The rows of `pairs`, grouped by product."""
        return self.pairs.groupby("product_id")

    @cached_property
    def recent(self) -> pd.DataFrame:
        return self.known[self.known["ago"] < 28]

    @cached_property
    def leaders(self) -> pd.Series:
        """Buyers in 28 days of every product ever sold."""
        buyers = self.recent.groupby("product_id")["household_id"].nunique()
        return buyers.reindex(sorted(self.known["product_id"].unique()), fill_value=0)

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """One row per household and product that it bought: times, first and last."""
        grouped = self.lines.groupby(["household_id", "product_id"])["ago"]
        return grouped.agg(times="size", first="max", last="min").reset_index()

    def trips(self, household: int) -> pd.DataFrame:
        """Its baskets, latest first."""
        mine = self.lines[self.lines["household_id"] == household]
        trips = mine.groupby("basket_id").agg(
            ago=("ago", "min"), store=("store_id", "min"), items=("ago", "size")
        )
        trips = trips.reset_index().sort_values(["ago", "basket_id"], ascending=[True, False])
        return trips.assign(number=range(1, len(trips) + 1))

    def home_store(self, household: int) -> int:
        """Most trips in 84 days, then most trips, then the smaller id."""
        trips = self.trips(household)
        counted = (
            trips.assign(late=trips["ago"] < 84).groupby("store")["late"].agg(["sum", "size"]).reset_index()
        )
        best = counted.sort_values(["sum", "size", "store"], ascending=[False, False, True])
        return int(best.iloc[0]["store"])

    def candidates(self, household: int) -> set[int]:
        """The products that the job scores for a household."""
        mine = self.pairs[self.pairs["household_id"] == household]
        own = mine[(mine["times"] > 1) | (mine["last"] < 56)]["product_id"]
        best = _first(self.leaders, 50)
        return (
            set(own[own.isin(self.products.index[self.products["type"].notna()])])
            | set(best)
            | self._of_store(household)
            | self._of_types(household)
        )

    def _of_store(self, household: int) -> set[int]:
        at = self.known[(self.known["store_id"] == self.home_store(household)) & (self.known["ago"] < 56)]
        sold = at.groupby("product_id")["household_id"].agg(["nunique", "size"]).reset_index()
        best = sold.sort_values(["nunique", "size", "product_id"], ascending=[False, False, True])
        return set(best["product_id"].head(30))

    def _of_types(self, household: int) -> set[int]:
        mine = self.known[self.known["household_id"] == household]
        weight = (1e6 * 0.5 ** (mine["ago"] / 28)).round()
        types = (
            mine.assign(weight=weight)
            .groupby("type")
            .agg(weight=("weight", "sum"), times=("basket_id", "nunique"))
        )
        types = types.reset_index().sort_values(["weight", "times", "type"], ascending=[False, False, True])
        found: set[int] = set()
        for kind in types["type"].head(20):
            of_type = self.products.index[self.products["type"] == kind]
            found |= set(_first(self.leaders[self.leaders.index.isin(of_type)], 3))
        return found

    def row(self, household: int, product: int) -> dict[str, float]:
        """Every feature of one candidate; NaN where it has no meaning."""
        if household not in self._households:
            self._households[household] = self._household(household)
        if product not in self._products:
            self._products[product] = self._product(product)
        about = self._households[household]
        kind, category = self.products.loc[product, ["type", "category"]]
        mine = about["lines"]
        return {
            **self._own(about, product),
            **about["features"],
            **self._products[product],
            **self._type(mine[mine["type"] == kind], product, kind),
            "category_times": _or_nan(mine[mine["category"] == category]["basket_id"].nunique()),
            "category_days_since": mine[mine["category"] == category]["ago"].min(),
            "store_times": float((about["at_store"] == product).sum()),
        }

    def _household(self, household: int) -> dict[str, Any]:
        trips = self.trips(household)
        mine = self.lines[self.lines["household_id"] == household].merge(
            trips[["basket_id", "number"]], on="basket_id"
        )
        pairs = self.pairs[self.pairs["household_id"] == household]
        old = pairs[pairs["first"] >= 28]
        at = self.known[(self.known["store_id"] == self.home_store(household)) & (self.known["ago"] < 56)]
        lasting = mine.assign(w=_halved(mine["ago"], 84)).groupby("product_id")["w"].sum()
        return {
            "lines": mine,
            "trips": trips,
            "at_store": at["product_id"].to_numpy(),
            "lasting": lasting,
            "scored": lasting[lasting.index.isin(self.candidates(household))],
            "features": {
                "household_trips": len(trips),
                "household_trips_28": (trips["ago"] < 28).sum(),
                "household_days_since": trips["ago"].min(),
                "household_days_since_first": trips["ago"].max(),
                "household_items": trips["items"].mean(),
                "household_returning": (old["last"] < 28).mean() if len(old) else NAN,
            },
        }

    def _own(self, about: dict[str, Any], product: int) -> dict[str, float]:
        mine = about["lines"]
        mine = mine[mine["product_id"] == product].sort_values("number")
        rank = 1 + (about["scored"] > about["lasting"].get(product, -1)).sum()
        if mine.empty:
            return {**dict.fromkeys(OWN, NAN), "own_rank": rank}
        ago, times, trips = mine["ago"], len(mine), about["trips"]
        gap = (ago.max() - ago.min()) / (times - 1) if times > 1 else NAN
        recent, lasting = _halved(ago, 28).sum(), _halved(ago, 84).sum()
        full = mine["sales_value"].sum() + mine["retail_disc"].sum()
        return {
            "own_times": times,
            "own_times_28": (ago < 28).sum(),
            "own_times_84": (ago < 84).sum(),
            "own_days_since": ago.min(),
            "own_days_since_first": ago.max(),
            "own_trips_since": mine["number"].min(),
            "own_recent": recent,
            "own_lasting": lasting,
            "own_recent_per_trip": _ratio(recent, (trips["ago"] < 28).sum()),
            "own_lasting_per_trip": lasting / _halved(trips["ago"], 84).sum(),
            "own_rank": rank,
            "own_gap": gap,
            "own_days_overdue": ago.min() - gap,
            "own_gaps_overdue": _ratio(ago.min(), gap),
            "own_quantity": mine["quantity"].mean(),
            "own_last_quantity": _ratio(mine["quantity"].iloc[0], mine["quantity"].mean()),
            "own_discount": _ratio(mine["retail_disc"].sum(), full),
        }

    def _product(self, product: int) -> dict[str, float]:
        sold = self.sold.get_group(product)
        week, month, quarter = (sold[sold["ago"] < days] for days in (7, 28, 84))
        pairs = self.buyers.get_group(product)
        had = pairs[pairs["first"] >= 14]
        return {
            "product_buyers": sold["household_id"].nunique(),
            "product_buyers_28": month["household_id"].nunique(),
            "product_times_7": len(week),
            "product_times_28": len(month),
            "product_week_trend": _ratio(4 * len(week), len(month)),
            "product_trend": _ratio(3 * len(month), len(quarter)),
            "product_discount_7": _ratio(
                week["retail_disc"].sum(), week["sales_value"].sum() + week["retail_disc"].sum()
            ),
            "product_price": _ratio(sold["sales_value"].sum(), sold["quantity"].sum()),
            "product_repeaters": (pairs["times"] > 1).mean(),
            "product_gap": _ratio((pairs["first"] - pairs["last"]).sum(), (pairs["times"] - 1).sum()),
            "product_returning": ((had["last"] < 14).sum() + 20 * 0.03) / (len(had) + 20),
        }

    def _type(self, mine: pd.DataFrame, product: int, kind: str) -> dict[str, float]:
        quarter = self.sold_type.get(kind, self.known.iloc[:0])
        month = quarter[quarter["ago"] < 28]
        found = {
            "product_share_of_type": _ratio((month["product_id"] == product).sum(), len(month)),
            "type_trend": _ratio(3 * len(month), len(quarter)),
        }
        names = ("type_times", "type_times_28", "type_products", "type_days_since", "type_gaps_overdue")
        if mine.empty:
            return {**found, **dict.fromkeys((*names, "own_share_of_type"), NAN)}
        times, ago = mine["basket_id"].nunique(), mine["ago"]
        own = _halved(mine[mine["product_id"] == product]["ago"], 84).sum()
        return {
            **found,
            "type_times": times,
            "type_times_28": mine[ago < 28]["basket_id"].nunique(),
            "type_products": mine["product_id"].nunique(),
            "type_days_since": ago.min(),
            "type_gaps_overdue": _ratio(ago.min() * (times - 1), ago.max() - ago.min()),
            "own_share_of_type": _or_nan(own / _halved(ago, 84).sum()),
        }


OWN = (
    "own_times", "own_times_28", "own_times_84", "own_days_since", "own_days_since_first", "own_trips_since",
    "own_recent", "own_lasting", "own_recent_per_trip", "own_lasting_per_trip", "own_gap", "own_days_overdue",
    "own_gaps_overdue", "own_quantity", "own_last_quantity", "own_discount",
)  # fmt: skip


def _halved(ago: "pd.Series[Any]", days: int) -> "pd.Series[Any]":
    """What each purchase still counts, to the millionth."""
    return (1e6 * 0.5 ** (ago / days)).round() / 1e6


def _ratio(over: float, under: float) -> float:
    return NAN if under == 0 or np.isnan(under) else float(over) / float(under)


def _or_nan(value: float) -> float:
    return float(value) if value else NAN


def _first(buyers: "pd.Series[Any]", n: int) -> list[int]:
    """The n products with most buyers; ties go to the smaller id."""
    ranked = buyers.rename_axis("product_id").rename("buyers").reset_index()
    return list(ranked.sort_values(["buyers", "product_id"], ascending=[False, True])["product_id"].head(n))
