"""Commits to the output tables: files that exist already become a day of a table, at once and once.

The commit carries the run's number as a Delta application transaction, so that it happens once however often
it is tried, and it is made only if the day still holds what the run saw when it began.
"""

import datetime as dt
import errno
import json
import os
import random
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Schema, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction

from nightscore.common import Broken, NotYet, first_line
from nightscore.store.storage import Place, answer_of, ask_each
from nightscore.store.tables.delta import (
    REQUEST,
    live_files_of,
    open_table,
    snapshot_of,
    table_exists,
    unreadable,
)
from nightscore.store.tables.footers import Footer, read_footer
from nightscore.store.tables.snapshots import file_run_id
from nightscore.store.tables.table_schema import evolved_schema, plain_fields, with_day

ATTEMPTS = 60
REMOVAL = {"job": "removals", "run_id": "removals"}  # by which a commit that removes days is one of ours
NO_DAY = "0001-01-01"  # of which no table has a file
HOPELESS = {  # errno -> what the message says; others may go away by themselves
    code: os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO)
}
# Every published version stays readable, after other engines' VACUUM, too: unless the table says otherwise,
# it takes files that were replaced a week ago, and those that lie uncommitted.
# A reader replays what came after a log's last checkpoint, a file each: by default up to a hundred.
KEPT = {
    "delta.logRetentionDuration": "interval 3650 days",
    "delta.deletedFileRetentionDuration": "interval 3650 days",
    "delta.checkpointInterval": "10",
}


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


def commit_files(root: Place, change: TableCommit, seen: Sequence[str] | None = None) -> int:
    """Publish a change, once. Returns the version of the table from which on it is there.

    Without a file the day ends: from then on the table, which is there, has none of it.

    `seen` are the names of the day's files that this change may replace; None replaces whatever is
    there (for the tables after the first, whose commit decided).

    Raises:
        NotYet: another run has published this day since, the log is too busy, or its storage takes nothing.
    """
    footers = ask_each(lambda path: _read_footer(root, path), change.files)
    if footers:
        _create(root, footers[0].schema)
    doubt = ""
    for attempt in range(ATTEMPTS):
        table = open_table(root)
        done = table.transaction_version(change.application)
        if done == change.run_number:
            return _version_of(table, root, change)
        _refuse_superseded(table, root, change, done, seen)
        try:
            _keep(table)
            version = table.version() + 1  # what a commit becomes that is never rebased
            _write(table, root, change, footers)
            if _is_commit_of(root, version, change):
                return version
        except CommitFailedError as error:
            # Another day or job won this log slot. Nothing is lost: look again, then try again.
            _refuse_hopeless(root, error)
            doubt = _doubt(error)
            time.sleep(random.uniform(0, 0.01 * (attempt + 1)))  # noqa: S311 - no secret, a pause
        except (DeltaError, OSError) as error:
            # It may have been written all the same: the next look at our transaction tells.
            _refuse_hopeless(root, error)
            doubt = _doubt(error)
            time.sleep(0.05)
    raise NotYet(f"table {root.name}: {ATTEMPTS} commits of day {change.day} failed; {doubt}")


def tell_rows(root: Place, rows: Mapping[str, Mapping[str, object]]) -> None:
    """Let a table's log tell the one row of files that it has: path in the log -> columns of the row.

    By one commit, which adds the same files with these statistics. No row comes or goes, no file is written.

    Raises:
        NotYet: others are committing all the time.
    """

    def tell() -> bool:
        table = open_table(root)
        adds = snapshot_of(table, root).adds
        days = dict(zip(adds["path"].to_pylist(), adds["day"].to_pylist(), strict=True))
        there = [path for path in rows if path in days]
        if not there:
            return False
        footers = ask_each(lambda path: _read_footer(root, root / path), there)
        # Never rebased: a file that another commit has removed meanwhile must not come back.
        table.create_write_transaction(
            [
                _add(root, footer, days[path], rows[path], new=False)
                for path, footer in zip(there, footers, strict=True)
            ],
            mode="append", schema=table.schema(), partition_by=["day"],
            commit_properties=CommitProperties(max_commit_retries=0),
        )  # fmt: skip
        return True

    if _until_done(root, tell):
        open_table(root).create_checkpoint()


def drop_days(root: Place, runs: Mapping[str, Collection[str]]) -> None:
    """Let a table's newest version have days no more that hold files of some runs alone (day -> runs).

    By one commit; older versions have them still.

    Raises:
        NotYet: others are committing all the time, or its storage takes nothing.
    """

    def drop() -> bool:
        table = open_table(root)
        live = snapshot_of(table, root).by_day
        there = [
            day for day in sorted(runs.keys() & live.keys())
            if live[day] and {file.run_id for file in live[day]} <= set(runs[day])
        ]  # fmt: skip
        if there:
            table.create_write_transaction(
                [], mode="overwrite", schema=table.schema(), partition_by=["day"],
                partition_filters=[("day", "in", there)],
                # Never rebased: what another run has published of the day meanwhile stays.
                commit_properties=CommitProperties(custom_metadata=REMOVAL, max_commit_retries=0),
            )  # fmt: skip
        return bool(there)

    _until_done(root, drop)


