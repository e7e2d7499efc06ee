"""Bounds of job.yaml beside the values of a column: in the column's own type, exactly.

Integers, booleans (0 and 1) and decimals are compared as what they are, without a detour over floats.
"""

import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa


def exact_limits(
    minimum: float | None, maximum: float | None, kind: pa.DataType
) -> tuple[pa.Scalar | None, pa.Scalar | None]:
    """The least and the greatest value of an exact type between two bounds; None where each is within."""
    least, greatest = _range(kind)
    low, high = _steps(minimum, maximum, kind)
    # One beyond the type's own is refused at check, where no value is left (`holds_any`).
    return (
        None if low is None or low <= least else _exact(min(low, greatest), kind),
        None if high is None or high >= greatest else _exact(max(high, least), kind),
    )


def _steps(minimum: float | None, maximum: float | None, kind: pa.DataType) -> tuple[int | None, int | None]:
    """The bounds in units of the type's last place, cut to those that are within."""
    unit = Fraction(10) ** (kind.scale if pa.types.is_decimal(kind) else 0)
    # A float of job.yaml means the decimal that was written there, which is its shortest text.
    low, high = (b if b is None else Fraction(Decimal(repr(b))) * unit for b in (minimum, maximum))
    return None if low is None else math.ceil(low), None if high is None else math.floor(high)


def _range(kind: pa.DataType) -> tuple[int, int]:
    if pa.types.is_boolean(kind):
        return 0, 1
    if pa.types.is_decimal(kind):
        return 1 - 10**kind.precision, 10**kind.precision - 1
    held = np.iinfo(kind.to_pandas_dtype())
    return int(held.min), int(held.max)


def _exact(steps: int, kind: pa.DataType) -> pa.Scalar:
    if pa.types.is_boolean(kind):
        return pa.scalar(steps, pa.int8())
    value: Any = Decimal(f"{steps}E{-kind.scale}") if pa.types.is_decimal(kind) else steps
    return pa.scalar(value, kind)


def holds_any(minimum: float | None, maximum: float | None, kind: pa.DataType) -> bool:
    """Whether any number of a type lies between two bounds; an infinity is none."""
    if pa.types.is_floating(kind):
        most = float(np.finfo(kind.to_pandas_dtype()).max)
        return (minimum is None or minimum <= most) and (maximum is None or maximum >= -most)
    least, greatest = _range(kind)
    low, high = _steps(minimum, maximum, kind)
    return max(least, least if low is None else low) <= min(greatest, greatest if high is None else high)
