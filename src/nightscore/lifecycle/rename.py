"""A job or a table that a person gives another name: what follows it, and what stands in the way.

The rename is one record (`store/records/renames.py`), written once nothing is under way: before it nothing
has changed, after it everything follows. What calls the job or the table by its old name is refused from then
on, by its line, until it is edited.
"""

import contextlib
import datetime as dt
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from nightscore.common import Broken, NotYet, ProgressCallback, Workspace, refuse_unsaid, silent
from nightscore.job import NAME, RESERVED_VIEWS, load_all, peek_job_name
from nightscore.lifecycle.drop import refuse_at_work
from nightscore.lifecycle.mentions import Mention, find_mentions
from nightscore.pipeline import complete_half_published
from nightscore.store import Names, Pinned, Rename, catalog, owners, renames

AFTER_JOB = ("_scores", "_rejects", "_bad_lines")  # of tables that are named after their job


@dataclass(frozen=True)
class RenamedTable:
    """A table that is renamed: its days, and the folder in which it lies, as before."""

    old: str
    new: str
    days: int
    folder: str


@dataclass(frozen=True)
class Renamed:
    """A rename, the tables that follow, and the lines that are (still) to be edited."""

    rename: Rename
    tables: tuple[RenamedTable, ...]
    mentions: tuple[Mention, ...]


def rename_job(
    workspace: Workspace, old: str, new: str, *, because: str, by: str, dry_run: bool = False,
    report: ProgressCallback = silent,
) -> Renamed:  # fmt: skip
    """Give a job another name, and the tables that are named after it: receipts, runs and days follow.

    No file moves. Called again, it gives the rename that is there, and the lines that are still to be edited.
    With `dry_run` nothing is written.

    Raises:
        Broken: nothing of the job is published; a day is held; `new` is taken, was ever another's, or is no
            name; or `by` or `because` is empty.
        NotYet: one of its runs is at work, or a table is being published.
    """
    return _rename(_Asked(workspace, "job", old, new, by, because), dry_run, report)


def rename_table(
    workspace: Workspace, old: str, new: str, *, because: str, by: str, dry_run: bool = False,
    report: ProgressCallback = silent,
) -> Renamed:  # fmt: skip
    """Give a decision's table another name: its days, its receipts and whose it is follow. As `rename_job`.

    Raises:
        Broken: as of `rename_job`; or the table is named after its job.
        NotYet: as of `rename_job`.
    """
    return _rename(_Asked(workspace, "table", old, new, by, because), dry_run, report)


@dataclass(frozen=True)
class _Asked:
    """What a person asks for."""

    workspace: Workspace
    kind: Literal["job", "table"]
    old: str
    new: str
    by: str
    because: str


def _rename(asked: _Asked, dry_run: bool, report: ProgressCallback) -> Renamed:
    workspace = asked.workspace
    refuse_unsaid(by=asked.by, because=asked.because)
    if last := _done(asked, renames.read_names(workspace)):
        return _renamed(workspace, last)
    seen = _checked(asked)
    if dry_run:
        return _renamed(workspace, seen)
    with contextlib.ExitStack() as locks:
        for table in seen.tables:
            locks.enter_context(owners.alone(workspace, table))
        locks.enter_context(renames.alone(workspace))
        job = _job_of(asked, catalog.read_catalog(workspace))
        for table in seen.tables:
            complete_half_published(workspace, job, table, report)
        rename = _checked(asked)
        if rename.tables != seen.tables:  # one more is there, of which we have no lock
            raise NotYet(f"{asked.kind} {asked.old}: a table was published for the first time; try again")
        renames.record_rename(workspace, rename)
    return _renamed(workspace, rename)


def _done(asked: _Asked, names: Names) -> Rename | None:
    """The rename that is asked for, where it is there already."""
    called = names.jobs if asked.kind == "job" else names.tables
    is_there = asked.old != asked.new == called.current(asked.old)
    return names.last_of(asked.kind, asked.old) if is_there else None


def _checked(asked: _Asked) -> Rename:
    """The rename that is asked for. `Broken` or `NotYet` unless it can be made now."""
    state, kind, old, new = catalog.read_catalog(asked.workspace), asked.kind, asked.old, asked.new
    _refuse_not_so_called(state.names, kind, old)
    if new == old or not re.fullmatch(NAME, new) or new in RESERVED_VIEWS:
        raise Broken(
            f"{new!r} is no other name for a {kind}; allowed: a small letter, then small letters, digits and "
            f"_, 63 at most, and none of {', '.join(sorted(RESERVED_VIEWS))}"
        )
    job = _job_of(asked, state)
    refuse_at_work(asked.workspace, job)
    tables = {old: new} if kind == "table" else _named_after(state, old, new)
    if kind == "job":
        _refuse_taken_job(state, old, new)
    else:
        _refuse_name_after_job(state, new)
    for table, called in tables.items():
        _refuse_taken_table(state, job, table, called)
    return Rename(
        number=len(state.names.renames), kind=kind, old=old, new=new, tables=tables, by=asked.by.strip(),
        because=asked.because.strip(), at=dt.datetime.now(dt.UTC),
    )  # fmt: skip


