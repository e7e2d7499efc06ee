"""What is published, as every reader of ours sees it: the versions that receipts name, and no other.

Delta commits one table at a time. A reader that took each table's newest version could see one table
of a new run beside another of the old; one that takes what the day's receipt names never does, for the
receipt is written last.
"""

import contextlib
import dataclasses
import datetime as dt
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from nightscore.common import Broken, NightscoreError, Workspace, open_workspace
from nightscore.scorers import ModelError, check_frame, read_hardware, table_as_frame
from nightscore.store import delta, erasures, removals, renames, storage
from nightscore.store.documents.receipt import Receipt
from nightscore.store.published.receipt_rows import RECEIPTS, CatalogEntry, read_rows
from nightscore.store.records.erasures import NOTHING_ERASED, Erased, as_erased
from nightscore.store.records.removals import Removal
from nightscore.store.records.renames import AS_WRITTEN, Names
from nightscore.store.sql.engine import EngineResources
from nightscore.store.sql.lost import gone_file, lost_day
from nightscore.store.sql.memory_budget import machine_budget
from nightscore.store.sql.query import run_query
from nightscore.store.sql.views import Among, View
from nightscore.store.storage import Place, local_files
from nightscore.store.tables.commits import foreign_commits
from nightscore.store.tables.snapshots import LiveFile, Snapshot

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

AsOf = int | dt.datetime | None


