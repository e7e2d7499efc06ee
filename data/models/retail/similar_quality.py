"""What the lists of similar_products are worth: had later buyers of a new product bought what it is like?

    make text                                              # once: the model of texts
    nightscore run product_embeddings --day 2017-11-01     # any day: embeddings are the same on all
    python data/models/retail/similar_quality.py 2017-11-01

On each held-out day, as the job has it: a product is new that was first sold in the 28 days before, or never;
established are those of ten households or more, of one description the one that most have bought. Of each new
product that somebody bought in the 28 days after, whether its buyers had bought what it was said to be like.
The baseline needs no model: the established products of the same product_type that most households bought,
and where there are fewer than ten, those of the same product_category. Chance is the list of another product.

Written beside this script: similar_metrics.json and similar_card.md.
"""

import datetime as dt
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from evaluate import HELD_OUT_DAYS
from lists import Ints, Receipts, read_receipts

from nightscore import query

HERE = Path(__file__).resolve().parent
WORKSPACE = HERE.parents[2]
NEW_DAYS = LATER_DAYS = 28
HOUSEHOLDS, LISTED, BLOCK = 10, 10, 500
TEXT, TYPE, CHANCE = "similar_products", "same product_type, most bought", "of another new product, drawn"


@dataclass(frozen=True)
class Catalogue:
    """Products [p], sorted: what each is, as text, as a unit vector [p, 384], by type and category."""

    product: Ints
    description: npt.NDArray[Any]
    embedding: npt.NDArray[np.float32]
    kind: Ints
    category: Ints


def read_catalogue(day: dt.date) -> Catalogue:
    """Out of what product_embeddings published on a day."""
    asked = (
        "SELECT product_id, description, embedding FROM product_embeddings WHERE day = $1 ORDER BY product_id"
    )
    found = query(asked, WORKSPACE, values=[day])
    products = pq.read_table(WORKSPACE / "data/lake/retail/products.parquet").sort_by("product_id")
    if not found["product_id"].equals(products["product_id"].cast(found["product_id"].type)):
        raise ValueError("product_embeddings has not the products of the lake")
    kinds, categories = (
        np.unique([text or "" for text in products[name].to_pylist()], return_inverse=True)[1].astype(
            np.int64
        )
        for name in ("product_type", "product_category")
    )
    flat = found["embedding"].combine_chunks().flatten().to_numpy()
    return Catalogue(
        found["product_id"].to_numpy().astype(np.int64),
        np.array(found["description"].to_pylist()),
        flat.reshape(found.num_rows, -1).astype(np.float32),
        kinds,
        categories,
    )


def evaluate(catalogue: Catalogue, receipts: Receipts, day: dt.date) -> dict[str, Any]:
    """The figures of one day, by list."""
    known = receipts.until(day)
    own = np.unique(Receipts.pairs(known.household, known.product))
    product, buyers = np.unique(own & 0xFFFFFFFF, return_counts=True)
    bought_by = np.zeros(len(catalogue.product), np.int64)
    inside = np.isin(product, catalogue.product)
    bought_by[np.searchsorted(catalogue.product, product[inside])] = buyers[inside]
    later = receipts.bought_after(day, LATER_DAYS)
    later = later[~np.isin(later, own)]  # first purchases
    new = _new(catalogue, known, day, later)
    established = _established(catalogue, bought_by)
    ten = _by_text(catalogue, new, established)
    drawn = np.random.default_rng(7).permutation(len(new))
    lists = {TEXT: ten, TYPE: _by_type(catalogue, new, established, bought_by), CHANCE: ten[drawn]}
    later = later[np.isin(later & 0xFFFFFFFF, catalogue.product[new])]
    rows = np.searchsorted(catalogue.product[new], later & 0xFFFFFFFF)
    share = bought_by / len(np.unique(known.household))
    figures = {}
    for name, products in lists.items():
        listed = products[rows]
        pairs = (later >> 32)[:, None] << 32 | catalogue.product[listed]
        had = np.isin(pairs, own) & (listed >= 0)
        figures[name] = _figures(had, np.where(listed >= 0, share[listed], 0.0))
    return {"new_products": len(new), "first_purchases": len(later), "lists": figures}


def _new(catalogue: Catalogue, known: Receipts, day: dt.date, later: Ints) -> Ints:
    """Rows of the products that were first sold of late, or never, and that somebody bought afterwards."""
    old = np.unique(known.until(day - dt.timedelta(days=NEW_DAYS)).product)
    wanted = np.isin(catalogue.product, np.unique(later & 0xFFFFFFFF))
    return np.flatnonzero(wanted & ~np.isin(catalogue.product, old))


def _established(catalogue: Catalogue, bought_by: Ints) -> Ints:
    """Rows of the established products, one a description."""
    order = np.lexsort((catalogue.product, -bought_by))
    first = np.sort(order[np.unique(catalogue.description[order], return_index=True)[1]])
    return first[bought_by[first] >= HOUSEHOLDS]


def _by_text(catalogue: Catalogue, new: Ints, established: Ints) -> Ints:
    """The ten by cosine, as the job has them, without the product itself."""
    found = []
    theirs = catalogue.embedding[established]
    for start in range(0, len(new), BLOCK):
        rows = new[start : start + BLOCK]
        cosine = catalogue.embedding[rows] @ theirs.T
        cosine[rows[:, None] == established[None, :]] = -np.inf
        found.append(established[np.argsort(-cosine, axis=1, kind="stable")[:, :LISTED]])
    return np.concatenate(found)


