"""The features that the SQL makes, beside those that training had of the same rows."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from nightscore.job import Job
from nightscore.pipeline.score.deviation import is_list
from nightscore.pipeline.score.row_distance import column_distances
from nightscore.pipeline.training.cases import Case
from nightscore.pipeline.training.files import ExpectedFiles

ENOUGH = 0.95  # the share of rows that a cause has to explain
SHOWN = 3  # columns in a message


def features_apart(job: Job, case: Case, tolerance: float, files: ExpectedFiles) -> None:
    """Hold the features of the SQL to those of training, column by column.

    Raises:
        Broken: some differ; names the columns that differ most, a row of each, and the likely cause.
    """
    if case.features is None:
        return
    made, had = (_wide(batch) for batch in (case.rows, case.features))
    if missing := [name for name in made if name not in had]:
        files.refuse("features", f"has no column {missing[0]!r}, which the model takes")
    far = {name: column_distances(made[name], had[name]) for name in made}
    apart = sorted(
        (n for n in far if (far[n] > tolerance).any()), key=lambda n: -int((far[n] > tolerance).sum())
    )
    if not apart:
        return
    told = []
    for name in apart[:SHOWN]:
        row, rows = int(np.argmax(far[name])), int((far[name] > tolerance).sum())
        values = f"{made[name][row].as_py()}, training had {had[name][row].as_py()}"
        told.append(f"{name} in {rows:,} (such as {case.names[row]}: {values})")
    more = f", and {len(apart) - SHOWN} more" if len(apart) > SHOWN else ""
    causes = [cause for name in apart if (cause := _cause(made, had, name, tolerance))]
    job.raise_broken(
        ("model", "expected"), f"{files.shown('features')}: of {case.rows.num_rows:,} rows the SQL gives "
        f"other features than training had: {', '.join(told)}{more}"
        f"{f'. Likely cause: {causes[0]}' if causes else ''}; nothing is published"
    )  # fmt: skip


def _cause(made: Mapping[str, pa.Array], had: Mapping[str, pa.Array], name: str, tolerance: float) -> str:
    """Why a column differs, in words; empty where nothing simple explains it."""

    def are(values: pa.Array) -> bool:
        return float((column_distances(values, had[name]) <= tolerance).mean()) >= ENOUGH

    for other in made:
        if other != name and made[other].type == had[name].type and are(made[other]):
            return f"an order: what training had as {name} is {other} here"
    if not pa.types.is_floating(made[name].type):
        return ""
    values, expected = (np.asarray(c.to_numpy(zero_copy_only=False), float) for c in (made[name], had[name]))
    lacks, lacked = np.isnan(values), np.isnan(expected)
    if (wrong := column_distances(made[name], had[name]) > tolerance).any() and not (
        wrong & ~(lacks | lacked)
    ).any():
        codes = {float(v) for v in np.where(lacks, expected, values)[wrong]}
        code = f"{codes.pop():g}" if len(codes) == 1 else "a number"
        here, there = ("missing", code) if lacks[wrong].any() else (code, "missing")
        return f"a missing-value code: {name} is {here} here where it was {there} in training"
    with np.errstate(all="ignore"):
        factor = float(np.nanmedian(np.where(values == 0, np.nan, expected / values)))
        if np.isfinite(factor) and factor and are(pa.array(values * factor)):
            return f"a unit: training had {name} times {factor:.6g}"
        shift = float(np.nanmedian(expected - values))
    return (
        f"training had {name} plus {shift:.6g}"
        if np.isfinite(shift) and are(pa.array(values + shift))
        else ""
    )


def _wide(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    """Columns in types that can be compared: numbers as float64, with NaN for what is missing."""
    return {field.name: _widened(batch.column(field.name)) for field in batch.schema}


def _widened(column: pa.Array) -> pa.Array:
    kind = column.type
    if is_list(kind):
        return column.cast(pa.list_(pa.float64())) if not pa.types.is_string(kind.value_type) else column
    number = pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind)
    if not (number or pa.types.is_boolean(kind)):
        return column
    return pa.array(np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False), float))
