"""A table, or a job with all of its tables, that is removed because a person says so."""

import contextlib
import datetime as dt
import secrets
from collections.abc import Iterable, Sequence

from nightscore.common import Broken, NotYet, Workspace, refuse_unsaid
from nightscore.job import Job, TableInput, load_all
from nightscore.pipeline import read_held_days
from nightscore.store import Pinned, Removal, RunFolder, catalog, owners, removals, renames, storage


def drop_table(
    workspace: Workspace, table: str, *, because: str, by: str, dry_run: bool = False
) -> list[Removal]:
    """Remove a published table: for every reader at once, and its files with a later `collect_garbage`.

    Receipts stay, and name it. From then on another job may publish a table of this name. Gives what is
    removed; with `dry_run` nothing is.

    Raises:
        Broken: it is not published; a job publishes or reads it; a job can't be read, and might.
        NotYet: a run is publishing it.
    """
    state = catalog.read_catalog(workspace)
    if table not in state.published:
        raise Broken(f"table {table} is not published; there are: {', '.join(state.tables()) or 'none'}")
    _refuse_used(_jobs(workspace), [table])
    return _drop(workspace, state, [table], because=because, by=by, dry_run=dry_run)


def drop_job(
    workspace: Workspace, name: str, *, because: str, by: str, dry_run: bool = False
) -> list[Removal]:
    """Remove all tables of a job whose folder is gone from the workspace, and the folders of its runs.

    Raises:
        Broken: as `drop_table`; the job is still there, has published nothing, or has a day that is held.
        NotYet: one of its runs is at work.
    """
    state, jobs = catalog.read_catalog(workspace), _jobs(workspace)
    if there := next((job for job in jobs if job.name == name), None):
        raise Broken(f"{there.shown}: job {name} is still there, and would publish again; remove it first")
    tables = [table for table in state.tables() if state.publisher(table) == name]
    if not tables:
        jobs_with_tables = sorted({state.publisher(table) for table in state.tables()})
        raise Broken(f"job {name} has no table; jobs that have: {', '.join(jobs_with_tables) or 'none'}")
    _refuse_used(jobs, tables)
    refuse_at_work(workspace, name)
    removed = _drop(workspace, state, tables, because=because, by=by, dry_run=dry_run)
    if not dry_run:
        renames.runs_home(workspace, name).remove()
    return removed


def _jobs(workspace: Workspace) -> Sequence[Job]:
    jobs, problems = load_all(workspace)
    if problems:
        raise Broken(f"a job can't be read, and may read what is to be removed: {problems[0]}")
    return jobs


def _refuse_used(jobs: Iterable[Job], tables: Sequence[str]) -> None:
    """Refuse to remove what a job still publishes or reads; names its line."""
    for job in jobs:
        for table in tables:
            if table in job.spec.tables:
                at = ("decide", table) if table in job.spec.decide else ("job",)
                job.raise_broken(at, f"table {table} is published by this job; take it out of the job first")
        for name, source in job.spec.inputs.items():
            if isinstance(source, TableInput) and source.table in tables:
                job.raise_broken(("inputs", name), f"reads table {source.table}; take that out first")


def refuse_at_work(workspace: Workspace, name: str) -> None:
    """Refuse what a job's runs must not be at work for, nor a day of it be held.

    Raises:
        Broken: a day is held.
        NotYet: a run is at work.
    """
    if held := next(read_held_days(workspace, name, thorough=True), None):
        raise Broken(f"job {name}: {held.receipt.day} is held; release or discard it first")
    runs = [RunFolder(path) for path in renames.runs_home(workspace, name).glob_folders("*", "*")]
    if busy := next((run for run in runs if not run.is_idle()), None):
        raise NotYet(f"job {name}: run {busy.run_id} is at work; try again once it has ended")


def _drop(
    workspace: Workspace, state: Pinned, tables: Sequence[str], *, because: str, by: str, dry_run: bool
) -> list[Removal]:
    refuse_unsaid(by=by, because=because)
    now = dt.datetime.fromtimestamp(storage.storage_of(workspace).now(), dt.UTC)
    action = f"dropped-{secrets.token_hex(6)}"
    found = [
        Removal(entry.job, table, entry.day, entry.run_id, removals.DROPPED, because, by, now, action)
        for table in tables
        for entry in state.history
        if table in entry.versions
    ]
    if dry_run:
        return found
    with contextlib.ExitStack() as locks:
        for table in tables:
            locks.enter_context(owners.alone(workspace, table))
        removals.record_removals(workspace, found)
        for table in tables:
            removals.leave_out(workspace, table)
    return found
