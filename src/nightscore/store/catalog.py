"""What is published, as every reader of ours sees it: the versions that receipts name, and no other.

Delta commits one table at a time. A reader that took each table's newest version could see one table
of a new run beside another of the old; one that takes what the day's receipt names never does, for the
receipt is written last.
"""

import dataclasses
import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from nightscore.common import Broken, Workspace, open_workspace
from nightscore.scorers import read_hardware
from nightscore.store import delta
from nightscore.store.delta import LiveFile
from nightscore.store.engine import Engine, EngineResources, SqlMistakes, View
from nightscore.store.formats import LaterFormat
from nightscore.store.memory_budget import machine_budget
from nightscore.store.query import run_query
from nightscore.store.receipt import Receipt

RESTATEMENTS, RESTATED_ROWS = "restatements", "restated_rows"
RESTATEMENT_SCHEMAS: Mapping[str, pa.Schema] = {  # without the partition `day`
    RESTATEMENTS: pa.schema(
        [
            ("job", pa.string()), ("number", pa.int64()), ("run_id", pa.string()), ("replaces", pa.string()),
            ("because", pa.string()), ("restated_by", pa.string()),
            ("restated_at", pa.timestamp("us", "UTC")),
            ("table_name", pa.string()), ("rows_before", pa.int64()), ("rows_after", pa.int64()),
            ("changed", pa.int64()), ("added", pa.int64()), ("removed", pa.int64()), ("moved", pa.string()),
        ]
    ),
    RESTATED_ROWS: pa.schema(
        [
            ("job", pa.string()), ("number", pa.int64()), ("table_name", pa.string()),
            ("change", pa.string()), ("key", pa.string()), ("before", pa.string()), ("after", pa.string()),
            ("run_id", pa.string()),
        ]
    ),
}  # fmt: skip
SQL_TYPES = {pa.string(): "VARCHAR", pa.int64(): "BIGINT", pa.timestamp("us", "UTC"): "TIMESTAMPTZ"}

RECEIPTS = "receipts"
AsOf = int | dt.datetime | None


@dataclass(frozen=True)
class CatalogEntry:
    """What readers need of one receipt: which run published a day, and the version of each table.

    The receipt itself is read on demand: it names every input file, and there is one a night.
    """

    job: str
    day: str
    run_id: str
    run_number: int
    published_at: dt.datetime
    versions: Mapping[str, int]
    file: Path

    def read_receipt(self) -> Receipt:
        """The whole receipt.

        Raises:
            LaterFormat: (Broken) a later version wrote it.
            Broken: it is damaged.
        """
        try:
            with pq.ParquetFile(self.file, page_checksum_verification=True, pre_buffer=False) as file:
                texts = file.read(["receipt"]).column("receipt")
            return Receipt.model_validate_json(texts[0].as_py())
        except LaterFormat as error:
            raise LaterFormat(
                f"the receipt of {self.job} {self.day}, run {self.run_id}, is {error}"
            ) from error
        except (OSError, pa.ArrowException, ValueError, IndexError, TypeError) as error:
            raise Broken(
                f"table {RECEIPTS}: {self.file.name}, the receipt of {self.job} {self.day}, is damaged: "
                f"{str(error).splitlines()[0]}"
            ) from error

    def read_receipt_or_reason(self) -> Receipt:
        """The whole receipt; where it can't be read, one of status `unreadable` with the reason.

        For lists, which one receipt must not stop.
        """
        try:
            return self.read_receipt()
        except Broken as error:
            named = {"job": self.job, "day": self.day, "run_id": self.run_id, "run_number": self.run_number}
            return Receipt(**named, status="unreadable", reason=str(error), published_at=self.published_at)


