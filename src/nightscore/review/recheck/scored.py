"""Days whose scores are no function of the rows, or of other numbers than there were: models and values."""

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from nightscore.common import Broken, NightscoreError
from nightscore.job import Job
from nightscore.pipeline import hold_to_rows, inputs, lost_values, open_job_model, scan_chunks
from nightscore.review.recheck.published_day import Finding, PublishedDay
from nightscore.store import EngineResources, InputFile, Piece, Plan, RowRange, job_memory_budget, storage

NEIGHBOURS, LOST, FILLED, DECIMALS = (
    "neighbours", "value lost", "fill cast", "last bits of decimals",
)  # fmt: skip
CHUNK = 32_768  # rows
WHOLE_FLOAT = 1 << 24  # up to here a float32 holds each integer
TINY, HUGE = 2.0**-149, 2.0**127  # within these a double is a float32 that is neither 0 nor infinite


def scored_otherwise(published: PublishedDay, plan: Plan, doubts: list[str]) -> Iterator[Finding]:
    """What the model says of the day's rows. `plan` is the day's now; `doubts` gets what is not known."""
    job, source = published.job, published.scored()
    if not source:
        return
    try:
        hold_to_rows(job, dataclasses.replace(plan, challengers=()), source)
    except Broken as error:
        yield Finding(kind=NEIGHBOURS, evidence=str(error))
    except NightscoreError as error:
        doubts.append(f"its model was not asked about its rows: {error}")
    needed = open_job_model(job, plan.model_path).scorer.signature.inputs
    yield from _filled(job, source, needed)
    yield from _lost(job, source, needed)


def rounded_decimals(published: PublishedDay, plan: Plan) -> Iterator[str]:
    """Streamed decimals, which were the double beside the nearest one: a note, no fault that can be seen."""
    source = published.scored() if published.job.features_sql is None else None
    if not source:
        return
    kinds = pq.read_schema(published.locate(source[0].path))
    needed = open_job_model(published.job, plan.model_path).scorer.signature.inputs
    names = [n for n in needed.names if n in kinds.names and pa.types.is_decimal(kinds.field(n).type)]
    if names:
        yield f"{DECIMALS}: {', '.join(names)} may have been scored one unit in the last place off"


def _filled(job: Job, source: Sequence[InputFile], needed: pa.Schema) -> Iterator[Finding]:
    """Nulls for which `features_null` stood, cast to the column's type."""
    for name, rule in job.spec.scoring.features_null.items():
        paths = [storage.locate(job.workspace, file.path) for file in source]
        kinds = [pq.read_schema(path) for path in paths]
        if isinstance(rule, str) or name not in needed.names or name not in kinds[0].names:
            continue
        kind = kinds[0].field(name).type
        nulls = 0 if _holds(kind, rule) else sum(_nulls(path, name) for path in paths)
        if nulls:
            yield Finding(
                kind=FILLED,
                evidence=f"features_null: {{{name}: {rule:g}}} was cast to {kind} and became another "
                f"value in {nulls:,} rows of {source[0].path}",
            )


def _holds(kind: pa.DataType, number: float) -> bool:
    """Whether a number of job.yaml is a value of a column's own type."""
    if pa.types.is_boolean(kind):
        return number in (0, 1)
    if pa.types.is_integer(kind):
        least = 0 if pa.types.is_unsigned_integer(kind) else -(1 << (kind.bit_width - 1))
        bits = kind.bit_width - (0 if pa.types.is_unsigned_integer(kind) else 1)
        return float(number).is_integer() and least <= number < 1 << bits
    if pa.types.is_decimal(kind):
        value = Decimal(str(number)).scaleb(kind.scale)
        return value == value.to_integral_value() and abs(value) < Decimal(10) ** kind.precision
    return True


def _nulls(path: Path, name: str) -> int:
    return sum(column.null_count for column in pq.read_table(path, columns=[name], partitioning=None).columns)


def _lost(job: Job, source: Sequence[InputFile], needed: pa.Schema) -> Iterator[Finding]:
    """Values that the model's type does not hold; only of columns whose footers don't rule that out."""
    doubtful = [
        f for f in needed if any(not _is_held(storage.locate(job.workspace, file.path), f) for file in source)
    ]
    if not doubtful:
        return
    resources = EngineResources(1, job_memory_budget(job).piece.duckdb, storage.runs(job.workspace).scratch())
    ranges = tuple(RowRange(file.path, 0, file.rows) for file in source if file.rows)
    names, rows = [field.name for field in doubtful], Counter[str]()
    read = inputs.scored_columns(job, {job.spec.source: tuple(source)})
    for chunk in scan_chunks(job.workspace, Piece(0, ranges, ""), names, CHUNK, resources, read=read):
        for field, mask in lost_values(chunk, pa.schema(doubtful)):
            rows[field.name] += int(mask.sum())
    for name, count in rows.items():
        kind = needed.field(name).type
        yield Finding(
            kind=LOST,
            evidence=f"{count:,} rows have a value of {name} that {kind} does not hold: it became another",
        )


def _is_held(path: Path, needed: pa.Field) -> bool:
    """Whether footers show that a model's type holds all values of a column."""
    meta = pq.ParquetFile(path)
    kinds = meta.schema_arrow
    if needed.name not in kinds.names:  # of folders
        return False
    kind = kinds.field(needed.name).type
    if kind == needed.type or not pa.types.is_floating(needed.type) or pa.types.is_boolean(kind):
        return not pa.types.is_nested(kind) or kind == needed.type
    if pa.types.is_integer(kind) and kind.bit_width <= (16 if needed.type == pa.float32() else 32):
        return True
    bounds = [_bounds(meta.metadata.row_group(i), needed.name) for i in range(meta.metadata.num_row_groups)]
    return all(low is not None and _within(kind, needed.type, low, high) for low, high in bounds)


def _within(kind: pa.DataType, needed: pa.DataType, low: Any, high: Any) -> bool:
    if pa.types.is_integer(kind):
        most = WHOLE_FLOAT if needed == pa.float32() else 1 << 53
        return bool(-most <= low and high <= most)
    if pa.types.is_float64(kind):  # zeroes and tiny numbers between bounds can't be told apart
        return bool(math.copysign(1, low) == math.copysign(1, high) and _is_float(low) and _is_float(high))
    return bool(pa.types.is_floating(kind) or (pa.types.is_decimal(kind) and kind.scale > 0))


def _is_float(number: float) -> bool:
    return TINY <= abs(number) <= HUGE


def _bounds(group: Any, name: str) -> tuple[Any, Any]:
    for column in (group.column(i) for i in range(group.num_columns)):
        if column.path_in_schema == name and column.is_stats_set and column.statistics.has_min_max:
            return column.statistics.min, column.statistics.max
    return None, None
