"""How good are ten recommendations? Real runs of the job, counted against what was bought afterwards.

All lists are cut by the same mask: what may not be named is in none of them, however often it is bought. What
was bought is counted whole, masked products too, so that the mask's price shows.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from baselines import decayed_counts, decayed_counts_with_neighbours, tifu_knn
from lists import TEN, Ints, Receipts, Top, by_household, measure
from rules import Pool, Rules, categories, masked_products

from nightscore import Job, query, run

LABEL_DAYS = 14
HELD_OUT_DAYS = [
    dt.date(2017, month, day) for month, day in ((10, 4), (10, 18), (11, 1), (11, 15), (12, 1), (12, 15))
]
LATER_DAY = dt.date(2017, 12, 6)  # of which nobody had seen a figure when the model and its rules were chosen
FREE, PUBLISHED, HARDEST = "model, free", "published", "decayed counts with neighbours"
NOTHING = np.empty(0, np.int64)
# What each rule costs: one is moved, the others stay as the job has them.
GRID: dict[str, dict[str, Any]] = {
    **{f"{n} a category, no slot": {"category_places": n, "discovery_slots": 0} for n in (1, 2, 3, 4)},
    "no rule": {"category_places": TEN, "discovery_slots": 0},
    **{
        f"3 a category, {n} slot{'s' if n > 1 else ''}, floor {floor}": {
            "category_places": 3, "discovery_slots": n, "discovery_floor": floor,
        }
        for n, floor in ((1, 0.75), (1, 0.5), (1, 0.25), (1, 0), (2, 0.25), (2, 0), (3, 0))
    },
}  # fmt: skip


@dataclass(frozen=True)
class Day:
    """One scored day: what the job published on it, and what was bought in the two weeks after."""

    job: Job
    receipts: Receipts
    day: dt.date

    @cached_property
    def truth(self) -> tuple[Ints, Ints]:
        """Pairs bought after the day by households that shopped before it; those that bought anything."""
        before = np.unique(self.receipts.until(self.day - dt.timedelta(days=1)).household)
        bought = self.receipts.bought_after(self.day, LABEL_DAYS)
        bought = bought[np.isin(bought >> 32, before)]
        return bought, np.unique(bought >> 32)

    @cached_property
    def known(self) -> Receipts:
        """All lines up to the day."""
        return self.receipts.until(self.day)

    @cached_property
    def masked(self) -> Ints:
        """The products that may not be named."""
        unsold = self.job.spec.params["unsold_days"].default
        return masked_products(self.job.workspace.root / "data/lake/retail", self.receipts, self.day, unsold)

    @cached_property
    def scores(self) -> dict[str, npt.NDArray[Any]]:
        """The candidates: ids as int64, and the score."""
        found = self.read(f"SELECT household_id, product_id, score FROM {self.job.spec.scores_table}")
        return {
            name: column if name == "score" else column.astype(np.int64) for name, column in found.items()
        }

    @cached_property
    def published(self) -> Top:
        """The ten of the job."""
        ten = self.read(f"SELECT household_id, product_id, rank FROM {self.job.name}")
        return Top(*(ten[name].astype(np.int64) for name in ("household_id", "product_id", "rank")))

    @cached_property
    def pool(self) -> Pool:
        """The candidates that the mask leaves."""
        household, product, score = self.scores.values()
        kept = ~np.isin(product, self.masked)
        household, product, score = household[kept], product[kept], score[kept]
        catalogue, category = categories(self.job.workspace.root / "data/lake/retail")
        own = np.unique(Receipts.pairs(self.known.household, self.known.product))
        never = ~np.isin(Receipts.pairs(household, product), own)
        return Pool.of(household, product, score, category[np.searchsorted(catalogue, product)], never)

    def read(self, sql: str) -> dict[str, npt.NDArray[Any]]:
        """Columns of the day's rows of a table."""
        found = query(f"{sql} WHERE day = $1", self.job.workspace, values=[self.day])
        return {name: found[name].to_numpy() for name in found.column_names}

    def lists(self) -> dict[str, Top]:
        """Everybody's ten by name; those that end with `unmasked` may name what the others may not."""
        household, product, score = self.scores.values()
        named, lately = self.known.without(self.masked), self.receipts.until(self.day, 84)
        near, near_unmasked = decayed_counts_with_neighbours(self.known, self.day).tens(self.masked, NOTHING)
        [tifu] = tifu_knn(self.known).tens(self.masked)
        [counted] = decayed_counts(self.known, self.day).tens(self.masked)
        month = self.receipts.until(self.day, 28)
        return {
            FREE: self.pool.ten(Rules()),
            PUBLISHED: self.published,
            HARDEST: near,
            "TIFU-KNN": tifu,
            "decayed counts": counted,
            "own most-bought, last 84 days first": named.most_bought_lately(lately.without(self.masked)),
            "own most-bought, ties to the latest": named.most_bought_lately(),
            "own most-bought": named.most_bought(),
            "most popular, 28 days": month.without(self.masked).most_popular(self.truth[1]),
            f"{FREE}, unmasked": Top.of(household, product, -score),
            f"{HARDEST}, unmasked": near_unmasked,
            "own most-bought, unmasked": self.known.most_bought(),
            "most popular, 28 days, unmasked": month.most_popular(self.truth[1]),
        }


