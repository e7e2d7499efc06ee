"""How many bytes each row takes in Arrow, counted so that it is the same however the rows are cut."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

UNKNOWN = 16  # bytes of a value of a type that is not looked into (a dictionary's, a view's)
OFFSET = 4  # bytes beside a text or a list, which say where it ends

Sizes = npt.NDArray[np.int64]


def row_bytes(batch: pa.RecordBatch) -> Sizes:
    """The bytes of each row [rows]: fixed types what they take, texts and lists by what they hold."""
    return _sum(batch.columns, batch.num_rows)


def _sizes(column: pa.Array) -> Sizes:
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        return _lengths(pc.binary_length(column)) + OFFSET
    if pa.types.is_struct(kind):
        return _sum(column.flatten(), len(column))
    if pa.types.is_list(kind):
        ends = np.concatenate([[0], np.cumsum(_sizes(column.flatten()))])
        stops = np.cumsum(lengths := _lengths(pc.list_value_length(column)))
        found: Sizes = ends[stops] - ends[stops - lengths] + OFFSET
        return found
    return np.full(len(column), _fixed(kind), np.int64)


def _fixed(kind: pa.DataType) -> int:
    if pa.types.is_fixed_size_list(kind):
        return int(kind.list_size) * _fixed(kind.value_type)
    try:
        return -(-int(kind.bit_width) // 8)
    except ValueError:
        return UNKNOWN


def _sum(columns: Iterable[pa.Array], rows: int) -> Sizes:
    total = np.zeros(rows, np.int64)
    for column in columns:
        total += _sizes(column)
    return total


def _lengths(found: pa.Array) -> Sizes:
    lengths: Sizes = found.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    return lengths
