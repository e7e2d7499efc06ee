"""A restatement: how the day that is published anew differs from the one that it replaces.

The difference in total goes into the receipt and the table `restatements`; the rows that differ go to the
table `restated_rows`.
"""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
from pydantic import BaseModel

from nightscore.common.errors import Broken, NotYet
from nightscore.common.workspace import Workspace
from nightscore.pipeline.context import Day
from nightscore.store import catalog
from nightscore.store.catalog import BOOKS, RESTATED_ROWS, Entry, Pinned
from nightscore.store.engine import Resources
from nightscore.store.receipt import Receipt, Restatement, TableChange, TableResult
from nightscore.store.staging import StagedFile, stage
from nightscore.store.table_diff import Difference, moved

BATCH_ROWS = 32_768
NOTHING = TableResult(rows=0, files=0, bytes=0)

Tables = Mapping[str, Sequence[StagedFile]]
Pair = tuple[list[Path], list[Path]]  # the files of a table before and after


def restated(day: Day, ready: Tables, receipt: Receipt) -> Receipt:
    """The receipt with the restatement in it, where the run is one; the rows that differ are staged.

    Raises:
        NotYet: another run has published the day since the plan was made.
    """
    asked = day.plan.restate
    if asked is None:
        return receipt
    state = catalog.pinned(day.job.workspace)
    history = [e for e in state.history if (e.job, e.day) == (receipt.job, receipt.day)]
    if not history or history[-1].run_id != day.plan.replaces:
        raise NotYet(f"{day}: another run has published the day since this one began; look at it again")
    earlier = [entry.receipt() for entry in history]
    after = {table: [day.root / file.path for file in some] for table, some in ready.items()}
    pairs = sides(state, history[-1], after)
    note = Restatement(
        number=1 + sum(one.restatement is not None for one in earlier), because=asked.because, by=asked.by,
        at=dt.datetime.now(dt.UTC), replaces=day.plan.replaces,
        tables=changes(pairs, earlier[-1], receipt.tables, resources(day)),
    )  # fmt: skip
    path = day.run.decided(RESTATED_ROWS)
    path.unlink(missing_ok=True)  # of an attempt that was stopped
    stage(path, _rows(day, pairs, note.number), BOOKS[RESTATED_ROWS])
    return receipt.model_copy(update={"restatement": note})


def sides(state: Pinned, entry: Entry, after: Mapping[str, list[Path]]) -> dict[str, Pair]:
    """Of each table, the files of a published run and those that come after it."""
    before = {table: [file.path for file in state.files_of(entry, table)] for table in entry.versions}
    return {table: (before.get(table, []), after.get(table, [])) for table in {**before, **after}}


def changes(
    pairs: Mapping[str, Pair], before: Receipt, after: Mapping[str, TableResult], room: Resources
) -> dict[str, TableChange]:
    """Of each table, how many rows differ and by how much the sums of its columns have moved."""
    found, key = {}, before.key_hash.columns
    for table, (old, new) in pairs.items():
        was, is_ = before.tables.get(table, NOTHING), after.get(table, NOTHING)
        with Difference(old, new, key, room) as difference:
            counts = difference.counts()
        sums = {c: by for c, by in moved(was.columns, is_.columns).items() if c not in key}
        found[table] = TableChange(rows_before=was.rows, rows_after=is_.rows, moved=sums, **counts._asdict())
    return found


def resources(day: Day) -> Resources:
    """What the comparison may use: the job's budget, and the run's folder to spill into."""
    return Resources(day.sql_threads, day.budget.sql, day.temp)


def _rows(day: Day, pairs: Mapping[str, Pair], number: int) -> Iterator[pa.RecordBatch]:
    schema = BOOKS[RESTATED_ROWS]
    for table, (old, new) in pairs.items():
        with Difference(old, new, day.job.spec.key, resources(day)) as difference:
            for batch in difference.rows(BATCH_ROWS):
                said = {"job": day.job.name, "number": number, "table_name": table, "run_id": day.plan.run_id}
                alike = {
                    c: pa.repeat(pa.scalar(v, schema.field(c).type), len(batch)) for c, v in said.items()
                }
                columns = {**alike, **dict(zip(batch.schema.names, batch.columns, strict=True))}
                yield pa.RecordBatch.from_arrays(
                    [columns[field.name].cast(field.type) for field in schema], schema=schema
                )


class RunsDiffer(BaseModel):
    """How one published run of a day differs from an earlier one, table by table."""

    job: str
    day: str
    before: str
    after: str
    tables: Mapping[str, TableChange]


def difference(
    workspace: Workspace, job: str, day: dt.date, runs: tuple[str, str] | None = None
) -> RunsDiffer:
    """How two published runs of a day differ; default: the first of all, and the one in force.

    Raises:
        Broken: the day is not published, or not by such a run.
    """
    state = catalog.pinned(workspace)
    entries = {e.run_id: e for e in state.history if (e.job, e.day) == (job, day.isoformat())}
    if not entries:
        raise Broken(f"job {job}: {day} is not published; `nightscore receipts` lists what is")
    first, last = runs or (next(iter(entries)), next(reversed(entries)))
    for run in (first, last):
        if run not in entries:
            raise Broken(
                f"job {job}: no run {run!r} has published {day}; those that have: {', '.join(entries)}"
            )
    before, after = entries[first].receipt(), entries[last].receipt()
    files = {table: [f.path for f in state.files_of(entries[last], table)] for table in after.tables}
    pairs = sides(state, entries[first], files)
    found = changes(pairs, before, after.tables, catalog.query_resources(workspace))
    return RunsDiffer(job=job, day=day.isoformat(), before=first, after=last, tables=found)
