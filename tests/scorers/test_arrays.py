"""The blocked matrix is the plain one: np.column_stack of the columns, bit for bit."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightscore.scorers.arrays import BLOCK, as_numpy, matrix
from nightscore.scorers.errors import ChunkError

KINDS = (
    pa.float32(), pa.float64(), pa.float16(), pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(),
    pa.uint16(), pa.uint32(), pa.uint64(), pa.bool_(), pa.decimal128(12, 2),
)  # fmt: skip


def column(kind: pa.DataType, rows: int, seed: int) -> pa.Array:
    values = np.random.default_rng(seed).integers(0, 2 if pa.types.is_boolean(kind) else 100, rows)
    return pa.array(values, pa.float64()).cast(kind)


def stacked(chunk: pa.RecordBatch, names: list[str], dtype: type) -> np.ndarray:
    plain = [np.array(chunk.column(n).to_pylist(), np.float64).astype(dtype).reshape(-1) for n in names]
    return np.column_stack(plain) if plain else np.empty((chunk.num_rows, 0), dtype)


@given(
    st.lists(st.sampled_from(KINDS), min_size=1, max_size=6),
    st.sampled_from([0, 1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 3]) | st.integers(0, 300),
    st.sampled_from([np.float32, np.float64]),
    st.integers(0, 50),
)
def test_the_matrix_is_the_columns_side_by_side(
    kinds: list[pa.DataType], rows: int, dtype: type, offset: int
) -> None:
    """For any types, any number of rows around the blocks' edges, any slice: the plain matrix."""
    names = [f"c{i}" for i in range(len(kinds))]
    whole = pa.RecordBatch.from_arrays([column(k, rows + offset, i) for i, k in enumerate(kinds)], names)
    chunk, order = whole.slice(offset), list(reversed(names))
    found = matrix(chunk, order, dtype)
    np.testing.assert_array_equal(found, stacked(chunk, order, dtype))
    assert found.dtype == dtype
    assert found.flags.c_contiguous


def test_nulls_of_floats_are_nan_in_their_places() -> None:
    """A null is NaN, a NaN stays one, infinities and negative zero pass bit for bit."""
    values = [1.0, None, float("nan"), float("inf"), -0.0]
    for kind in (pa.float32(), pa.float64()):
        chunk = pa.RecordBatch.from_arrays([pa.array(values, kind), pa.array([1.0] * 5, kind)], ["a", "b"])
        found = matrix(chunk, ["a", "b"], np.float32)[:, 0]
        np.testing.assert_array_equal(found, np.array([1, np.nan, np.nan, np.inf, 0], np.float32))
        assert np.signbit(found[4])


def test_decimals_are_their_values() -> None:
    """A decimal is the nearest float, a null of it NaN, and not its unscaled integer."""
    decimals = pa.array([0.1, None, -12345.67], pa.float64()).cast(pa.decimal128(9, 2))
    np.testing.assert_array_equal(as_numpy(decimals, "a"), [0.1, np.nan, -12345.67])


@pytest.mark.parametrize("kind", [pa.int8(), pa.int64(), pa.uint16(), pa.bool_()], ids=str)
def test_a_null_that_is_no_float_is_refused(kind: pa.DataType) -> None:
    """The column, its type, how many, and what to do; a slice without the null passes."""
    array = pa.array([1, None, 0, None]).cast(kind)
    with pytest.raises(ChunkError) as caught:
        matrix(pa.RecordBatch.from_arrays([array], ["age"]), ["age"], np.float32)
    assert str(caught.value) == (
        f"column 'age' ({kind}) has 2 null values; "
        "give it a value in the features SQL, or cast it to FLOAT so that null means missing"
    )
    assert matrix(pa.RecordBatch.from_arrays([array.slice(2, 1)], ["age"]), ["age"], np.float32).tolist() == [
        [0]
    ]


def test_a_column_without_nulls_is_not_copied() -> None:
    """What NumPy can read where it lies is read there."""
    array = pa.array(np.arange(1000, dtype=np.float32))
    assert as_numpy(array, "a").ctypes.data == array.buffers()[1].address
