"""The macros for decisions under rules, each held to plain Python over rows in any order.

The rows are drawn by Hypothesis: ties, NaN, NULL, one row, none.
"""

import hashlib
import html
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightscore.job.macros import macros_called, read_macros
from nightscore.store.sql.checks import repeatable_select
from nightscore.store.sql.engine import Engine, EngineResources
from nightscore.store.sql.order import ordered_select

Row = dict[str, Any]
SCORES = st.sampled_from([None, math.nan, -1.5, 0.0, 0.25, 0.25000001, 3.0]) | st.floats(0, 1, width=32)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "owner": st.integers(0, 2), "kind": st.sampled_from(["a", "b"]), "score": SCORES,
            "cost": st.decimals(0, 9, places=3),
        }
    ),
    max_size=25,
).map(lambda rows: [{"key": i, **row} for i, row in enumerate(rows)])  # fmt: skip
SCHEMA = pa.schema(
    [("key", pa.int64()), ("owner", pa.int64()), ("kind", pa.string()), ("score", pa.float64()),
     ("cost", pa.decimal128(9, 3))]
)  # fmt: skip
DAY = date(2026, 3, 29)


@pytest.fixture(scope="module")
def connection() -> Iterable[duckdb.DuckDBPyConnection]:
    """DuckDB as it comes, with the macros."""
    with duckdb.connect() as opened:
        for statement in read_macros().values():
            opened.execute(statement)
        yield opened


def asked(connection: duckdb.DuckDBPyConnection, rows: list[Row], sql: str) -> dict[int, Any]:
    """Key -> what an expression gives, whether the rows come in this order or in the reverse."""
    answers = []
    for order in (rows, rows[::-1]):
        connection.register("rows", pa.Table.from_pylist(order, SCHEMA))
        answers.append(dict(connection.execute(sql).fetchall()))
    assert answers[0] == answers[1]
    return answers[0]


def best_first(rows: Iterable[Row]) -> list[Row]:
    """From the highest score down, ties by key; NaN and then NULL last."""

    def place(row: Row) -> tuple[int, float, int]:
        score = row["score"]
        if score is None or math.isnan(score):
            return (2 if score is None else 1, 0.0, row["key"])
        return (0, -score, row["key"])

    return sorted(rows, key=place)


def point(text: str) -> float:
    """The lowest 53 bits of the md5, by hashlib, as a share."""
    return (int.from_bytes(hashlib.md5(text.encode()).digest(), "little") % 2**53) / 2**53  # noqa: S324


@settings(deadline=None, max_examples=60)
@given(rows=ROWS, cap=st.integers(0, 4))
def test_ranks_and_caps(connection: duckdb.DuckDBPyConnection, rows: list[Row], cap: int) -> None:
    whole = {row["key"]: i for i, row in enumerate(best_first(rows), 1)}
    assert asked(connection, rows, "SELECT key, rank_all(score, key) FROM rows") == whole
    groups: dict[Any, list[Row]] = defaultdict(list)
    for row in best_first(rows):
        groups[row["owner"], row["kind"]].append(row)
    ranks = {row["key"]: i for group in groups.values() for i, row in enumerate(group, 1)}
    assert asked(connection, rows, "SELECT key, rank_within((owner, kind), score, key) FROM rows") == ranks
    capped = f"SELECT key, within_cap((owner, kind), score, key, {cap}) FROM rows"
    assert asked(connection, rows, capped) == {key: rank <= cap for key, rank in ranks.items()}


@settings(deadline=None, max_examples=40)
@given(rows=ROWS)
def test_slots_go_to_the_first_turn_first(connection: duckdb.DuckDBPyConnection, rows: list[Row]) -> None:
    slots: dict[int, int] = {}
    for owner in {row["owner"] for row in rows}:
        own = best_first(row for row in rows if row["owner"] == owner)
        for slot, row in enumerate(sorted(own, key=lambda row: row["kind"] != "b"), 1):  # stable
            slots[row["key"]] = slot
    assert asked(connection, rows, "SELECT key, slot_in(owner, kind <> 'b', score, key) FROM rows") == slots


