"""How many rows are scored at once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightscore.scorers.arrays import SCORER_BATCH_ROWS
from nightscore.store.documents.chunking import (
    CHUNK_ROWS,
    chunk_bytes,
    fewer_rows,
    rows_after,
    rows_per_chunk,
)

CHUNKS = [
    ("auto", 1.0, CHUNK_ROWS),
    ("auto", 0.0, CHUNK_ROWS),
    ("auto", 1024.0, CHUNK_ROWS),
    ("auto", 2048.0, 8_192),
    ("auto", 1e9, 1),
    (7, 1e9, 7),
    (1_000_000, 1.0, 1_000_000),
]


@pytest.mark.parametrize(("asked", "per_row", "rows"), CHUNKS)
def test_a_chunk_is_as_asked_or_as_fits(asked: int | str, per_row: float, rows: int) -> None:
    """`auto` holds 16 MiB of the file's bytes, from one row to 16,384; a number is taken as it is."""
    assert rows_per_chunk(asked, per_row) == rows  # type: ignore[arg-type]


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.integers(0, 10**12), st.integers(1, 10**6))
def test_the_rows_that_are_read_next(rows: int, came: int, held: int, most: int) -> None:
    """At least one, never above the most, never above four times as many, and as they were they fit."""
    found = rows_after(rows, (came, held), most, 1 << 20)
    assert 1 <= found <= min(most, 4 * rows)
    assert found == 1 or found * held <= came << 20


def test_a_smaller_chunk_is_tried_only_where_the_job_leaves_it_open() -> None:
    """A quarter of the rows; of three rows there is no quarter."""
    assert [fewer_rows("auto", rows) for rows in (16_384, 4, 3)] == [4_096, 1, 0]
    assert fewer_rows(16_384, 16_384) == 0


def test_a_chunk_is_no_larger_than_a_batch_of_a_scorer_nor_than_memory_allows() -> None:
    """Four copies of a chunk are in memory at once."""
    assert CHUNK_ROWS == SCORER_BATCH_ROWS
    assert [chunk_bytes(arrow) for arrow in (8_000_000, 1 << 30)] == [2_000_000, 16 << 20]
