"""Checks of rows: a key, the features that must be there, values in their domains."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nightscore.job import Domain, Job
from nightscore.scorers import is_numeric_type

NULL_KEY, NULL_VALUE, OUT_OF_DOMAIN = "null_key", "null_value", "out_of_domain"
SCORER_ERROR, NAN_OUTPUT = "scorer_error", "nan_output"
Mask = npt.NDArray[np.bool_]


class Fault(NamedTuple):
    """Some rows of a chunk that are not what they have to be: a mask [rows], a code, and what is wrong.

    Where it is about a column's values, `column` names it, and `message` says what is allowed.
    """

    rows: Mask
    reason: str
    message: str
    column: str = ""


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
            except (pa.ArrowException, TypeError):
                job.raise_broken((*at, "in"), f"{domain.in_} are no values of the column, which is {kind}")


def feature_faults(job: Job, chunk: pa.RecordBatch) -> Iterator[Fault]:
    """What is wrong with the rows of a chunk before it is scored, column by column."""
    for name in job.spec.key:
        yield Fault(_null(chunk.column(name)), NULL_KEY, f"key column {name!r} is null")
    for name, rule in job.spec.scoring.features_null.items():
        if rule == "fail":
            column = chunk.column(name)
            message = f"column {name!r} ({column.type}) is null or NaN; its policy is fail"
            yield Fault(_missing(column), NULL_VALUE, message)
    yield from _domain_faults(job, chunk)


def drop_faulty_rows(job: Job, chunk: pa.RecordBatch) -> pa.RecordBatch:
    """The rows of a chunk with which nothing is wrong before they are scored."""
    bad = [fault.rows for fault in feature_faults(job, chunk)]
    return chunk.filter(pa.array(~np.any(bad, axis=0))) if np.any(bad) else chunk


def output_faults(job: Job, outputs: pa.RecordBatch) -> Iterator[Fault]:
    """What is wrong with the rows that a scorer gave, column by column."""
    for name in outputs.schema.names:
        yield Fault(nan_rows(outputs.column(name)), NAN_OUTPUT, f"the model gives NaN as {name}")
    yield from _domain_faults(job, outputs)


def _domain_faults(job: Job, batch: pa.RecordBatch) -> Iterator[Fault]:
    for name, domain in job.spec.domain.items():
        if name not in batch.schema.names:
            continue
        column = batch.column(name)
        if not domain.null:
            yield Fault(_missing(column), NULL_VALUE, f"column {name!r} is null; its domain has no null")
        if domain.in_ is not None:
            allowed = pc.is_in(column, value_set=_values(domain, column.type)).to_numpy(zero_copy_only=False)
            outside = ~allowed & ~_missing(column)
        else:
            outside = _beyond(column, domain)
        yield Fault(outside, OUT_OF_DOMAIN, f"allowed: {domain}", name)


def _values(domain: Domain, kind: pa.DataType) -> pa.Array:
    return pa.array(domain.in_).cast(kind)


def _beyond(column: pa.Array, domain: Domain) -> Mask:
    """The rows below the least or above the greatest value; a null or NaN is neither."""
    beyond = np.zeros(len(column), np.bool_)
    for bound, crosses in ((domain.min, pc.less), (domain.max, pc.greater)):
        if bound is not None:
            # For 32-bit floats, 0.1 means the float nearest to it.
            limit = pa.scalar(bound).cast(column.type) if pa.types.is_floating(column.type) else bound
            crossed = crosses(column, limit)
            beyond |= pc.fill_null(crossed, False).to_numpy(zero_copy_only=False)
    return beyond


def _null(column: pa.Array) -> Mask:
    if not column.null_count:
        return np.zeros(len(column), np.bool_)
    return np.asarray(pc.is_null(column).to_numpy(zero_copy_only=False))


def _missing(column: pa.Array) -> Mask:
    """The rows that are null or NaN."""
    floats = pa.types.is_floating(column.type)
    return np.asarray(pc.is_null(column, nan_is_null=floats).to_numpy(zero_copy_only=False))


def nan_rows(column: pa.Array) -> Mask:
    """The rows whose value is NaN, or whose list holds one."""
    if pa.types.is_list(column.type):
        mask = np.zeros(len(column), np.bool_)
        mask[pc.list_parent_indices(column).to_numpy()[nan_rows(column.flatten())]] = True
        return mask
    if not pa.types.is_floating(column.type):
        return np.zeros(len(column), np.bool_)
    return np.asarray(np.isnan(column.to_numpy(zero_copy_only=False)))
