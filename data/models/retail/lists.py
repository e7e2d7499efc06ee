"""Ranked lists, what was bought, and how well the ones foresee the other.

Full catalogue, no sampled negatives: a household's list counts against everything that it bought in the 14
days after the scored day, whether or not it was among the candidates.
"""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

TEN = 10
IDS = ("household_id", "product_id", "basket_id")
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Top:
    """Ranked lists: [n] households, products and ranks (1 = first), at most ten rows a household."""

    household: Ints
    product: Ints
    rank: Ints

    @staticmethod
    def of(household: Ints, product: Ints, *best: npt.NDArray[Any]) -> "Top":
        """The first ten of each household; `best` are sort keys, lowest first, then the product id."""
        order = np.lexsort((product, *reversed(best), household))
        household, product = household[order], product[order]
        _, starts, sizes = np.unique(household, return_index=True, return_counts=True)
        rank = np.arange(len(household)) - np.repeat(starts, sizes) + 1
        return Top(household[rank <= TEN], product[rank <= TEN], rank[rank <= TEN])


@dataclass(frozen=True)
class Receipts:
    """Every line of every till receipt: [n] int64 ids, the basket's too, and the store's day."""

    household: Ints
    product: Ints
    basket: Ints
    day: npt.NDArray[np.datetime64]

    @staticmethod
    def pairs(household: npt.NDArray[Any], product: npt.NDArray[Any]) -> Ints:
        """One int64 for each (household, product)."""
        pairs: Ints = (household.astype(np.int64) << 32) | product.astype(np.int64)
        return pairs

    def until(self, day: dt.date, days: int | None = None) -> "Receipts":
        """The lines of the `days` days that end with `day`, all days before by default."""
        kept = self.day <= np.datetime64(day)
        if days is not None:
            kept &= self.day > np.datetime64(day) - days
        return Receipts(self.household[kept], self.product[kept], self.basket[kept], self.day[kept])

    def without(self, products: Ints) -> "Receipts":
        """The lines of all other products."""
        kept = ~np.isin(self.product, products)
        return Receipts(self.household[kept], self.product[kept], self.basket[kept], self.day[kept])

    def bought_after(self, day: dt.date, days: int) -> Ints:
        """The distinct pairs that were bought in the `days` days after `day`, sorted."""
        some = self.until(day + dt.timedelta(days=days), days)
        return np.unique(self.pairs(some.household, some.product))

    def most_bought(self) -> Top:
        """Each household's own most-bought products: most baskets; a tie goes to the smaller product id."""
        pairs, count = np.unique(self.pairs(self.household, self.product), return_counts=True)
        return Top.of(pairs >> 32, pairs & 0xFFFFFFFF, -count)

    def most_bought_lately(self, lately: "Receipts | None" = None) -> Top:
        """The same, with ties to the latest purchase; and before all that most baskets among `lately`."""
        pairs, last, count = np.unique(
            self.pairs(self.household, self.product)[::-1], return_index=True, return_counts=True
        )
        latest = self.day[::-1][last].astype(np.int64)  # lines are sorted by day
        first = np.zeros(len(pairs), dtype=np.int64)
        if lately is not None:
            found, times = np.unique(self.pairs(lately.household, lately.product), return_counts=True)
            first[np.searchsorted(pairs, found)] = times
        return Top.of(pairs >> 32, pairs & 0xFFFFFFFF, -first, -count, -latest)

    def most_popular(self, households: Ints) -> Top:
        """The ten products that most households bought, for everybody."""
        pairs = np.unique(self.pairs(self.household, self.product))
        products, buyers = np.unique(pairs & 0xFFFFFFFF, return_counts=True)
        ten = products[np.lexsort((products, -buyers))[:TEN]]
        return Top(
            np.repeat(households, TEN),
            np.tile(ten, len(households)),
            np.tile(np.arange(1, TEN + 1), len(households)),
        )


def read_receipts(workspace: Path) -> Receipts:
    """The whole year of the sample lake, sorted by day."""
    parts = []
    for file in sorted((workspace / "data/lake/retail/transactions").glob("day=*/*.parquet")):
        table = pq.read_table(file, columns=list(IDS), partitioning=None)
        day = pa.scalar(dt.date.fromisoformat(file.parent.name.removeprefix("day=")))
        parts.append(table.append_column("day", pa.repeat(day, table.num_rows)))
    year = pa.concat_tables(parts)
    ids = (year[name].to_numpy().astype(np.int64) for name in IDS)
    return Receipts(*ids, year["day"].to_numpy().astype("datetime64[D]"))


def measure(top: Top, bought: Ints, households: Ints) -> dict[str, float]:
    """Means over `households` [h] (sorted, all of them in `bought` pairs).

    recall: hits / min(10, products bought). ndcg: gain 1 / log2(rank + 1) of the hits, over that of a perfect
    ten. hit_rate: share with at least one hit. products: how many distinct ones the lists hold.
    """
    recall, ndcg = by_household(top, bought, households)
    return {
        "recall": float(recall.mean()),
        "ndcg": float(ndcg.mean()),
        "hit_rate": float((recall > 0).mean()),
        "products": float(len(np.unique(top.product[np.isin(top.household, households)]))),
    }


def by_household(
    top: Top, bought: Ints, households: Ints
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Recall@10 and NDCG@10 of each of `households` [h], as `measure` has them."""
    kept = np.isin(top.household, households)
    where = np.searchsorted(households, top.household[kept])
    hit = np.isin(Receipts.pairs(top.household[kept], top.product[kept]), bought)
    hits = np.bincount(where[hit], minlength=len(households))
    gains = np.bincount(where[hit], 1 / np.log2(top.rank[kept][hit] + 1), minlength=len(households))
    possible = np.minimum(np.bincount(np.searchsorted(households, bought >> 32)), TEN)
    ideal = np.cumsum(1 / np.log2(np.arange(2, TEN + 2)))[possible - 1]
    return hits / possible, gains / ideal
