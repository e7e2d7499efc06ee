"""Bytes of rows, and the row groups that follow from them: the same however the rows are cut."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightscore.store.tables.staging import GROUP_BYTES, row_bytes, stage_batches
from tests.support.places import place

TEXTS = st.none() | st.text(max_size=20)
LISTS = st.none() | st.lists(TEXTS, max_size=4)
NUMBERS = st.none() | st.integers(-9, 9)
SCHEMA = pa.schema(
    [
        ("t", pa.string()),
        ("b", pa.binary()),
        ("l", pa.list_(pa.string())),
        ("ll", pa.list_(pa.list_(pa.float32()))),
        ("f", pa.list_(pa.float32(), 2)),
        ("s", pa.struct([("x", pa.int64()), ("t", pa.string())])),
        ("n", pa.int32()),
    ]
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "t": TEXTS,
            "b": st.none() | st.binary(max_size=9),
            "l": LISTS,
            "ll": st.none() | st.lists(st.lists(st.just(1.0), max_size=3), max_size=3),
            "f": st.none() | st.just([1.0, 2.0]),
            "s": st.none() | st.fixed_dictionaries({"x": NUMBERS, "t": TEXTS}),
            "n": NUMBERS,
        }
    ),
    max_size=30,
)


def alone(row: dict[str, Any]) -> int:
    """The bytes of one row by its values in Python."""

    def text(value: Any) -> int:
        return 4 + len(value.encode() if isinstance(value, str) else value or b"")

    lists = 4 + sum(text(t) for t in row["l"] or [])
    nested = 4 + sum(4 + 4 * len(one) for one in row["ll"] or [])
    struct = 8 + text((row["s"] or {"t": None})["t"])
    return text(row["t"]) + text(row["b"]) + lists + nested + 8 + struct + 4


@given(ROWS, st.integers(1, 10))
def test_a_row_counts_the_same_wherever_it_stands(rows: list[dict[str, Any]], step: int) -> None:
    """In slices of a batch as in the whole, nulls and empty lists among them, and as counted by hand."""
    batch = pa.RecordBatch.from_pylist(rows, SCHEMA)
    whole = row_bytes(batch)
    assert whole.tolist() == [alone(row) for row in rows]
    cut = [row_bytes(batch[at : at + step]) for at in range(0, batch.num_rows, step)]
    assert np.concatenate([*cut, np.zeros(0, np.int64)]).tolist() == whole.tolist()


def texts(rows: int, size: int) -> pa.Table:
    """Texts of so many characters, no two alike."""
    return pa.table({"id": range(rows), "t": [f"{i:06d}" + "x" * (size - 6) for i in range(rows)]})


def cut(table: pa.Table, step: int) -> Iterator[pa.RecordBatch]:
    for at in range(0, table.num_rows, step):
        yield from table[at : at + step].combine_chunks().to_batches()


@pytest.mark.parametrize(("rows", "size", "groups"), [(100, 1_000_000, 3), (300, 10, 3), (3, 34_000_000, 3)])
@pytest.mark.sample(1)
def test_row_groups_are_bounded_in_rows_and_bytes(tmp_path: Path, rows: int, size: int, groups: int) -> None:
    """At 128 rows, or at the row that reaches 32 MiB; and the file is the same for any batches."""
    table, found = texts(rows, size), []
    for step in (1, 7, rows):
        path = tmp_path / f"{step}.parquet"
        stage_batches(place(path), cut(table, step), table.schema, 128)
        found.append(path.read_bytes())
    assert found[0] == found[1] == found[2]
    footer = pq.read_metadata(path)
    assert footer.num_row_groups == groups
    assert pq.read_table(path).equals(table)
    for i in range(groups):
        group = pq.ParquetFile(path).read_row_group(i)
        assert group.num_rows <= 128
        assert group.slice(0, group.num_rows - 1).nbytes < GROUP_BYTES


def test_pages_of_long_texts_hold_a_few(tmp_path: Path) -> None:
    """So that who reads a row needs memory for about 16 of them, twice, and not for all 80, or a thousand."""
    table = texts(80, 500_000)
    stage_batches(place(tmp_path / "x.parquet"), cut(table, 80), table.schema)
    before = pa.total_allocated_bytes()
    with pq.ParquetFile(tmp_path / "x.parquet", pre_buffer=False) as file:
        batches = file.iter_batches(1, use_threads=False)
        next(batches)
        assert pa.total_allocated_bytes() - before < 25_000_000
