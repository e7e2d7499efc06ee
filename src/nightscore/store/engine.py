"""DuckDB, locked down: the only module that opens it (`nightscore.store.sql_checks` parses by it).

An `Engine` sees the files that it was opened with and nothing else: not the rest of the disk, not the
network, not Python's variables, not a later partition. Its settings are locked before any SQL of a job
runs. DuckDB promises no privilege boundary inside its process, so this is a second line of defence:
who may write job folders is the first.
"""

import datetime as dt
import re
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import duckdb
import pyarrow as pa

from nightscore.common import Broken, NotYet, byte_size, first_line, link_or_copy
from nightscore.store.disk import SpillFolder, free_bytes, spill_limit
from nightscore.store.file_columns import FileColumns, FolderGiven, parquet_source
from nightscore.store.folder_columns import DAY
from nightscore.store.sql_text import literal, quote_identifier
from nightscore.store.text_files import TextColumns, text_source

BATCH_ROWS, VECTOR_ROWS = 32_768, 2_048  # the latter is DuckDB's own step: it gives no smaller batches
NUMBER_TYPES = frozenset({  # and DECIMAL(…)
    "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT",
    "UHUGEINT", "FLOAT", "DOUBLE",
})  # fmt: skip
NARROW = frozenset({"BOOLEAN", "DATE", "TIME", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "UUID"})
FLOATING = re.compile(r"\b(FLOAT|DOUBLE)\b")  # in a type; a field of that name does no harm
WIDE = re.compile(r"DECIMAL\(38, ?0\)((?:\[\])*)")  # as a table stores a HUGEINT, and lists of such
SAID = re.compile(
    r"Conversion Error: Could not convert string '(two rows are alike [^']*)' to BOOL.*", re.DOTALL
)
GONE = re.compile(r'Cannot access file "([^"]*[.]parquet)/[*][*]/[*][.]parquet"')  # it takes it for a folder
NO_ROOM = ("max_temp_directory_size", "failed to offload", "No space left on device")


@dataclass(frozen=True)
class UpTo:
    """A column, and the greatest value of it with which a row is seen."""

    column: str
    value: dt.date  # or an instant


@dataclass(frozen=True)
class Within:
    """A column of a type (DATE, or a timestamp), and the first and last day with which a row is seen."""

    column: str
    kind: str
    first: dt.date
    last: dt.date

    @property
    def sql(self) -> str:
        """The condition: of the column itself, so that statistics of files and row groups are asked."""
        name, after = quote_identifier(self.column), self.last + dt.timedelta(days=1)
        first, end = (f"CAST({literal(day.isoformat())} AS {self.kind})" for day in (self.first, after))
        return f"{name} >= {first} AND {name} < {end}"


@dataclass(frozen=True)
class Among:
    """A column, and the texts of it with which a row is seen."""

    column: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class View:
    """Parquet files under one name. `partition` is a hive key in their paths, seen as a DATE column.

    `folder_types` (name -> DuckDB type) are the columns that folders give, where there are more than that,
    `folder_sql` what gets them where their names are no hive folders'.
    `columns` (name -> DuckDB type) describes the view while it has no files. With `up_to` or `among` only
    some rows are seen, `within` those of some days; `text` says how files are read that are no Parquet.
    Where files have not all columns alike, `by_name` gives null for those that one lacks, or `by_file` says
    file by file what is read of it.
    In files of ours, `stored`, a DECIMAL(38, 0) is the HUGEINT that it was before it was stored.
    """

    name: str
    files: tuple[Path, ...]
    partition: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    up_to: tuple[UpTo, ...] = ()
    among: Among | None = None
    by_name: bool = False
    folder_types: Mapping[str, str] = field(default_factory=dict)
    folder_sql: Mapping[str, str] = field(default_factory=dict)
    within: Within | None = None
    text: TextColumns | None = None
    stored: bool = False
    by_file: Mapping[Path, FileColumns] = field(default_factory=dict)


@dataclass(frozen=True)
class EngineResources:
    """What one engine may use: threads, bytes of memory, a folder to spill into, and bytes in it.

    Without `spill` these are what is free there when the engine opens, less a reserve. `seconds` is how long
    it may be open.
    """

    threads: int
    memory: int
    temp: Path
    spill: int | None = None
    seconds: float | None = None


