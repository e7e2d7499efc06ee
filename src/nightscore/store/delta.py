"""Output tables: Delta Lake tables partitioned by day. The only module that imports deltalake.

A day is published by one atomic commit of files that exist already. The commit carries the run's
number as a Delta application transaction, so that it happens once however often it is tried, and it is
made only if the day still holds what the run saw when it began.
"""

import datetime as dt
import errno
import json
import os
import random
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Schema, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction

from nightscore.common import Broken, NightscoreError, NotYet, first_line
from nightscore.store import snapshots
from nightscore.store.snapshots import KeptSnapshots, LiveFile, Snapshot
from nightscore.store.storage import Place, answer_of
from nightscore.store.table_schema import is_optional, plain_fields, with_day

ATTEMPTS = 60
HOPELESS = {  # errno -> what the message says; others may go away by themselves
    code: os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO)
}
# In errors of requests to a storage, which quote address and answer; some answers stay what they are.
REQUEST, REFUSED = re.compile(r"HTTP error|non-2xx status code"), re.compile(r"\b40[0134] [A-Z]")
LOGGED = re.compile(r"\d{20}\.(.+\.)?(json|crc|parquet)")  # a log's commits and checkpoints, and their like
# Every published version stays readable, after other engines' VACUUM, too: unless the table says otherwise,
# it takes files that were replaced a week ago, and those that lie uncommitted.
# A reader replays what came after a log's last checkpoint, a file each: by default up to a hundred.
KEPT = {
    "delta.logRetentionDuration": "interval 3650 days",
    "delta.deletedFileRetentionDuration": "interval 3650 days",
    "delta.checkpointInterval": "10",
}
SNAPSHOTS = KeptSnapshots()
file_run_id = snapshots.file_run_id
COLUMNS = {
    "path": "path", "partition.day": "day", "num_records": "rows", "size_bytes": "bytes",
    "modification_time": "modified",
}  # fmt: skip


@dataclass(frozen=True)
class TableCommit:
    """One commit: a run's files for a day of one table, instead of the day's (or beside them).

    `row` are columns of the one row that its one file has: the log holds them as the file's statistics.
    """

    job: str
    day: str
    run_id: str
    run_number: int
    files: tuple[Place, ...]
    mode: Literal["overwrite", "append"] = "overwrite"
    metadata: Mapping[str, str] = field(default_factory=dict)
    row: Mapping[str, object] = field(default_factory=dict)

    @property
    def application(self) -> str:
        """The name under which a table remembers the number of the last run of this job and day."""
        return f"{self.job}/{self.day}"


def table_exists(root: Place) -> bool:
    """Whether a folder holds a table: its log has a commit or a checkpoint.

    Not by `DeltaTable.is_deltatable`, which says the same but keeps the GIL (deltalake 1.6): while a network
    file system hangs, no other thread of the process would run, nor would a signal be seen.
    """
    return any(LOGGED.fullmatch(name) for name in root.storage.first_names(f"{root.key}/_delta_log"))


def list_live_files(root: Place, version: int | None = None) -> list[LiveFile]:
    """The files of a table as of a version (default: the newest), by day and name; [] without a table.

    Raises:
        Broken: the table has no such version, or can't be read.
    """
    if not table_exists(root):
        return []
    return [file for files in read_snapshot(root, version).by_day.values() for file in files]


def live_files_of(root: Place, day: str, version: int | None = None) -> list[LiveFile]:
    """The same of one day, whatever the number of days."""
    return read_snapshot(root, version).of_day(day) if table_exists(root) else []


def read_snapshot(root: Place, version: int | None = None) -> Snapshot:
    """A table at a version (default: the newest), as its log says; kept while the process runs.

    Raises:
        Broken: the table has no such version, or can't be read.
    """
    return SNAPSHOTS.get(root, version, lambda root, version: _snapshot(_open(root, version), root))