@settings(deadline=None, max_examples=60)
@given(rows=ROWS, budget=st.decimals(0, 40, places=2))
def test_a_budget_is_never_exceeded_and_used_from_the_top(
    connection: duckdb.DuckDBPyConnection, rows: list[Row], budget: Decimal
) -> None:
    """The chosen are the longest run from the top whose cost fits, to the last digit."""
    spent, chosen, running = Decimal(0), {}, {}
    for row in best_first(rows):
        spent += row["cost"]
        running[row["key"]], chosen[row["key"]] = spent, spent <= budget
    assert asked(connection, rows, "SELECT key, running_cost(cost, score, key) FROM rows") == running
    sql = f"SELECT key, within_budget(cost, score, key, {budget}) FROM rows"
    assert asked(connection, rows, sql) == chosen
    assert sum((row["cost"] for row in rows if chosen[row["key"]]), Decimal(0)) <= budget


@pytest.mark.parametrize(("cost", "said"), [("NULL", "NULL"), ("'NaN'::DOUBLE", "nan"), ("-0.01", "-0.01")])
def test_what_costs_nothing_known_is_not_free(
    connection: duckdb.DuckDBPyConnection, cost: str, said: str
) -> None:
    sql = f"SELECT within_budget({cost}, score, key, 10) FROM (VALUES (0.5, 7)) rows(score, key)"
    with pytest.raises(duckdb.Error, match=f"the cost of 7 is {said}; allowed: 0 or more"):
        connection.execute(sql).fetchall()


def test_a_cost_is_never_rounded_down(connection: duckdb.DuckDBPyConnection) -> None:
    """A million mails at less than half a millionth each are not free."""
    costs = "SELECT running_cost(0.0000004::DOUBLE, 0, key) AS cost FROM range(1000) t(key)"
    sql = f"SELECT max(cost) FROM ({costs})"
    assert connection.execute(sql).fetchall() == [(Decimal("0.001000"),)]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("in_hold_out(7, 's', 10)", "the share is 10; allowed: 0 to 1"),
        ("in_hold_out(7, 's', 'NaN'::DOUBLE)", "the share is nan"),
        ("in_hold_out(7.0::DOUBLE, 's', 0.1)", "a draw by 7.0, a DOUBLE; allowed: a whole number"),
        ("in_rotation(7, DATE '2026-03-29', 2.5)", "every is 2.5; allowed: a whole number of days"),
        ("in_rotation(7, DATE '2026-03-29', 0)", "every is 0"),
        ("within_budget(1, 0, 7, 'NaN'::DOUBLE)", "the budget is nan"),
        ("within_budget('inf'::DOUBLE, 0, 7, 1)", "the cost of 7 is inf"),
        ("queue_of(NULL, 7, 'x', 3, 1)", "queue_of: place NULL, key 7"),
        ("queue_of(1, 7, 'x', 3, 5)", "capacity 3, drawn 5; allowed: .* drawn from 0 to capacity"),
        ("queue_of(1, 7, NULL, 3, 1)", "seed NULL"),
        ("queue_of(1, 7, 'x', 3, -2)", "drawn -2"),
    ],
)
def test_what_can_not_be_meant_stops_the_run(
    connection: duckdb.DuckDBPyConnection, call: str, said: str
) -> None:
    with pytest.raises(duckdb.Error, match=said):
        connection.execute(f"SELECT {call} FROM range(1)").fetchall()


