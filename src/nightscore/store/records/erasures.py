"""What was erased of the workspace: the table `erasures`, and which files stand in the place of which.

One erasure (`action`) is recorded by one commit, before anything of it goes: from then on every reader of
ours sees the new files instead of the old, at every version of a table. A row that is `done` follows once
Delta's newest versions have the new files and the old ones are gone. Keys stand here as keyed hashes alone.

    kind      says
    key       a key that was erased: its keyed hash, and which secret made it
    table     a table that was searched, and which of its columns were the key
    file      a file of a table that was replaced, or went; `rows` were erased of it. Of `receipts`: of a run
    beside    another file below data/ that was written again without the key, or removed
    held      a held day that was discarded; `stopped`: a run that nobody takes up any more
    log       a version of a table whose commit quoted the key
    delivery  where rows of it had been delivered to
    done      the erasure is ended
"""

import datetime as dt
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache
from pathlib import PurePosixPath

import pyarrow as pa

from nightscore.common import Workspace
from nightscore.store import delta, delta_commit, storage
from nightscore.store.records.record_rows import read_record_rows
from nightscore.store.storage import Place
from nightscore.store.tables.data_files import write_rows
from nightscore.store.tables.snapshots import Snapshot

ERASURES = "erasures"
KEY, TABLE, FILE, BESIDE, HELD, STOPPED = "key", "table", "file", "beside", "held", "stopped"
LOG, DELIVERY, DONE = "log", "delivery", "done"
SCHEMA = pa.schema(  # without the partition `day`, on which it was recorded
    [
        ("action", pa.string()), ("kind", pa.string()), ("erased_at", pa.timestamp("us", "UTC")),
        ("erased_by", pa.string()), ("because", pa.string()), ("key_columns", pa.string()),
        ("secret_id", pa.string()), ("key_hash", pa.string()), ("job", pa.string()),
        ("table_name", pa.string()), ("erased_day", pa.string()), ("run_id", pa.string()),
        ("rows", pa.int64()), ("file", pa.string()), ("replaced_by", pa.string()), ("rows_left", pa.int64()),
        ("bytes", pa.int64()), ("modified", pa.int64()), ("sha256", pa.string()), ("detail", pa.string()),
    ]
)  # fmt: skip
SUBSTITUTED = {"path": "replaced_by", "rows": "rows_left", "bytes": "bytes", "modified": "modified"}


@dataclass(frozen=True)
class ErasureRow:
    """One row of the table; what a kind does not say is empty.

    `table_name` is the first name that a table had, that of its folder (of a delivery the one of then). Of a
    file of a table `file` and `replaced_by` are relative to the table, of one beside to the workspace;
    `rows_left`, `bytes`, `modified` (ms) and `sha256` are those of `replaced_by`. `key_columns` are names
    with commas between, in the order in which the key was hashed.
    """

    action: str
    kind: str
    erased_at: dt.datetime
    erased_by: str = ""
    because: str = ""
    key_columns: str = ""
    secret_id: str = ""
    key_hash: str = ""
    job: str = ""
    table_name: str = ""
    erased_day: str = ""
    run_id: str = ""
    rows: int = 0
    file: str = ""
    replaced_by: str = ""
    rows_left: int = 0
    bytes: int = 0
    modified: int = 0
    sha256: str = ""
    detail: str = ""