def optional_columns(root: Place) -> set[str]:
    """The columns of a table that some of its files may not have; none without a table."""
    if not table_exists(root):
        return set()
    return {f.name for f in read_snapshot(root).schema if is_optional(f)}


def check_table_schema(root: Place, schema: pa.Schema) -> None:
    """Refuse to publish other columns than the table has: Delta would take the new schema silently.

    Optional columns may come and go, but keep their type.

    Raises:
        Broken: names the first difference.
    """
    if not table_exists(root):
        return
    published = read_snapshot(root).schema
    there = {f.name: f.type for f in published}
    here = {f.name: f.type for f in with_day(schema)}
    may_lack = {f.name for f in (*published, *schema) if is_optional(f)}
    for name in sorted(there.keys() | here.keys()):
        if name in may_lack and not (name in there and name in here):
            continue
        if there.get(name) != here.get(name):
            raise Broken(
                f"table {root.name}: column {name!r} is {there.get(name, 'absent')} in the published table "
                f"and would be {here.get(name, 'absent')}; keep its columns, or give the job another name"
                f"{_as_before(here.get(name), there.get(name))}"
            )


def _as_before(now: pa.DataType | None, before: pa.DataType | None) -> str:
    """The way on where a column has changed its type, as it does where the producer of an input widens it."""
    if now is None or before is None:
        return ""
    return (
        "; a type that has come with other files of an input is kept by the input's columns (its contract), "
        "or by a cast in the features SQL, which fails where a value does not fit"
    )


def commit_files(root: Place, change: TableCommit, seen: Sequence[str] | None = None) -> int:
    """Publish a change, once. Returns the version of the table from which on it is there.

    `seen` are the names of the day's files that this change may replace; None replaces whatever is
    there (for the tables after the first, whose commit decided).

    Raises:
        NotYet: another run has published this day since, or the log is too busy.
    """
    _create(root, change)
    for attempt in range(ATTEMPTS):
        table = _open(root)
        done = table.transaction_version(change.application)
        if done == change.run_number:
            return _version_of(table, root, change)
        _refuse_superseded(table, root, change, done, seen)
        try:
            _keep(table)
            version = table.version() + 1  # what a commit becomes that is never rebased
            _write(table, root, change)
            if _is_commit_of(root, version, change):
                return version
        except CommitFailedError as error:
            # Another day or job won this log slot. Nothing is lost: look again, then try again.
            _refuse_hopeless(root, error)
            time.sleep(random.uniform(0, 0.01 * (attempt + 1)))  # noqa: S311 - no secret, a pause
        except (DeltaError, OSError) as error:
            # It may have been written all the same: the next look at our transaction tells.
            _refuse_hopeless(root, error)
            time.sleep(0.05)
    raise NotYet(f"table {root.name}: {ATTEMPTS} commits of day {change.day} failed; others are writing")


def tell_rows(root: Place, rows: Mapping[str, Mapping[str, object]]) -> None:
    """Let a table's log tell the one row of files that it has: path in the log -> columns of the row.

    By one commit, which adds the same files with these statistics. No row comes or goes, no file is written.

    Raises:
        NotYet: others are committing all the time.
    """
    for attempt in range(ATTEMPTS):
        table = _open(root)
        adds = _snapshot(table, root).adds
        days = dict(zip(adds["path"].to_pylist(), adds["day"].to_pylist(), strict=True))
        there = {path: row for path, row in rows.items() if path in days}
        if not there:
            return
        try:
            # Never rebased: a file that another commit has removed meanwhile must not come back.
            table.create_write_transaction(
                [_add(root, root / path, days[path], row, new=False) for path, row in there.items()],
                mode="append", schema=table.schema(), partition_by=["day"],
                commit_properties=CommitProperties(max_commit_retries=0),
            )  # fmt: skip
        except (DeltaError, OSError) as error:
            _refuse_hopeless(root, error)
            time.sleep(random.uniform(0, 0.01 * (attempt + 1)))  # noqa: S311 - no secret, a pause
            continue
        _open(root).create_checkpoint()
        return
    raise NotYet(f"table {root.name}: {ATTEMPTS} commits failed; others are writing")