def _until_done(root: Place, commit: Callable[[], bool]) -> bool:
    """Try a commit, which looks at the table each time, until it is made; False where there is none to make.

    Raises:
        NotYet: others are committing all the time, or its storage takes nothing.
    """
    for attempt in range(ATTEMPTS):
        try:
            return commit()
        except (DeltaError, OSError) as error:
            _refuse_hopeless(root, error)
            time.sleep(random.uniform(0, 0.01 * (attempt + 1)))  # noqa: S311 - no secret, a pause
    raise NotYet(f"table {root.name}: {ATTEMPTS} commits failed; others are writing")


def commit_schema(root: Place, schema: pa.Schema, note: Mapping[str, str]) -> None:
    """Let a table have these columns, by a commit that brings no file and takes none."""
    table = open_table(root)
    table.create_write_transaction(
        [], mode="overwrite", schema=Schema.from_arrow(schema), partition_by=["day"],
        partition_filters=[("day", "=", NO_DAY)],
        commit_properties=CommitProperties(custom_metadata=dict(note), max_commit_retries=0),
    )  # fmt: skip


def _doubt(error: Exception) -> str:
    """What keeps a commit from being made, as far as an error says it; not its text, which has an address."""
    return f"its storage {answer_of(error)}" if REQUEST.search(str(error)) else "others are writing"


def _refuse_hopeless(root: Place, error: Exception) -> None:
    """Raise `NotYet` where trying again at once is hopeless: the disk is full, say, or read-only."""
    text = str(error)
    if reason := next((reason for code, reason in HOPELESS.items() if f"os error {code})" in text), None):
        raise NotYet(f"table {root.name}: {reason}; nothing is published") from error


def _create(root: Place, schema: pa.Schema) -> None:
    if table_exists(root):
        return
    try:
        DeltaTable.create(
            root.storage.table_address(root.key), Schema.from_arrow(with_day(schema)), mode="ignore",
            partition_by=["day"], name=root.name, configuration=KEPT,
        )  # fmt: skip
    except (DeltaError, OSError) as error:
        # Another run created it in this moment; any other trouble shows at the commit.
        if not table_exists(root):
            _refuse_hopeless(root, error)
            raise unreadable(root, None, error) from None


def _refuse_superseded(
    table: DeltaTable, root: Place, change: TableCommit, done: int | None, seen: Sequence[str] | None
) -> None:
    newer = done is not None and done > change.run_number
    now = [file.path.name for file in snapshot_of(table, root).of_day(change.day)]
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


def _write(table: DeltaTable, root: Place, change: TableCommit, footers: Sequence[Footer]) -> None:
    properties = CommitProperties(
        custom_metadata={"run_id": change.run_id, "job": change.job, **change.metadata},
        app_transactions=[Transaction(change.application, change.run_number)],
        max_commit_retries=0,  # never rebased blindly: we look again ourselves
    )
    table.create_write_transaction(
        [_add(root, footer, change.day, change.row) for footer in footers],
        mode=change.mode,
        schema=_widened(table, footers),
        partition_by=["day"],
        partition_filters=[("day", "=", change.day)] if change.mode == "overwrite" else None,
        commit_properties=properties,
    )


def _widened(table: DeltaTable, footers: Sequence[Footer]) -> Schema:
    """The table's schema; behind it the columns that some files have and it has not, all of them optional.

    So are those that it has and these files have not: both were checked before. A commit with another schema
    carries new metadata: one that was begun beside it is refused, and looks again.
    """
    have = pa.schema(table.schema())
    wider = evolved_schema(have, [f for footer in footers for f in plain_fields(footer.schema)])
    return table.schema() if wider is have else Schema.from_arrow(wider)


def _read_footer(root: Place, path: Place) -> Footer:
    try:
        return read_footer(path)
    except (OSError, pa.ArrowException) as error:
        raise Broken(
            f"table {root.name}: {path.name}, which is to be published, is damaged or gone: "
            f"{first_line(error)}; run the day again with --force"
        ) from error


def _add(root: Place, file: Footer, day: str, row: Mapping[str, object], new: bool = True) -> AddAction:
    return AddAction(
        path=file.place.relative_to(root),
        size=file.seen.bytes,
        partition_values={"day": day},
        # By the storage's clock: a look at it is how a reader sees that it is this file (`as_published`).
        modification_time=int(file.seen.modified * 1000),
        data_change=new,
        stats=json.dumps({"numRecords": file.rows} | stats_of_row(row)),
    )


def stats_of_row(row: Mapping[str, object]) -> dict[str, object]:
    """Statistics of a file's columns whose one row is known: the least and the greatest value are it."""
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
    return change.run_id in text and '"txn"' in text


def _version_of(table: DeltaTable, root: Place, change: TableCommit) -> int:
    """The version that holds this change's commit: the first that knows its transaction.

    Not by `table.history()`: that reads the log again but counts from the version that was loaded, so
    that a commit of another day in between makes every number in it too low (deltalake 1.6).
    """
    version = table.version()
    while version and _knows(root, version - 1, change):
        version -= 1
    there = {file.run_id for file in live_files_of(root, change.day, version)}
    if change.run_id in there or not change.files:
        return version
    raise Superseded(  # the transaction is another run's, which began in the same millisecond
        f"table {root.name}: another run has published {change.day} under the number of run "
        f"{change.run_id}; this one publishes nothing"
    )


def _knows(root: Place, version: int, change: TableCommit) -> bool:
    number = open_table(root, version).transaction_version(change.application)
    return bool(number == change.run_number)
