"""The values that a column may have: the job's `domain`, held to the column's type and compared exactly.

Integers, booleans (0 and 1) and decimals are compared as what they are, without a detour over floats. For a
32-bit float, a bound means the float nearest to it.
"""

import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nightscore.job import Domain, Job
from nightscore.scorers import is_numeric_type

Mask = npt.NDArray[np.bool_]


def domain_columns(job: Job, outputs: pa.Schema) -> list[str]:
    """The columns of the features that have a domain; the others are the model's outputs."""
    return [name for name in job.spec.domain if name not in outputs.names]


def check_domain(job: Job, features: pa.Schema, outputs: pa.Schema) -> None:
    """Raise `Broken` unless each column that has a domain is there, and can have such values.

    Raises:
        Broken: names the line of job.yaml.
    """
    for name, domain in job.spec.domain.items():
        at = ("domain", name)
        schema = outputs if name in outputs.names else features
        if name not in schema.names:
            columns = ", ".join(dict.fromkeys([*features.names, *outputs.names]))
            job.raise_broken(at, f"neither the features nor the outputs have this column; theirs: {columns}")
        kind = schema.field(name).type
        if (domain.min is not None or domain.max is not None) and not is_numeric_type(kind):
            job.raise_broken(at, f"min and max are for numbers, and the column is {kind}")
        if domain.in_ is not None:
            try:
                _values(domain, kind)
            except (pa.ArrowException, TypeError, ValueError, OverflowError):
                job.raise_broken((*at, "in"), f"{domain.in_} are no values of the column, which is {kind}")
        elif is_numeric_type(kind) and not holds_any(domain.min, domain.max, kind):
            job.raise_broken(at, f"no value of the column, which is {kind}, is {domain}")


def outside(column: pa.Array, domain: Domain) -> Mask:
    """The rows [rows] of a column with a value that its domain has not; a null or NaN is no value."""
    if domain.in_ is None:
        return _beyond(column, domain)
    allowed = pc.is_in(column, value_set=_values(domain, column.type)).to_numpy(zero_copy_only=False)
    return np.asarray(~allowed & ~missing(column))


def missing(column: pa.Array) -> Mask:
    """The rows [rows] that are null or NaN."""
    floats = pa.types.is_floating(column.type)
    return np.asarray(pc.is_null(column, nan_is_null=floats).to_numpy(zero_copy_only=False))


def _values(domain: Domain, kind: pa.DataType) -> pa.Array:
    """The list of a domain as values of the column.

    Raises:
        ArrowException, TypeError, ValueError, OverflowError: one is none of its type.
    """
    values = domain.in_ or []
    flags = [isinstance(value, bool) for value in values]
    numbers = any(isinstance(value, int) for value in values)
    if any(flags) != all(flags) or (numbers and any(flags) != pa.types.is_boolean(kind)):
        raise TypeError("true and false are no numbers, and numbers are neither")
    return pa.array(values).cast(kind)


def _beyond(column: pa.Array, domain: Domain) -> Mask:
    """The rows below the least or above the greatest value."""
    if not holds_any(domain.min, domain.max, column.type):
        return ~missing(column)
    if pa.types.is_floating(column.type):
        column, low, high = _floats(column, domain)
    else:
        low, high = exact_limits(domain.min, domain.max, column.type)
        if pa.types.is_boolean(column.type):
            column = column.cast(pa.int8())
    beyond = np.zeros(len(column), np.bool_)
    for limit, crosses in ((low, pc.less), (high, pc.greater)):
        if limit is not None:
            crossed = crosses(column, limit)
            beyond |= pc.fill_null(crossed, False).to_numpy(zero_copy_only=False)
    return beyond


def _floats(column: pa.Array, domain: Domain) -> tuple[pa.Array, pa.Scalar | None, pa.Scalar | None]:
    """A column of floats and its bounds: of its type, or where that holds them not, all in float64."""
    bounds = [bound for bound in (domain.min, domain.max) if bound is not None]
    kind = column.type if all(_is_held(bound, column.type) for bound in bounds) else pa.float64()
    low, high = (_float_limit(bound, kind) for bound in (domain.min, domain.max))
    return column.cast(kind), low, high


def _float_limit(bound: float | None, kind: pa.DataType) -> pa.Scalar | None:
    return None if bound is None else pa.scalar(float(bound)).cast(kind)


def _is_held(bound: float, kind: pa.DataType) -> bool:
    """Whether the nearest float is finite, and 0 only for 0."""
    held = pa.scalar(float(bound)).cast(kind).as_py()
    return math.isfinite(held) and (held != 0 or bound == 0)


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