class Engine:
    """One locked-down connection over a fixed set of views. Not for use by two threads at once."""

    def __init__(
        self, views: Sequence[View], resources: EngineResources, variables: Mapping[str, Any] | None = None
    ) -> None:
        self._temp = SpillFolder(resources.temp)
        self._memory = resources.memory
        self._spill = spill_limit(self._temp.path) if resources.spill is None else resources.spill
        self._connection = duckdb.connect()
        self._late = threading.Event()
        self._seconds = resources.seconds
        self._timer = self._started()
        try:
            self._lock_down(views, resources)
            for name, value in (variables or {}).items():
                self._connection.execute(f"SET VARIABLE {quote_identifier(name)} = $1", [value])
            for view in views:
                self._create(view)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection and remove what it spilled."""
        self._timer.cancel()
        self._connection.close()
        self._temp.close()

    def _started(self) -> threading.Timer:
        """The end of what the engine runs from now on."""
        # By a weak reference: a timer that is still waiting keeps no engine, and no connection, alive.
        timer = threading.Timer(self._seconds or 0, _expire, [weakref.ref(self)])
        timer.daemon = True
        weakref.finalize(self, timer.cancel)  # of an engine that nobody closed, at exit at the latest
        if self._seconds is not None:
            timer.start()
        return timer

    def add(self, view: View) -> None:
        """Let what is asked from now on see one more view, and have the whole time for itself.

        The view's files may have come since the engine was opened: it reads them by names in its own folder.
        """
        self._timer.cancel()
        names = []
        for number, file in enumerate(view.files):
            names.append(self._temp.path / f"{view.name} {number}.parquet")
            link_or_copy(file, names[-1])
        self._create(replace(view, files=tuple(names)))
        self._timer = self._started()

    def _lock_down(self, views: Sequence[View], resources: EngineResources) -> None:
        files = ", ".join(literal(file) for view in views for file in view.files)
        for setting in (
            f"allowed_paths = [{files}]",
            f"allowed_directories = [{literal(self._temp.path)}]",  # for what is added
            "autoinstall_known_extensions = false",
            "autoload_known_extensions = false",
            "allow_community_extensions = false",
            "allow_extension_repositories = 'forbidden'",
            "allow_persistent_secrets = false",
            "python_enable_replacements = false",
            "enable_progress_bar = false",
            "enable_external_file_cache = false",
            # A footer's least and greatest leave NaN out, and DuckDB orders it above all numbers.
            "parquet_can_have_nan = true",
            "TimeZone = 'UTC'",
            f"threads = {resources.threads}",
            f"memory_limit = '{resources.memory // 1_000_000}MB'",
            f"temp_directory = {literal(self._temp.path)}",
            f"max_temp_directory_size = '{self._spill}B'",
            "enable_external_access = false",
            "lock_configuration = true",
        ):
            self._connection.execute(f"SET {setting}")

    def _create(self, view: View) -> None:
        name = quote_identifier(view.name)
        with SqlMistakes(view.name if view.files else f"input {view.name}, columns"):
            source = _source(view)
            seen = _seen_as(self.types(f"SELECT * FROM {source}"), view)
            self._connection.execute(f"CREATE VIEW {name} AS SELECT *{seen} FROM {source}{_where(view)}")

    def define(self, name: str, select: str) -> None:
        """Make a SELECT a view that later SQL of this engine can read."""
        self._relation(select).create_view(name)

    def schema(self, select: str, values: Sequence[Any] = ()) -> pa.Schema:
        """The columns that a SELECT gives, bound against the files' footers; no data is read.

        A name that stands twice stands twice here too: DuckDB would make it `name_1` behind a LIMIT.
        """
        relation = self._relation(select, values)
        with self._within_means():
            reader = relation.limit(0).to_arrow_reader(1)
        try:
            columns = zip(reader.schema, relation.columns, strict=True)
            return pa.schema([column.with_name(name) for column, name in columns])
        finally:
            reader.close()

    def types(self, select: str) -> dict[str, str]:
        """DuckDB's own type of each column that a SELECT gives."""
        relation = self._relation(select)
        return {name: str(kind) for name, kind in zip(relation.columns, relation.types, strict=True)}

    def stream(
        self, select: str, rows: int | None = None, values: Sequence[Any] = (), order: str = ""
    ) -> Iterator[pa.RecordBatch]:
        """The result of a SELECT as record batches of at most `rows` rows, as they are computed.

        Without `rows` they have 32,768, or 2,048 where a column's values (texts, lists) may be large.
        `order` is a list of sort terms for SQL. `sql(…)` and not `execute(…)`: the latter
        materialises the whole result outside the memory limit (DuckDB 2.0).
        """
        with self._within_means():
            relation = self._relation(select, values)
            ordered = relation.order(order) if order else relation
            reader = ordered.to_arrow_reader(rows or (BATCH_ROWS if _are_narrow(relation) else VECTOR_ROWS))
        try:
            with self._within_means():
                yield from reader
        finally:
            reader.close()

    def interrupt(self) -> None:
        """Stop what another thread runs on this engine, at its next vector of rows."""
        self._connection.interrupt()

    def rows(self, select: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The whole result of a SELECT; for results of a few rows.

        By way of Arrow: DuckDB's own fetchall needs pytz for an instant.
        """
        with self._within_means():
            table = self._relation(select, values).to_arrow_table()
        return list(zip(*(column.to_pylist() for column in table.columns), strict=True))

    @contextmanager
    def _within_means(self) -> Iterator[None]:
        """A context in which what exceeds this engine's memory or disk says how much that is."""
        try:
            yield
        except OSError as error:  # as Arrow hands on what DuckDB says after the first batch
            raise self._explained(_of_reader(error)) from error
        except duckdb.Error as error:
            if _is_of_the_disk(error):
                raise NotYet(first_line(error)) from error
            raise self._explained(error) from error

    def expire(self) -> None:
        """Stop what runs: the time that the engine may be open is over."""
        self._late.set()
        self.interrupt()

    def _explained(self, error: duckdb.Error) -> duckdb.Error:
        text, kind = str(error), type(error)
        if self._late.is_set():
            return duckdb.InterruptException("stopped: it took longer than limits.time in job.yaml allows")
        reason = first_line(error)
        if any(mark in text for mark in NO_ROOM):
            left, folder = free_bytes(self._temp.path), self._temp.path.parent
            return NoRoomError(
                f"needs more than {byte_size(self._memory)} of memory and {byte_size(self._spill)} of "
                f"temporary disk, the most that it may use in {folder} ({byte_size(left)} are free there, "
                "and a reserve is kept). Free disk there; a job gets more memory by memory: in job.yaml. "
                f"{reason}"
            )
        if issubclass(kind, duckdb.OutOfMemoryException):
            return duckdb.OutOfMemoryException(
                f"needs more than {byte_size(self._memory)} of memory, its part of the budget, and what it "
                "needs can't be spilled to disk. Let the SQL do with less; a job gets more by memory: in "
                f"job.yaml. {reason}"
            )
        return error

    def _relation(self, select: str, values: Sequence[Any] = ()) -> duckdb.DuckDBPyRelation:
        with self._within_means():
            return self._connection.sql(_bare(select), params=list(values) or None)


def _where(view: View) -> str:
    """Which rows of a view are seen, as SQL."""
    terms = []
    for bound in view.up_to:
        kind = "TIMESTAMPTZ" if isinstance(bound.value, dt.datetime) else "DATE"
        value = f"CAST({literal(bound.value.isoformat())} AS {kind})"
        terms.append(f"{quote_identifier(bound.column)} <= {value}")
    if view.within is not None:
        terms.append(view.within.sql)
    if view.among is not None:
        values = ", ".join(map(literal, view.among.values))
        terms.append(f"{quote_identifier(view.among.column)} IN ({values})")
    return f" WHERE {' AND '.join(terms)}" if terms else ""


def _expire(reference: "weakref.ref[Engine]") -> None:
    if engine := reference():
        engine.expire()


class NoRoomError(duckdb.OutOfMemoryException):
    """There is not as much temporary disk as a statement needs: later there may be."""


class SqlMistakes:
    """A context in which DuckDB's errors become ours, with the place they come from in front."""

    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, duckdb.Error):
            raise _translated(error, self._where) from error


