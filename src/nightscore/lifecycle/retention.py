"""What is older than its job keeps it, by `retain` in job.yaml, and how it goes.

A day of a table goes with all that was ever published of it; of a day that stays, what a later run has
replaced may go before. First the removal is recorded, from when on no reader of ours sees the day; then
Delta's newest version has it no more; the files go with the `gc` that finds both done for its grace, so that
who reads them now can end; and at last what is left of them in Delta's log.
"""

import datetime as dt
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from nightscore.common import Workspace
from nightscore.job import Job, Retain, TableInput, in_days
from nightscore.store import (
    CatalogEntry,
    Pinned,
    Place,
    Removal,
    RunFolder,
    catalog,
    has_report,
    removals,
    remove_report,
    renames,
    storage,
)

RETENTION, VERSION = "retention", "version"
BESIDE = ("features", "reports")
DAY = dt.timedelta(days=1)


def apply_retention(
    workspace: Workspace, jobs: Sequence[Job], now: dt.datetime | None = None
) -> list[Removal]:
    """Let go what is due; its files go with `collect_garbage`. Gives what was recorded now.

    `now` is by default the time by the storage's clock.

    Raises:
        Broken: a job reads days of a table that are not kept so long.
        NotYet: others are committing all the time.
    """
    due = find_due(workspace, jobs, now)
    removals.record_removals(workspace, due)
    state = catalog.read_catalog(workspace)
    for table in sorted({table for entry in state.history for table in entry.removed}):
        removals.leave_out(workspace, table)
    for one in due:
        folder = _folder(workspace, one.job, one.removed_day, one.run_id)
        if one.table_name == "reports":
            remove_report(folder.path)
        for place in _features(folder) if one.table_name == "features" else ():
            place.remove()
    return due


def find_due(workspace: Workspace, jobs: Sequence[Job], now: dt.datetime | None = None) -> list[Removal]:
    """What of the jobs' tables is older than it is kept. `now` and errors as above."""
    now = now or dt.datetime.fromtimestamp(storage.storage_of(workspace).now(), dt.UTC)
    state, action = catalog.read_catalog(workspace), f"retention-{secrets.token_hex(6)}"
    found = []
    for job in jobs:
        if job.spec.retain is not None:
            _refuse_shorter_than_read(job, job.spec.retain, jobs)
            due = _Due(state, job, job.spec.retain, now, _first_reported(jobs))
            found += [*due.tables(), *due.beside()]
    return [replace(one, action=action) for one in found]


def _first_reported(jobs: Sequence[Job]) -> set[str]:
    """The tables of which some job reads what was first published, whatever was published since."""
    sources = [source for job in jobs for source in job.spec.inputs.values()]
    return {one.table for one in sources if isinstance(one, TableInput) and one.as_reported}


def _refuse_shorter_than_read(job: Job, retain: Retain, jobs: Sequence[Job]) -> None:
    """Refuse to let days go that a job reads: it would find fewer of them, and not know."""
    for reader in jobs:
        for name, source in reader.spec.inputs.items():
            if not isinstance(source, TableInput) or source.table not in job.spec.tables:
                continue
            kept = _kept(job, retain, source.table)
            if kept is not None and kept < source.lookback:
                job.raise_broken(
                    ("retain",), f"table {source.table} is kept for {kept} days, and job {reader.name} reads "
                    f"{source.lookback} of it ({reader.shown}: inputs.{name}.lookback); keep it as long"
                )  # fmt: skip


def _folder(workspace: Workspace, job: str, day: str, run_id: str) -> RunFolder:
    return RunFolder(renames.runs_home(workspace, job) / day / run_id)


def _features(folder: RunFolder) -> list[Place]:
    """The snapshots of a run's features, as far as they are there, with their sums."""
    snapshots = folder.snapshots
    return [*snapshots, *(path.with_suffix(".sha256") for path in snapshots)]


def _kept(job: Job, retain: Retain, table: str) -> int | None:
    aside = table in (job.spec.rejects_table, job.spec.bad_lines_table)
    return retain.of_table(table, set_aside=aside)


@dataclass(frozen=True)
class _Due:
    """What of one job's tables is due at a moment."""

    state: Pinned
    job: Job
    retain: Retain
    now: dt.datetime
    first_reported: set[str]

    def tables(self) -> Iterator[Removal]:
        """Each run of each day of each table that goes."""
        own = {t for t in self.state.tables() if self.state.publisher(t) == self.job.name}
        for entry in self.state.history:
            for table in (table for table in entry.versions if table in own):
                kept = _kept(self.job, self.retain, table)
                if kept is not None and self._age(entry) >= kept:
                    yield self._removal(entry, table, RETENTION, f"retain: {kept} days")
                elif reason := self._replaced(entry, table):
                    yield self._removal(entry, table, VERSION, reason)

    def beside(self) -> Iterator[Removal]:
        """What lies beside the tables, of each run of the job."""
        for name in BESIDE:
            kept = in_days(getattr(self.retain, name))
            for entry in self.state.history if kept is not None else ():
                if entry.job == self.job.name and self._age(entry) >= (kept or 0):
                    folder = _folder(self.state.workspace, entry.job, entry.day, entry.run_id)
                    if _features(folder) if name == "features" else has_report(folder.path):
                        yield self._removal(entry, name, RETENTION, f"retain: {name}: {kept} days")

    def _age(self, entry: CatalogEntry) -> int:
        """Days since an entry's day."""
        return (self.now.date() - dt.date.fromisoformat(entry.day)).days

    def _replaced(self, entry: CatalogEntry, table: str) -> str:
        """Why a version of a day may go that a later run has replaced; "" where it may not."""
        kept = in_days(self.retain.versions)
        if kept is None or self._is_read(entry, table):
            return ""
        of_day = self._published[table, entry.day]
        later = [other.published_at for other in of_day if other.run_number > entry.run_number]
        if not later or self.now - min(later) < kept * DAY:
            return ""
        return f"retain: versions: {kept} days"

    @cached_property
    def _published(self) -> dict[tuple[str, str], list[CatalogEntry]]:
        """(table, day) -> all receipts that name it."""
        found: dict[tuple[str, str], list[CatalogEntry]] = {}
        for entry in self.state.history:
            for table in entry.versions:
                found.setdefault((table, entry.day), []).append(entry)
        return found

    def _is_read(self, entry: CatalogEntry, table: str) -> bool:
        """Whether a version is in force, or one that a job reads as it was first published."""
        if self.state.published.get(table, {}).get(entry.day) == entry:
            return True
        first = self.state.as_reported.published.get(table, {}).get(entry.day)
        return table in self.first_reported and first is not None and first.run_id == entry.run_id

    def _removal(self, entry: CatalogEntry, table: str, kind: str, because: str) -> Removal:
        return Removal(entry.job, table, entry.day, entry.run_id, kind, because, "", self.now, "")
