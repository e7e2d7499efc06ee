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

TOP, FUNNEL = sql_of("top_products.sql"), sql_of("funnel.sql")
COUNTS = f"{JOB}_funnel"
RUNGS = ("personal", "segment", "store")
SINGLE, UNKNOWN = 552, 1550  # one purchase in all; no demographics
Scores = dict[tuple[int, int], float | None]

SQL = Sql.over(SLICE)
FLOOR = 0.25
FILLED = "at least nine in ten places are filled by the model"
LINES = SQL.table("SELECT household_id, product_id, day, week FROM transactions").to_pandas()
PRODUCTS = SQL.table(
    "SELECT product_id, product_type, coalesce(product_category, department) AS category FROM products"
).to_pandas()
EVERY: dict[int, str] = dict(zip(PRODUCTS["product_id"], PRODUCTS["category"], strict=True))
RULES = SQL.table('SELECT product_type, "from", until, reason FROM eligibility').to_pandas()
TYPE = dict(zip(PRODUCTS["product_id"], PRODUCTS["product_type"], strict=True))
REASON = {
    p: dict(zip(RULES["product_type"], RULES["reason"], strict=True)).get(kind) for p, kind in TYPE.items()
}
SOLD = set(LINES["product_id"])  # the slice is shorter than 28 days: what it sold at all is not delisted
CATEGORY = {p: c for p, c in EVERY.items() if REASON[p] is None and p in SOLD}  # what may be named
HOUSEHOLDS: list[int] = sorted(int(h) for h in LINES["household_id"].unique())
BOUGHT = {h: set(LINES[LINES["household_id"] == h]["product_id"]) for h in HOUSEHOLDS}


def decide(scores: Scores, slots: int, sql: Sql = SQL, floor: float = FLOOR, places: int = 3) -> pd.DataFrame:
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
    for name, value in (("discovery_slots", slots), ("discovery_floor", floor), ("category_places", places)):
        sql.connection.execute(f"SET VARIABLE {name} = {value}")
    table = sql.table(TOP)
    sql.put(JOB, table)
    sql.put(COUNTS, sql.table(FUNNEL))
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


Rows = list[tuple[int, float, int]]


def take(rows: Rows, chosen: Rows, upto: int, places: int) -> Rows:
    """What was chosen, and the first of the rows that a category still has a place for, up to so many."""
    taken = list(chosen)
    for row in rows:
        full = sum(CATEGORY[other[2]] == CATEGORY[row[2]] for other in taken) == places
        if len(taken) < upto and row not in taken and not full:
            taken.append(row)
    return taken


def is_worth_it(row: tuple[int, float, int], tenth: tuple[int, float, int], floor: float) -> bool:
    """A discovery on the tenth's rung or above; of two that the model scored, not too far below it."""
    both = row[0] == tenth[0] == 0
    return floor == 0 or (row[0] <= tenth[0] and (not both or -row[1] >= floor * -tenth[1]))


def expected(scores: Scores, household: int, slots: int, floor: float, places: int) -> list[tuple[str, int]]:
    """The rules as one would tell them: discoveries that are worth it, then the best of what may be named."""
    order = ladder(scores, household)
    tenth = max(take(order, [], 10, places))
    new = take([row for row in order if row[2] not in BOUGHT[household]], [], slots, places)
    chosen = take(order, [row for row in new if is_worth_it(row, tenth, floor)], 10, places)
    return [(RUNGS[rung], product) for rung, _, product in sorted(chosen)]


def _buyers(lines: pd.DataFrame, by: list[str]) -> dict[Any, int]:
    return dict(lines.groupby(by)["household_id"].nunique())


DEMOGRAPHICS = SQL.table("SELECT household_id, age, household_comp FROM demographics").to_pandas()
SEGMENT = {r.household_id: (r.age, r.household_comp) for r in DEMOGRAPHICS.itertuples()}
KNOWN = LINES[LINES["product_id"].isin(EVERY)]
BUYERS = _buyers(KNOWN, ["product_id"])
BUYERS = {key[0] if isinstance(key, tuple) else key: n for key, n in BUYERS.items()}
SEGMENT_BUYERS = _buyers(
    KNOWN.assign(segment=KNOWN["household_id"].map(SEGMENT)).dropna(), ["segment", "product_id"]
)

# Few values, so that ties are common; some are no score at all.
values = st.one_of(st.sampled_from([0.0, 0.25, 0.5, 1.0, None, math.nan]), st.floats(0, 1, width=32))
random_scores = st.dictionaries(
    st.tuples(st.sampled_from(HOUSEHOLDS), st.sampled_from(sorted(EVERY))), values, max_size=400
)