@settings(deadline=None, max_examples=60)
@given(
    rows=ROWS, capacity=st.integers(0, 8), drawn=st.integers(0, 4), seed=st.sampled_from(["x", "2026-03-29"])
)
def test_a_queue_has_its_capacity_and_a_random_share(
    connection: duckdb.DuckDBPyConnection, rows: list[Row], capacity: int, drawn: int, seed: str
) -> None:
    drawn = min(drawn, capacity)
    ranked = best_first(rows)
    top, rest = ranked[: capacity - drawn], ranked[capacity - drawn :]
    lots = sorted(
        rest,
        key=lambda row: int.from_bytes(hashlib.md5(f"queue|{seed}|{row['key']}".encode()).digest(), "little"),  # noqa: S324
    )
    why = {row["key"]: "score" for row in top} | {row["key"]: "chance" for row in lots[:drawn]}
    ranks = "WITH ranked AS (SELECT key, rank_all(score, key) AS place FROM rows)"
    found = asked(
        connection,
        rows,
        f"{ranks} SELECT key, queue_of(place, key, '{seed}', {capacity}, {drawn}) FROM ranked",
    )
    assert found == {row["key"]: why.get(row["key"]) for row in rows}
    assert sum(one is not None for one in found.values()) == min(capacity, len(rows))
    shares = asked(
        connection, rows, f"{ranks} SELECT key, queue_share(place, {capacity}, {drawn}) FROM ranked"
    )
    share = min(1.0, drawn / len(rest)) if rest else 1.0
    assert shares == {row["key"]: 1.0 if why.get(row["key"]) == "score" else share for row in rows}


@pytest.mark.parametrize(
    "call",
    ["rank_all(1, key)", "rank_within(2, 1, key)", "within_cap(2, 1, key, 1)", "slot_in(2, 1, 1, key)",
     "running_cost(1, 1, key)", "within_budget(1, 1, key, 5)", "queue_of(9, key, 'x', 2, 1)"],
)  # fmt: skip
def test_two_rows_of_one_key_are_no_order(connection: duckdb.DuckDBPyConnection, call: str) -> None:
    """Which of them comes first would be chance: the run stops instead."""
    with pytest.raises(
        duckdb.Error, match="two rows have the key 7 and one score, so that which comes first is chance"
    ):
        connection.execute(f"SELECT {call} FROM (VALUES (7), (7), (8)) rows(key)").fetchall()


def test_a_share_of_a_queue_is_how_often_a_row_is_drawn(connection: duckdb.DuckDBPyConnection) -> None:
    """Over many seeds each of the rest is drawn about as often as `queue_share` says."""
    rows = [{"key": i, "owner": 0, "kind": "a", "score": 100.0 - i, "cost": Decimal(0)} for i in range(20)]
    connection.register("rows", pa.Table.from_pylist(rows, SCHEMA))
    drawn: Counter[int] = Counter()
    for seed in range(600):
        drawn.update(
            key
            for key, why in connection.execute(
                "SELECT key, queue_of(place, key, $1, 10, 5) FROM "
                "(SELECT key, rank_all(score, key) AS place FROM rows)", [seed],
            ).fetchall()
            if why == "chance"
        )  # fmt: skip
    assert set(drawn) == set(range(5, 20))
    assert all(abs(times - 600 / 3) < 60 for times in drawn.values())  # five standard deviations


def test_chance_is_the_md5_of_a_text(connection: duckdb.DuckDBPyConnection) -> None:
    """Known to any other program; a season keeps whom it has, and another draws others."""
    keys = [str(i) for i in range(4_000)]
    found = {}
    for season in ("2026Q4", "2027Q1"):
        sql = "SELECT key, in_hold_out(key, $2, 0.1), hash_point(key) FROM unnest($1) t(key)"
        rows = connection.execute(sql, [keys, season]).fetchall()
        found[season] = {key for key, held, _ in rows if held}
        assert found[season] == {key for key in keys if point(f"hold out|{season}|{key}") < 0.1}
        assert [at for _, _, at in rows] == [point(key) for key in keys]
        assert 0.08 < len(found[season]) / len(keys) < 0.12
    both = found["2026Q4"] & found["2027Q1"]
    assert len(both) < 80  # 40 are expected of draws that know nothing of each other
    more = (
        "SELECT count(*) FROM unnest($1) t(key) "
        "WHERE in_hold_out(key, '2026Q4', 0.2) < in_hold_out(key, '2026Q4', 0.1)"
    )
    assert connection.execute(more, [keys]).fetchall() == [(0,)]  # a larger share keeps the smaller one


