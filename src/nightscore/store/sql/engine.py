"""DuckDB, locked down: the only module that opens it (`nightscore.store.sql.checks` parses by it).

An `Engine` sees the files that it was opened with and nothing else: not the rest of the disk, not the
network, not Python's variables, not a later partition. Its settings are locked before any SQL of a job
runs. DuckDB promises no privilege boundary inside its process, so this is a second line of defence:
who may write job folders is the first.
"""

import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import duckdb
import pyarrow as pa

from nightscore.common import NotYet, byte_size, first_line, link_or_copy
from nightscore.store.documents.sql_text import literal, quote_identifier
from nightscore.store.sql.mistakes import NoRoomError, SqlMistakes, is_of_the_disk
from nightscore.store.sql.types import is_narrow
from nightscore.store.sql.views import View, from_sql, seen_as, where_sql
from nightscore.store.storage.disk import SpillFolder, free_bytes, spill_limit

BATCH_ROWS, VECTOR_ROWS = 32_768, 2_048  # the latter is DuckDB's own step: it gives no smaller batches
NO_ROOM = ("max_temp_directory_size", "failed to offload", "No space left on device")


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
        self,
        views: Sequence[View],
        resources: EngineResources,
        variables: Mapping[str, Any] | None = None,
        macros: Iterable[str] = (),
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
            for macro in macros:  # the statements that make them: a millisecond each
                self._connection.execute(macro)
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
            source = from_sql(view)
            seen = seen_as(self.types(f"SELECT * FROM {source}"), view)
            self._connection.execute(f"CREATE VIEW {name} AS SELECT *{seen} FROM {source}{where_sql(view)}")

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

    def column_types(self, select: str, values: Sequence[Any] = ()) -> list[tuple[str, str]]:
        """Name and DuckDB's own type of each column that a SELECT gives; a name may stand twice."""
        relation = self._relation(select, values)
        return [(name, str(kind)) for name, kind in zip(relation.columns, relation.types, strict=True)]

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
            if is_of_the_disk(error):
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


def _expire(reference: "weakref.ref[Engine]") -> None:
    if engine := reference():
        engine.expire()


def _of_reader(error: OSError) -> duckdb.Error:
    text = str(error)
    return (duckdb.OutOfMemoryException if text.startswith("Out of Memory") else duckdb.Error)(text)


def _are_narrow(relation: duckdb.DuckDBPyRelation) -> bool:
    return all(is_narrow(str(kind)) for kind in relation.types)


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