def _by_type(catalogue: Catalogue, new: Ints, established: Ints, bought_by: Ints) -> Ints:
    """The ten most bought of the product's type, then those of its category; -1 where there are no more."""
    order = established[np.lexsort((established, -bought_by[established]))]
    ten = np.full((len(new), LISTED), -1)
    for row, product in enumerate(new):
        kin = (catalogue.category[order] == catalogue.category[product]) & (order != product)
        kin |= (catalogue.kind[order] == catalogue.kind[product]) & (order != product)
        some = order[kin]
        some = some[np.argsort(catalogue.kind[some] != catalogue.kind[product], kind="stable")][:LISTED]
        ten[row, : len(some)] = some
    return ten


def _figures(had: npt.NDArray[np.bool_], share: npt.NDArray[np.float64]) -> dict[str, float]:
    """Of first purchases [n, 10 listed]: had the buyer bought it, and which share of all households had?"""
    return {
        name: round(float(value), 4)
        for name, value in {
            "first": had[:, 0].mean(),
            "first_of_all": share[:, 0].mean(),
            "any_of_ten": had.any(axis=1).mean(),
            "each_of_ten": had.mean(),
            "each_of_ten_of_all": share.mean(),
        }.items()
    }


CARD = """# Similar products

What the lists of the job `similar_products` are worth. Written by `similar_quality.py`; the figures are those
of `similar_metrics.json`.

Means over {held_out} days from {first} to {last}. Of {new} products a day that were first sold in the
{new_days} days before it, or never, and that somebody bought for the first time in the {later_days} days
after ({purchases} such purchases a day): had the buyer bought what the product is said to be like?

| ten established products | the first | of all households | times | one of ten | each, times |
|---|---|---|---|---|---|
{table}

- {verdict}
- *most bought* needs no model: the established products (ten households or more, one a description) of
  the same product_type, in the order of the households that bought them; those of the category where
  there are not ten.
- *drawn* gives each new product the list of another one: buyers of new products are busy shoppers, who have
  bought more of everything. The job's audit has to tell a list from that: it asks that what new products are
  like was bought {least} times as often by their buyers so far as by all households.
- A purchase of a like product is weak evidence of likeness, and the only one here: nobody has labelled pairs.
- **For** a merchandiser who places a new product. It names nothing to a customer: `eligibility` masks none.
"""
VERDICT = (
    "**By its first place the list is {first_is} than the baseline** ({first:.1%} against {first_of_type:.1%}"
    "\n  of the buyers had bought it), by one of ten {ten_is} ({ten:.1%} against {ten_of_type:.1%})."
    "\n  Beside all households its first is bought {times:.1f} times as often, the other's"
    " {times_of_type:.1f}."
)
LEAST = 2  # as the audit of the job has it


def card(metrics: dict[str, Any]) -> str:
    """The card in Markdown."""
    mean, days = metrics["mean"], list(metrics["days"].values())
    text, kind = mean[TEXT], mean[TYPE]
    verdict = VERDICT.format(
        first_is=_compared(text["first"], kind["first"]),
        ten_is=_compared(text["any_of_ten"], kind["any_of_ten"]),
        first=text["first"],
        first_of_type=kind["first"],
        ten=text["any_of_ten"],
        ten_of_type=kind["any_of_ten"],
        times=text["first"] / text["first_of_all"],
        times_of_type=kind["first"] / kind["first_of_all"],
    )
    return CARD.format(
        held_out=len(days),
        first=min(metrics["days"]),
        last=max(metrics["days"]),
        new_days=NEW_DAYS,
        later_days=LATER_DAYS,
        new=_span([day["new_products"] for day in days]),
        purchases=_span([day["first_purchases"] for day in days]),
        table="\n".join(_row(name, figures) for name, figures in mean.items()),
        verdict=verdict,
        least=LEAST,
    )


def _compared(ours: float, theirs: float) -> str:
    """Two shares in a word; a point of difference is none."""
    return "no better" if abs(ours - theirs) < 0.01 else "better" if ours > theirs else "worse"


def _row(name: str, figures: dict[str, float]) -> str:
    first, of_all = figures["first"], figures["first_of_all"]
    each = figures["each_of_ten"] / figures["each_of_ten_of_all"]
    one = f"{first:.1%} | {of_all:.1%} | {first / of_all:.1f}"
    return f"| {name} | {one} | {figures['any_of_ten']:.1%} | {each:.1f} |"


def _span(values: list[int]) -> str:
    return f"{min(values):,} to {max(values):,}"


def main(day: str) -> int:
    """Measure and write; returns the exit code."""
    catalogue, receipts = read_catalogue(dt.date.fromisoformat(day)), read_receipts(WORKSPACE)
    days = {}
    for one in HELD_OUT_DAYS[:-1]:  # 28 days after the last one the year is over
        days[str(one)] = evaluate(catalogue, receipts, one)
        print(one, days[str(one)], flush=True)
    first = next(iter(days.values()))["lists"]
    mean = {
        name: {k: round(float(np.mean([d["lists"][name][k] for d in days.values()])), 4) for k in figures}
        for name, figures in first.items()
    }
    metrics = {"mean": mean, "days": days}
    (HERE / "similar_metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
    (HERE / "similar_card.md").write_text(card(metrics))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
