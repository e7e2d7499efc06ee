"""Numbers as a model computes with them: the one conversion, and the values that it would change.

A value is lost where an integer becomes another one (beyond 2**24 in float32, 2**53 in float64), and where a
finite number becomes an infinity, or one that is not 0 becomes 0. That a fraction is rounded to the nearest
float is no loss: measured amounts are. A decimal without decimal places is an integer.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Mask = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.generic]

EXACT_POWERS = 22  # 10**22 is the largest power of ten that a double holds
WHOLE_DOUBLE = 1 << 53  # up to here a double holds each integer
TO_INFINITY = 2.0**128 - 2.0**103  # the least double that is rounded to float32's infinity
TO_ZERO = 2.0**-150  # the largest double that is rounded to float32's 0


def as_computed(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """A column of numbers in the type `kind` that a model computes with, each the nearest to what it was.

    Nulls stay nulls. Whether a value is lost on the way says `lost`. A column of lists has its values
    converted; one whose type is `kind`, or is no number, is left as it is.
    """
    if _is_list(column.type) and _is_list(kind):
        return _list_as_computed(column, kind)
    if column.type == kind or pa.types.is_decimal(kind):
        return column
    if pa.types.is_decimal(column.type):
        column = as_doubles(column)
    if column.type == kind or not _is_number(kind):
        return column
    return column.cast(kind, safe=False)


def as_doubles(column: pa.Array) -> pa.Array:
    """Decimals [rows] as float64, each the double that is nearest to it (Arrow's own cast is one beside)."""
    scale = column.type.scale
    if not pa.types.is_decimal128(column.type) or not 0 <= scale <= EXACT_POWERS:
        return _by_text(column)
    low, fits = _words(column)
    # Both are exact doubles, so that their quotient is rounded once (Clinger 1990).
    fits &= (low <= WHOLE_DOUBLE) & (low >= -WHOLE_DOUBLE)
    values = low / float(10**scale)
    missing = _nulls(column)
    if (hard := ~fits & ~missing).any():
        values[hard] = _by_text(column.filter(pa.array(hard))).to_numpy()
    return pa.array(values, mask=missing if column.null_count else None)


def lost(column: pa.Array, kind: pa.DataType) -> Mask | None:
    """The rows [rows] whose value would be lost in `kind`; None where no value of the column's type can be.

    Of a column of lists, the rows with such a value. Null and NaN are no values.
    """
    if _is_list(column.type) and _is_list(kind):
        return _lost_in_lists(column, kind)
    if not pa.types.is_floating(kind) or pa.types.is_float16(kind):
        return _lost_in_half(column) if pa.types.is_float16(kind) else None
    if pa.types.is_integer(column.type):
        return _lost_integers(column, kind)
    if pa.types.is_decimal(column.type):
        return _lost_decimals(column, kind) if column.type.scale <= 0 else None
    if pa.types.is_float64(column.type) and pa.types.is_float32(kind):
        return _lost_doubles(column)
    return None


def nearest(value: float | int, kind: pa.DataType) -> Any:
    """What a number of job.yaml becomes in `kind`: the nearest float, or the integer itself.

    Raises:
        ValueError: it is lost on the way; says what `kind` holds instead.
    """
    if pa.types.is_integer(kind):
        return _whole(value, kind)
    if not math.isfinite(value):
        return float(value)
    with np.errstate(over="ignore", under="ignore"):
        held = kind.to_pandas_dtype()(value)
    is_whole = isinstance(value, int) or float(value).is_integer()
    if not np.isfinite(held) or (held == 0 and value != 0) or (is_whole and int(held) != int(value)):
        raise ValueError(f"{value} is no value of {kind}, where it would become {held}")
    return held.item()


def _whole(value: float | int, kind: pa.DataType) -> int:
    if not math.isfinite(value) or int(value) != value:
        raise ValueError(f"{value} is no value of {kind}, which holds integers")
    held = np.iinfo(kind.to_pandas_dtype())
    if not held.min <= value <= held.max:
        raise ValueError(f"{value} is no value of {kind}, which holds {held.min} to {held.max}")
    return int(value)


def _lost_in_half(column: pa.Array) -> Mask | None:
    """Of any numbers in float16, which has few: integers up to 2048, and nothing beyond 65504."""
    if pa.types.is_float16(column.type) or not _is_number(column.type):
        return None
    numbers: Any = column.fill_null(0).to_numpy(zero_copy_only=False)
    with np.errstate(over="ignore", under="ignore"):
        held = numbers.astype(np.float16)
    if pa.types.is_integer(column.type):
        return np.asarray(held.astype(np.float64) != numbers)
    return np.asarray(np.isfinite(numbers) & (np.isinf(held) | ((held == 0) & (numbers != 0))))


def _lost_integers(column: pa.Array, kind: pa.DataType) -> Mask | None:
    digits = np.finfo(kind.to_pandas_dtype()).nmant + 1
    if column.type.bit_width <= digits:
        return None
    values: Any = column.fill_null(0).to_numpy() if column.null_count else column.to_numpy()
    most = 1 << digits
    mask = values > most
    if pa.types.is_signed_integer(column.type):
        mask |= values < -most
    if mask.any():
        mask[mask] = _not_held(values[mask], most)
    return np.asarray(mask)


def _not_held(values: Numbers, most: int) -> Mask:
    """The integers [n] that are no integer below `most` times a power of two."""
    sizes: Any = values.astype(np.uint64)
    negative = values.astype(np.float64) < 0
    sizes[negative] = ~sizes[negative] + np.uint64(1)
    lowest_bit = sizes & (~sizes + np.uint64(1))
    return np.asarray(sizes // lowest_bit >= most)


def _lost_doubles(column: pa.Array) -> Mask:
    sizes = np.abs(column.to_numpy(zero_copy_only=False))  # a null is NaN, and neither too large nor small
    mask = (sizes >= TO_INFINITY) | (sizes <= TO_ZERO)
    if mask.any():
        mask[mask] = ~np.isin(sizes[mask], (0.0, np.inf))
    return np.asarray(mask)


def _lost_decimals(column: pa.Array, kind: pa.DataType) -> Mask:
    """Of decimals without decimal places, which are integers of up to 128 bits."""
    if pa.types.is_decimal128(column.type) and column.type.scale == 0:
        low, fits = _words(column)
        if (fits | _nulls(column)).all():
            mask = _lost_integers(pa.array(low), kind)
            return np.asarray(mask) & ~_nulls(column)
    most = 1 << (np.finfo(kind.to_pandas_dtype()).nmant + 1)
    return np.array([value is not None and _is_lost(abs(int(value)), most) for value in column.to_pylist()])


def _is_lost(size: int, most: int) -> bool:
    return size > most and size // (size & -size) >= most


def _lost_in_lists(column: pa.Array, kind: pa.DataType) -> Mask | None:
    values = column.flatten()
    found = lost(values, kind.value_type)
    if found is None:
        return None
    mask = np.zeros(len(column), np.bool_)
    if found.any():
        mask[pc.list_parent_indices(column).to_numpy(zero_copy_only=False)[found]] = True
    return mask


def _list_as_computed(column: pa.Array, kind: pa.DataType) -> pa.Array:
    values = as_computed(column.flatten(), kind.value_type)
    if column.null_count or values.type == column.type.value_type:
        return column  # a scorer refuses a row without a list
    if pa.types.is_fixed_size_list(column.type):
        return pa.FixedSizeListArray.from_arrays(values, column.type.list_size)
    starts = np.concatenate([[0], np.cumsum(pc.list_value_length(column).to_numpy(zero_copy_only=False))])
    return pa.ListArray.from_arrays(pa.array(starts.astype(np.int32)), values)


def _by_text(column: pa.Array) -> pa.Array:
    """The same by each decimal's text, which is read to the nearest double."""
    return column.cast(pa.string()).cast(pa.float64())


def _words(column: pa.Array) -> tuple[npt.NDArray[np.int64], Mask]:
    """The lower 64 bits of decimal128s, [rows], and for which of them they are all; of a null anything."""
    words = np.frombuffer(column.buffers()[1], np.int64).reshape(-1, 2)
    words = words[column.offset : column.offset + len(column)]
    return words[:, 0].copy(), words[:, 1] == words[:, 0] >> 63


def _nulls(column: pa.Array) -> Mask:
    return np.asarray(pc.is_null(column).to_numpy(zero_copy_only=False))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _is_list(kind: pa.DataType) -> bool:
    kinds = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(check(kind) for check in kinds)