def _source(view: View) -> str:
    """What a view's rows come from, in a FROM: its files, or nothing in the columns that it would have."""
    if not view.files:
        columns = ", ".join(f"CAST(NULL AS {t}) AS {quote_identifier(c)}" for c, t in view.columns.items())
        return f"(SELECT {columns} WHERE false)"
    folders = view.folder_types or ({view.partition: DAY} if view.partition else {})
    # The files stand in the text, and not in a variable, which SQL of a job could read.
    if view.text:
        return text_source(view.files, view.text, folders, view.folder_sql)
    given = FolderGiven(folders, view.folder_sql)
    return parquet_source(view.files, view.by_file, given, view.by_name)


def _seen_as(columns: Mapping[str, str], view: View) -> str:
    """SQL that gives some columns otherwise than they are read.

    What holds floats, lists and structs of them too, stands behind a TRY, which changes no value, and hides
    from the optimizer what a footer says of them. And a HUGEINT, such as a sum of integers, is stored as a
    DECIMAL(38, 0): one of 38 digits has no room for places, and DuckDB takes `CASE WHEN a THEN s ELSE 0.5
    END` for 1.
    """
    seen = {}
    for column, kind in columns.items():
        name = quote_identifier(column)
        if FLOATING.search(kind) and view.files and view.text is None:
            seen[name] = f"TRY({name})"
        elif view.stored and (lists := WIDE.fullmatch(kind)):
            seen[name] = f"CAST({name} AS HUGEINT{lists[1]})"
    return f" REPLACE ({', '.join(f'{sql} AS {name}' for name, sql in seen.items())})" if seen else ""


