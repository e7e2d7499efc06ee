"""Inputs of CSV and JSON lines: fingerprinted, and held whole to the columns that the job declares.

Nothing is guessed and no line is left out: what is no value of its column's type stops the run, with the file
and the row.
"""

import csv
import hashlib
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import pyarrow as pa

from nightscore.common import Broken, NotYet, clipped, first_line
from nightscore.job import CsvForm, Job, PathInput
from nightscore.pipeline.read.parquet.files import file_stat, refuse_lossy_folders, shown_path
from nightscore.pipeline.read.parquet.types import known_types
from nightscore.pipeline.read.text.bad_lines import BadLine, ReadLines, read_lines, refuse_too_many
from nightscore.pipeline.read.text.errors import MEND, explained, line_of
from nightscore.store import (
    JSON_LINES,
    Engine,
    EngineResources,
    FolderColumns,
    InputFile,
    TextColumns,
    View,
    is_wrong,
    job_memory_budget,
    literal,
    raw_sources,
    shown_kind,
    storage,
    unpacked,
    written,
)

ENDS = 65_536  # bytes at either end of a file that its fingerprint is of, beside size and time
LONGEST = 1_000_000  # bytes of a header
WINDOWS = re.compile(rb"[\x80-\x9f]")


def text_columns(
    job: Job, source: PathInput, folders: FolderColumns, files: Sequence[tuple[Path, InputFile]]
) -> TextColumns | None:
    """How an input's files are read; None of what is no text. `files` are (where it lies, the file)."""
    if not source.is_text:
        return None
    types = _declared(job, source, folders, [file.path for _, file in files])
    if source.format != "csv":
        return TextColumns(source.format, types, {}, sound_only=source.bad_lines is not None)
    form = source.csv or CsvForm()
    headers = {path: _header(path, file.path, file.stat, form) for path, file in files}
    return TextColumns(
        "csv", types, headers, form.delimiter, form.quote, form.decimal, form.encoding,
        source.bad_lines is not None,
    )  # fmt: skip


def inspect_text(
    job: Job, name: str, source: PathInput, listed: Iterable[tuple[str, Path]], folders: FolderColumns
) -> tuple[InputFile, ...]:
    """The text files of an input as they are now.

    Raises:
        Broken: a file can't be read, or the header of a CSV file has other columns than the job declares.
        NotYet: a file has gone.
    """
    files = [(path, inspect_ends(job, path, day)) for day, path in listed]
    for _, file in files:
        refuse_lossy_folders(name, file.path, folders)
    types = _declared(job, source, folders, [file.path for _, file in files])
    for path, file in files if source.format == "csv" else ():
        header = _header(path, file.path, file.stat, source.csv or CsvForm())
        if not any(header):
            raise Broken(f"input {name}: {file.path}: has no line; a CSV file has a header at least")
        for column in (*types, *header):
            if header.count(column) != 1 or column not in types:
                there = "stands twice" if header.count(column) > 1 else "is not in its header"
                what = there if column in types else "is none of the input's columns"
                job.raise_broken(
                    ("inputs", name, "columns"), f"{file.path}: column {column!r} {what}; it has "
                    f"{', '.join(header)}, and the columns are {', '.join(types)}"
                )  # fmt: skip
    return tuple(file for _, file in files)


def verify_text(
    job: Job, files: Mapping[str, Sequence[InputFile]], folders: Mapping[str, FolderColumns]
) -> list[BadLine]:
    """Read each text file whole: every line has to be one, and every value one of its type.

    Returns:
        The lines that are not, where the job leaves them out.

    Raises:
        Broken: names the file, the line or the row, the column and the value; or a NOT NULL column has nulls.
    """
    bad: list[BadLine] = []
    for name, source in job.spec.inputs.items():
        if isinstance(source, PathInput) and source.is_text:
            read = [_verify(job, name, source, file, folders[name]) for file in files[name]]
            refuse_too_many(job, name, source, read)
            bad += [line for one in read for line in one.bad]
    return bad


def _verify(job: Job, name: str, source: PathInput, file: InputFile, folders: FolderColumns) -> ReadLines:
    path = storage.locate(job.workspace, file.path)
    text = text_columns(job, source, folders, [(path, file)])
    if text is None:
        return ReadLines()
    if text.encoding == "latin-1":
        _refuse_windows(path, f"input {name}: {file.path}")
    resources = EngineResources(1, job_memory_budget(job).sql, storage.runs(job.workspace).scratch())
    said = f"input {name}: {file.path}"
    with Engine([View("source", (path,), columns={"nothing": "INTEGER"}, text=text)], resources) as engine:
        try:
            read = _read(engine, name, file.path, path, text)
            keys = (
                _keys(engine, said, path, text) if source.format == "json" and read.lines else set(text.types)
            )
        except Broken:
            raise
        except Exception as error:
            raise explained(error, path, file.path, text) from error
    given = {key: int(value is None) for key, value in folders.values(file.path).items()}
    _refuse_nulls(said, source, {**given, **(read.nulls or {})})
    for key in sorted(keys ^ text.types.keys()):
        what = "is none of the input's columns" if key in keys else "is in none of its lines"
        raise Broken(f"{said}: {key!r} {what}; the columns are {', '.join(text.types)}")
    return read


