"""Closed days, their restatements, and what differs between two runs of a day.

A restatement's totals go into the receipt and the table `restatements`, the rows that differ into the table
`restated_rows`.
"""

import dataclasses
import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
from pydantic import BaseModel

from nightscore.common import Broken, NotYet, Workspace, as_day
from nightscore.job import Job
from nightscore.pipeline.context import Day
from nightscore.store import (
    RESTATED_ROWS,
    RESTATEMENT_SCHEMAS,
    CatalogEntry,
    EngineResources,
    Pinned,
    Plan,
    Receipt,
    Restate,
    Restatement,
    StagedFile,
    TableChange,
    TableDiff,
    TableResult,
    catalog,
    delta,
    run_folder,
    stage_batches,
    sum_changes,
)

SHOWN = 5  # paths of a kind, in a message

BATCH_ROWS = 32_768
NOTHING = TableResult(rows=0, files=0, bytes=0)

Tables = Mapping[str, Sequence[StagedFile]]
Pair = tuple[list[Path], list[Path]]  # the files of a table before and after


def stage_restatement(day: Day, ready: Tables, receipt: Receipt) -> Receipt:
    """The receipt with the restatement in it, where the run is one; the rows that differ are staged.

    Raises:
        NotYet: another run has published the day since the plan was made.
    """
    restate = day.plan.restate
    if restate is None:
        return receipt
    state = catalog.read_catalog(day.job.workspace)
    history = [e for e in state.history if (e.job, e.day) == (receipt.job, receipt.day)]
    if not history or history[-1].run_id != day.plan.replaces:
        raise NotYet(f"{day}: another run has published the day since this one began; look at it again")
    earlier = [entry.read_receipt() for entry in history]
    after = {table: [day.root / file.path for file in files] for table, files in ready.items()}
    pairs = files_before_and_after(state, history[-1], after)
    note = Restatement(
        number=1 + sum(past.restatement is not None for past in earlier), because=restate.because,
        by=restate.by, at=dt.datetime.now(dt.UTC), replaces=day.plan.replaces,
        tables=compare_tables(pairs, earlier[-1], receipt.tables, comparison_resources(day)),
    )  # fmt: skip
    path = day.run.decided(RESTATED_ROWS)
    day.run.remove_decided(RESTATED_ROWS)  # of an attempt that was stopped
    stage_batches(path, _rows(day, pairs, note.number), RESTATEMENT_SCHEMAS[RESTATED_ROWS])
    return receipt.model_copy(update={"restatement": note})


def files_before_and_after(
    state: Pinned, entry: CatalogEntry, after: Mapping[str, list[Path]]
) -> dict[str, Pair]:
    """For each table, the files of a published run and those that take their place."""
    before = state.paths_of(entry)
    return {table: (before.get(table, []), after.get(table, [])) for table in {**before, **after}}


def compare_tables(
    pairs: Mapping[str, Pair], before: Receipt, after: Mapping[str, TableResult], resources: EngineResources
) -> dict[str, TableChange]:
    """For each table, how many rows differ and by how much the sums of its columns have changed."""
    changes, key = {}, before.key_hash.columns
    for table, (old, new) in pairs.items():
        was, is_ = before.tables.get(table, NOTHING), after.get(table, NOTHING)
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


def _rows(day: Day, pairs: Mapping[str, Pair], number: int) -> Iterator[pa.RecordBatch]:
    schema = RESTATEMENT_SCHEMAS[RESTATED_ROWS]
    for table, (old, new) in pairs.items():
        with TableDiff(old, new, day.job.spec.key, comparison_resources(day)) as difference:
            for batch in difference.rows(BATCH_ROWS):
                constants = {
                    "job": day.job.name,
                    "number": number,
                    "table_name": table,
                    "run_id": day.plan.run_id,
                }
                repeated = {
                    c: pa.repeat(pa.scalar(v, schema.field(c).type), len(batch)) for c, v in constants.items()
                }
                columns = {**repeated, **dict(zip(batch.schema.names, batch.columns, strict=True))}
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


def compare_runs(
    workspace: Workspace, job: str, day: dt.date, runs: tuple[str, str] | None = None
) -> RunsDiffer:
    """How two published runs of a day differ; default: the first of all, and the one in force.

    Raises:
        Broken: the day is not published, or not by such a run.
    """
    state = catalog.read_catalog(workspace)
    entries = {e.run_id: e for e in state.history if (e.job, e.day) == (job, day.isoformat())}
    if not entries:
        raise Broken(f"job {job}: {day} is not published; `nightscore receipts` lists what is")
    first, last = runs or (next(iter(entries)), next(reversed(entries)))
    for run in (first, last):
        if run not in entries:
            raise Broken(
                f"job {job}: no run {run!r} has published {day}; those that have: {', '.join(entries)}"
            )
    before, after = entries[first].read_receipt(), entries[last].read_receipt()
    pairs = files_before_and_after(state, entries[first], state.paths_of(entries[last]))
    changes = compare_tables(pairs, before, after.tables, catalog.query_resources(workspace))
    return RunsDiffer(job=job, day=day.isoformat(), before=first, after=last, tables=changes)


class Closed(Broken):
    """The day is closed, and its causes differ now. Nothing is written."""