@pytest.mark.parametrize("every", [1, 2, 7, 14])
@pytest.mark.parametrize("kind", ["", "::INTEGER", "::BIGINT", "::DOUBLE"])
def test_each_has_its_turn_once_in_a_cycle(
    connection: duckdb.DuckDBPyConnection, every: int, kind: str
) -> None:
    """On the day that its md5 says, to the last digit, of whatever type the number is."""
    turns: Counter[int] = Counter()
    for day in (DAY + timedelta(days=offset) for offset in range(every)):
        sql = f"SELECT key FROM range(500) t(key) WHERE in_rotation(key, $1, {every}{kind})"
        found = {key for (key,) in connection.execute(sql, [day]).fetchall()}
        turn = (day - date(1, 1, 1)).days % every
        lots = {key: hashlib.md5(f"rotation|{key}".encode()).digest() for key in range(500)}  # noqa: S324
        assert found == {key for key, lot in lots.items() if int.from_bytes(lot, "little") % every == turn}
        turns.update(found)
    assert turns == dict.fromkeys(range(500), 1)


def test_a_text_stands_in_html_as_it_is(connection: duckdb.DuckDBPyConnection) -> None:
    text = """<script>alert("x & 'y'")</script> &amp;"""
    [(found,)] = connection.execute("SELECT html_text($1)", [text]).fetchall()
    assert html.unescape(found) == text and not set("<>\"'") & set(found)


def test_sends_of_the_last_days(connection: duckdb.DuckDBPyConnection) -> None:
    sent = [DAY - timedelta(days=days) for days in (0, 1, 6, 7, 8, 8, 30)] + [DAY + timedelta(days=1), None]
    counts = ", ".join(f"sends_within(sent, $2, {days})" for days in (7, 8, 0))
    sql = f"SELECT {counts} FROM unnest($1) t(sent)"
    assert connection.execute(sql, [sent, DAY]).fetchall() == [(3, 5, 0)]


def test_a_rule_holds_from_since_until(connection: duckdb.DuckDBPyConnection) -> None:
    rules = [
        (DAY, None),
        (DAY, DAY),
        (DAY + timedelta(days=1), None),
        (date(2020, 1, 1), DAY - timedelta(days=1)),
    ]
    found = [
        connection.execute("SELECT holds_on($1, $2, $3)", [*rule, DAY]).fetchall()[0][0] for rule in rules
    ]
    assert found == [True, True, False, False]


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ((False, False), None),
        ((True, True), "suppressed"),
        ((False, True), "held out"),
        ((True, False), "suppressed"),
        ((2, 0), "suppressed"),  # a count
        ((0, 3), "held out"),
    ],
)
def test_the_first_reason(
    connection: duckdb.DuckDBPyConnection, flags: tuple[int, int], reason: str | None
) -> None:
    sql = "SELECT first_reason(MAP {'suppressed': $1, 'held out': $2})"
    assert connection.execute(sql, list(flags)).fetchall() == [(reason,)]


