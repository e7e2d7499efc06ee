"""Rows of days by a column of theirs, `day_column`, where files have no partitions.

A run sees those from its lookback up to its day, as of partitions: the reader cuts them, by statistics where
there are some, so that no SQL of a job can look ahead.
"""

import datetime as dt
from collections.abc import Sequence

from nightscore.job import Job, PathInput, SnapshotInput
from nightscore.pipeline.read.known.as_of import column_type
from nightscore.pipeline.read.listing import window
from nightscore.store import (
    Engine,
    EngineResources,
    InputFile,
    View,
    Within,
    job_memory_budget,
    quote_identifier,
    storage,
)

KINDS = ("DATE", "TIMESTAMP", "TIMESTAMP_NS", "TIMESTAMPTZ", "TIMESTAMPTZ_NS")


def rows_within(
    job: Job, name: str, source: PathInput | SnapshotInput, files: Sequence[InputFile], day: dt.date
) -> Within | None:
    """Which rows of an input a run of a day sees; None where all of them.

    Raises:
        Broken: the column is not there, or is neither a DATE nor a timestamp.
    """
    if source.day_column is None or not files:
        return None
    first, last = window(job, source, day)
    return Within(source.day_column, _kind(job, name, source, files[0]), first, last)


def days_of_rows(job: Job, view: View, column: str) -> set[str]:
    """The days, YYYY-MM-DD, of which a view has rows, by a column."""
    if not view.files:
        return set()
    resources = EngineResources(1, job_memory_budget(job).sql, storage.runs(job.workspace).scratch())
    name = quote_identifier(column)
    day = f"CAST({name} AS DATE) - CAST(CAST({name} AS DATE) > {name} AS INTEGER)"  # the cast rounds up
    with Engine([view], resources) as engine:
        found = engine.rows(
            f"SELECT DISTINCT {day} FROM {quote_identifier(view.name)} WHERE {name} IS NOT NULL"
        )
    return {day.isoformat() for (day,) in found}


def _kind(job: Job, name: str, source: PathInput | SnapshotInput, file: InputFile) -> str:
    """The type of the column, as SQL has it."""
    column = source.day_column or ""
    is_text = isinstance(source, PathInput) and source.is_text
    found = source.types[column].upper() if is_text else column_type(job, name, "day_column", column, file)
    kind = found.replace("TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ")
    if kind not in KINDS:
        job.raise_broken(
            ("inputs", name, "day_column"),
            f"column {column!r} is {kind} in {file.path}; allowed: {', '.join(KINDS)}",
        )
    return kind
