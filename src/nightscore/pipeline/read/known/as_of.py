"""The second clock of bitemporal inputs: the column `known_at` says since when each row was known.

A cut-off leaves out what became known later (an as-of query).
"""

import datetime as dt
from collections.abc import Mapping
from functools import lru_cache

from nightscore.common import Broken, Workspace
from nightscore.job import Job, PathInput, SnapshotInput, TableInput
from nightscore.pipeline.read.parquet.types import types_in
from nightscore.store import InputFile, UpTo, storage


def cutoff(job: Job, known_at: dt.datetime | str | None) -> str:
    """A cut-off as plans and receipts hold it: UTC, ISO 8601; "" where none is asked for.

    Raises:
        Broken: it is no time, or no input of the job says since when its rows are known.
    """
    if known_at is None or known_at == "":
        return ""
    try:
        moment = known_at if isinstance(known_at, dt.datetime) else dt.datetime.fromisoformat(known_at)
    except ValueError:
        raise Broken(
            f"known-at {known_at!r} is no time; allowed: ISO 8601, such as 2022-12-28T23:00Z"
        ) from None
    if not any(not isinstance(source, TableInput) and source.known_at for source in job.spec.inputs.values()):
        raise Broken(
            f"job {job.name}: no input has known_at, the column that says since when a row is known; "
            "so there is nothing to cut at a time"
        )
    aware = moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
    return aware.astimezone(dt.UTC).isoformat()


def up_to(
    job: Job, name: str, source: PathInput | SnapshotInput, files: tuple[InputFile, ...], known_by: str
) -> UpTo | None:
    """Which rows of an input are seen: those known at the cut-off; None where all are.

    Rows without a value were not known. A DATE counts from the beginning of its day in UTC.

    Raises:
        Broken: the files have no such column, or it is neither TIMESTAMPTZ nor DATE.
    """
    if source.known_at is None or not files:
        return None
    kind = column_type(job, name, "known_at", source.known_at, files[0])
    if kind not in ("DATE", "TIMESTAMP WITH TIME ZONE"):
        job.raise_broken(
            ("inputs", name, "known_at"),
            f"column {source.known_at!r} is {kind} in {files[0].path}; allowed: TIMESTAMPTZ, DATE",
        )
    if not known_by:
        return None
    value = dt.datetime.fromisoformat(known_by)
    return UpTo(source.known_at, value.date() if kind == "DATE" else value)


@lru_cache(maxsize=256)
def _types(workspace: Workspace, path: str, _stat: str) -> Mapping[str, str]:
    """The DuckDB types of a file's columns; each look is an engine, so one while its stat is the same."""
    return types_in(workspace, storage.locate(workspace, path))


def column_type(job: Job, name: str, key: str, column: str, file: InputFile) -> str:
    """The DuckDB type of the column that a key of an input names.

    Raises:
        Broken: the file has no such column.
    """
    if file.columns:
        kinds: Mapping[str, str] = {c.name: c.kind for c in file.columns}
    else:
        kinds = _types(job.workspace, file.path, file.stat)
    if column not in kinds:
        job.raise_broken(
            ("inputs", name, key), f"{file.path} has no column {column!r}; it has {', '.join(kinds)}"
        )
    return kinds[column]