def _refuse_hopeless(root: Place, error: Exception) -> None:
    """Raise `NotYet` where trying again at once is hopeless: the disk is full, say, or read-only."""
    text = str(error)
    if reason := next((reason for code, reason in HOPELESS.items() if f"os error {code})" in text), None):
        raise NotYet(f"table {root.name}: {reason}; nothing is published") from error


def _create(root: Place, change: TableCommit) -> None:
    if table_exists(root):
        return
    schema = with_day(pq.read_schema(change.files[0].local()))
    try:
        DeltaTable.create(
            root.storage.table_address(root.key), Schema.from_arrow(schema), mode="ignore",
            partition_by=["day"], name=root.name, configuration=KEPT,
        )  # fmt: skip
    except (DeltaError, OSError) as error:
        # Another run created it in this moment; any other trouble shows at the commit.
        if not table_exists(root):
            _refuse_hopeless(root, error)
            raise _unreadable(root, None, error) from None


def _refuse_superseded(
    table: DeltaTable, root: Place, change: TableCommit, done: int | None, seen: Sequence[str] | None
) -> None:
    newer = done is not None and done > change.run_number
    now = [file.path.name for file in _snapshot(table, root).of_day(change.day)]
    if newer or (seen is not None and sorted(now) != sorted(seen)):
        first = ", ".join(sorted({file_run_id(name) for name in now})) or "none is there now"
        raise Superseded(
            f"table {root.name}: another run has published {change.day} since run {change.run_id} began "
            f"({first}); this one publishes nothing"
        )


class Superseded(NotYet):
    """Another run of the same day was first."""


def _keep(table: DeltaTable) -> None:
    """Let a table that was made without what keeps its versions have it, by a commit of its own, once.

    It changes no file, so a reader at any version sees a day as it was. It is refused where another commit
    has been made since the table was opened, and leaves the table opened at its own. What an operator has set
    to another value stays.
    """
    lacks = {name: value for name, value in KEPT.items() if name not in table.metadata().configuration}
    if lacks:
        table.alter.set_table_properties(
            lacks,
            commit_properties=CommitProperties(max_commit_retries=0),
            # By the shorter times of before, the log's old commits could go with this one.
            post_commithook_properties=PostCommitHookProperties(False, cleanup_expired_logs=False),
        )


def _write(table: DeltaTable, root: Place, change: TableCommit) -> None:
    properties = CommitProperties(
        custom_metadata={"run_id": change.run_id, "job": change.job, **change.metadata},
        app_transactions=[Transaction(change.application, change.run_number)],
        max_commit_retries=0,  # never rebased blindly: we look again ourselves
    )
    table.create_write_transaction(
        [_add(root, path, change.day, change.row) for path in change.files],
        mode=change.mode,
        schema=_widened(table, change.files),
        partition_by=["day"],
        partition_filters=[("day", "=", change.day)] if change.mode == "overwrite" else None,
        commit_properties=properties,
    )


def _widened(table: DeltaTable, files: Sequence[Place]) -> Schema:
    """The table's schema, and behind it the optional columns of some files that it has not yet.

    A commit with a wider schema carries new metadata: one that was begun beside it is refused, and looks
    again.
    """
    have = pa.schema(table.schema())
    more = {f.name: f for path in files for f in plain_fields(pq.read_schema(path.local())) if is_optional(f)}
    new = [f for name, f in more.items() if name not in have.names]
    return Schema.from_arrow(pa.schema([*have, *new])) if new else table.schema()


