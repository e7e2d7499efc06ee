"""What differs, table by table, between a published day and what takes its place, or between two runs."""

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from nightscore.common import Broken, Workspace
from nightscore.pipeline.context import Day
from nightscore.store import (
    CatalogEntry,
    EngineResources,
    Pinned,
    Receipt,
    TableChange,
    TableDiff,
    TableResult,
    catalog,
    sum_changes,
)

NOTHING = TableResult(rows=0, files=0, bytes=0)

Pair = tuple[list[Path], list[Path]]  # the files of a table before and after


@dataclass(frozen=True)
class Reported:
    """Some tables of a day as they are published: whose receipt each has, and its files.

    They may be of several runs, where a table was handed over.
    """

    receipts: Mapping[str, Receipt]
    files: Mapping[str, list[Path]]

    @classmethod
    def of(cls, state: Pinned, day: str, tables: Iterable[str]) -> "Reported":
        """Those of some tables whose day is published, as it is in force."""
        entries = {t: state.published[t][day] for t in tables if day in state.published.get(t, {})}
        return cls.of_runs(state, entries)

    @classmethod
    def of_runs(cls, state: Pinned, entries: Mapping[str, CatalogEntry]) -> "Reported":
        """Tables as some runs have published them, in force or not."""
        runs = {entry.run_id: entry.read_receipt() for entry in entries.values()}
        files = {t: [file.path.local() for file in state.files_of(e, t)] for t, e in entries.items()}
        return cls({t: runs[e.run_id] for t, e in entries.items()}, files)

    def beside(self, after: Mapping[str, list[Path]]) -> dict[str, Pair]:
        """For each table, its files and those that take their place."""
        return {t: (self.files.get(t, []), after.get(t, [])) for t in {**self.files, **after}}

    def counts(self, table: str) -> TableResult:
        """What the table's receipt says of it; nothing where it was not published."""
        return self.receipts[table].tables[table] if table in self.receipts else NOTHING

    def key(self, table: str) -> tuple[str, ...]:
        """The key by which its rows are matched: that of the run which published it, else of the newest."""
        newest = max(self.receipts.values(), key=lambda receipt: receipt.run_number, default=None)
        receipt = self.receipts.get(table, newest)
        return receipt.key_hash.columns if receipt else ()


def compare_tables(
    pairs: Mapping[str, Pair], before: Reported, after: Mapping[str, TableResult], resources: EngineResources
) -> dict[str, TableChange]:
    """For each table, how many rows differ and by how much the sums of its columns have changed."""
    changes = {}
    for table, (old, new) in pairs.items():
        was, is_, key = before.counts(table), after.get(table, NOTHING), before.key(table)
        with TableDiff(old, new, key, resources) as difference:
            counts = difference.counts()
        sums = {c: by for c, by in sum_changes(was.columns, is_.columns).items() if c not in key}
        changes[table] = TableChange(
            rows_before=was.rows, rows_after=is_.rows, moved=sums, **counts._asdict()
        )
    return changes


def comparison_resources(day: Day) -> EngineResources:
    """What the comparison may use: the job's budget, and the run's folder to spill into."""
    return EngineResources(day.sql_threads, day.budget.sql, day.temp)


class RunsDiffer(BaseModel):
    """How one published run of a day differs from an earlier one, table by table."""

    job: str
    day: str
    before: str
    after: str
    tables: Mapping[str, TableChange]


def compare_runs(
    workspace: Workspace, job: str, day: dt.date, runs: tuple[str, str] | None = None
) -> RunsDiffer:
    """How two published runs of a day differ; default: the first of all, and the newest.

    Of tables of the job that were handed over, runs of other jobs count, too; of two runs of different jobs
    only the tables are compared that both have published.

    Raises:
        Broken: the day is not published, or not by such a run.
    """
    state = catalog.read_catalog(workspace)
    own = {t for e in state.history if (e.job, e.day) == (job, day.isoformat()) for t in e.versions}
    entries = {e.run_id: e for e in state.day_history(job, own, day.isoformat())} if own else {}
    if not entries:
        raise Broken(f"job {job}: {day} is not published; `nightscore receipts` lists what is")
    first, last = runs or (next(iter(entries)), next(reversed(entries)))
    for run in (first, last):
        if run not in entries:
            raise Broken(
                f"job {job}: no run {run!r} has published {day}; those that have: {', '.join(entries)}"
            )
    tables = _comparable(entries[first], entries[last])
    before, after = (
        Reported.of_runs(state, {t: entries[run] for t in tables if t in entries[run].versions})
        for run in (first, last)
    )
    counts = {table: after.counts(table) for table in after.files}
    changes = compare_tables(before.beside(after.files), before, counts, catalog.query_resources(workspace))
    return RunsDiffer(job=job, day=day.isoformat(), before=first, after=last, tables=changes)


def _comparable(before: CatalogEntry, after: CatalogEntry) -> list[str]:
    """The tables by which two runs are compared: all, or those of both where they are of two jobs."""
    if before.job == after.job:
        return list({**before.versions, **after.versions})
    return [table for table in after.versions if table in before.versions]