def _refuse_not_so_called(names: Names, kind: str, old: str) -> None:
    current = (names.jobs if kind == "job" else names.tables).current(old)
    if current != old:
        raise Broken(f"{names.last_of(kind, old)}; it is called {current} now: rename that")


def _job_of(asked: _Asked, state: Pinned) -> str:
    """The job that is renamed, or whose the table is."""
    old = asked.old
    if asked.kind == "job":
        jobs = sorted({entry.job for entry in state.history})
        if old not in jobs:
            raise Broken(
                f"job {old} has published nothing, so nothing has to follow it: write its name in its "
                f"job.yaml; jobs that have published: {', '.join(jobs) or 'none'}"
            )
        return old
    owner = owners.read_owner(asked.workspace, old, state) if _ever_named(state, [old]) else None
    if owner is None:
        raise Broken(
            f"table {old!r} is published by no job; there are: {', '.join(state.tables()) or 'none'}"
        )
    if old in {f"{owner.to}{end}" for end in AFTER_JOB}:
        raise Broken(f"table {old} is named after its job {owner.to}; `nightscore rename-job` renames both")
    return owner.to


def _named_after(state: Pinned, old: str, new: str) -> dict[str, str]:
    """The tables that are named after a job and that it has ever published, with their new names."""
    pairs = {f"{old}{end}": f"{new}{end}" for end in AFTER_JOB}
    there = _ever_named(state, pairs)
    return {table: called for table, called in pairs.items() if table in there}


def _ever_named(state: Pinned, tables: Iterable[str]) -> set[str]:
    """Those of some names that a receipt has ever given to a table."""
    return {table for entry in state.history for table in (*entry.versions, *entry.removed)} & {*tables}


def _refuse_taken_job(state: Pinned, old: str, new: str) -> None:
    names = state.names.jobs
    if new in names.first and names.origin(new) != names.origin(old):
        raise Broken(
            f"{new} was the name of job {names.current(new)}, and receipts name it so; choose another name"
        )
    if days := {entry.day for entry in state.history if entry.job == new}:
        raise Broken(
            f"job {new} has published {len(days):,} days of its own; two histories are never made "
            "one: choose another name"
        )
    files = {peek_job_name(file): file for file in state.workspace.job_files()}
    if old in files and new in files:
        shown = state.workspace.relative(files[new])
        raise Broken(f"{shown}: {new} is the name of another job of the workspace; choose another name")


def _refuse_name_after_job(state: Pinned, new: str) -> None:
    """Of a table that a job has under its own name, as it publishes rejects, nobody publishes another."""
    jobs = {entry.job for entry in state.history} | {job.name for job in load_all(state.workspace)[0]}
    if taken := sorted(job for job in jobs if new in {f"{job}{end}" for end in AFTER_JOB}):
        raise Broken(f"table {new} is named after job {taken[0]}, and its own; choose another name")


def _refuse_taken_table(state: Pinned, job: str, old: str, new: str) -> None:
    names, workspace = state.names.tables, state.workspace
    if names.origin(new) == names.origin(old):
        return
    if new in names.first and names.current(new) != new:
        raise Broken(f"{new} was the name of table {names.current(new)}, and receipts name it so")
    owner = owners.read_owner(workspace, new, state)
    if owner or _ever_named(state, [new]):
        raise Broken(f"table {new} was published by job {owner.to if owner else state.publisher(new)}")
    for other in load_all(workspace)[0]:
        if new in other.spec.tables and other.name not in (job, state.names.jobs.current(job)):
            other.raise_broken(
                ("decide", new) if new in other.spec.decide else ("job",), f"names table {new}"
            )


def _renamed(workspace: Workspace, rename: Rename) -> Renamed:
    state = catalog.read_catalog(workspace)
    tables = []
    for old, new in rename.tables.items():
        days = state.published.get(state.names.tables.current(old), {})
        tables.append(RenamedTable(old, new, len(days), state.home(old).key))
    return Renamed(rename, tuple(tables), tuple(find_mentions(workspace, rename)))
