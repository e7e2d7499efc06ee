"""Sums that are exact in any order, bounds, nulls: what a receipt says of every column."""

import math
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightscore.common.errors import Broken
from nightscore.common.files import file_sha256
from nightscore.store.documents.receipt import ColumnProof
from nightscore.store.tables.column_stats import (
    Tally,
    compute_table_proof,
    exact_float_sum,
    exact_integer_sum,
    proof_differences,
)

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
RUN = "20260101T000000-aaaaaaaa-bbbbbb"


def proof(values: object, kind: pa.DataType, parts: int = 1) -> ColumnProof:
    """The proof of a column that comes in some parts."""
    array = pa.array(values, kind)
    tally = Tally(kind)
    step = -(-len(array) // parts) or 1
    for start in range(0, len(array), step):
        tally.add(array.slice(start, step))
    return tally.proof()


@given(st.lists(FLOATS, max_size=300), st.integers(1, 5))
def test_a_sum_of_floats_is_the_exact_one_rounded_once(values: list[float], parts: int) -> None:
    """As math.fsum has it, whose result is correctly rounded; in any order and however the rows are cut."""
    try:
        wanted = math.fsum(values)
    except OverflowError:  # of a partial sum; the exact one may still be a float
        return
    found = proof(values, pa.float64(), parts)
    assert found == proof(values[::-1], pa.float64())
    if values:
        assert float(found.sum or "") == wanted
        assert (float(found.minimum or ""), float(found.maximum or "")) == (min(values), max(values))


@pytest.mark.parametrize(
    "values", [[5e-324, -5e-324, 1.0], [1e308, 1.0, -1e308], [5e-324] * 7, [-0.0, 0.0], [2.0**-1060, 3e300]]
)
def test_sums_at_the_ends_of_the_range(values: list[float]) -> None:
    """Denormals and giants are added as what they are."""
    assert exact_float_sum(np.array(values)) == sum(map(Fraction, values)) * 2**1074
    assert float(proof(values, pa.float64()).sum or "") == math.fsum(values)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=100))
def test_a_sum_of_integers_never_overflows(values: list[int]) -> None:
    """Beyond 64 bits, too."""
    assert exact_integer_sum(np.array(values, np.int64)) == sum(values)
    found = proof(values, pa.int64(), 3)
    assert values == [] or (found.sum, found.minimum) == (str(sum(values)), str(min(values)))


def test_every_kind_of_column() -> None:
    """Unsigned, boolean, decimal, float32; of texts and dates the nulls alone; of lists the elements."""
    top = 2**64 - 1
    assert proof([top, top], pa.uint64()).sum == str(2 * top)
    assert proof([True, None, True], pa.bool_()) == ColumnProof(
        nulls=1, sum="2", minimum="True", maximum="True"
    )
    decimals = [Decimal("99999999999999999999999999999999.99")] * 3
    assert proof(decimals, pa.decimal128(38, 2)).sum == "299999999999999999999999999999999.97"
    assert proof([0.1, 0.2], pa.float32()).sum == str(float(np.float32(0.1)) + float(np.float32(0.2)))
    assert proof(["a", None], pa.string()) == ColumnProof(nulls=1)
    assert proof([[1, 2], None, [], [3]], pa.list_(pa.int64())) == ColumnProof(
        nulls=1, sum="6", minimum="1", maximum="3"
    )


def test_what_is_no_number_is_counted_beside() -> None:
    """NaN and infinities are in no bound; an infinity makes the sum infinite, both make it NaN."""
    found = proof([1.0, math.nan, 2.0], pa.float64())
    assert (found.nans, found.sum, found.maximum) == (1, "3.0", "2.0")
    assert proof([1.0, math.inf], pa.float64()).sum == "inf"
    assert proof([-math.inf, math.inf], pa.float64()).sum == "nan"
    assert proof([1e308, 1e308], pa.float64()).sum == "inf", "finite, but no float64 holds their sum"
    assert proof([-1e308, -1e308], pa.float64()).sum == "-inf"
    assert proof([math.nan], pa.float64()) == ColumnProof(nans=1, sum="0.0")


def write(path: Path, rows: int = 10, run_id: str = RUN) -> Path:
    table = pa.table({"id": np.arange(rows), "score": np.arange(rows) / 8, "run_id": [run_id] * rows})
    pq.write_table(table, path, write_page_checksum=True, compression="none", use_dictionary=["run_id"])
    return path


def test_files_of_one_table_are_one_proof(tmp_path: Path) -> None:
    """Their columns are added up; each has its hash."""
    paths = [write(tmp_path / "a.parquet"), write(tmp_path / "b.parquet", 5)]
    found = compute_table_proof([(path, path.name) for path in paths], RUN)
    assert found.sha256 == tuple(file_sha256(path) for path in paths)
    assert found.columns["id"] == ColumnProof(sum="55", minimum="0", maximum="9")
    assert set(found.columns) == {"id", "score"}


def test_every_flipped_bit_of_the_pages_is_noticed(tmp_path: Path) -> None:
    """A page whose checksum is not its own is refused; for what lies between pages there is the sha256."""
    path = write(tmp_path / "a.parquet", 1000)
    good = path.read_bytes()
    meta = pq.read_metadata(path).row_group(0).column(1)
    first, size = meta.data_page_offset, meta.total_compressed_size
    noticed = 0
    for at in range(first + size - 8_000, first + size, 500):
        path.write_bytes(good[:at] + bytes([good[at] ^ 16]) + good[at + 1 :])
        with pytest.raises(Broken, match=r"^a.parquet: damaged since it was staged \("):
            compute_table_proof([(path, "a.parquet")], RUN)
        noticed += 1
    assert noticed > 10


def test_a_row_of_another_run_is_refused(tmp_path: Path) -> None:
    """A file that was staged by somebody else is none of this run's."""
    path = write(tmp_path / "a.parquet", run_id="20250101T000000-cccccccc-dddddd")
    with pytest.raises(Broken, match=f"a.parquet: staged by run 2025.* and not by run {RUN}"):
        compute_table_proof([(path, "a.parquet")], RUN)


def test_differences_name_column_and_both_values() -> None:
    """A person sees what was recorded and what is there."""
    before = {"a": ColumnProof(sum="1.5", nulls=0), "b": ColumnProof()}
    now = {"a": ColumnProof(sum="2.5", nulls=1), "c": ColumnProof()}
    assert proof_differences(before, now) == [
        "column a: nulls is 1, the receipt says 0",
        "column a: sum is 2.5, the receipt says 1.5",
        "column b is gone",
        "column c is in no receipt",
    ]
    assert proof_differences(before, before) == []