def test_a_reason_that_is_not_known_is_no_no(connection: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(
        duckdb.Error, match=r"first_reason: .*held out=NULL.* has a NULL; allowed: true and false"
    ):
        connection.execute(
            "SELECT first_reason(MAP {'suppressed': false, 'held out': NULL::BOOLEAN})"
        ).fetchall()


def test_each_passes_the_checks_of_a_jobs_sql(tmp_path: Path) -> None:
    """It may be called by the SQL of a job, whose result does not depend on the order of rows."""
    calls = {
        "draw_text": "draw_text(key)", "hash_point": "hash_point(key)",
        "in_hold_out": "in_hold_out(key, '2026Q4', 0.1)",
        "in_rotation": "in_rotation(key, getvariable('day'), 14)",
        "holds_on": "holds_on(day, NULL, getvariable('day'))",
        "rank_all": "rank_all(score, key)", "rank_within": "rank_within(owner, score, key)",
        "within_cap": "within_cap(owner, score, key, 2)", "slot_in": "slot_in(owner, 1, score, key)",
        "running_cost": "running_cost(cost, score, key)",
        "within_budget": "within_budget(cost, score, key, 5)",
        "queue_of": "queue_of(key, key, getvariable('day'), 5, 1)", "queue_share": "queue_share(key, 5, 1)",
        "first_reason": "first_reason(MAP {'no score': score IS NULL})",
        "sends_within": "sends_within(day, getvariable('day'), 7)",
        "untied": "untied(1, 1, key)", "html_text": "html_text('a<b')",
        "score_place": "score_place(owner, score, key)", "score_tenth": "score_tenth(place)",
        "places_are_of": "places_are_of(key, place)", "auc": "auc(key, place)",
        "average_precision": "average_precision(key, place)", "chance_bin": "chance_bin(score)",
        "to_18_places": "to_18_places(score)", "label_01": "label_01(key)",
        "label_told": "label_told(key, day, day)", "unmeasured": "unmeasured(key)",
        "calibration_error": "calibration_error(score, key, 1)", "gap_in": "gap_in(score, key, 1, 1)",
    }  # fmt: skip
    pairs = (
        "labelled_score", "labelled_chance", "chance_of_truth", "brier_score", "log_loss", "error_of",
        "mean_error", "mean_absolute_error", "root_mean_squared_error",
    )  # fmt: skip
    calls |= {name: f"{name}(score, key)" for name in pairs}
    assert calls.keys() == read_macros().keys()
    place = "struct_pack(first := 1, last := 1, hits := 1, of := 1) AS place"
    rows = f"(SELECT 1 AS key, 1 AS owner, 0.5 AS score, 1 AS cost, getvariable('day') AS day, {place})"
    for name, call in calls.items():
        sql = ordered_select(repeatable_select(f"SELECT {call} AS found FROM {rows}", name), name)
        macros = macros_called(sql)
        assert name in macros
        with Engine([], EngineResources(1, 64_000_000, tmp_path), {"day": DAY}, macros.values()) as engine:
            assert len(engine.rows(sql)) == 1


def test_a_macro_brings_those_that_it_calls() -> None:
    called = ["untied", "rank_all", "running_cost", "within_budget"]
    assert list(macros_called("SELECT within_budget(a, b, c, 1), sum(a)")) == called
    assert macros_called("SELECT rank(a)") == {}


def test_the_page_names_each_as_it_is(connection: duckdb.DuckDBPyConnection) -> None:
    """The tables of docs/rules.md and docs/outcomes.md are all macros, and the SQL of the first runs."""
    docs = Path(__file__).parents[2] / "docs"
    page = (docs / "rules.md").read_text()
    both = page + (docs / "outcomes.md").read_text()
    named = dict(re.findall(r"^\| `(\w+)\((.*?)\)`", both, re.MULTILINE))
    said = {name: re.search(r"\((.*?)\) AS", text) for name, text in read_macros().items()}
    assert named == {name: found[1] for name, found in said.items() if found}
    slots, often, *_ = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)
    connection.execute(
        "CREATE OR REPLACE TABLE scores AS SELECT i // 20 AS household_id, i AS product_id, "
        "i % 4 AS category, i % 7 AS score, i % 2 = 0 AS is_new FROM range(60) t(i)"
    )
    rows = connection.execute(slots).fetchall()
    assert Counter(household for household, _, _ in rows) == {0: 10, 1: 10, 2: 10}
    assert sorted(slot for household, _, slot in rows if household == 0) == list(range(1, 11))
    connection.execute("SET VARIABLE day = DATE '2026-03-29'")
    connection.execute(
        "CREATE OR REPLACE TABLE mail_sends AS SELECT 1 AS household_id, DATE '2026-03-10' AS day"
    )
    assert connection.execute(f"{often} FROM often").fetchall() == [(1, 0, 1)]