class Causes(BaseModel):
    """What differs between the causes of a published day and those of now.

    Paths of input files, and a sentence for everything else.
    """

    added: list[str] = []
    removed: list[str] = []
    changed: list[str] = []
    others: list[str] = []

    @property
    def inputs(self) -> bool:
        """Whether an input differs."""
        return bool(self.added or self.removed or self.changed)

    def sentences(self) -> list[str]:
        """What differs, for a person."""
        kinds = {"added": self.added, "removed": self.removed, "changed": self.changed}
        return [
            f"inputs {kind}: {_first_paths(paths)}" for kind, paths in kinds.items() if paths
        ] + self.others


def changed_causes(now: Plan, then: Receipt) -> Causes:
    """What differs between a day as it was published and the plan that is made of it now."""
    files = {f.path: f.fingerprint for input_files in now.inputs.values() for f in input_files}
    read = {f.path: f.fingerprint for f in then.inputs}
    causes = Causes(
        added=sorted(files.keys() - read.keys()),
        removed=sorted(read.keys() - files.keys()),
        changed=sorted(p for p in files.keys() & read.keys() if files[p] != read[p]),
        others=list(_others(now, then)),
    )
    if causes == Causes() and now.fingerprint != then.fingerprint:
        replayed = "the day is a replay of rejects, " if then.replayed else ""
        causes.others.append(f"{replayed}the device that was asked for, or the scorer's own code, differs")
    return causes


def plan_restatement(job: Job, plan: Plan, last: Receipt | None, restate: Restate | None) -> Plan:
    """The plan of a day that would be published again, with the run that it replaces.

    Raises:
        Closed: the day is closed, and this is no restatement.
        Broken: it is one, and the day was never published.
        NotYet: another run is publishing the day.
    """
    closes = job.spec.close or (last is not None and last.closed)
    if closes or restate:
        _refuse_half_published(job, plan, last)
    if restate is None:
        if last and closes:
            raise _closed(job, plan, last)
        return plan
    if not (restate.because.strip() and restate.by.strip()):
        raise Broken(f"job {job.name}: a restatement says why and by whom; the receipt keeps both")
    if last is None:
        raise Broken(f"job {job.name}: {plan.day} is not published, so there is nothing to restate")
    return dataclasses.replace(plan, restate=restate, replaces=last.run_id)


def _refuse_half_published(job: Job, plan: Plan, last: Receipt | None) -> None:
    """Raise `NotYet` unless the files which the plan may replace are those of the receipt in force.

    Otherwise a run that has committed its first table, and no receipt yet, could be replaced by a plain one
    although its day is about to be closed. From here on the commit itself refuses another state of the day.
    """
    seen = {delta.file_run_id(Path(name)) for name in plan.seen}
    if seen == ({last.run_id} if last else set()):
        return
    runs = run_folder.list_run_folders(job.workspace, job.name, as_day(plan.day))
    if any(run.publishing for run in runs):
        raise NotYet(
            f"job {job.name}: a run has begun to publish {plan.day} and has not ended; the next run of the "
            "day completes it"
        )


def _closed(job: Job, plan: Plan, last: Receipt) -> Closed:
    differ = changed_causes(plan, last).sentences()
    why = "and its causes are others now" if differ else (
        "its causes are the same, and neither --force nor a table that was rolled back opens it"
    )  # fmt: skip
    when = f" at {last.published_at:%Y-%m-%d %H:%M} UTC" if last.published_at else ""
    return Closed(
        "\n  ".join(
            [
                f"job {job.name}: {plan.day} is closed: run {last.run_id} published it{when}, {why}; "
                "nothing is written",
                *differ,
                f"to publish it again beside what was reported: `nightscore run {job.name} --day {plan.day} "
                "--restate --because TEXT`",
            ]
        )
    )


def _others(now: Plan, then: Receipt) -> Iterator[str]:
    if now.job_hash != then.job_hash:
        yield (f"the job (its SQL or job.yaml): hash {then.job_hash[:16]} -> {now.job_hash[:16]}")
    model = then.model
    if model is None or model.sha256 != now.model_sha256:
        old = f"{model.path} {model.sha256[:16]}" if model else "none"
        yield (f"the model: {old} -> {now.model_path} {now.model_sha256[:16]}")
    elif model.code != now.code and model.code and now.code:  # an older receipt has none
        yield f"the scorer's code: {model.code[:16]} -> {now.code[:16]}"
    yield from _challengers(now, then)
    for name in sorted(now.params.keys() | then.params.keys()):
        if now.params.get(name) != then.params.get(name):
            yield (f"the parameter {name}: {then.params.get(name)!r} -> {now.params.get(name)!r}")
    if now.known_at != then.known_at:
        yield f"what was known: {_moment(then.known_at)} -> {_moment(now.known_at)}"


def _challengers(now: Plan, then: Receipt) -> Iterator[str]:
    was = {challenger.path: challenger.sha256 for challenger in then.challengers}
    for challenger in now.challengers:
        if was.get(challenger.path, challenger.sha256) != challenger.sha256:
            yield f"the challenger {challenger.path}: {was[challenger.path][:16]} -> {challenger.sha256[:16]}"


def _moment(known_at: str) -> str:
    return f"by {known_at}" if known_at else "all rows"


def _first_paths(paths: Sequence[str]) -> str:
    more = f", and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
    return ", ".join(paths[:SHOWN]) + more
