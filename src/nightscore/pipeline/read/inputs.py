"""The files that a job reads for a day: listed, cut at the day, fingerprinted, held to one schema.

Point-in-time: no partition of a later day is seen, however long afterwards the day is run.
"""

import contextlib
import dataclasses
import datetime as dt
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from nightscore.common import Broken, NotYet, Workspace, byte_size, is_data_path, parse_size, read_day
from nightscore.job import Input, Job, PathInput
from nightscore.pipeline.read.as_of import up_to
from nightscore.store import InputFile, View, catalog, delta

Files = Mapping[str, tuple[InputFile, ...]]
WIDTHS = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, "INT64": 8, "DOUBLE": 8, "INT96": 12}  # bytes in Arrow
ParquetColumns = dict[str, tuple[str, str]]


def resolve_inputs(job: Job, day: dt.date) -> Files:
    """The files of each input that a run of `day` may read: nothing after it.

    Raises:
        Broken: an input is nowhere, a file is no Parquet, or two files of one input differ in a
            column's name or type.
    """
    return {
        name: _inspect_files(
            job.workspace, name, _listed(job, name, source, day), _may_lack(job.workspace, source)
        )
        for name, source in job.spec.inputs.items()
    }


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
    every = {file.path: file for input_files in files.values() for file in input_files}.values()
    rows = sum(file.rows for file in every)
    if limits.rows is not None and rows > limits.rows:
        job.raise_broken(("limits", "rows"), f"the input files have {rows:,} rows, more than {limits.rows:,}")
    if limits.bytes is not None and limits.bytes != "auto":
        decoded = sum(_decoded(job.workspace.root / file.path) for file in every)
        if decoded > parse_size(limits.bytes):
            message = (
                f"the input files have {byte_size(decoded)} when they are decoded, more than {limits.bytes}"
            )
            job.raise_broken(("limits", "bytes"), message)


def missing(job: Job, files: Files, day: dt.date) -> list[str]:
    """The inputs without a partition of the day; a job's own tables can't have it yet, and are left out."""
    expected = [n for n, source in job.spec.inputs.items() if partition(source) and not _own(job, source)]
    return [name for name in expected if not any(f.day == day.isoformat() for f in files[name])]


def list_input_days(job: Job) -> list[dt.date]:
    """The days for which every partitioned path input has a partition, in order."""
    days_by_input = [
        {day for day, _ in _partitions(job, name, source)}
        for name, source in job.spec.inputs.items()
        if isinstance(source, PathInput) and source.partition
    ]
    return sorted(set.intersection(*days_by_input)) if days_by_input else []


def views(job: Job, files: Files, known_at: str = "") -> list[View]:
    """The inputs as SQL sees them: all rows, or those that were known at a moment."""
    return [_view(job, name, source, files[name], known_at) for name, source in job.spec.inputs.items()]


def partition(source: Input) -> str | None:
    """The hive key of an input's partitions."""
    return source.partition if isinstance(source, PathInput) else "day"


@contextlib.contextmanager
def steady_inputs(job: Job, files: Files, day: dt.date) -> Iterator[None]:
    """A context to read inputs in: NotYet where they have changed at its end, also instead of an error in it.

    Raises:
        NotYet: one is gone, was changed or has come since the run listed them; what was read may be a
            mixture, so nothing is published.
    """
    try:
        yield
    except Exception:
        _refuse_changed(job, files, day)
        raise
    _refuse_changed(job, files, day)


def inspect_parquet(workspace: Workspace, path: Path, day: str = "") -> InputFile:
    """One Parquet file as it is now.

    Raises:
        Broken: it is no Parquet file that can be read.
    """
    return _inspect(workspace, path, day)[0]