def _read(engine: Engine, name: str, shown: str, path: Path, text: TextColumns) -> ReadLines:
    """The lines of a file; where none may be left out, each is one.

    Raises:
        Broken: it is not; names the first row with a value that is none of its type.
    """
    if text.sound_only:
        return read_lines(engine, name, shown, path, text)
    [reader] = raw_sources([path], text, {}, {})
    [(rows, *found)] = engine.rows(_question(text, reader))
    for column, row, value in zip(text.types, found[1::3], found[2::3], strict=True):
        if row is not None:
            line = f" (line {row + 1}, if no value has line breaks)" if text.format == "csv" else ""
            kind = shown_kind(text.types[column], value)
            said = f"input {name}: {shown}: row {row}{line}: column {column!r}"
            raise Broken(f"{said}: {clipped(value)} is no {kind}; {MEND}")
    return ReadLines(rows, nulls=dict(zip(text.types, found[::3], strict=True)))


def _refuse_windows(path: Path, said: str) -> None:
    """Refuse bytes that ISO 8859-1 has no letters for, and Windows has: the euro sign among them."""
    with unpacked(path) as file:
        while data := file.read(1 << 20):
            if found := WINDOWS.search(data):
                raise Broken(
                    f"{said}: the byte {found[0].hex()} is no letter of latin-1 (of Windows-1252 it may be "
                    f"{found[0].decode('cp1252', errors='replace')!r}); let its producer write UTF-8"
                )


def _refuse_nulls(said: str, source: PathInput, nulls: Mapping[str, int]) -> None:
    for column in source.never_null:
        if nulls.get(column):
            raise Broken(f"{said}: {source.said_of_nulls(column, nulls[column])}")


def _question(text: TextColumns, reader: str) -> str:
    """Of each column its nulls, and the first row with a value that is none of its type, and that value."""
    terms = ["count(*)"]
    for name, kind in text.types.items():
        value = written(text, name)
        wrong = is_wrong(text, name, kind)
        terms += [
            f"count(*) FILTER ({value} IS NULL)",
            f"min(the_row) FILTER ({wrong})",
            f"arg_min({value}, the_row) FILTER ({wrong})",
        ]
    return f"SELECT {', '.join(terms)} FROM (SELECT *, row_number() OVER () AS the_row FROM {reader})"


def _keys(engine: Engine, said: str, path: Path, text: TextColumns) -> set[str]:
    """The keys of the objects of a file.

    Raises:
        Broken: a line is `null`, which DuckDB takes for a row of nulls, and none may be left out.
    """
    lines = f"read_json_objects([{literal(path)}], {JSON_LINES})"
    of_line = "unnest(CASE json_type(json) WHEN 'OBJECT' THEN json_keys(json) ELSE [NULL] END)"
    keys = {key for (key,) in engine.rows(f"SELECT DISTINCT {of_line} FROM {lines}")}
    if None in keys and not text.sound_only:
        numbered = f"SELECT row_number() OVER () AS n, json_type(json) AS kind FROM {lines}"
        [(number,)] = engine.rows(f"SELECT min(n) FROM ({numbered}) WHERE kind IS DISTINCT FROM 'OBJECT'")
        raise Broken(f"{said}: line {line_of(path, number)}: null is no object; {MEND}")
    return keys - {None}


def _declared(job: Job, source: PathInput, folders: FolderColumns, paths: Sequence[str]) -> dict[str, str]:
    """The columns that the files themselves have to have."""
    given = folders.types(paths[0]) if paths else {}
    own = {name: kind for name, kind in source.types.items() if name not in given}
    return dict(known_types(job.workspace, own))


def inspect_ends(job: Job, path: Path, day: str) -> InputFile:
    """A file without a footer as it is now: its fingerprint is of its size, its time and its ends.

    Raises:
        Broken: it can't be read.
        NotYet: it has gone.
    """
    shown = shown_path(job.workspace, path)
    try:
        stat = file_stat(job.workspace, path)
        _, size, changed = stat.split(":")
        with path.open("rb") as file:
            ends = file.read(ENDS)
            file.seek(max(0, int(size) - ENDS))
            ends += file.read(ENDS)
    except FileNotFoundError:
        raise NotYet(f"{shown}: has gone since it was listed") from None
    except OSError as error:
        raise Broken(f"{shown}: can't be read: {error.strerror}") from error
    mark = hashlib.sha256(f"{size}:{changed}:".encode() + ends).hexdigest()
    return InputFile(shown, int(size), stat, mark, day)


@lru_cache(maxsize=8192)
def _header(path: Path, shown: str, stat: str, form: CsvForm) -> tuple[str, ...]:  # noqa: ARG001 - stat is
    """The names of a CSV file's columns. `stat` is the file's, so that another file is read again."""
    encoding = "utf-8-sig" if form.encoding == "utf-8" else form.encoding
    try:
        with unpacked(path) as file:
            head = io.BytesIO(file.read(LONGEST)).read().decode(encoding, errors="replace")
        lines = csv.reader(io.StringIO(head, newline=""), delimiter=form.delimiter, quotechar=form.quote)
        return tuple(next(lines, ()))
    except (OSError, pa.ArrowException, csv.Error) as error:
        raise Broken(f"{shown}: no CSV file that can be read: {first_line(error)}") from error
