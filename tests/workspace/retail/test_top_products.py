"""The ten products of each household: the rules hold for any scores."""

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightscore import load, query, run
from tests.workspace.retail.world import DAY, JOB, SLICE, SPEC, Sql, sql_of

TOP = sql_of("top_products.sql")
RUNGS = ("personal", "segment", "store")
SINGLE, UNKNOWN = 552, 1550  # one purchase in all; no demographics
Scores = dict[tuple[int, int], float | None]

SQL = Sql.over(SLICE)
LINES = SQL.table("SELECT household_id, product_id, day, week FROM transactions").to_pandas()
PRODUCTS = SQL.table(
    "SELECT product_id, coalesce(product_category, department) AS category FROM products"
).to_pandas()
CATEGORY: dict[int, str] = dict(zip(PRODUCTS["product_id"], PRODUCTS["category"], strict=True))
HOUSEHOLDS: list[int] = sorted(int(h) for h in LINES["household_id"].unique())
BOUGHT = {h: set(LINES[LINES["household_id"] == h]["product_id"]) for h in HOUSEHOLDS}


def decide(scores: Scores, slots: int, sql: Sql = SQL) -> pd.DataFrame:
    keys = list(scores)
    sql.put(
        "scores",
        pa.table(
            {
                "household_id": pa.array([h for h, _ in keys], pa.int32()),
                "product_id": pa.array([p for _, p in keys], pa.int32()),
                "score": pa.array([scores[key] for key in keys], pa.float32()),
            }
        ),
    )
    sql.connection.execute(f"SET VARIABLE discovery_slots = {slots}")
    table = sql.table(TOP)
    sql.put(JOB, table)
    return table.sort_by([("household_id", "ascending"), ("rank", "ascending")]).to_pandas()


def audits(sql: Sql = SQL) -> dict[str, bool]:
    return {a["name"]: sql.table(a["sql"]).column(0)[0].as_py() for a in SPEC["audit"]}


def ladder(scores: Scores, household: int) -> list[tuple[int, float, int]]:
    """All products of the catalogue for a household, best first: (rung, strength downwards, product)."""
    segment = SEGMENT.get(household)
    rows = []
    for product in CATEGORY:
        score = scores.get((household, product))
        if score is not None and not math.isnan(score):
            rows.append((0, -float(pa.scalar(score, pa.float32()).as_py()), product))
        elif segment is not None and SEGMENT_BUYERS.get((segment, product)):
            rows.append((1, -float(SEGMENT_BUYERS[segment, product]), product))
        else:
            rows.append((2, -float(BUYERS.get(product, 0)), product))
    return sorted(rows)


def expected(scores: Scores, household: int, slots: int) -> list[tuple[str, int]]:
    """The rules as one would tell them: discoveries first, then the best, at most three of a category."""
    order = ladder(scores, household)
    counted: dict[str, int] = {}
    chosen: list[tuple[int, float, int]] = []

    def take(rows: list[tuple[int, float, int]], places: int) -> None:
        for row in rows:
            category = CATEGORY[row[2]]
            if len(chosen) < places and row not in chosen and counted.get(category, 0) < 3:
                chosen.append(row)
                counted[category] = counted.get(category, 0) + 1

    take([row for row in order if row[2] not in BOUGHT[household]], slots)
    take(order, 10)
    return [(RUNGS[rung], product) for rung, _, product in sorted(chosen)]


def _buyers(lines: pd.DataFrame, by: list[str]) -> dict[Any, int]:
    return dict(lines.groupby(by)["household_id"].nunique())


DEMOGRAPHICS = SQL.table("SELECT household_id, age, household_comp FROM demographics").to_pandas()
SEGMENT = {r.household_id: (r.age, r.household_comp) for r in DEMOGRAPHICS.itertuples()}
KNOWN = LINES[LINES["product_id"].isin(CATEGORY)]
BUYERS = _buyers(KNOWN, ["product_id"])
BUYERS = {key[0] if isinstance(key, tuple) else key: n for key, n in BUYERS.items()}
SEGMENT_BUYERS = _buyers(
    KNOWN.assign(segment=KNOWN["household_id"].map(SEGMENT)).dropna(), ["segment", "product_id"]
)

# Few values, so that ties are common; some are no score at all.
values = st.one_of(st.sampled_from([0.0, 0.25, 0.5, 1.0, None, math.nan]), st.floats(0, 1, width=32))
random_scores = st.dictionaries(
    st.tuples(st.sampled_from(HOUSEHOLDS), st.sampled_from(sorted(CATEGORY))), values, max_size=400
)