def _decoded(path: Path) -> int:
    """The bytes of a file's values: numbers as wide as they are, and texts as they are encoded."""
    footer = pq.read_metadata(path)
    columns = [footer.schema.column(i) for i in range(footer.num_columns)]
    widths = [WIDTHS.get(column.physical_type, column.length) for column in columns]
    total = 0
    for group in (footer.row_group(i) for i in range(footer.num_row_groups)):
        encoded = [group.column(i).total_uncompressed_size for i in range(group.num_columns)]
        total += sum(max(e, w * group.num_rows) for e, w in zip(encoded, widths, strict=True))
    return total


def _listed(job: Job, name: str, source: Input, day: dt.date) -> list[tuple[str, Path]]:
    """The files of an input that a run of `day` may read, with the day of each."""
    first = day - dt.timedelta(days=source.lookback - 1)
    if isinstance(source, PathInput):
        if source.partition is None:
            return [("", path) for path in _files(job, name, source)]
        return [(d.isoformat(), p) for d, p in _partitions(job, name, source, first, day)]
    last = day - dt.timedelta(days=1) if _own(job, source) else day
    live = catalog.read_catalog(job.workspace).files(source.table)
    return [(f.day, f.path) for f in live if first.isoformat() <= f.day <= last.isoformat()]


def _refuse_changed(job: Job, files: Files, day: dt.date) -> None:
    for file in (file for input_files in files.values() for file in input_files):
        try:
            now = _stat(job.workspace.root / file.path)
        except OSError:
            raise NotYet(f"{file.path}: removed while it was being read; nothing is published") from None
        if now != file.stat:
            raise NotYet(
                f"{file.path}: changed while it was being read (inode:bytes:time {file.stat} -> {now}); "
                "nothing is published"
            )
    for name, source in job.spec.inputs.items():
        # Published tables gain files all the time; a run stays with those that receipts named.
        if isinstance(source, PathInput):
            listed = {job.workspace.relative(path) for _, path in _listed(job, name, source, day)}
            for path in sorted(listed - {file.path for file in files[name]}):
                raise NotYet(f"{path}: came while input {name} was being read; nothing is published")


def _own(job: Job, source: Input) -> bool:
    return not isinstance(source, PathInput) and source.table in job.spec.tables


def _files(job: Job, name: str, source: PathInput) -> list[Path]:
    """The Parquet files of an input without partitions; hidden and temporary ones don't count."""
    root = _root(job, name, source)
    if root.is_file():
        return [root]
    paths = [p for p in sorted(root.rglob("*.parquet")) if is_data_path(p, root) and p.is_file()]
    if not paths:
        job.raise_broken(("inputs", name, "path"), f"{source.path} holds no .parquet file")
    return paths


def _partitions(
    job: Job, name: str, source: PathInput, first: dt.date = dt.date.min, last: dt.date = dt.date.max
) -> Iterable[tuple[dt.date, Path]]:
    """The files of an input's days from `first` to `last`, with their day, sorted by day and path.

    Folders of other days are not opened: a lake of decades has thousands of them.
    """
    root = _root(job, name, source)
    dated_paths = []
    for folder in sorted(root.glob(f"{source.partition}=*")):
        text = folder.name.partition("=")[2]
        day = read_day(text)
        if day is None:
            job.raise_broken(
                ("inputs", name, "partition"),
                f"{job.workspace.relative(folder)}: {text!r} is no day; a partition is "
                f"{source.partition}=YYYY-MM-DD",
            )
        if first <= day <= last:
            dated_paths += [(day, p) for p in sorted(folder.rglob("*.parquet")) if is_data_path(p, root)]
    return sorted(dated_paths)


def _root(job: Job, name: str, source: PathInput) -> Path:
    at = ("inputs", name, "path")
    try:
        root = job.workspace.resolve(source.path)
    except Broken as error:
        job.raise_broken(at, str(error))
    if not root.exists():
        job.raise_broken(at, f"there is no {source.path} in the workspace {job.workspace.root}")
    return root