@settings(max_examples=40)
@given(random_scores, st.integers(0, 6), st.sampled_from([0.0, FLOOR, 1.0]), st.integers(2, 4))
@pytest.mark.slow
def test_the_rules_hold_for_any_scores(scores: Scores, slots: int, floor: float, places: int) -> None:
    """Ten distinct that may be named, so many a category, rungs in order: as a plain recount chooses."""
    found = decide(scores, slots, floor=floor, places=places)
    assert sorted(found["household_id"].unique()) == HOUSEHOLDS
    for household, ten in found.groupby("household_id"):
        assert list(ten["rank"]) == list(range(1, 11))
        assert ten["product_id"].nunique() == 10
        assert set(ten["product_id"]) <= set(CATEGORY)
        assert ten["product_category"].value_counts().max() <= places
        never = ~ten["product_id"].isin(BOUGHT[household])
        assert floor > 0 or never.sum() >= slots
        assert (never == ten["is_discovery"]).all()
        plain = expected(scores, household, slots, floor, places)
        assert list(zip(ten["rung"], ten["product_id"], strict=True)) == plain
    passed = audits()
    assert passed.pop("scores are probabilities") == all(
        s is not None and 0 <= s <= 1 for s in scores.values()
    )
    passed.pop(FILLED)
    if any(s is None or math.isnan(s) for s in scores.values()):  # neither ranked nor masked
        passed.pop("the funnel adds up, from the scored candidates to the published places")
    assert all(passed.values())


@settings(max_examples=10)
@given(random_scores, st.integers(0, 10), st.randoms())
@pytest.mark.slow
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
    best = max(BUYERS.keys() & CATEGORY.keys(), key=lambda p: (BUYERS[p], -p))
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
    adds_up = "the funnel adds up, from the scored candidates to the published places"
    gasoline = next(p for p in EVERY if REASON[p] == "no shelf")
    wrong = {
        every: f"DELETE FROM {JOB} WHERE household_id = 20",
        "no product is published that is masked on the day": (
            f"UPDATE {JOB} SET product_id = {gasoline} WHERE rank = 10 AND household_id = 661"
        ),
        adds_up: f"UPDATE {COUNTS} SET products = products - 1 WHERE reason = 'no shelf'",
        "there are rules of eligibility today, and each names a product type of the catalogue": (
            "INSERT INTO eligibility VALUES ('NO SUCH TYPE', DATE '2017-01-01', NULL, 'house rule')"
        ),
        "no category has more places than it may": f"UPDATE {JOB} SET product_category = 'X' WHERE rank <= 4",
        "discovery slots hold products that the household has never bought, where they are worth it": (
            f"UPDATE {JOB} SET is_discovery = NOT is_discovery WHERE rank = 1 AND household_id = 661"
        ),
        "scores are probabilities": "UPDATE scores SET score = 1.5",
        FILLED: f"UPDATE {JOB} SET rung = 'store'",
    }
    assert set(wrong) == {a["name"] for a in SPEC["audit"]}
    full: Scores = {(h, p): (p % 97) / 97 for h in HOUSEHOLDS for p in EVERY}
    for name, statement in wrong.items():
        sql = Sql.over(SLICE)
        decide(full, 3, sql)
        assert all(audits(sql).values())
        sql.connection.execute(statement)
        failed = {n for n, passed in audits(sql).items() if not passed}
        assert name in failed
        assert failed <= {name, every, adds_up}  # a row that is gone is missing twice, and is not counted


def test_the_funnel_is_a_recount_s() -> None:
    """Candidates, each reason, ranked, outranked and published, with households: by pandas."""
    rows = {(h, p): (h * p % 89) / 89 for h in HOUSEHOLDS for p in sorted(EVERY) if (h + p) % 3}
    ten = decide(rows, 1)
    pairs = pd.DataFrame(list(rows), columns=["household_id", "product_id"])
    pairs["reason"] = [REASON[p] or (None if p in SOLD else "not sold of late") for p in pairs["product_id"]]
    masked, ranked = pairs[pairs["reason"].notna()], pairs[pairs["reason"].isna()]
    chosen = ranked.merge(ten[["household_id", "product_id"]], how="left", indicator=True)
    steps = {
        ("candidates", None): pairs,
        **{("masked", reason): group for reason, group in masked.groupby("reason")},
        ("ranked", None): ranked,
        ("outranked", None): chosen[chosen["_merge"] == "left_only"],
        **{("published", rung): group for rung, group in ten.groupby("rung")},
    }
    assert {reason for step, reason in steps if step == "masked"} == {*RULES["reason"], "not sold of late"}
    found = SQL.table(f"SELECT step, reason, products, households FROM {COUNTS}").to_pylist()
    assert {(row["step"], row["reason"]): (row["products"], row["households"]) for row in found} == {
        step: (len(group), group["household_id"].nunique()) for step, group in steps.items()
    }