@settings(max_examples=60)
@given(random_scores, st.integers(0, 10))
def test_the_rules_hold_for_any_scores(scores: Scores, slots: int) -> None:
    """Ten distinct, three a category, discoveries as asked, rungs in order: as a plain recount chooses."""
    found = decide(scores, slots)
    assert sorted(found["household_id"].unique()) == HOUSEHOLDS
    for household, ten in found.groupby("household_id"):
        assert list(ten["rank"]) == list(range(1, 11))
        assert ten["product_id"].nunique() == 10
        assert ten["product_category"].value_counts().max() <= 3
        never = ~ten["product_id"].isin(BOUGHT[household])
        assert never.sum() >= slots
        assert (never == ten["is_discovery"]).all()
        assert list(zip(ten["rung"], ten["product_id"], strict=True)) == expected(scores, household, slots)
    passed = audits()
    assert passed.pop("scores are probabilities") == all(
        s is not None and 0 <= s <= 1 for s in scores.values()
    )
    passed.pop("at least nine in ten places are filled by the model")
    assert all(passed.values())


@settings(max_examples=10)
@given(random_scores, st.integers(0, 10), st.randoms())
def test_the_order_of_the_scores_changes_nothing(scores: Scores, slots: int, random: Any) -> None:
    """Ties are settled by ids, not by which row came first."""
    shuffled = list(scores.items())
    random.shuffle(shuffled)
    pd.testing.assert_frame_equal(decide(scores, slots), decide(dict(shuffled), slots))


def test_a_household_without_scores_takes_its_segment_s_products_and_then_the_store_s() -> None:
    """661 and 2376 are one segment: each is offered what the other bought, then the best-sellers."""
    found = decide({}, 5)
    mine = found[found["household_id"] == 661]
    assert set(mine["rung"]) == {"segment"}
    assert mine["score"].isna().all()
    assert set(mine["product_id"]) <= BOUGHT[661] | BOUGHT[2376]
    assert set(found[found["household_id"] == UNKNOWN]["rung"]) == {"store"}


def test_a_new_household_with_one_purchase_gets_ten() -> None:
    """With a score for its one product, the other nine come from the store."""
    (only,) = BOUGHT[SINGLE]
    ten = decide({(SINGLE, only): 0.9}, 1)
    ten = ten[ten["household_id"] == SINGLE]
    assert list(ten["rung"]) == ["personal"] + ["store"] * 9
    assert ten["product_id"].iloc[0] == only


def test_a_product_is_offered_on_its_highest_rung_only() -> None:
    """A scored product keeps its score, however well it sells."""
    best = max(BUYERS, key=lambda p: (BUYERS[p], -p))
    found = decide({(h, best): 0.1 for h in HOUSEHOLDS}, 0)
    once = found[found["product_id"] == best]
    assert len(once) == len(HOUSEHOLDS)
    assert set(once["rung"]) == {"personal"}


def test_a_catalogue_that_cannot_fill_ten_places_fails_the_audit() -> None:
    """As many as the rules allow are chosen, and the audit keeps the day from being published."""
    sql = Sql.over(SLICE)
    kept = sorted(CATEGORY)[:9]
    sql.connection.execute(f"DELETE FROM products WHERE product_id NOT IN {tuple(kept)}")
    found = decide({}, 1, sql)
    categories = pd.Series([CATEGORY[p] for p in kept]).value_counts()
    possible = min(10, int(categories.clip(upper=3).sum()))
    assert possible < 10
    assert (found.groupby("household_id").size() == possible).all()
    assert not audits(sql)["every household gets ten distinct products, ranked 1 to 10"]


def test_audits_find_what_they_are_there_for() -> None:
    """Each rule, broken by hand in the table, fails the audit with its name, and no other."""
    every = "every household gets ten distinct products, ranked 1 to 10"
    discoveries = "discovery slots hold products that the household has never bought"
    wrong = {
        every: f"DELETE FROM {JOB} WHERE household_id = 20",
        "at most three products of one category": f"UPDATE {JOB} SET product_category = 'X' WHERE rank <= 4",
        discoveries: f"DELETE FROM {JOB} WHERE is_discovery AND household_id = 661",
        "scores are probabilities": "UPDATE scores SET score = 1.5",
        "at least nine in ten places are filled by the model": f"UPDATE {JOB} SET rung = 'store'",
    }
    assert set(wrong) == {a["name"] for a in SPEC["audit"]}
    full: Scores = {(h, p): (p % 97) / 97 for h in HOUSEHOLDS for p in CATEGORY}
    for name, statement in wrong.items():
        decide(full, 3)
        assert all(audits().values())
        SQL.connection.execute(statement)
        failed = {n for n, passed in audits().items() if not passed}
        assert name in failed
        assert failed <= {name, every}  # a row that is gone is missing twice


@pytest.mark.parametrize("slots", [0, 1, 10])
def test_a_night_on_the_slice_publishes_ten_for_everybody(small: Path, slots: int) -> None:
    """Through the framework with the real model: published, audits passed, one row per place."""
    receipt = run(load(JOB, workspace=small), DAY, params={"discovery_slots": slots})
    assert receipt.status == "published"
    assert all(audit.passed for audit in receipt.audits)
    found = query(f"SELECT household_id, count(*) AS n FROM {JOB} GROUP BY 1 ORDER BY 1", small).to_pydict()
    assert found == {"household_id": HOUSEHOLDS, "n": [10] * len(HOUSEHOLDS)}
