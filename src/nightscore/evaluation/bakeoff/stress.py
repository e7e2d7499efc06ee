"""Rows that nobody expects: a candidate takes what the reference takes, and gives numbers where it does.

And rows in another company: what a row gets is its own, or what is published depends on how a day was cut.
"""

import itertools

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nightscore.common import first_line
from nightscore.job import Job
from nightscore.pipeline import (
    find_sway,
    inputs,
    is_list,
    largest_sway,
    open_planned_scorer,
    read_first_rows,
    reference_scorer,
)
from nightscore.scorers import ChunkError, Scorer
from nightscore.store import Plan, storage

ROWS = 64
FLOATS = (np.nan, np.inf, -np.inf, 0.0, -0.0, 1e30, -1e30, 1e-30)
TEXTS = ("", " ", "\U0001f600" * 50, "x" * 5000, "\u0000\u202e", "1e309")


def find_adversarial_difference(job: Job, plan: Plan) -> str:
    """How the plan's candidate answers adversarial rows otherwise than the reference; empty if alike."""
    files = dict.fromkeys(part.path for piece in plan.pieces for part in piece.ranges)
    rows = read_first_rows(
        job,
        plan,
        [inputs.inspect_parquet(job.workspace, storage.locate(job.workspace, path)) for path in files],
        ROWS,
    )
    if rows is None:
        return ""
    reference = reference_scorer(job, plan)
    candidate = open_planned_scorer(job, plan)
    for chunk in adversarial(rows, reference.signature.inputs):
        difference = _unlike(reference, candidate, chunk)
        if difference:
            return difference
    return _swayed(reference, candidate, rows, job.spec.scoring.tolerance)


def _swayed(reference: Scorer, candidate: Scorer, rows: pa.RecordBatch, tolerance: float) -> str:
    """Whether a row's score depends on the rows beside it: then what is published depends on chunks.

    A candidate may do what the reference does, twice over.
    """
    sway = find_sway(candidate, rows, max(tolerance, 2 * largest_sway(reference, rows)))
    return f"a row's score depends on the rows beside it: {sway}" if sway else ""


def adversarial(rows: pa.RecordBatch, needed: pa.Schema) -> list[pa.RecordBatch]:
    """The rows, each time with another value in every column that can hold it: NaN, infinities, texts."""
    batches = []
    for number, text in itertools.zip_longest(FLOATS, TEXTS, fillvalue=None):
        columns = [
            _with(rows.column(i), rows.schema.field(i), needed, number, text) for i in range(rows.num_columns)
        ]
        batches.append(pa.RecordBatch.from_arrays(columns, schema=rows.schema))
    return batches


def _with(
    values: pa.Array, field: pa.Field, needed: pa.Schema, number: float | None, text: str | None
) -> pa.Array:
    """A column with every other value replaced, where the model reads it."""
    every_other = pa.array(np.arange(len(values)) % 2 == 0)
    if field.name not in needed.names:
        return values
    if pa.types.is_floating(field.type) and number is not None:
        return pc.if_else(every_other, pa.scalar(number, field.type), values)
    if pa.types.is_string(field.type) and text is not None:
        return pc.if_else(every_other, pa.scalar(text, field.type), values)
    return values


def _unlike(reference: Scorer, candidate: Scorer, chunk: pa.RecordBatch) -> str:
    try:
        expected = reference.score(chunk)
    except ChunkError:
        return ""  # what the reference refuses, a run refuses
    try:
        actual = candidate.score(chunk)
    except Exception as error:  # of any kind: the reference takes these rows
        return f"it fails on rows that the model takes: {first_line(error)}"
    for name in expected.schema.names:
        if (bad := _not_numbers(actual.column(name)) & ~_not_numbers(expected.column(name))).any():
            return f"{name} is no number on {int(bad.sum())} adversarial rows where the model gives one"
    return ""


def _not_numbers(values: pa.Array) -> npt.NDArray[np.bool_]:
    """Which rows hold a NaN or an infinity."""
    if pa.types.is_floating(values.type):
        return ~np.isfinite(np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.float64))
    bad = np.zeros(len(values), np.bool_)
    if is_list(values.type) and pa.types.is_floating(values.type.value_type):
        flat = np.asarray(values.flatten().to_numpy(zero_copy_only=False), dtype=np.float64)
        bad[pc.list_parent_indices(values).to_numpy()[~np.isfinite(flat)]] = True
    return bad