@dataclass(frozen=True)
class Pinned:
    """One consistent state of all tables: for each day of each table, the receipt that is in force.

    `history` are all receipts up to this state, the newest last. Most tables have receipts of one job; one
    that was handed over has those of several, and of a day the newest counts, whichever job's it is. `erased`
    says which files stand in the place of which now, whatever version is asked for.
    """

    workspace: Workspace
    version: int | None
    history: tuple[CatalogEntry, ...]
    names: Names = field(default=AS_WRITTEN, repr=False, compare=False)
    erased: Erased = NOTHING_ERASED

    def home(self, table: str) -> Place:
        """The folder of a table, whatever it was called when it was made."""
        return storage.tables(self.workspace) / self.names.tables.origin(table)

    @cached_property
    def published(self) -> dict[str, dict[str, CatalogEntry]]:
        """Table -> day -> the receipt that is in force there: the newest that names the table.

        What a job no longer publishes stays as it was, but for a day's rejects, which go with its scores.
        """
        found: dict[str, dict[str, CatalogEntry]] = {}
        for entry in self.history:
            for table in entry.versions:
                found.setdefault(table, {})[entry.day] = entry
        for job in {entry.job for entry in self.history}:
            scores, rejects = found.get(f"{job}_scores", {}), found.get(f"{job}_rejects", {})
            for day, entry in list(rejects.items()):
                if entry.job == job and scores.get(day, entry).run_id != entry.run_id:
                    del rejects[day]
        return {table: days for table, days in found.items() if days}

    @cached_property
    def in_force(self) -> dict[tuple[str, str], CatalogEntry]:
        """(job, day) -> the newest of the receipts that a job has for a day."""
        return {(entry.job, entry.day): entry for entry in self.history}

    def holds(self, entry: CatalogEntry) -> list[str]:
        """The tables whose day a receipt is in force of; none where later ones have replaced all of them."""
        return [t for t in entry.versions if self.published.get(t, {}).get(entry.day) == entry]

    def replaced_by(self, entry: CatalogEntry) -> CatalogEntry | None:
        """The newest of the runs that have replaced a run, or a table of it; None where it stands."""
        others = [e for t in entry.versions if (e := self.published.get(t, {}).get(entry.day)) and e != entry]
        newest = self.in_force.get((entry.job, entry.day), entry)
        return max(
            [*others, *([newest] if newest != entry else [])], key=lambda e: e.run_number, default=None
        )

    def day_history(self, job: str, tables: Iterable[str], day: str) -> list[CatalogEntry]:
        """The receipts of a day that are of a job, or name one of some tables; the newest last."""
        named = set(tables)
        return [
            entry
            for entry in self.history
            if entry.day == day
            and (entry.job == job or not named.isdisjoint([*entry.versions, *entry.removed]))
        ]

    def publisher(self, table: str) -> str:
        """The job of a table's newest receipt; "" where there is none."""
        entries = (entry for entry in reversed(self.history) if table in entry.versions)
        return next((entry.job for entry in entries), "")

    def readable(self, jobs: Collection[str]) -> "Pinned":
        """What some jobs have published: nothing of others, and no day that another has published since."""
        kept = []
        for entry in self.history:
            if entry.job in jobs:
                held = {
                    t: v for t, v in entry.versions.items()
                    if self.published.get(t, {}).get(entry.day, entry).job in jobs
                }  # fmt: skip
                kept.append(dataclasses.replace(entry, versions=held))
        return dataclasses.replace(self, history=tuple(kept))

    def read_receipt(self, job: str, day: dt.date) -> Receipt | None:
        """The newest receipt that a job has for a day, None if it has never published the day."""
        entry = self.in_force.get((job, day.isoformat()))
        return entry.read_receipt() if entry else None

    def previous(self, job: str, day: dt.date) -> CatalogEntry | None:
        """The newest receipt of a job's last published day before this one; None if there is none."""
        days = [when for name, when in self.in_force if name == job and when < day.isoformat()]
        return self.in_force[job, max(days)] if days else None

    def tables(self) -> list[str]:
        """The names of all published tables."""
        return sorted(self.published)

    def files(self, table: str, first: str = "", last: str = "9999-12-31") -> list[LiveFile]:
        """The files of a table, by day, of the runs whose receipts are in force; of some of its days.

        Raises:
            Broken: the table's log does not hold those of a day any more.
        """
        entries = self.published.get(table, {})
        if not entries:
            return []
        root = self.home(table)
        by_day = self._by_day(root, max(entry.versions[table] for entry in entries.values()))
        files, touched = [], self._touched(table)
        for day, entry in sorted(entries.items()):
            if first <= day <= last:
                live = by_day.get(day, [])
                # Committed by a run whose receipt is not (yet) there: this day as it was before.
                own = day not in touched and {f.run_id for f in live} == {entry.run_id}
                files += live if own else self.files_of(entry, table)
        return files

    def files_of(self, entry: CatalogEntry, table: str) -> list[LiveFile]:
        """The files of a table that one run published, whether its receipt is still in force or not.

        Raises:
            Broken: the table's log does not hold them any more.
        """
        if table in entry.removed:
            raise Broken(f"table {table}: {entry.day}, run {entry.run_id}, was {entry.removed[table]}")
        root = self.home(table)
        # Of a day that another engine has touched, what is left at the head may be a part of ours.
        files = [] if entry.day in self._touched(table, head=True) else self._at(root, entry.day)
        if {file.run_id for file in files} != {entry.run_id}:  # replaced since, or not as the run left it
            files = self._at(root, entry.day, entry.versions[table])
        # Even an empty day has a file. And a table that was removed and made anew counts from 0 again.
        if {file.run_id for file in files} != {entry.run_id} and not entry.has_of_others(table, len(files)):
            raise lost_day(root, entry.job, entry.day, entry.run_id)
        return files

    def snapshot(self, root: Place, version: int | None = None) -> Snapshot:
        """A table at a version (default: the newest), without what was erased since."""
        return as_erased(delta.read_snapshot(root, version), self.erased)

    def _by_day(self, root: Place, version: int) -> dict[str, list[LiveFile]]:
        if not delta.table_exists(root):
            return {}
        try:
            return dict(self.snapshot(root, version).by_day)
        except Broken:  # a table that was removed and made anew counts from 0 again
            return dict(self.snapshot(root).by_day)

    def _at(self, root: Place, day: str, version: int | None = None) -> list[LiveFile]:
        """The files of a day at a version (default: the newest); none where that can't be read (any more)."""
        try:
            return self.snapshot(root, version).of_day(day) if delta.table_exists(root) else []
        except Broken:
            return []

    def _touched(self, table: str, *, head: bool = False) -> frozenset[str]:
        """The days of which another engine has removed or added files, up to our last version or the head."""
        root = self.home(table)
        named = {entry.versions[table] for entry in self.history if table in entry.versions}
        newest = max(named, default=0)
        if head and delta.table_exists(root):
            with contextlib.suppress(Broken):
                newest = delta.read_snapshot(root).version
        return frozenset().union(*(one.days for one in foreign_commits(root, named, newest)))

    def paths_of(self, entry: CatalogEntry) -> dict[str, list[Path]]:
        """Table -> the local paths of the files that one run published. Errors as those of `files_of`.

        Without the tables whose day ended with the run, and that have none.
        """
        found = {table: self.files_of(entry, table) for table in entry.versions}
        return {table: list(local_files(f.path for f in files)) for table, files in found.items() if files}

    def views(self) -> list[View]:
        """Every table, and `receipts`, as SQL sees them."""
        tables = [*(self._view(table) for table in self.tables()), *self._former_views()]
        if not self.history:
            return tables
        files = local_files(dict.fromkeys(entry.file for entry in self.history))
        merged = len(files) < len(self.history)  # another engine's OPTIMIZE puts several receipts into a file
        receipts = View(RECEIPTS, files, "day", among=self._of_runs() if merged else None)
        beside = [
            self._beside_view(removals.REMOVALS, removals.SCHEMA),
            self._beside_view(erasures.ERASURES, erasures.SCHEMA),
        ]
        return [*tables, receipts, *self._restatement_views(), *beside]

    def _former_views(self) -> list[View]:
        """The names that tables had, each with what it is called now."""
        now = {table: self.names.tables.current(table) for table in self.names.tables.first}
        return [
            View(table, (), problem=f"{self.names.last_of('table', table)}; read table {called}")
            for table, called in now.items()
            if table != called and called in self.published
        ]

    def _beside_view(self, name: str, schema: pa.Schema) -> View:
        """What was removed, or erased, of all states, this one too."""
        live = delta.list_live_files(storage.tables(self.workspace) / name)
        columns = {field.name: SQL_TYPES[field.type] for field in schema} | {"day": "DATE"}
        return View(name, local_files(file.path for file in live), "day", columns)

    def _of_runs(self) -> Among:
        """The rows of the runs whose receipts are here."""
        return Among("run_id", tuple(sorted({entry.run_id for entry in self.history})))

    def _view(self, table: str) -> View:
        try:
            if not (live := self.files(table)):
                return View(
                    table, (), problem=f"table {table}: it has no day any more; it is published no more"
                )
            may_lack = bool(delta.optional_columns(self.home(table)))
            return View(table, local_files(f.path for f in live), "day", by_name=may_lack)
        except Broken as error:
            return View(table, (), problem=str(error))
        except FileNotFoundError as error:  # of a bucket, whose files are fetched here
            return View(table, (), problem=gone_file(table, live) or f"table {table}: {error}")

    def _restatement_views(self) -> list[View]:
        """The tables of restatements, as far as their runs have receipts here."""
        here = {entry.run_id for entry in self.history}
        views = []
        for name, schema in RESTATEMENT_SCHEMAS.items():
            root = storage.tables(self.workspace) / name
            there = self.snapshot(root).by_day if delta.table_exists(root) else {}
            live = [file for files in there.values() for file in files]
            columns = {field.name: SQL_TYPES[field.type] for field in schema} | {"day": "DATE"}
            ours = all(file.run_id in here for file in live)  # not of a run without a receipt, nor merged
            among = None if ours else self._of_runs()
            views.append(View(name, local_files(file.path for file in live), "day", columns, among=among))
        return views

    @cached_property
    def as_reported(self) -> "Pinned":
        """Each day of each table as it was first published; without what was restated since."""
        seen: set[tuple[str, str]] = set()
        first = []
        for entry in self.history:
            new = {t: v for t, v in entry.versions.items() if (t, entry.day) not in seen}
            seen |= {(t, entry.day) for t in new}
            if new:
                first.append(dataclasses.replace(entry, versions=new))
        return dataclasses.replace(self, history=tuple(first))


