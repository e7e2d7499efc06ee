"""What a model is given: features in the types that it computes with, and what stands for missing ones.

Each scorer's chunks come through here, whoever computes: one conversion for all. Where a job's
`features_null` says `fail`, nothing is filled: `row_checks` rejects the row.
"""

from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from nightscore.job import Job
from nightscore.scorers import Signature, as_computed, is_numeric_type, nearest


def check_policy(job: Job, needed: Signature) -> None:
    """Raise `Broken` unless a job's policy names columns of its model, with values that they can take.

    Raises:
        Broken: names the line of job.yaml.
    """
    for name, rule in job.spec.scoring.features_null.items():
        at = ("scoring", "features_null", name)
        if name not in needed.inputs.names:
            job.raise_broken(at, f"is no input of the model; its inputs: {', '.join(needed.inputs.names)}")
        kind = needed.inputs.field(name).type
        if rule == "nan" and not pa.types.is_floating(kind):
            job.raise_broken(at, f"the model takes {kind}, which has no NaN; allowed: fail, or a number")
        if not isinstance(rule, str):
            _check_number(job, at, rule, kind)


def _check_number(job: Job, at: tuple[str, ...], number: float, kind: pa.DataType) -> None:
    if not is_numeric_type(kind) or pa.types.is_boolean(kind):
        job.raise_broken(at, f"the model takes {kind}; {number} is no value of it")
    try:
        nearest(number, kind)
    except ValueError as error:
        job.raise_broken(at, f"the model takes {kind}; {error}")


def filled(job: Job, chunk: pa.RecordBatch, inputs: pa.Schema) -> pa.RecordBatch:
    """The chunk as a model with these inputs is given it; columns that are none of them are left alone.

    Missing values are as the job's `features_null` says. Decimals are of the type that the model computes
    with, rounded once; so is each column that was filled, and, where the job scores values that are lost,
    each that may have some. The others hold no number that their own conversion could change.
    """
    rules = job.spec.scoring.features_null
    for needed in inputs:
        column, rule = chunk.column(needed.name), rules.get(needed.name, "fail")
        given = column if rule == "fail" else _filled(column, rule, needed.type)
        if _converts(job, given):
            given = as_computed(given, needed.type)
        if given is not column:
            chunk = chunk.set_column(chunk.schema.get_field_index(needed.name), needed.name, given)
    return chunk


def _converts(job: Job, column: pa.Array) -> bool:
    kind = getattr(column.type, "value_type", column.type)
    if pa.types.is_decimal(kind):
        return True
    # Integers with a null stay what they are: the scorer says that no number stands for it.
    whole = column.null_count == 0 or not pa.types.is_integer(kind)
    return job.spec.policy.value_lost == "count" and is_numeric_type(kind) and whole


def _filled(column: pa.Array, rule: Literal["nan"] | float, kind: pa.DataType) -> pa.Array:
    """Column and number both in the model's type, before they meet."""
    converted = as_computed(column, kind)  # of each chunk, with or without a gap: all are of one type
    missing = pc.is_null(column, nan_is_null=pa.types.is_floating(column.type))
    if rule == "nan" or not pc.any(missing).as_py():
        return converted
    return pc.if_else(missing, pa.scalar(nearest(rule, kind), kind), converted)
