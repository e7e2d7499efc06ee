"""Arrow columns -> one matrix, once."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nightscore.scorers.errors import ChunkError, MissingValueError
from nightscore.scorers.numbers import as_doubles

# That a scorer takes at once: larger batches are slower and cost memory (measured).
SCORER_BATCH_ROWS = 16_384
BLOCK = 2048  # rows: a block of the matrix stays in the second-level cache while its columns are filled


def matrix(chunk: pa.RecordBatch, columns: list[str], dtype: npt.DTypeLike) -> npt.NDArray[np.number]:
    """The named columns as a C-contiguous matrix [rows, columns] of a dtype.

    A null of a floating-point column becomes NaN, which tree models take as a missing value.

    Raises:
        ChunkError: a null in a column of another type: no number stands for it.
    """
    arrays = [as_numpy(chunk.column(name), name) for name in columns]
    filled = np.empty((chunk.num_rows, len(arrays)), dtype=dtype)
    for start in range(0, chunk.num_rows, BLOCK):
        stop = start + BLOCK
        for i, array in enumerate(arrays):
            filled[start:stop, i] = array[start:stop]
    return filled


def as_numpy(column: pa.Array, name: str) -> npt.NDArray[np.generic]:
    """A column of numbers as a NumPy array [rows]; without a copy where it has no nulls.

    Raises:
        ChunkError: a null in a column that is not floating-point.
    """
    if pa.types.is_decimal(column.type):
        # A decimal with a null may become a float with one: both are measured amounts.
        column = as_doubles(column)
    if column.null_count and not pa.types.is_floating(column.type):
        raise MissingValueError(
            f"column {name!r} ({column.type}) has {column.null_count} null values; "
            "give it a value in the features SQL, or cast it to FLOAT so that null means missing"
        )
    array: npt.NDArray[np.generic] = column.to_numpy(zero_copy_only=False)
    return array


def zeros(schema: pa.Schema) -> pa.RecordBatch:
    """Two rows of zeros, or of empty texts: to see what a model gives, whatever it says."""
    return pa.RecordBatch.from_pylist([{field.name: _zero(field.type) for field in schema}] * 2, schema)


def _zero(kind: pa.DataType) -> Any:
    if pa.types.is_fixed_size_list(kind):
        return [_zero(kind.value_type)] * kind.list_size
    return "" if pa.types.is_string(kind) else kind.to_pandas_dtype()(0)


def tensor(
    column: pa.Array, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike
) -> npt.NDArray[np.generic]:
    """A column of lists, or of bytes, as an array [rows, *shape].

    Raises:
        ChunkError: a row is null, has a null in it, or is not of the model's size.
    """
    size = int(np.prod(shape))
    if column.null_count:
        raise MissingValueError(f"column {name!r} has {column.null_count} null values; a tensor has none")
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        flat = _bytes(column, name, size)
    else:
        if not pa.types.is_fixed_size_list(column.type):
            _check_lengths(pc.list_value_length(column), name, size)
        flat = as_numpy(column.flatten(), name)
    return flat.astype(dtype, copy=False).reshape(len(column), *shape)


def _bytes(column: pa.Array, name: str, size: int) -> npt.NDArray[np.generic]:
    _check_lengths(pc.binary_length(column), name, size)
    return np.frombuffer(b"".join(column.to_pylist()), np.uint8)


def _check_lengths(lengths: pa.Array, name: str, size: int) -> None:
    wrong = pc.not_equal(lengths, size)
    if pc.any(wrong).as_py():
        row = pc.index(wrong, True).as_py()
        length = lengths[row].as_py()
        raise ChunkError(
            f"column {name!r} holds {length} values in row {row} of the chunk; the model needs {size}"
        )