def read_catalog(workspace: Workspace, as_of: AsOf = None) -> Pinned:
    """The state of all tables now, or as of a version of the table `receipts`, or as of a time.

    Raises:
        Broken: there is no such version.
    """
    root = storage.tables(workspace) / RECEIPTS
    version = as_of if isinstance(as_of, int) else None
    if not delta.table_exists(root):
        if as_of is not None:
            raise Broken(f"nothing is published in {workspace.root}, so there is no state as of {as_of}")
        return Pinned(workspace, None, (), renames.read_names(workspace))
    receipts = delta.read_snapshot(root, version)
    beside = {place.name for place in storage.tables(workspace).glob_folders("*")}  # one request for both
    gone, erased = (
        delta.read_snapshot(root.parent / name) if name in beside and delta.table_exists(root.parent / name)
        else None for name in (removals.REMOVALS, erasures.ERASURES)
    )  # fmt: skip
    # The names last: whatever is renamed meanwhile, they know each name in these receipts.
    state = _pinned(workspace, receipts, gone, erased, renames.read_names(workspace))
    if isinstance(as_of, dt.datetime):
        known = tuple(entry for entry in state.history if entry.published_at <= as_of)
        return dataclasses.replace(state, history=known)
    return state


def query(
    sql: str,
    workspace: Workspace | Path | str | None = None,
    as_of: AsOf = None,
    values: Sequence[object] = (),
    *,
    as_reported: bool = False,
    frame: str = "arrow",
) -> Any:
    """The result of one SELECT over the published tables, each a view of its name.

    The connection reads those tables and nothing else. `values` stand for $1, $2, … in the SQL. `as_of` is a
    version of the table receipts or a moment: what was published then. With `as_reported` each day is read as
    it was first published, whatever was published since.

    Returns:
        A table of Arrow; with `frame` "pandas" or "polars" a data frame, each value as it was published. In
        pandas an integer or a boolean column with nulls is Int64 or boolean, dates are datetime64, decimals
        objects.

    Raises:
        Broken: no SELECT, or a mistake in it; lists the tables where one is not known. Or no such frame, or
            its library is not installed.
    """
    if frame == "arrow":
        return _query(sql, workspace, as_of, values, as_reported)
    try:
        check_frame(frame)
        return table_as_frame(_query(sql, workspace, as_of, values, as_reported), frame)
    except ModelError as error:
        raise Broken(f"query: {error}") from error