def _view(job: Job, name: str, source: Input, files: tuple[InputFile, ...], known_at: str) -> View:
    columns = {} if isinstance(source, PathInput) else dict(source.columns or {})
    if not files and not columns:
        hint = "" if isinstance(source, PathInput) else "; give its columns, for the nights before it has one"
        job.raise_broken(("inputs", name), f"has no file in the days that the job may read{hint}")
    if columns:
        columns["day"] = "DATE"
    paths = tuple(job.workspace.root / file.path for file in files)
    seen = up_to(job, name, source, files, known_at) if isinstance(source, PathInput) else None
    may_lack = bool(_may_lack(job.workspace, source))
    return View(name, paths, partition(source), columns, seen, by_name=may_lack)


def _may_lack(workspace: Workspace, source: Input) -> set[str]:
    """The columns that a file of an input may lack: those of challengers, where the input is a table."""
    return set() if isinstance(source, PathInput) else delta.optional_columns(workspace.tables / source.table)


def _inspect_files(
    workspace: Workspace, name: str, pairs: Iterable[tuple[str, Path]], may_lack: set[str]
) -> tuple[InputFile, ...]:
    """The files as they are now. Broken unless all have the columns of the newest, by exact name and type.

    DuckDB takes the first file's types and converts the others silently (1.7 becomes 2), and takes
    `X` for `x`.
    """
    inspected = [_inspect(workspace, path, day) for day, path in pairs]
    inspected = [(file, {c: k for c, k in types.items() if c not in may_lack}) for file, types in inspected]
    for file, columns in inspected:
        newest, newest_columns = inspected[-1]
        for column in sorted(columns.keys() ^ newest_columns.keys()):
            have, lack = (file, newest) if column in columns else (newest, file)
            raise Broken(f"input {name}: {have.path} has a column {column!r}, {lack.path} has not")
        for column, kind in columns.items():
            if kind != newest_columns[column]:
                raise Broken(
                    f"input {name}: column {column!r} is {_shown(kind)} in {file.path} "
                    f"and {_shown(newest_columns[column])} in {newest.path}"
                )
    return tuple(file for file, _ in inspected)


def _shown(kind: tuple[str, str]) -> str:
    return kind[0] if kind[1] == "None" else f"{kind[0]} {kind[1]}"


def _inspect(workspace: Workspace, path: Path, day: str) -> tuple[InputFile, ParquetColumns]:
    shown = workspace.relative(path)
    if set(shown) & set("*?["):
        raise Broken(f"{shown}: DuckDB takes * ? [ in a path for a pattern; rename it")
    workspace.resolve(path.as_posix())  # a file of a folder inside may be a link to elsewhere
    try:
        with path.open("rb") as file:
            stat = _stat(path)
            meta = pq.read_metadata(file)
            footer = _footer(file, path.stat().st_size)
    except (OSError, pa.ArrowException) as error:
        raise Broken(f"{shown}: no Parquet file that can be read: {str(error).splitlines()[0]}") from error
    _, size, changed = stat.split(":")
    mark = hashlib.sha256(f"{size}:{changed}:".encode() + footer).hexdigest()
    groups = tuple(meta.row_group(i).num_rows for i in range(meta.num_row_groups))
    listed = [meta.schema.column(i) for i in range(len(meta.schema))]
    columns = {c.path: (c.physical_type, str(c.logical_type)) for c in listed}
    if len(columns) < len(listed):
        twice = next(c.path for i, c in enumerate(listed) if c.path in [other.path for other in listed[:i]])
        raise Broken(f"{shown}: ambiguous: two columns are called {twice!r}; rename one")
    return InputFile(shown, int(size), stat, mark, day, groups), columns


def _footer(file: "object", size: int) -> bytes:
    read, seek = file.read, file.seek  # type: ignore[attr-defined]
    seek(size - 8)
    length = int.from_bytes(read(4), "little")
    seek(size - 8 - length)
    return bytes(read(length))


def _stat(path: Path) -> str:
    stat = path.stat()
    return f"{stat.st_ino}:{stat.st_size}:{stat.st_mtime_ns}"
