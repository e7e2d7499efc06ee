"""The files that a job reads for a day: listed, cut at the day, fingerprinted, held to one schema.

Point-in-time: no partition of a later day is seen, however long afterwards the day is run.
"""

import dataclasses
import datetime as dt
from collections.abc import Sequence

import pyarrow.parquet as pq

from nightscore.common import Workspace, byte_size, parse_size
from nightscore.job import Input, Job, Layout, PathInput, SnapshotInput, TableInput, own_table, parse_layout
from nightscore.pipeline.read.day_column import days_of_rows, rows_within
from nightscore.pipeline.read.images import image_files, inspect_images
from nightscore.pipeline.read.known.as_of import up_to
from nightscore.pipeline.read.known.as_reported import published_files
from nightscore.pipeline.read.known.since import by_rows, held_by
from nightscore.pipeline.read.listing import days_with_data, list_days, list_input, window
from nightscore.pipeline.read.parquet.columns import read_as_one, widened
from nightscore.pipeline.read.parquet.files import (
    decoded_bytes,
    inspect_files,
    inspect_parquet,
    refuse_other_columns,
)
from nightscore.pipeline.read.parquet.types import known_types
from nightscore.pipeline.read.rungs import without_carried
from nightscore.pipeline.read.snapshots import resolve_snapshot, see_snapshots
from nightscore.pipeline.read.steady import Files, steady_files, steady_inputs
from nightscore.pipeline.read.text.inputs import inspect_text, text_columns
from nightscore.store import (
    AS_THEY_ARE,
    NO_FOLDERS,
    FolderColumns,
    InputFile,
    SourceColumns,
    View,
    delta,
    renames,
    storage,
)

__all__ = [
    "Files", "days_of", "every_day", "folder_columns", "has_days", "inspect_parquet", "is_parquet",
    "layout_of", "left_out", "list_full_days", "list_input_days", "refuse_large", "resolve_inputs",
    "resolve_later_inputs", "scored_columns", "see_snapshots", "see_widened", "steady_files", "steady_inputs",
    "view", "views",
]  # fmt: skip


def resolve_inputs(job: Job, day: dt.date) -> Files:
    """The files of each input that a run of `day` may read: nothing after it.

    Raises:
        Broken: an input is nowhere, or can't be listed whole; a file is no Parquet; what the job uses of
            the files of an input is not one (see `read_as_one`); a file and its folder give other values.
        NotYet: a folder does not answer, or a file is still being written.
    """
    return {name: _resolve(job, name, source, day) for name, source in job.spec.inputs.items()}


def _resolve(job: Job, name: str, source: Input | SnapshotInput, day: dt.date) -> tuple[InputFile, ...]:
    if isinstance(source, SnapshotInput):
        return resolve_snapshot(job, name, source, window(job, source, day))
    listed, folders = list_input(job, name, source, day).files, folder_columns(job.workspace, source)
    if isinstance(source, PathInput) and source.format == "image":
        return inspect_images(job, name, source, listed, folders)
    if isinstance(source, PathInput) and source.is_text:
        return inspect_text(job, name, source, listed, folders)
    inspected = inspect_files(job.workspace, name, listed, folders)
    if isinstance(source, TableInput):
        found = refuse_other_columns(name, inspected, _may_lack(job.workspace, source))
        return without_carried(job, source, found)
    given = folders.types(inspected[-1][0].path) if inspected else {}
    return by_rows(job, name, source, read_as_one(job, name, source, inspected, given), day)


def resolve_later_inputs(job: Job, day: dt.date, after_days: int) -> Files:
    """The same and `after_days` later days, which no run sees: what came true of a day.

    Errors as `resolve_inputs`'s.
    """
    longer = {
        name: source.model_copy(update={"lookback": source.lookback + after_days})
        for name, source in job.spec.inputs.items()
    }
    longer_job = dataclasses.replace(job, spec=job.spec.model_copy(update={"inputs": longer}))
    return resolve_inputs(longer_job, day + dt.timedelta(days=after_days))


