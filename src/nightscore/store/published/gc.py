"""What no reader, no receipt and no run needs any more.

Kept, always: every published file that a receipt names, old versions too (time travel), everything of a
run that works now or is being published, the feature snapshot of the run in force of each day, every
receipt. A stopped run is kept for some hours, so that it can be taken up. Before anything of it is removed,
its outcome is recorded: a run that is decided to be published meanwhile is left alone, and one that is
collected can't be published any more, whoever comes back to it (`outcome.py`). The record stays for weeks.
"""

import contextlib
import datetime as dt
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from nightscore.common import NotYet, Workspace, remove_path
from nightscore.store import catalog, delta, delta_commit, owners, storage
from nightscore.store.places.held import list_marked, mark_all, mark_of
from nightscore.store.places.outcome import COLLECTED, PUBLISH
from nightscore.store.places.run_folder import RunFolder, find_spilled, read_plan
from nightscore.store.published.catalog import RESTATEMENTS, Pinned
from nightscore.store.published.erasing import complete_erasures
from nightscore.store.published.receipt_rows import RECEIPTS, untold
from nightscore.store.records.attempts import KEPT_DAYS, find_attempt_files
from nightscore.store.records.erasures import ERASURES, read_erased
from nightscore.store.records.removals import DROPPED, REMOVALS, Removal
from nightscore.store.storage import Place
from nightscore.store.tables.log_files import committed_files, outlived_log, spare_checkpoints
from nightscore.store.tables.snapshots import is_replacement

GRACE_HOURS = 24.0
RUN = re.compile(r"\d{8}T\d{6}-[0-9a-f]{8}-[0-9a-f]{6}")  # the name of a run, and of its files
SPILLED = "temporary files of a process that is gone"
FENCE_DAYS = 30  # what decided a run that left nothing else is kept for so long
PUBLISHED = (
    *("scores", "rejects", "decide", "challengers", "lost_values"),
    *("rejects.parquet", "rejects.sha256", "replay.parquet", "replay.sha256"),
)
Gone = Mapping[str, Mapping[str, Removal]]  # table -> run -> its removal
# What lies in the folder of a published run and is of no use any more, once somebody is erased of it.
PUBLISHED_STAGED = (*PUBLISHED, "proofs", "bad_lines.parquet", "bad_lines.sha256", "compared.json")


@dataclass(frozen=True)
class Removed:
    """One file or folder that is removed: its path in the workspace, bytes, and why."""

    path: str
    bytes: int
    reason: str


def collect_garbage(
    workspace: Workspace, grace_hours: float = GRACE_HOURS, dry_run: bool = False
) -> list[Removed]:
    """Remove what is not referenced and was not changed for `grace_hours`; say what.

    With `dry_run` nothing is removed.
    """
    if not dry_run:
        complete_erasures(workspace)
    # The runs at work are looked at before what is published: a run that publishes in between is
    # then protected twice, never not at all.
    before = storage.storage_of(workspace).now() - grace_hours * 3600
    home = storage.runs(workspace)
    folders = [RunFolder(p) for p in home.glob_folders("*", "*", "*") if p.lies_in(home)]
    kept = {run.run_id for run in folders if not run.finished and not _given_up(run, before, dry_run)}
    state = catalog.read_catalog(workspace)
    gone = _gone(state, before)
    garbage = [
        *_in_runs(folders, kept, state),
        *_in_tables(workspace, kept, state, before, gone),
        *_in_logs(state, gone),
        *(
            (mark_of(run), "of a run that is held no more")
            for run in list_marked(workspace)
            if run.run_id not in kept
        ),
        *((file, f"told of a run {KEPT_DAYS} days ago") for file in _old_attempts(workspace)),
    ]
    removed = [Removed(path.key, _size(path), reason) for path, reason in garbage]
    going = {path.scratch() for path, _ in garbage}
    spilled = [path for path in find_spilled(workspace) if not going & set(path.parents)]
    removed += [Removed(workspace.relative(path), _spilled_bytes(path), SPILLED) for path in spilled]
    if not dry_run:
        fenced = {run.path: run for run in folders if run.remains and _may_come_back(run)}
        _tell_receipts(workspace)
        mark_all(workspace, [run for run in folders if run.run_id in kept and run.held.exists()])
        for path, _ in garbage:
            if path in fenced:
                fenced[path].collect()
            else:
                path.remove()
        for spill in spilled:
            remove_path(spill)
    return removed


def _in_runs(folders: list[RunFolder], kept: set[str], state: Pinned) -> Iterator[tuple[Place, str]]:
    in_force = {entry.run_id for entry in state.history if state.holds(entry)}
    for run in folders:
        if run.run_id in kept or not run.is_idle():
            continue
        if not run.receipt.exists():
            if run.remains or _outlived(run):
                yield run.path, _end_of(run)
            continue
        published = [run.path / name for name in PUBLISHED]
        yield from ((path, "published, lies in its table") for path in published if _is_there(path))
        if run.run_id not in in_force:
            snapshots = run.snapshots
            features = (*snapshots, *(path.with_suffix(".sha256") for path in snapshots))
            yield from ((path, "of a run that is no longer in force") for path in features if path.exists())


