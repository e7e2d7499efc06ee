"""What differs between two tables, held to a recount by plain Python and exact fractions."""

import json
import math
from collections import Counter
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from nightscore.store.sql.engine import EngineResources
from nightscore.store.sql.table_diff import Counts, TableDiff, sum_changes
from nightscore.store.tables.column_stats import Tally

SCHEMA = pa.schema([
    ("it\"s", pa.int64()), ("b", pa.string()), ("x", pa.float64()), ("d", pa.decimal128(18, 2)),
    ("l", pa.list_(pa.int64())), ("run_id", pa.string()),
])  # fmt: skip
KEY = ('it"s', "b")
ROWS = 32

rows = st.tuples(
    st.integers(0, 6) | st.none(),
    st.sampled_from(["", "a", "'"]) | st.none(),
    st.floats() | st.none(),
    st.decimals(-1_000, 1_000, places=2) | st.none(),
    st.lists(st.integers(0, 2), max_size=2) | st.none(),
)
tables = st.lists(rows, min_size=1, max_size=12)


def unique(table: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The first row of each key that has no null."""
    found: dict[Any, tuple[Any, ...]] = {}
    for row in table:
        if None not in row[:2]:
            found.setdefault(row[:2], row)
    return list(found.values())


def same(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """A row by which equal rows are found: a NaN equals a NaN, and zeros have no sign."""
    x = row[2]
    x = "nan" if isinstance(x, float) and math.isnan(x) else x if x is None else x + 0.0
    return (*row[:2], x, row[3], None if row[4] is None else tuple(row[4]))


def write(path: Path, table: list[tuple[Any, ...]], run: str) -> Path:
    columns = [list(column) for column in zip(*table, strict=True)] if table else [[]] * 5
    arrays = [pa.array(c, f.type) for c, f in zip(columns, SCHEMA, strict=False)]
    pq.write_table(pa.table([*arrays, pa.array([run] * len(table), pa.string())], schema=SCHEMA), path)
    return path


def compare(before: list[Any], after: list[Any]) -> tuple[Counts, list[dict[str, Any]]]:
    """Counts, and the rows that differ."""
    with TemporaryDirectory() as folder:
        root = Path(folder)
        files = [[write(root / f"{n}.parquet", t, n)] for n, t in (("old", before), ("new", after))]
        with TableDiff(files[0], files[1], KEY, EngineResources(1, 300_000_000, root)) as found:
            told = [row for batch in found.rows(ROWS) for row in batch.to_pylist()]
            return found.counts(), told


@settings(max_examples=25, deadline=None)
@given(tables, tables)
def test_rows_with_a_key_are_matched_by_it(old: list[Any], new: list[Any]) -> None:
    """Changed, added and removed are those of a recount; a changed row names the columns that differ."""
    before, after = unique(old), unique(new)
    if not before or not after:
        return
    was, is_ = ({row[:2]: same(row) for row in table} for table in (before, after))
    changed = {k: v for k, v in was.items() if k in is_ and is_[k] != v}
    counts, told = compare(before, after)
    assert counts == (len(changed), len(is_.keys() - was.keys()), len(was.keys() - is_.keys()))
    assert Counter(row["change"] for row in told) == +Counter(counts._asdict())
    for row in told:
        key = json.loads(row["key"])
        at = (int(key['it"s']), key["b"])
        if row["change"] != "changed":
            assert (row["before"] is None, row["after"] is None) == (at not in was, at not in is_)
            continue
        names = {n for n, old_, new_ in zip(SCHEMA.names[:5], was[at], is_[at], strict=True) if old_ != new_}
        assert set(json.loads(row["before"])) == set(json.loads(row["after"])) == names
        if "d" in names:
            texts = [json.loads(row[side])["d"] for side in ("before", "after")]
            assert [None if t is None else Decimal(t) for t in texts] == [was[at][3], is_[at][3]]


@settings(max_examples=25, deadline=None)
@given(tables, tables)
def test_rows_without_a_key_are_a_multiset(old: list[Any], new: list[Any]) -> None:
    """What one side has more often is added or removed, as often as that; a null makes a key none."""
    before, after = [*old, (None, "a", 1.0, None, None)], [*new, (None, "a", 1.0, None, None)]
    was, is_ = Counter(map(same, before)), Counter(map(same, after))
    counts, told = compare(before, after)
    assert counts == (0, (is_ - was).total(), (was - is_).total())
    assert Counter(row["change"] for row in told) == +Counter(counts._asdict())
    assert all(row["key"] is None for row in told)


def test_a_side_without_a_file_is_a_table_without_rows() -> None:
    """A table that a job has gained is all added, one that it has lost all removed."""
    with TemporaryDirectory() as folder:
        root = Path(folder)
        file = write(root / "one.parquet", [(1, "a", 1.0, None, None), (2, "a", 1.0, None, None)], "one")
        for sides, counts in ((([], [file]), (0, 2, 0)), (([file], []), (0, 0, 2))):
            with TableDiff(*sides, KEY, EngineResources(1, 300_000_000, root)) as found:
                assert found.counts() == counts


numbers = st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), max_size=20)


@given(numbers, numbers)
def test_a_sum_moves_by_the_difference_of_the_sums(old: list[float], new: list[float]) -> None:
    """Exactly: what was plus what it moved by is what is, in the texts of the receipts."""
    proofs = []
    for values in (old, new):
        tally = Tally(pa.float32())
        tally.add(pa.array(values, pa.float32()))
        proofs.append({"x": tally.proof()})
    was, is_ = (Fraction(one["x"].sum or "0") for one in proofs)
    found = sum_changes(*proofs)
    assert (found == {}) == (not old and not new)
    assert Fraction(found.get("x", "0")) == is_ - was


def test_infinite_sums_move_by_what_floats_say() -> None:
    """An infinity beside an infinity has moved by nobody knows how much."""
    tally = Tally(pa.float64())
    tally.add(pa.array([math.inf]))
    one = {"x": tally.proof()}
    assert sum_changes(one, one) == {"x": "NaN"} and sum_changes({}, one) == {"x": "Infinity"}