def _of_reader(error: OSError) -> duckdb.Error:
    text = str(error)
    return (duckdb.OutOfMemoryException if text.startswith("Out of Memory") else duckdb.Error)(text)


def _translated(error: duckdb.Error, where: str) -> Exception:
    text = SAID.sub(r"\1", str(error).strip())
    if isinstance(error, NoRoomError) or _is_of_the_disk(error):
        return NotYet(f"{where}: {text}")
    if gone := GONE.search(text):
        return Broken(
            f"{where}: {gone[1]} is gone: another program has removed it, such as a VACUUM below the table's "
            "retention. `nightscore verify` names the days that lack files; `nightscore run JOB --day DAY "
            "--force` publishes one again"
        )
    if isinstance(error, duckdb.PermissionException):
        text += "\nA job's SQL sees its inputs by their names, cut at the day, and no other file"
    return Broken(f"{where}: {text}")


def _is_of_the_disk(error: duckdb.Error) -> bool:
    """Whether a disk could not be read, which it may be the next time; and no file is to blame."""
    return isinstance(error, duckdb.IOException) and "Input/output error" in str(error)


def _are_narrow(relation: duckdb.DuckDBPyRelation) -> bool:
    """Whether no column's values can be of any size, as texts, lists and what holds such are."""
    return all(str(kind) in NARROW or is_number(str(kind)) for kind in relation.types)


def _bare(select: str) -> str:
    """A SELECT without the semicolons and comments behind it: DuckDB puts other SQL around it."""
    text = select.encode()
    end = len(text)
    for start, kind in reversed(duckdb.tokenize(select)):  # offsets are of bytes
        if kind != duckdb.token_type.comment and text[start : start + 1] != b";":
            break
        end = start
    return text[:end].decode()


def arrow_types(schema: pa.Schema) -> dict[str, str]:
    """DuckDB's own type for each column of an Arrow schema."""
    with duckdb.connect() as connection:
        relation = connection.from_arrow(schema.empty_table())
        return {name: str(kind) for name, kind in zip(relation.columns, relation.types, strict=True)}


def is_number(kind: str) -> bool:
    """Whether a column of this DuckDB type holds numbers."""
    return kind in NUMBER_TYPES or (kind.startswith("DECIMAL(") and kind.endswith(")"))