def _add(root: Place, path: Place, day: str, row: Mapping[str, object], new: bool = True) -> AddAction:
    try:
        local, seen = path.local(), path.look()
        stat, rows = local.stat(), pq.read_metadata(local).num_rows
    except (OSError, pa.ArrowException) as error:
        raise Broken(
            f"table {root.name}: {path.name}, which is to be published, is damaged or gone: "
            f"{first_line(error)}; run the day again with --force"
        ) from error
    return AddAction(
        path=path.relative_to(root),
        size=stat.st_size,
        partition_values={"day": day},
        # By the storage's clock: a look at it is how a reader sees that it is this file (`as_published`).
        modification_time=int((seen.modified if seen else stat.st_mtime) * 1000),
        data_change=new,
        stats=json.dumps({"numRecords": rows} | _of_one_row(row)),
    )


def _of_one_row(row: Mapping[str, object]) -> dict[str, object]:
    """The statistics of a file's columns whose one row is known: the least and the greatest value are it."""
    if not row:
        return {}
    values = {
        name: _as_text(value) if isinstance(value, dt.datetime) else value for name, value in row.items()
    }
    return {"minValues": values, "maxValues": values, "nullCount": dict.fromkeys(values, 0)}


def _as_text(moment: dt.datetime) -> str:
    return f"{moment.astimezone(dt.UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


def _is_commit_of(root: Place, version: int, change: TableCommit) -> bool:
    """Whether a version's commit is this change's, by the log's own file: no table is opened for it."""
    try:
        text = (root / "_delta_log" / f"{version:020}.json").read_text()
    except OSError:
        return False
    return f"{change.run_id}-" in text and '"txn"' in text


def _version_of(table: DeltaTable, root: Place, change: TableCommit) -> int:
    """The version that holds this change's commit: the first that knows its transaction.

    Not by `table.history()`: that reads the log again but counts from the version that was loaded, so
    that a commit of another day in between makes every number in it too low (deltalake 1.6).
    """
    version = table.version()
    while version and _knows(root, version - 1, change):
        version -= 1
    if change.run_id in {file.run_id for file in live_files_of(root, change.day, version)}:
        return version
    raise Superseded(  # the transaction is another run's, which began in the same millisecond
        f"table {root.name}: another run has published {change.day} under the number of run "
        f"{change.run_id}; this one publishes nothing"
    )


def _knows(root: Place, version: int, change: TableCommit) -> bool:
    number = _open(root, version).transaction_version(change.application)
    return bool(number == change.run_number)


def _open(root: Place, version: int | None = None) -> DeltaTable:
    """Open a table at a version. `Broken` where there is no such version, or its log can't be read."""
    try:
        return DeltaTable(root.storage.table_address(root.key), version=version)
    except Exception as error:  # deltalake's own, and whatever its parsers raise
        raise _unreadable(root, version, error) from None


def _unreadable(root: Place, version: int | None, error: Exception) -> NightscoreError:
    """Why a table can't be opened; `NotYet` where a request to its storage has failed, and may not next time.

    No text of such an error is handed on: it quotes the request, whose address may bear a signature.
    """
    text = str(error)
    if REQUEST.search(text):
        if REFUSED.search(text):
            return Broken(f"table {root.name}: its storage does not let us read it; see `nightscore doctor`")
        return NotYet(f"table {root.name}: its storage {answer_of(error)}; try again later")
    reason = first_line(error)
    at = "" if version is None else f"has no version {version}, or "
    return Broken(f"table {root.name}: {at}can't be read: {reason}")


def _snapshot(table: DeltaTable, root: Place) -> Snapshot:
    adds = pa.table(table.get_add_actions(flatten=True))
    statistics = [name for name in adds.column_names if name.startswith(("min.", "max.", "null_count."))]
    named = adds.select([*COLUMNS, *statistics]).rename_columns([*COLUMNS.values(), *statistics])
    days = named["day"].cast(pa.string())
    return Snapshot(root, table.version(), pa.schema(table.schema()), named.set_column(1, "day", days))