def refuse_large(job: Job, files: Files) -> None:
    """Hold what a run would read to the job's limits, by the files' footers: small files can hold a lot.

    Raises:
        Broken: there are more rows, or more bytes before compression.
    """
    limits = job.spec.limits
    listed = [files[name] for name in files if is_parquet(job.spec.inputs[name])]
    every = {file.path: file for input_files in listed for file in input_files}.values()
    rows = sum(file.rows for file in every)
    if limits.rows is not None and rows > limits.rows:
        job.raise_broken(("limits", "rows"), f"the input files have {rows:,} rows, more than {limits.rows:,}")
    if limits.bytes is not None and limits.bytes != "auto":
        decoded = sum(decoded_bytes(storage.locate(job.workspace, file.path)) for file in every)
        if decoded > parse_size(limits.bytes):
            message = (
                f"the input files have {byte_size(decoded)} when they are decoded, more than {limits.bytes}"
            )
            job.raise_broken(("limits", "bytes"), message)


def list_input_days(job: Job) -> list[dt.date]:
    """The days for which every input of files has a partition, or rows by its `day_column`, in order.

    Errors as `resolve_inputs`'s.
    """
    found = [
        _days_with_data(job, name, source)
        for name, source in job.spec.inputs.items()
        if not isinstance(source, TableInput) and source.has_days
    ]
    return sorted(set.intersection(*found)) if found else []


def list_full_days(job: Job) -> list[dt.date]:
    """The days for which every input has its rows, tables of other jobs too, in order.

    Errors as `resolve_inputs`'s.
    """
    sources = job.spec.inputs.items()
    by_files = any(not isinstance(source, TableInput) and source.has_days for _, source in sources)
    days = [set(list_input_days(job))] if by_files else []
    for name, source in sources:
        if isinstance(source, TableInput) and not own_table(job, source):
            files = published_files(job, name, source, dt.date.min, dt.date.max)
            days.append({dt.date.fromisoformat(file.day) for file in files})
    return sorted(set.intersection(*days)) if days else []


def _days_with_data(job: Job, name: str, source: PathInput | SnapshotInput) -> set[dt.date]:
    if isinstance(source, PathInput) and source.layout:
        return days_with_data(job, name, source)
    return every_day(job, name, source)


def every_day(job: Job, name: str, source: PathInput | SnapshotInput) -> set[dt.date]:
    """The days of which an input of files has a partition, empty or not, or rows by its `day_column`."""
    if source.day_column is None:
        return set(list_days(job, name, source))
    if isinstance(source, SnapshotInput):
        files = resolve_snapshot(job, name, source, None)
    else:
        files = _resolve(job, name, source, dt.date.max)
    days = days_of_rows(job, view(job, name, files), source.day_column)
    return {dt.date.fromisoformat(day) for day in days}


def views(job: Job, files: Files, day: dt.date, known_at: str = "", after_days: int = 0) -> list[View]:
    """The inputs as SQL sees them on a day: all rows that hold by then, or those known at a moment.

    With `after_days` the rows of so many later days, too, in files of `resolve_later_inputs`.
    """
    found = (
        _view(job, name, source, files[name], day=day, known_at=known_at)
        for name, source in job.spec.inputs.items()
    )
    later = dt.timedelta(days=after_days)
    return [
        dataclasses.replace(v, within=dataclasses.replace(v.within, last=v.within.last + later))
        if v.within
        else v
        for v in found
    ]


def has_days(source: Input) -> bool:
    """Whether the rows of an input are of days."""
    return True if isinstance(source, TableInput) else source.has_days


def is_parquet(source: Input) -> bool:
    """Whether an input's files have footers, which say how many rows they have."""
    return not isinstance(source, PathInput) or source.format == "parquet"


def days_of(job: Job, name: str, files: Files, day: dt.date) -> set[str]:
    """The days, YYYY-MM-DD, of which an input has a partition, or rows, among those that a run sees."""
    source = job.spec.inputs[name]
    if not isinstance(source, TableInput) and source.day_column and files[name]:
        seen = _view(job, name, source, files[name], day=day, known_at="")
        return days_of_rows(job, seen, source.day_column)
    return {file.day for file in files[name]}