def evaluate(job: Job, receipts: Receipts) -> dict[str, Any]:
    """Run the job on each day and compare; the figures of each day, their means, and what each rule costs."""
    default = Rules(**{name: job.spec.params[name].default for name in Rules.__dataclass_fields__})
    days, leads, grid = {}, [], {}
    for one in (Day(job, receipts, day) for day in (*HELD_OUT_DAYS, LATER_DAY)):
        print(f"scoring {one.day}", flush=True)
        run(job, one.day)
        _hold_to_rules(one, default)
        lists = one.lists()
        days[str(one.day)] = _figures(one, lists)
        if one.day != LATER_DAY:
            leads.append({name: _lead(one, lists[name], lists[HARDEST]) for name in (FREE, PUBLISHED)})
            for name, rules in GRID.items():
                grid.setdefault(name, []).append(_costs(one, one.pool.ten(replace(default, **rules))))
    later = days.pop(str(LATER_DAY))
    names = list(later["lists"])
    return {
        "window": {"days": list(days), "label_days": LABEL_DAYS},
        "mean": {name: _mean([day["lists"][name] for day in days.values()]) for name in names},
        "lead": {name: _clustered([lead[name] for lead in leads]) for name in (FREE, PUBLISHED)},
        "rules": {name: _mean(figures) for name, figures in grid.items()},
        "days": days,
        "later": {"day": str(LATER_DAY), **later},
    }


def _hold_to_rules(one: Day, default: Rules) -> None:
    """The job's SQL and the rules here choose the same, or the figures of the rules would be of others."""
    ours, theirs = one.pool.ten(default), one.published
    mine, published = (np.sort(Receipts.pairs(top.household, top.product)) for top in (ours, theirs))
    if not np.array_equal(mine, published):
        raise ValueError(f"{one.day}: the published ten are not those of rules.py")


def _figures(one: Day, lists: Mapping[str, Top]) -> dict[str, Any]:
    bought, households = one.truth
    happened = np.isin(Receipts.pairs(one.scores["household_id"], one.scores["product_id"]), bought)
    return {
        "households": len(households),
        "products_sold_so_far": len(np.unique(one.known.product)),
        "candidates": len(happened),
        "candidates_masked": len(happened) - len(one.pool.household),
        "share_of_purchases_among_candidates": round(float(happened.sum() / len(bought)), 4),
        "share_of_purchases_masked": round(float(np.isin(bought & 0xFFFFFFFF, one.masked).mean()), 4),
        "mean_score": round(float(one.scores["score"].mean()), 5),
        "share_of_candidates_bought": round(float(happened.mean()), 5),
        "lists": {name: _rounded(measure(top, bought, households)) for name, top in lists.items()},
    }


def _costs(one: Day, top: Top) -> dict[str, float]:
    """How good a list is, and the share of households that find something in it that they never bought."""
    own = np.unique(Receipts.pairs(one.known.household, one.known.product))
    never = ~np.isin(Receipts.pairs(top.household, top.product), own)
    new = len(np.unique(top.household[never])) / len(np.unique(top.household))
    return _rounded({**measure(top, *one.truth), "households_with_new": new})


def _lead(one: Day, top: Top, other: Top) -> dict[str, Any]:
    better = zip(by_household(top, *one.truth), by_household(other, *one.truth), strict=True)
    recall, ndcg = (a - b for a, b in better)
    return {"household": one.truth[1], "recall": recall, "ndcg": ndcg}


def _clustered(days: Sequence[Mapping[str, npt.NDArray[Any]]]) -> dict[str, float]:
    """Mean differences, and their standard errors with all days of a household as one observation."""
    household = np.concatenate([day["household"] for day in days])
    found = {}
    for kind in ("recall", "ndcg"):
        values = np.concatenate([day[kind] for day in days])
        sums = np.bincount(household, values - values.mean())
        found |= {kind: values.mean(), f"{kind}_error": np.sqrt((sums**2).sum()) / len(values)}
    return _rounded({name: float(value) for name, value in found.items()})


def _mean(figures: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return _rounded({key: float(np.mean([one[key] for one in figures])) for key in figures[0]})


def _rounded(figures: Mapping[str, float]) -> dict[str, float]:
    return {key: round(value, 4) for key, value in figures.items()}
