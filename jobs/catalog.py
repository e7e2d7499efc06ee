"""What is published, as every reader of ours sees it: the versions that receipts name, and no other.

Delta commits one table at a time. A reader that took each table's newest version could see one table
of a new run beside another of the old; one that takes what the day's receipt names never does, for the
receipt is written last.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from jobs import tables
from jobs.engine import Engine, Resources, SqlMistakes, View, single_select
from jobs.errors import Broken
from jobs.receipt import Receipt
from jobs.tables import LiveFile
from jobs.workspace import Workspace, open_workspace
from scorers.hardware import hardware

RECEIPTS = "receipts"
AsOf = int | dt.datetime | None
QUERY_ROWS = 65_536  # rows of one batch of a query's result


@dataclass(frozen=True)
class Pinned:
    """One consistent state of all tables: for each day of each job, the receipt that is in force."""

    workspace: Workspace
    version: int | None
    receipt_files: tuple[Path, ...]
    history: tuple[Receipt, ...]
    in_force: dict[tuple[str, str], Receipt] = field(repr=False)

    def receipt(self, job: str, day: dt.date) -> Receipt | None:
        """The receipt in force for a day, None if the day was never published."""
        return self.in_force.get((job, day.isoformat()))

    def tables(self) -> list[str]:
        """The names of all published tables."""
        return sorted({name for receipt in self.in_force.values() for name in receipt.tables})

    def files(self, table: str) -> list[LiveFile]:
        """The files of a table, by day, of the runs whose receipts are in force."""
        wanted = {r.day: r for r in self.in_force.values() if table in r.tables}
        if not wanted:
            return []
        root = self.workspace.tables / table
        newest = max(r.tables[table].version or 0 for r in wanted.values())
        by_day = _by_day(tables.live(root, newest))
        for day, receipt in wanted.items():
            if {f.run_id for f in by_day.get(day, [])} != {receipt.run_id}:
                # Committed by a run whose receipt is not (yet) there: this day as it was before.
                by_day[day] = _by_day(tables.live(root, receipt.tables[table].version))[day]
        return [file for day in sorted(wanted) for file in by_day[day]]

    def views(self) -> list[View]:
        """Every table, and `receipts`, as SQL sees them."""
        found = [View(t, tuple(f.path for f in self.files(t)), "day") for t in self.tables()]
        return [*found, View(RECEIPTS, self.receipt_files, "day")] if self.receipt_files else found


def pinned(workspace: Workspace, as_of: AsOf = None) -> Pinned:
    """The state of all tables now, or as of a version of the table `receipts`, or as of a time.

    Raises:
        Broken: there is no such version.
    """
    root = workspace.tables / RECEIPTS
    version = as_of if isinstance(as_of, int) else None
    if not tables.exists(root):
        if as_of is not None:
            raise Broken(f"nothing is published in {workspace.root}, so there is no state as of {as_of}")
        return Pinned(workspace, None, (), (), {})
    version = tables.latest_version(root) if version is None else version
    files = tuple(f.path for f in tables.live(root, version))
    history = [r for f in files for r in receipts_in(f)]
    if isinstance(as_of, dt.datetime):
        history = [r for r in history if r.published_at and r.published_at <= as_of]
        known = {r.run_id for r in history}
        files = tuple(f for f in files if tables.run_of(f) in known)
    history.sort(key=lambda r: r.run_number)
    in_force = {(r.job, r.day): r for r in history}
    return Pinned(workspace, version, files, tuple(history), in_force)


def query(
    sql: str,
    workspace: Workspace | Path | str | None = None,
    as_of: AsOf = None,
    values: Sequence[object] = (),
) -> pa.Table:
    """The result of one SELECT over the published tables, each a view of its name.

    The connection reads those tables and nothing else. `values` stand for $1, $2, … in the SQL.

    Raises:
        Broken: no SELECT, or a mistake in it; lists the tables where one is not known.
    """
    space = workspace if isinstance(workspace, Workspace) else open_workspace(workspace)
    state = pinned(space, as_of)
    where = f"query (tables: {', '.join(v.name for v in state.views()) or 'none published yet'})"
    single_select(sql, where)
    with Engine(state.views(), query_resources(space)) as engine, SqlMistakes(where):
        schema = engine.schema(sql, values)
        return pa.Table.from_batches(engine.stream(sql, QUERY_ROWS, values), schema)


def query_resources(workspace: Workspace) -> Resources:
    """All cores and half of the memory, for one statement of a person."""
    machine = hardware()
    return Resources(machine.cores, machine.memory // 2, workspace.runs)


def _by_day(files: Sequence[LiveFile]) -> dict[str, list[LiveFile]]:
    found: dict[str, list[LiveFile]] = {}
    for file in files:
        found.setdefault(file.day, []).append(file)
    return found


def receipts_in(path: Path) -> list[Receipt]:
    """The receipts in one file of the table `receipts`."""
    texts = pq.read_table(path, columns=["receipt"], partitioning=None).column("receipt").to_pylist()
    return [Receipt.model_validate_json(text) for text in texts]