@dataclass(frozen=True)
class Pinned:
    """One consistent state of all tables: for each day of each job, the receipt that is in force.

    `history` are all receipts up to this state, the newest last.
    """

    workspace: Workspace
    version: int | None
    history: tuple[CatalogEntry, ...]

    @cached_property
    def in_force(self) -> dict[tuple[str, str], CatalogEntry]:
        """(job, day) -> the newest of the day's receipts."""
        return {(entry.job, entry.day): entry for entry in self.history}

    def read_receipt(self, job: str, day: dt.date) -> Receipt | None:
        """The receipt in force for a day, None if the day was never published."""
        entry = self.in_force.get((job, day.isoformat()))
        return entry.read_receipt() if entry else None

    def previous(self, job: str, day: dt.date) -> CatalogEntry | None:
        """The receipt in force of a job's last published day before this one; None if there is none."""
        days = [when for name, when in self.in_force if name == job and when < day.isoformat()]
        return self.in_force[job, max(days)] if days else None

    def tables(self) -> list[str]:
        """The names of all published tables."""
        return sorted({name for entry in self.in_force.values() for name in entry.versions})

    def files(self, table: str) -> list[LiveFile]:
        """The files of a table, by day, of the runs whose receipts are in force."""
        entries = {e.day: e for e in self.in_force.values() if table in e.versions}
        if not entries:
            return []
        root = self.workspace.tables / table
        by_day = _by_day(delta.list_live_files(root, max(e.versions[table] for e in entries.values())))
        for day, entry in entries.items():
            if {f.run_id for f in by_day.get(day, [])} != {entry.run_id}:
                # Committed by a run whose receipt is not (yet) there: this day as it was before.
                by_day[day] = self.files_of(entry, table)
        return [file for day in sorted(entries) for file in by_day[day]]

    def files_of(self, entry: CatalogEntry, table: str) -> list[LiveFile]:
        """The files of a table that one run published, whether its receipt is still in force or not.

        Raises:
            Broken: the table's log does not hold them any more.
        """
        root = self.workspace.tables / table
        files = [file for file in delta.list_live_files(root, entry.versions[table]) if file.day == entry.day]
        if not files:  # even an empty day has a file
            raise Broken(f"table {table}: its log has lost the files of {entry.day}, run {entry.run_id}")
        return files

    def paths_of(self, entry: CatalogEntry) -> dict[str, list[Path]]:
        """Table -> the paths of the files that one run published. Errors as those of `files_of`."""
        return {table: [file.path for file in self.files_of(entry, table)] for table in entry.versions}

    def views(self) -> list[View]:
        """Every table, and `receipts`, as SQL sees them."""
        tables = [self._view(table) for table in self.tables()]
        receipts = tuple(entry.file for entry in self.history)
        if not receipts:
            return tables
        return [*tables, View(RECEIPTS, receipts, "day"), *self._restatement_views()]

    def _view(self, table: str) -> View:
        may_lack = bool(delta.optional_columns(self.workspace.tables / table))
        return View(table, tuple(f.path for f in self.files(table)), "day", by_name=may_lack)

    def _restatement_views(self) -> list[View]:
        """The tables of restatements, as far as their runs have receipts here."""
        here = {entry.run_id for entry in self.history}
        views = []
        for name, schema in RESTATEMENT_SCHEMAS.items():
            live = delta.list_live_files(self.workspace.tables / name)
            columns = {field.name: SQL_TYPES[field.type] for field in schema} | {"day": "DATE"}
            files = tuple(file.path for file in live if file.run_id in here)
            views.append(View(name, files, "day", columns))
        return views

    def as_reported(self) -> "Pinned":
        """Each day of each job as it was first published; without what was restated since."""
        first: dict[tuple[str, str], CatalogEntry] = {}
        for entry in self.history:
            first.setdefault((entry.job, entry.day), entry)
        return dataclasses.replace(self, history=tuple(first.values()))


def read_catalog(workspace: Workspace, as_of: AsOf = None) -> Pinned:
    """The state of all tables now, or as of a version of the table `receipts`, or as of a time.

    Raises:
        Broken: there is no such version.
    """
    root = workspace.tables / RECEIPTS
    version = as_of if isinstance(as_of, int) else None
    if not delta.table_exists(root):
        if as_of is not None:
            raise Broken(f"nothing is published in {workspace.root}, so there is no state as of {as_of}")
        return Pinned(workspace, None, ())
    version = delta.latest_version(root) if version is None else version
    history = _entries(workspace, [f.path for f in delta.list_live_files(root, version)])
    if isinstance(as_of, dt.datetime):
        history = [entry for entry in history if entry.published_at <= as_of]
    return Pinned(workspace, version, tuple(history))


def query(
    sql: str,
    workspace: Workspace | Path | str | None = None,
    as_of: AsOf = None,
    values: Sequence[object] = (),
    *,
    as_reported: bool = False,
) -> pa.Table:
    """The result of one SELECT over the published tables, each a view of its name.

    The connection reads those tables and nothing else. `values` stand for $1, $2, … in the SQL. `as_of` is a
    version of the table receipts or a moment: what was published then. With `as_reported` each day is read as
    it was first published, whatever was published since.

    Raises:
        Broken: no SELECT, or a mistake in it; lists the tables where one is not known.
    """
    space = workspace if isinstance(workspace, Workspace) else open_workspace(workspace)
    state = read_catalog(space, as_of)
    views = (state.as_reported() if as_reported else state).views()
    return run_query(sql, views, query_resources(space), values)


def query_resources(workspace: Workspace) -> EngineResources:
    """All cores, and the memory that SQL has by default, for one statement of a person."""
    return EngineResources(read_hardware().cores, machine_budget().sql, workspace.runs)


def _by_day(files: Sequence[LiveFile]) -> dict[str, list[LiveFile]]:
    by_day: dict[str, list[LiveFile]] = {}
    for file in files:
        by_day.setdefault(file.day, []).append(file)
    return by_day


def _entries(workspace: Workspace, files: Sequence[Path]) -> list[CatalogEntry]:
    """The receipts in some files of the table `receipts`, by run number."""
    if not files:  # the table is there, and its first receipt is not yet
        return []
    select = (
        "SELECT job, day, run_id, run_number, published_at, tables, filename FROM read_parquet("
        "$1, hive_partitioning = true, hive_types = {day: VARCHAR}, filename = true) "
        "ORDER BY run_number, run_id"
    )
    view = View(RECEIPTS, tuple(files))
    with Engine([view], query_resources(workspace)) as engine, SqlMistakes(f"table {RECEIPTS}"):
        rows = engine.rows(select, [[str(file) for file in files]])
    return [
        CatalogEntry(job, day, run_id, number, published_at, json.loads(versions), Path(file))
        for job, day, run_id, number, published_at, versions, file in rows
    ]
