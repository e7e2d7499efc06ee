"""The values that a column may have: the job's `domain`, held to the column's type and compared exactly.

For a 32-bit float, a bound means the float nearest to it.
"""

import math

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nightscore.job import Domain, Job
from nightscore.pipeline.bounds import exact_limits, holds_any
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
