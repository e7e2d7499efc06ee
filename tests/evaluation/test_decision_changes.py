"""A decision change is one thing, for a bake-off and for the judge."""

from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightscore.common.errors import Broken
from nightscore.evaluation.decision_changes import DecisionChanges, compare_decisions, measure_total_move
from nightscore.job.fields import DecisionColumns
from nightscore.job.parts.accuracy_budget import AccuracyBudget
from nightscore.job.parts.judge import Judge
from nightscore.store.sql.engine import EngineResources
from tests.support.workspace import make_workspace

KEY = ["id"]


def changed(
    folder: Path, before: pa.Table, after: pa.Table, asked: DecisionColumns | None = None, **more: object
) -> list[DecisionChanges]:
    room = EngineResources(1, 256 << 20, folder)
    asked = asked or DecisionColumns()
    return compare_decisions("top", pair(folder, before, after), KEY, asked, room, **more)  # type: ignore[arg-type]


def pair(folder: Path, before: pa.Table, after: pa.Table) -> tuple[Path, Path]:
    files = folder / "before.parquet", folder / "after.parquet"
    for file, table in zip(files, (before, after), strict=True):
        pq.write_table(table, file)
    return files


def counts(found: list[DecisionChanges]) -> tuple[int, int]:
    [one] = found
    return one.changed, one.rows


def test_scores_may_move_and_ranks_may_not(tmp_path: Path) -> None:
    """Of two products that change places both rows count, and of the set alone none."""
    before = pa.table({"id": [1, 1], "rank": [1, 2], "product": [7, 8], "score": [0.9, 0.8]})
    after = pa.table({"id": [1, 1], "rank": [1, 2], "product": [8, 7], "score": [0.7, 0.6]})
    assert counts(changed(tmp_path, before, after)) == (2, 2)
    only = DecisionColumns(decision_columns={"top": ["product"]})
    assert counts(changed(tmp_path, before, after, only)) == (0, 2)
    assert counts(changed(tmp_path, before, after, DecisionColumns(ignore=["rank"]))) == (0, 2)
    files = pair(tmp_path, before, after)
    assert measure_total_move(files, EngineResources(1, 256 << 20, tmp_path)) == pytest.approx(0.4 / 1.7)


def test_a_row_that_is_lost_and_one_that_is_new_are_one_change(tmp_path: Path) -> None:
    """The larger of both counts, so that a replaced row is not counted twice."""
    before, after = pa.table({"id": [1, 2, 3]}), pa.table({"id": [1, 2, 4]})
    assert counts(changed(tmp_path, before, after)) == (1, 3)


AMOUNT = pa.decimal128(9, 2)
COLUMNS = {
    "a float": (pa.float64(), 1.0, 2.0, 0),
    "a list of floats": (pa.list_(pa.float32()), [1.0], [2.0], 0),
    "money": (AMOUNT, Decimal("1.00"), Decimal("1.01"), 1),
    "a list of money": (pa.list_(AMOUNT), [Decimal("1.00")], [Decimal("1.01")], 1),
    "a whole number": (pa.int64(), 1, 2, 1),
    "a list of whole numbers": (pa.list_(pa.int32()), [1], [2], 1),
    "a text": (pa.string(), "a", "b", 1),
}


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize("asked", [AccuracyBudget(decision_flips=0), Judge()])
@pytest.mark.sample(4)
def test_floats_are_measurements_and_everything_else_is_decided(
    tmp_path: Path, name: str, asked: DecisionColumns
) -> None:
    """By the same rule for a bake-off's budget and for the judge; each can name a column, or ignore it."""
    kind, was, now, wanted = COLUMNS[name]
    before, after = (
        pa.table([pa.array([1, 2]), pa.array([was, value], kind)], ["id", "what"]) for value in (was, now)
    )
    assert counts(changed(tmp_path, before, after, asked)) == (wanted, 2)
    named = asked.model_copy(update={"decision_columns": {"top": ["what"]}})
    assert counts(changed(tmp_path, before, after, named)) == (1, 2)
    ignored = named.model_copy(update={"ignore": ["what"]})
    assert counts(changed(tmp_path, before, after, ignored)) == (0, 2)