def _query(
    sql: str,
    workspace: Workspace | Path | str | None,
    as_of: AsOf,
    values: Sequence[object],
    as_reported: bool,
) -> pa.Table:
    space = workspace if isinstance(workspace, Workspace) else open_workspace(workspace)
    while True:
        state = read_catalog(space, as_of)
        views = (state.as_reported if as_reported else state).views()
        try:
            return run_query(sql, views, query_resources(space), values)
        except NightscoreError:
            if read_catalog(space, as_of).erased.rows == state.erased.rows:  # by value: it may be read anew
                raise  # else files went under our hands, for somebody was erased from them: ask again


def query_resources(workspace: Workspace) -> EngineResources:
    """All cores, and the memory that SQL has by default, for one statement of a person."""
    return EngineResources(read_hardware().cores, machine_budget().sql, storage.runs(workspace).scratch())


@lru_cache(maxsize=4)
def _pinned(
    workspace: Workspace, receipts: Snapshot, gone: Snapshot | None, erased: Snapshot | None, names: Names
) -> Pinned:
    """The state that a version of the table `receipts` names; made once, for a snapshot never changes.

    What was removed or erased since is gone from each state, as it is from the disk; and each has the names
    of now.
    """
    without = erasures.erased_in(erased)
    history = [entry.called(names) for entry in read_rows(as_erased(receipts, without))]
    if gone is not None:
        removed = removals.removed_in(gone)
        history = [
            _left(entry, names.by_table(removed.get((entry.run_id, entry.day), {}))) for entry in history
        ]
    return Pinned(workspace, receipts.version, tuple(history), names, without)


def _left(entry: CatalogEntry, removed: Mapping[str, Removal]) -> CatalogEntry:
    gone = {table: one for table, one in removed.items() if table in entry.versions}
    if not gone:
        return entry
    left = {table: version for table, version in entry.versions.items() if table not in gone}
    return dataclasses.replace(entry, versions=left, removed=gone)