def _in_tables(
    workspace: Workspace, kept: set[str], state: Pinned, before: float, gone: Gone
) -> Iterator[tuple[Place, str]]:
    published = {entry.run_id for entry in state.history}
    for root in storage.tables(workspace).glob_folders("*"):
        table = state.names.tables.current(root.name)
        if table in gone and (dropped := _dropped(state, table, gone[table])):
            yield root, dropped
            continue
        yield from ((p, "one checkpoint in ten stays") for p in spare_checkpoints(root) if _is_old(p, before))
        # Receipts have no receipt: of them every file stays that any version has, for time travel, and what a
        # run at work has written and not committed yet.
        own = root.name in (RECEIPTS, RESTATEMENTS, REMOVALS, ERASURES)
        run_ids = kept if own else kept | (published - gone.get(table, {}).keys())
        live = {file.path for file in delta.list_live_files(root)}
        instead = state.erased.files_in(root)  # where nobody has removed the run meanwhile
        live |= {p for p in instead if delta.file_run_id(p.name) not in gone.get(table, {})}
        live |= committed_files(root) if own else set()
        for path in root.glob("day=*", "*", hidden=True):
            if not path.parent.lies_in(root):
                continue  # what lies elsewhere is not ours
            hidden = path.name.startswith((".", "_"))
            leftover = hidden or (is_replacement(path.name) and _is_unrecorded(workspace, root, path, live))
            referenced = path in live or (not leftover and delta.file_run_id(path.name) in run_ids)
            if not referenced and _is_old(path, before) and not _is_of_others(root, path):
                removed = gone.get(table, {}).get(delta.file_run_id(path.name))
                yield path, str(removed) if removed else "referenced by no receipt"


def _is_unrecorded(workspace: Workspace, root: Place, path: Place, live: set[Place]) -> bool:
    """Whether a file is what an erasure has left that was stopped before its record, and not one at work."""
    if path in live:
        return False
    with contextlib.suppress(NotYet), owners.alone(workspace, ERASURES):
        return path not in read_erased(workspace).files_in(root)
    return False


def _gone(state: Pinned, before: float) -> Gone:
    """Table -> run -> its removal, of those so long ago that no reader goes by what was there before."""
    found: dict[str, dict[str, Removal]] = {}
    for entry in state.history:
        for table, removal in entry.removed.items():
            if removal.removed_at.timestamp() <= before:
                found.setdefault(table, {})[entry.run_id] = removal
    return found


def _dropped(state: Pinned, table: str, gone: Mapping[str, Removal]) -> str:
    """Why a table goes whole, its log and its owner too: all that it ever had was dropped; "" if it stays."""
    named = [e.run_id for e in state.history if table in e.removed or table in e.versions]
    last = gone.get(named[-1])
    return str(last) if gone.keys() >= set(named) and last and last.kind == DROPPED else ""


def _in_logs(state: Pinned, gone: Gone) -> Iterator[tuple[Place, str]]:
    """What tells in Delta's logs of versions of which everything was removed."""
    for table in gone:
        root = state.home(table)
        if delta.table_exists(root):
            kept = [entry.versions[table] for entry in state.history if table in entry.versions]
            oldest = min(kept, default=delta.read_snapshot(root).version)
            yield from ((path, "tells of removed days alone") for path in outlived_log(root, oldest))


def _old_attempts(workspace: Workspace) -> Iterator[Place]:
    return find_attempt_files(workspace, storage.storage_of(workspace).now() - KEPT_DAYS * 86_400)


def _is_of_others(root: Place, path: Place) -> bool:
    """Whether another engine has committed a file, that a receipt may name by the table's version."""
    return not RUN.fullmatch(delta.file_run_id(path.name)) and path in committed_files(root)


def _tell_receipts(workspace: Workspace) -> None:
    """Let the log tell the receipts of older versions, too, so that no reader opens their files."""
    root = storage.tables(workspace) / RECEIPTS
    if delta.table_exists(root) and (rows := untold(delta.read_snapshot(root))):
        delta_commit.tell_rows(root, rows)


def _is_there(path: Place) -> bool:
    return path.exists() or path.is_folder()


def _is_old(path: Place, before: float) -> bool:
    return any(found.modified < before for found in path.walk())


def _end_of(run: RunFolder) -> str:
    outcome = run.outcome
    if run.superseded.exists():
        return "superseded"
    return outcome.kind if outcome and outcome.kind != COLLECTED else "stopped and not taken up"


def _outlived(run: RunFolder) -> bool:
    """Whether what decided a run has been there so long that nobody comes back to the run any more."""
    outcome, before = run.outcome, run.path.storage.now() - FENCE_DAYS * 86_400
    return outcome is None or _is_old(outcome.path, before)


def _given_up(run: RunFolder, before: float, dry_run: bool) -> bool:
    """Whether a run that did not finish may go; from then on it can't be published."""
    if not _abandoned(run, before):
        return False
    if dry_run or not _may_come_back(run):
        return True
    return run.decide(COLLECTED, {"at": dt.datetime.now(dt.UTC)}).kind != PUBLISH


def _may_come_back(run: RunFolder) -> bool:
    """Whether somebody may hold the plan of a run, or take up the parts of its features, unless fenced off.

    A run that was superseded can't be published, whatever happens to its folder; a preview never is.
    """
    plan_of_it = run.plan if run.plan.exists() else run.begun
    if run.superseded.exists() or not plan_of_it.exists():
        return False
    plan = read_plan(plan_of_it)
    return plan is None or plan.limit is None


def _abandoned(run: RunFolder, before: float) -> bool:
    """Whether nothing works on a run that did not finish, and nobody comes back for it."""
    if run.publishing or run.held.exists() or not run.is_idle():
        return False  # what is held waits for a person
    plan = read_plan(run.plan) if run.plan.exists() else None
    if plan and plan.limit is not None:
        return True  # a preview was looked at when it was made
    return max((found.modified for found in run.path.walk()), default=0.0) < before


def _size(path: Place) -> int:
    return sum(found.bytes for found in path.walk())


def _spilled_bytes(folder: Path) -> int:
    """The bytes in a folder that another process may be removing."""
    files = (Path(root, name) for root, _, names in os.walk(folder) for name in names)
    return sum(file.stat().st_size for file in files if file.exists())
