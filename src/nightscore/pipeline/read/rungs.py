"""Rows of other days that stand in a table for a day that was late: seen by the footers of its files.

A day that was carried forward has none of its own. To the job itself it is a day that is not there, so that
what goes on from the day before goes on from a real one; to others it is the day, and their receipts say so.
"""

import datetime as dt
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import pyarrow.parquet as pq

from nightscore.common import Workspace
from nightscore.job import FULL, MADE_BY, Job, TableInput, own_table
from nightscore.pipeline.overdue import CARRIED
from nightscore.pipeline.read.listing import list_input
from nightscore.pipeline.read.steady import Files
from nightscore.store import InputFile, delta, renames, storage

NAMED = 50  # days of an input, at most


def without_carried(job: Job, source: TableInput, files: tuple[InputFile, ...]) -> tuple[InputFile, ...]:
    """The files of a table without those of days that were carried forward, where it is the job's own."""
    if not (own_table(job, source) and _has_rungs(job.workspace, source)):
        return files
    return tuple(
        file for file in files if not _is_carried(_rungs_of(storage.locate(job.workspace, file.path)))
    )


def see_degraded(job: Job, files: Files, day: dt.date) -> dict[str, tuple[str, ...]]:
    """Input -> its degraded days as they are read, the newest first, each with what made its rows."""
    found = {}
    for name, source in job.spec.inputs.items():
        if isinstance(source, TableInput) and _has_rungs(job.workspace, source):
            read = {file.path for file in files[name]}
            days = list(_degraded_days(job, list_input(job, name, source, day).files, read))
            more = (f"and {len(days) - NAMED} days more",) if len(days) > NAMED else ()
            found[name] = (*days[:NAMED], *more)
    return {name: days for name, days in found.items() if days}


def _degraded_days(job: Job, listed: Sequence[tuple[str, Path]], read: set[str]) -> Iterator[str]:
    for day, of_day in groupby(sorted(listed, reverse=True), lambda pair: pair[0]):
        paths = [path for _, path in of_day]
        others = {rung for path in paths for rung in _rungs_of(path)} - {FULL}
        left_out = "" if any(job.workspace.relative(path) in read for path in paths) else ", left out"
        if others:
            yield f"{day} {' and '.join(sorted(others))}{left_out}"


def _has_rungs(workspace: Workspace, source: TableInput) -> bool:
    return MADE_BY in delta.optional_columns(renames.table_home(workspace, source.table))


def _is_carried(rungs: set[str]) -> bool:
    return bool(rungs) and all(rung.startswith(CARRIED) for rung in rungs)


def _rungs_of(path: Path) -> set[str]:
    """The least and the greatest of what made the rows of a file; none of one that does not say it.

    `carried from …` sorts below `full`, and that below `variant …`: so a file of one rung is known, and so is
    one that has rows of another than `full`.
    """
    meta = pq.read_metadata(path)
    place = meta.schema.names.index(MADE_BY) if MADE_BY in meta.schema.names else None
    if place is None:
        return set()
    told = [meta.row_group(i).column(place).statistics for i in range(meta.num_row_groups)]
    if all(one is not None and one.has_min_max for one in told):
        return {str(end) for one in told for end in (one.min, one.max)}
    table = pq.read_table(path, columns=[MADE_BY], partitioning=None)
    return {str(one) for one in table.column(MADE_BY).drop_null().unique().to_pylist()}