def folder_columns(workspace: Workspace, source: Input) -> FolderColumns:
    """The columns that the folders of an input give: none where its files alone count."""
    if isinstance(source, SnapshotInput):
        return NO_FOLDERS
    if not isinstance(source, PathInput):
        return FolderColumns(layout_of(source))
    if source.partition_column == "file":
        return NO_FOLDERS
    home = workspace.relative(workspace.resolve(source.address))
    at = workspace.locate(home)  # as its files are located: a workspace may be reached through a link
    of_folder = source.partition_column == "folder"
    return FolderColumns(source.layout, known_types(workspace, source.types), of_folder, home, str(at))


def scored_columns(job: Job, files: Files) -> SourceColumns:
    """How the columns of the input are read that a job streams; as they are, where SQL makes the features."""
    if job.features_sql is not None:
        return AS_THEY_ARE
    by_file = {file.path: file.columns for file in files[job.spec.source] if file.columns}
    return SourceColumns(folder_columns(job.workspace, job.spec.inputs[job.spec.source]), by_file)


def see_widened(files: Files) -> dict[str, tuple[str, ...]]:
    """Of inputs whose files are not alike, the columns read in a wider type than a file's, or as null."""
    found = {name: widened(input_files) for name, input_files in files.items()}
    return {name: lines for name, lines in found.items() if lines}


def left_out(job: Job, files: Sequence[InputFile]) -> set[str]:
    """The columns that some files of an input have and that are not read of any."""
    names = {
        name
        for file in files
        if file.columns and not file.snapshot
        for name in pq.read_schema(storage.locate(job.workspace, file.path)).names
    }
    return names - {column.name for file in files for column in file.columns}


def view(job: Job, name: str, files: Sequence[InputFile], called: str = "") -> View:
    """Some files of an input as SQL sees them, all rows, under its name or another."""
    source = job.spec.inputs[name]
    folders = folder_columns(job.workspace, source)
    types, sql = (folders.types(files[0].path), folders.sql(files[0].path)) if files else ({}, {})
    paths = tuple(storage.locate(job.workspace, file.path) for file in files)
    by_name = bool(_may_lack(job.workspace, source))
    by_file = {path: file.columns for path, file in zip(paths, files, strict=True) if file.columns}
    pairs = list(zip(paths, files, strict=True))
    text = text_columns(job, source, folders, pairs) if isinstance(source, PathInput) else None
    images = image_files(source, folders, pairs) if isinstance(source, PathInput) else None
    return View(
        called or name,
        paths,
        by_name=by_name,
        folder_types=types,
        folder_sql=sql,
        stored=isinstance(source, TableInput),
        text=text,
        images=images,
        by_file=by_file,
    )


def _view(
    job: Job, name: str, source: Input, files: tuple[InputFile, ...], *, day: dt.date, known_at: str
) -> View:
    columns = dict(source.columns or {}) if isinstance(source, TableInput) else {}
    if not files and not columns:
        if not isinstance(source, TableInput):
            job.raise_broken(("inputs", name), "has no file in the days that the job may read")
        job.raise_broken(
            ("inputs", name), f"table {source.table} has no file in the days that the job may read; give its "
            "columns, for the nights before it has one"
        )  # fmt: skip
    if columns:
        columns["day"] = "DATE"
    bounds, within = [], None
    if not isinstance(source, TableInput):
        within = rows_within(job, name, source, files, day)
        bounds = [up_to(job, name, source, files, known_at), held_by(source, day)]
    seen = tuple(bound for bound in bounds if bound)
    return dataclasses.replace(view(job, name, files), columns=columns, up_to=seen, within=within)


def layout_of(source: Input) -> Layout | None:
    """How an input's days lie; those of an output table lie in its hive folders."""
    if isinstance(source, SnapshotInput):
        return None
    return source.layout if isinstance(source, PathInput) else parse_layout("day")


def _may_lack(workspace: Workspace, source: Input) -> set[str]:
    """The columns that a file of an input may lack: those of challengers, where the input is a table."""
    return (
        set()
        if not isinstance(source, TableInput)
        else delta.optional_columns(renames.table_home(workspace, source.table))
    )
