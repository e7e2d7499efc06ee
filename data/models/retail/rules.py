"""The rules of top_products.sql once more, in NumPy: to see what each costs, and to hold the job to them."""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from lists import TEN, Ints, Receipts, Top


@dataclass(frozen=True)
class Rules:
    """Places that a category may have, slots for what was never bought, and what fills one."""

    category_places: int = TEN
    discovery_slots: int = 0
    discovery_floor: float = 0.0


@dataclass(frozen=True)
class Pool:
    """What the households may be sent, sorted by household and best first: [n] rows.

    ``category`` are codes >= 0; ``never`` says that the household has never bought the product.
    """

    household: Ints
    product: Ints
    score: npt.NDArray[np.float64]
    category: Ints
    never: npt.NDArray[np.bool_]

    @staticmethod
    def of(
        household: Ints, product: Ints, score: npt.NDArray[Any], category: Ints, never: npt.NDArray[np.bool_]
    ) -> "Pool":
        """Sorted; ties go to the smaller product id."""
        order = np.lexsort((product, -score, household))
        columns = household, product, score.astype(np.float64), category, never
        return Pool(*(column[order] for column in columns))

    def ten(self, rules: Rules) -> Top:
        """The ten of each household."""
        plain = self._best(np.zeros(len(self.household), bool), rules)
        first = np.zeros(len(self.household), bool)
        first[self._discoveries(rules)] = True
        if rules.discovery_floor > 0:
            last = np.flatnonzero(np.diff(self.household[plain], append=-1))
            tenth = self.score[plain][last][np.searchsorted(self.household[plain][last], self.household)]
            first &= self.score >= rules.discovery_floor * tenth
        kept = self._best(first, rules)
        return Top(
            self.household[kept], self.product[kept], _places(self.household[kept], np.arange(len(kept)))
        )

    def _discoveries(self, rules: Rules) -> Ints:
        rows = np.flatnonzero(self.never)
        within = _places(self._of_category(rows), np.argsort(self._of_category(rows), kind="stable"))
        rows = rows[within <= rules.category_places]
        return rows[_places(self.household[rows], np.arange(len(rows))) <= rules.discovery_slots]

    def _best(self, first: npt.NDArray[np.bool_], rules: Rules) -> Ints:
        """Rows of the ten, those that are `first` before all others; sorted."""
        where = np.arange(len(first))
        kind = self._of_category(where)
        rows = np.flatnonzero(_places(kind, np.lexsort((where, ~first, kind))) <= rules.category_places)
        order = np.lexsort((rows, ~first[rows], self.household[rows]))
        return rows[_places(self.household[rows], order) <= TEN]

    def _of_category(self, rows: Ints) -> Ints:
        found: Ints = self.household[rows] << 20 | self.category[rows]
        return found


def _places(groups: Ints, order: Ints) -> Ints:
    """The place (1 = first) of each row in its group, where `order` sorts the rows by group and by place."""
    sorted_groups = groups[order]
    begins = np.diff(sorted_groups, prepend=-1) != 0
    begin = np.maximum.accumulate(np.where(begins, np.arange(len(order)), 0))
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order)) - begin + 1
    return places


def masked_products(lake: Path, receipts: Receipts, day: dt.date, unsold_days: int) -> Ints:
    """The products that may not be named on a day: ruled out by type, or sold nowhere in the days before."""
    products = pq.read_table(lake / "products.parquet", columns=["product_id", "product_type"])
    rules = pq.read_table(lake / "eligibility.parquet").to_pylist()
    ruled = {r["product_type"] for r in rules if r["from"] <= day <= (r["until"] or dt.date.max)}
    out = [kind in ruled for kind in products["product_type"].to_pylist()]
    every = products["product_id"].to_numpy().astype(np.int64)
    unsold = np.setdiff1d(every, receipts.until(day, unsold_days).product)
    return np.union1d(every[out], unsold)


def categories(lake: Path) -> tuple[Ints, Ints]:
    """The catalogue's products, sorted, and a code of each one's category (or of its department)."""
    names = ["product_id", "product_category", "department"]
    rows = sorted(
        pq.read_table(lake / "products.parquet", columns=names).to_pylist(), key=lambda r: r["product_id"]
    )
    kinds = [row["product_category"] or row["department"] or "UNKNOWN" for row in rows]
    return np.array([r["product_id"] for r in rows], np.int64), np.unique(kinds, return_inverse=True)[
        1
    ].astype(np.int64)