MASK = "there are rules of eligibility today, and each names a product type of the catalogue"


@pytest.mark.parametrize(
    ("statement", "passes"),
    [
        (
            "UPDATE eligibility SET product_type = lower(product_type) WHERE product_type = 'CIGARETTES'",
            False,
        ),
        ("UPDATE eligibility SET product_type = 'CIGARETTES ' WHERE product_type = 'CIGARETTES'", False),
        ("DELETE FROM eligibility", False),
        ("UPDATE eligibility SET until = DATE '2017-01-31'", False),
        ("INSERT INTO eligibility VALUES ('GONE', DATE '2017-01-01', DATE '2017-01-31', 'a trial')", True),
    ],
    ids=["small letters", "a blank", "no rule", "none today", "one that has ended"],
)
@pytest.mark.sample(2)
def test_a_rule_that_masks_nothing_holds_the_night(statement: str, passes: bool) -> None:
    """It only warned, and cigarettes were named. A rule that has ended may name anything."""
    assert "severity" not in next(one for one in SPEC["audit"] if one["name"] == MASK)
    sql = Sql.over(SLICE)
    sql.connection.execute(statement)
    decide({(661, p): 0.5 for p in EVERY}, 0, sql)
    assert audits(sql)[MASK] == passes


RULE_OF_THE_DAY = {
    "one that begins on the day": ("2017-11-01", None, False),
    "one that ends on the day": ("2017-01-01", "2017-11-01", False),
    "one that begins on the next day": ("2017-11-02", None, True),
    "one that ended on the day before": ("2017-01-01", "2017-10-31", True),
}


@pytest.mark.parametrize(("first", "until", "named"), RULE_OF_THE_DAY.values(), ids=RULE_OF_THE_DAY.keys())
def test_a_rule_holds_from_its_first_to_its_last_day(first: str, until: str | None, named: bool) -> None:
    """Both included; outside of them the product is named as any other."""
    sql = Sql.over(SLICE)
    gasoline = next(p for p in EVERY if REASON[p] == "no shelf" and p in SOLD)
    sql.connection.execute(f"DELETE FROM eligibility WHERE product_type = '{TYPE[gasoline]}'")
    sql.connection.execute(
        "INSERT INTO eligibility VALUES ($1, $2, $3, 'a trial')", [TYPE[gasoline], first, until]
    )
    found = decide({(661, gasoline): 1.0}, 0, sql)
    assert ((found["household_id"] == 661) & (found["product_id"] == gasoline)).any() == named
    assert [name for name, passed in audits(sql).items() if not passed] == [FILLED]  # one score is given


@pytest.mark.parametrize(("days", "named"), [(3, False), (4, True), (0, True)])
def test_a_product_that_was_sold_nowhere_for_so_many_days_is_masked(days: int, named: bool) -> None:
    """The last days end with the scored one; 0 asks for none."""
    sql = Sql.over(SLICE, unsold_days=days)
    last = LINES.groupby("product_id")["day"].max()
    ago = (pd.Timestamp(DAY) - pd.to_datetime(last)).dt.days
    product = next(p for p in ago[ago == 3].index if p in CATEGORY)
    found = decide({(661, product): 1.0}, 0, sql)
    assert ((found["household_id"] == 661) & (found["product_id"] == product)).any() == named
    passed = audits(sql)
    assert passed["no product is published that is masked on the day"]
    assert passed["the funnel adds up, from the scored candidates to the published places"]


@pytest.mark.slow
@pytest.mark.parametrize("slots", [0, 1, 10])
def test_a_night_on_the_slice_publishes_ten_for_everybody(small: Path, slots: int) -> None:
    """Through the framework with the real model: published, audits passed, one row per place."""
    receipt = run(load(JOB, workspace=small), DAY, params={"discovery_slots": slots, "discovery_floor": 0})
    assert receipt.status == "published"
    assert all(audit.passed for audit in receipt.audits)
    found = query(f"SELECT household_id, count(*) AS n FROM {JOB} GROUP BY 1 ORDER BY 1", small).to_pydict()
    assert found == {"household_id": HOUSEHOLDS, "n": [10] * len(HOUSEHOLDS)}
