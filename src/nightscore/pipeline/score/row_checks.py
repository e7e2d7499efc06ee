"""Checks of rows: a key, the features that must be there, values in their domains."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nightscore.job import Job
from nightscore.pipeline.score.deviation import is_list
from nightscore.pipeline.score.domains import Mask, missing, outside
from nightscore.pipeline.score.lost_values import lost_values

NULL_KEY, NULL_VALUE, OUT_OF_DOMAIN, VALUE_LOST = "null_key", "null_value", "out_of_domain", "value_lost"
SCORER_ERROR, NAN_OUTPUT = "scorer_error", "nan_output"


class Fault(NamedTuple):
    """Some rows of a chunk that are not what they have to be: a mask [rows], a code, and what is wrong.

    Where it is about a column's values, `column` names it, and `message` says what is allowed.
    """

    rows: Mask
    reason: str
    message: str
    column: str = ""


def feature_faults(job: Job, chunk: pa.RecordBatch, inputs: pa.Schema) -> Iterator[Fault]:
    """What is wrong with the rows of a chunk before it is scored, column by column.

    `inputs` are the columns of the model, in the types that it computes with.
    """
    for name in job.spec.key:
        yield Fault(_null(chunk.column(name)), NULL_KEY, f"key column {name!r} is null")
    for name, rule in job.spec.scoring.features_null.items():
        if rule == "fail":
            column = chunk.column(name)
            message = f"column {name!r} ({column.type}) is null or NaN; its policy is fail"
            yield Fault(missing(column), NULL_VALUE, message)
    yield from _domain_faults(job, chunk)
    if job.spec.policy.value_lost != "count":
        yield from (_loss(chunk, rows, needed) for needed, rows in lost_values(chunk, inputs))


def _loss(chunk: pa.RecordBatch, rows: Mask, needed: pa.Field) -> Fault:
    kind = chunk.schema.field(needed.name).type
    message = (
        f"the model computes with {needed.type}, which has no such number (the column is {kind}); cast or "
        "scale it in the features SQL, or say policy.value_lost: reject (the row is set aside) or count (the "
        "nearest number is scored and the receipt counts it) instead of fail"
    )
    if pa.types.is_nested(kind):
        return Fault(rows, VALUE_LOST, f"a value in column {needed.name!r} is lost: {message}")
    return Fault(rows, VALUE_LOST, message, needed.name)


def drop_faulty_rows(job: Job, chunk: pa.RecordBatch, inputs: pa.Schema) -> pa.RecordBatch:
    """The rows of a chunk with which nothing is wrong before they are scored; see `feature_faults`."""
    bad = [fault.rows for fault in feature_faults(job, chunk, inputs)]
    return chunk.filter(pa.array(~np.any(bad, axis=0))) if np.any(bad) else chunk


def output_faults(job: Job, outputs: pa.RecordBatch) -> Iterator[Fault]:
    """What is wrong with the rows that a scorer gave, column by column."""
    for name in outputs.schema.names:
        for rows, what in no_scores(outputs.column(name)):
            yield Fault(rows, NAN_OUTPUT, f"the model gives {what} as {name}")
    yield from _domain_faults(job, outputs)


def _domain_faults(job: Job, batch: pa.RecordBatch) -> Iterator[Fault]:
    for name, domain in job.spec.domain.items():
        if name not in batch.schema.names:
            continue
        column = batch.column(name)
        if not domain.null:
            yield Fault(missing(column), NULL_VALUE, f"column {name!r} is null; its domain has no null")
        yield Fault(outside(column, domain), OUT_OF_DOMAIN, f"allowed: {domain}", name)


def _null(column: pa.Array) -> Mask:
    if not column.null_count:
        return np.zeros(len(column), np.bool_)
    return np.asarray(pc.is_null(column).to_numpy(zero_copy_only=False))


def no_scores(column: pa.Array) -> Iterator[tuple[Mask, str]]:
    """The rows whose value is no score, or whose list holds one: NaN, infinite or null, and which it is.

    Nothing where all is well, so that it costs one look at each value.
    """
    if is_list(column.type):
        if column.null_count:
            yield _null(column), "null"
        parents = pc.list_parent_indices(column).to_numpy()
        for items, what in no_scores(column.flatten()):
            rows = np.zeros(len(column), np.bool_)
            rows[parents[items]] = True
            yield rows, f"a list with {what}"
    elif pa.types.is_floating(column.type):
        numbers = column.to_numpy(zero_copy_only=False)  # a null is NaN
        if not np.isfinite(numbers).all():
            masks = {"NaN": np.isnan(numbers), "an infinite number": np.isinf(numbers)}
            yield from ((rows, what) for what, rows in masks.items() if rows.any())
    elif column.null_count:
        yield _null(column), "null"