@dataclass(frozen=True, eq=False)
class Erased:
    """All that was erased, as one version of the table says it."""

    rows: tuple[ErasureRow, ...] = ()

    @cached_property
    def replaced(self) -> Mapping[str, Mapping[str, ErasureRow]]:
        """Table -> path in its log -> what stands there now; "" as its `replaced_by`: nothing.

        What was erased from twice is followed to its end.
        """
        found: dict[str, dict[str, ErasureRow]] = {}
        for row in self.of_kind(FILE):
            own = found.setdefault(row.table_name, {})
            for path, before in own.items():
                if before.replaced_by == row.file:
                    own[path] = row
            own[row.file] = row
        return found

    @cached_property
    def pending(self) -> tuple[str, ...]:
        """The actions that are recorded and not ended, in order."""
        done = {row.action for row in self.of_kind(DONE)}
        return tuple(dict.fromkeys(row.action for row in self.rows if row.action not in done))

    def of_kind(self, *kinds: str) -> Iterator[ErasureRow]:
        """The rows of some kinds, in the order in which they were recorded."""
        return (row for row in self.rows if row.kind in kinds)

    def of_table(self, table: str) -> list[ErasureRow]:
        """The rows that say that a table was searched, an erasure each."""
        return [row for row in self.of_kind(TABLE) if row.table_name == table]

    def files_in(self, root: Place) -> set[Place]:
        """The files of a table that stand in the place of others."""
        return {
            root / row.replaced_by for row in self.replaced.get(root.name, {}).values() if row.replaced_by
        }


NOTHING_ERASED = Erased()


def read_erased(workspace: Workspace) -> Erased:
    """All that was erased.

    Raises:
        Broken: the table can't be read.
    """
    root = storage.tables(workspace) / ERASURES
    return erased_in(delta.read_snapshot(root) if delta.table_exists(root) else None)


def erased_in(snapshot: Snapshot | None) -> Erased:
    """What a version of the table says; nothing without one."""
    return NOTHING_ERASED if snapshot is None else _read(snapshot)


@lru_cache(maxsize=4)
def _read(snapshot: Snapshot) -> Erased:
    found = read_record_rows(snapshot, SCHEMA, "which files stand in the place of which")
    rows = [ErasureRow(**row) for row in found]
    return Erased(tuple(sorted(rows, key=lambda row: row.erased_at)))


@lru_cache(maxsize=16)
def as_erased(snapshot: Snapshot, erased: Erased) -> Snapshot:
    """A version of a table with the files that stand there now; the same where none was erased from."""
    instead = erased.replaced.get(snapshot.root.name)
    paths = snapshot.adds["path"].to_pylist()
    if not instead or not any(path in instead for path in paths):
        return snapshot
    adds = snapshot.adds
    for name, field in SUBSTITUTED.items():
        values = [
            getattr(instead[path], field) if path in instead else value
            for path, value in zip(paths, adds[name].to_pylist(), strict=True)
        ]
        adds = adds.set_column(adds.column_names.index(name), name, pa.array(values, adds[name].type))
    return replace(snapshot, adds=adds.filter(pa.array([p != "" for p in adds["path"].to_pylist()])))


def new_name(path: str, *, of_receipts: bool) -> str:
    """A name for what stands in the place of a table's file: another one of the same run.

    Of receipts they are as a run gives them, by which the log tells what a receipt says.
    """
    file, tail = PurePosixPath(path), secrets.token_hex(4)
    run_id, _, number = file.stem.rpartition("-")
    name = f"{run_id}-{tail}" if of_receipts else f"{run_id}-{number.partition('x')[0]}x{tail}"
    return (file.parent / f"{name}.parquet").as_posix()


def record_erasure(workspace: Workspace, rows: Sequence[ErasureRow], *, ended: bool = False) -> None:
    """Record an erasure, or that it is ended, by one commit: a second call for an action records nothing.

    Raises:
        NotYet: the storage takes nothing, or others are committing all the time.
    """
    first = rows[0]
    root, today = storage.tables(workspace) / ERASURES, f"{first.erased_at:%Y-%m-%d}"
    path = root / f"day={today}" / f"{first.action}-{secrets.token_hex(4)}.parquet"
    write_rows(path, pa.Table.from_pylist([asdict(row) for row in rows], SCHEMA))
    number = int(first.erased_at.timestamp() * 1_000_000)
    name = f"{'end of ' if ended else ''}erasure {first.action}"
    delta_commit.commit_files(
        root, delta_commit.TableCommit(name, today, first.action, number, (path,), mode="append")
    )
