"""Missing values of features: what a job's `features_null` puts in their place.

Where it says `fail`, nothing is filled: `row_checks` rejects the row.
"""

from collections.abc import Mapping
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from nightscore.job import Job
from nightscore.scorers import Signature, is_numeric_type

Policy = Mapping[str, Literal["fail", "nan"] | float]


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
        if rule not in ("fail", "nan") and not _takes(kind, float(rule)):
            job.raise_broken(at, f"the model takes {kind}; {rule} is no value of it")


def filled(chunk: pa.RecordBatch, policy: Policy) -> pa.RecordBatch:
    """The chunk with its missing values as the policy says; columns that it does not name are left alone."""
    for name, rule in policy.items():
        if rule == "fail":
            continue
        i = chunk.schema.get_field_index(name)
        chunk = chunk.set_column(i, name, _filled(chunk.column(i), rule))
    return chunk


def _filled(column: pa.Array, rule: Literal["nan"] | float) -> pa.Array:
    if rule == "nan":
        return column if pa.types.is_floating(column.type) else pc.cast(column, pa.float64())
    missing = pc.is_null(column, nan_is_null=pa.types.is_floating(column.type))
    if pa.types.is_integer(column.type) and not float(rule).is_integer():
        column = pc.cast(column, pa.float64())
    return pc.if_else(missing, pa.scalar(float(rule)).cast(column.type), column)


def _takes(kind: pa.DataType, value: float) -> bool:
    if pa.types.is_integer(kind):
        return value.is_integer()
    return is_numeric_type(kind) and not pa.types.is_boolean(kind)
