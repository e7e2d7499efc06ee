"""How good are ten recommendations? Real runs of the job, counted against what was bought afterwards.

Full catalogue, no sampled negatives: a household's list counts against everything that it bought in the 14
days after the scored day, whether or not it was among the candidates.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from nightscore import Job, query, run

LABEL_DAYS = 14
TEN = 10
HELD_OUT_DAYS = [
    dt.date(2017, month, day) for month, day in ((10, 4), (10, 18), (11, 1), (11, 15), (12, 1), (12, 15))
]
SLOTS_DAY = dt.date(2017, 11, 1)  # the day on which the price of discovery slots is shown
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
    """Every line of every till receipt: [n] int64 ids, and the store's day."""

    household: Ints
    product: Ints
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
        return Receipts(self.household[kept], self.product[kept], self.day[kept])

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
        table = pq.read_table(file, columns=["household_id", "product_id"], partitioning=None)
        day = pa.scalar(dt.date.fromisoformat(file.parent.name.removeprefix("day=")))
        parts.append(table.append_column("day", pa.repeat(day, table.num_rows)))
    year = pa.concat_tables(parts)
    household, product = (year[name].to_numpy().astype(np.int64) for name in ("household_id", "product_id"))
    return Receipts(household, product, year["day"].to_numpy().astype("datetime64[D]"))


def measure(top: Top, bought: Ints, households: Ints) -> dict[str, float]:
    """Means over `households` [h] (sorted, all of them in `bought` pairs).

    recall: hits / min(10, products bought). ndcg: gain 1 / log2(rank + 1) of the hits, over that of a perfect
    ten. hit_rate: share with at least one hit. products: how many distinct ones the lists hold.
    """
    kept = np.isin(top.household, households)
    where = np.searchsorted(households, top.household[kept])
    hit = np.isin(Receipts.pairs(top.household[kept], top.product[kept]), bought)
    hits = np.bincount(where[hit], minlength=len(households))
    gains = np.bincount(where[hit], 1 / np.log2(top.rank[kept][hit] + 1), minlength=len(households))
    possible = np.minimum(np.bincount(np.searchsorted(households, bought >> 32)), TEN)
    ideal = np.cumsum(1 / np.log2(np.arange(2, TEN + 2)))[possible - 1]
    return {
        "recall": float((hits / possible).mean()),
        "ndcg": float((gains / ideal).mean()),
        "hit_rate": float((hits > 0).mean()),
        "products": float(len(np.unique(top.product[kept]))),
    }


def evaluate(job: Job, receipts: Receipts, days: Sequence[dt.date]) -> dict[str, Any]:
    """Run the job on each day and compare; the figures of each day, and their means."""
    by_day = {day.isoformat(): _one_day(job, receipts, day) for day in days}
    names = list(by_day[days[0].isoformat()]["lists"])
    slots = {str(n): _published(job, receipts, SLOTS_DAY, {"discovery_slots": n}) for n in range(4)}
    return {
        "window": {"days": [str(day) for day in days], "label_days": LABEL_DAYS},
        "mean": {name: _mean([one["lists"][name] for one in by_day.values()]) for name in names},
        "days": by_day,
        "discovery_slots": {"day": str(SLOTS_DAY), "published": slots},
    }


def _one_day(job: Job, receipts: Receipts, day: dt.date) -> dict[str, Any]:
    print(f"scoring {day}", flush=True)
    run(job, day)
    bought, households = _truth(receipts, day)
    scores = _read(
        job, f"SELECT household_id, product_id, score FROM {job.spec.scores_table} WHERE day = $1", day
    )
    household, product = scores["household_id"].astype(np.int64), scores["product_id"].astype(np.int64)
    known = receipts.until(day)
    lists = {
        "model, free": Top.of(household, product, -scores["score"]),
        "published": _top_products(job, day),
        "own most-bought": known.most_bought(),
        "own most-bought, ties to the latest": known.most_bought_lately(),
        "own most-bought, last 84 days first": known.most_bought_lately(receipts.until(day, 84)),
        "most popular, 28 days": receipts.until(day, 28).most_popular(households),
    }
    happened = np.isin(Receipts.pairs(household, product), bought)
    return {
        "households": len(households),
        "products_sold_so_far": len(np.unique(known.product)),
        "candidates": len(household),
        "share_of_purchases_among_candidates": round(float(happened.sum() / len(bought)), 4),
        "mean_score": round(float(scores["score"].mean()), 5),
        "share_of_candidates_bought": round(float(happened.mean()), 5),
        "lists": {name: _rounded(measure(top, bought, households)) for name, top in lists.items()},
    }


def _published(job: Job, receipts: Receipts, day: dt.date, params: Mapping[str, int]) -> dict[str, float]:
    run(job, day, params=params)
    return _rounded(measure(_top_products(job, day), *_truth(receipts, day)))


def _truth(receipts: Receipts, day: dt.date) -> tuple[Ints, Ints]:
    """What was bought after the day by households that shopped before it, and those that bought anything."""
    before = np.unique(receipts.until(day - dt.timedelta(days=1)).household)
    bought = receipts.bought_after(day, LABEL_DAYS)
    bought = bought[np.isin(bought >> 32, before)]
    return bought, np.unique(bought >> 32)


def _top_products(job: Job, day: dt.date) -> Top:
    ten = _read(job, f"SELECT household_id, product_id, rank FROM {job.name} WHERE day = $1", day)
    return Top(*(ten[name].astype(np.int64) for name in ("household_id", "product_id", "rank")))


def _read(job: Job, sql: str, day: dt.date) -> dict[str, npt.NDArray[Any]]:
    found = query(sql, job.workspace, values=[day])
    return {name: found[name].to_numpy() for name in found.column_names}


def _mean(figures: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return _rounded({key: float(np.mean([one[key] for one in figures])) for key in figures[0]})


def _rounded(figures: Mapping[str, float]) -> dict[str, float]:
    return {key: round(value, 4) for key, value in figures.items()}
