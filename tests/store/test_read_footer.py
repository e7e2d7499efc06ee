"""A footer that is read alone, from a file's end, is the one that pyarrow reads of the whole file."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightscore.store.tables.footers import TAIL, read_footer
from tests.support.places import place


@pytest.mark.parametrize("columns", [1, 3_000])
def test_it_is_the_footer_of_the_whole_file(tmp_path: Path, columns: int) -> None:
    """Whether it is longer than what is asked for at once or not."""
    path = tmp_path / "day.parquet"
    table = pa.table({f"c{i}": pa.array([i, None, i + 1], pa.int32()) for i in range(columns)})
    pq.write_table(table, path, row_group_size=2)
    found, whole = read_footer(place(path)), pq.read_metadata(path)
    assert (whole.serialized_size > TAIL) == (columns > 1), "one of each kind"
    assert found.metadata.equals(whole)
    assert (found.rows, found.seen.bytes) == (3, path.stat().st_size)
    assert found.schema.equals(pq.read_schema(path), check_metadata=True)


@pytest.mark.parametrize("cut", [0, 7, 11, 40, -1])
def test_a_file_that_was_cut_is_an_error(tmp_path: Path, cut: int) -> None:
    """And no shorter table."""
    path = tmp_path / "day.parquet"
    pq.write_table(pa.table({"x": [1, 2, 3]}), path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(pa.ArrowException):
        read_footer(place(path))


def test_what_is_not_there_is_not_found(tmp_path: Path) -> None:
    """By its name."""
    with pytest.raises(FileNotFoundError, match=r"day\.parquet"):
        read_footer(place(tmp_path / "day.parquet"))