ROW = st.tuples(st.integers(0, 4), st.integers(0, 2), st.sampled_from("xy"))


@settings(max_examples=15, deadline=None)
@given(st.lists(ROW, max_size=8), st.lists(ROW, max_size=8))
@pytest.mark.slow
def test_changes_are_those_that_a_person_would_count(
    tmp_path_factory: pytest.TempPathFactory,
    one: list[tuple[int, int, str]],
    other: list[tuple[int, int, str]],
) -> None:
    """With the key in the table and without: rows that one side has more often, by the larger number."""
    folder = tmp_path_factory.mktemp("rows")
    for unique in (False, True):
        sides = [list({row[0]: row for row in rows}.values()) if unique else rows for rows in (one, other)]
        tables = [
            pa.table(
                [pa.array(list(column), kind) for column, kind in zip(
                    zip(*rows, strict=True) if rows else ((), (), ()),
                    (pa.int64(), pa.int64(), pa.string()), strict=True,
                )], ["id", "rank", "region"],
            )
            for rows in sides
        ]  # fmt: skip
        lost, new = (_more(a, b) for a, b in (sides, sides[::-1]))
        assert counts(changed(folder, *tables)) == (max(lost, new), max(map(len, sides)))


def _more(one: list[tuple[int, int, str]], other: list[tuple[int, int, str]]) -> int:
    left = list(other)
    return sum(1 for row in one if row not in left or left.remove(row))  # type: ignore[func-returns-value]


def test_a_segment_of_the_scores_is_found_by_the_key(tmp_path: Path) -> None:
    """Also of a row that has gone; a table without the key has no such segment."""
    scores = tmp_path / "scores.parquet"
    pq.write_table(pa.table({"id": [1, 2, 3], "region": ["north", "south", None]}), scores)
    before, after = pa.table({"id": [1, 2, 3], "tier": "aab"}), pa.table({"id": [1, 2], "tier": ["a", "b"]})
    before = before.set_column(1, "tier", pa.array(["a", "a", "b"]))
    found = changed(tmp_path, before, after, segments=["region"], scores=[scores])
    assert {(one.value, one.changed, one.rows) for one in found if one.segment} == {
        ("north", 0, 1), ("south", 1, 1), ("null", 1, 1),
    }  # fmt: skip
    bare = [table.drop(["id"]) for table in (before, after)]
    assert [one.segment for one in changed(tmp_path, *bare, segments=["region"], scores=[scores])] == [""]


def test_columns_that_are_not_there_are_named(tmp_path: Path) -> None:
    """With those that are."""
    table = pa.table({"id": [1], "tier": ["a"]})
    with pytest.raises(Broken, match="decision_columns: top has no column 'teir'; its columns: id, tier"):
        changed(tmp_path, table, table, DecisionColumns(decision_columns={"top": ["teir"]}))


@pytest.mark.parametrize("part", ["budget: {max_abs: 1, {}}", "judge: {{}}"])
def test_both_parts_of_a_job_have_the_same_keys_and_neither_changes_its_hash(
    tmp_path: Path, part: str
) -> None:
    """`decision_columns` names decision tables alone."""
    from nightscore.job.loader import load

    root = make_workspace(tmp_path, rows=10)
    file, before = root / "jobs/mini/job.yaml", load("mini", root).hash
    text = file.read_text()
    keys = "decision_columns: {mini_top: [rank]}, ignore: [score]"
    file.write_text(text + part.replace("{}", keys) + "\n")
    assert load("mini", root).hash == before
    file.write_text(text + part.replace("{}", keys.replace("mini_top", "tops")) + "\n")
    with pytest.raises(
        Broken, match=r"decision_columns.tops: 'tops' is no decision table; allowed: mini_top"
    ):
        load("mini", root)
