"""What was removed of published days, when and why: the table `removals`. Receipts stay.

A removal is recorded before anything of it goes: from then on no reader of ours sees what it names, then
Delta's newest version has it no more, and at last the files go. Who stops in between leaves a removal that is
recorded; the next one ends it.
"""

import datetime as dt
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache

import pyarrow as pa

from nightscore.common import Workspace
from nightscore.store import delta, delta_commit, renames, storage
from nightscore.store.records.record_rows import read_record_rows
from nightscore.store.tables.data_files import write_rows
from nightscore.store.tables.snapshots import Snapshot

REMOVALS = "removals"
DROPPED = "dropped"  # the kind of a removal of a whole table
SCHEMA = pa.schema(  # without the partition `day`, on which something was removed
    [
        ("job", pa.string()), ("table_name", pa.string()), ("removed_day", pa.string()),
        ("run_id", pa.string()), ("kind", pa.string()), ("because", pa.string()),
        ("removed_by", pa.string()), ("removed_at", pa.timestamp("us", "UTC")), ("action", pa.string()),
    ]
)  # fmt: skip


@dataclass(frozen=True)
class Removal:
    """That what run `run_id` published for a day of a table was removed, as a part of `action`.

    `kind` is `retention` (the day is older than it is kept), `version` (a later run has replaced it) or
    `dropped` (a person removed the table).
    """

    job: str
    table_name: str
    removed_day: str
    run_id: str
    kind: str
    because: str
    removed_by: str
    removed_at: dt.datetime
    action: str

    def __str__(self) -> str:
        by = f", by {self.removed_by}" if self.removed_by else ""
        how = "dropped" if self.kind == DROPPED else f"removed by {self.kind}"
        return f"{how} on {self.removed_at:%Y-%m-%d}{by} ({self.because})"


Removed = Mapping[tuple[str, str], Mapping[str, Removal]]  # (run, day) -> table -> its removal


def read_removals(workspace: Workspace) -> Removed:
    """All removals.

    Raises:
        Broken: the table can't be read.
    """
    snapshot = read_snapshot(workspace)
    return removed_in(snapshot) if snapshot else {}


def read_snapshot(workspace: Workspace) -> Snapshot | None:
    """The table of removals; None where nothing was ever removed."""
    root = storage.tables(workspace) / REMOVALS
    return delta.read_snapshot(root) if delta.table_exists(root) else None


@lru_cache(maxsize=4)
def removed_in(snapshot: Snapshot) -> Removed:
    """The removals in a version of the table; read once, for a version never changes."""
    found: dict[tuple[str, str], dict[str, Removal]] = {}
    for row in read_record_rows(snapshot, SCHEMA, "what was removed"):
        one = Removal(**row)
        found.setdefault((one.run_id, one.removed_day), {})[one.table_name] = one
    return found


def record_removals(workspace: Workspace, removals: Sequence[Removal]) -> None:
    """Record the removals of one action, all by one commit: a second call for an action records nothing.

    Raises:
        NotYet: the storage takes nothing, or others are committing all the time.
    """
    if not removals:
        return
    first = removals[0]
    root, today = storage.tables(workspace) / REMOVALS, f"{first.removed_at:%Y-%m-%d}"
    # The run's number and name are those of the action: it is committed once, however often it is tried.
    path = root / f"day={today}" / f"{first.action}-{secrets.token_hex(4)}.parquet"
    write_rows(path, pa.Table.from_pylist([asdict(one) for one in removals], SCHEMA))
    number = int(first.removed_at.timestamp() * 1_000_000)
    name = f"removal {first.action}"
    delta_commit.commit_files(
        root, delta_commit.TableCommit(name, today, first.action, number, (path,), mode="append")
    )


def leave_out(workspace: Workspace, table: str) -> None:
    """Let the newest version of a table have no day any more that was removed, by one commit; its files stay.

    Raises:
        NotYet: others are committing all the time.
    """
    root, every = renames.table_home(workspace, table), renames.last_names(workspace).tables.every(table)
    if not delta.table_exists(root):
        return
    gone: dict[str, set[str]] = {}
    for (run_id, day), tables in read_removals(workspace).items():
        if every & tables.keys():
            gone.setdefault(day, set()).add(run_id)
    delta_commit.drop_days(root, gone)
