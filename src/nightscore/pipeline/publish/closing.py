"""Closed days, their restatements, and why a day would be another one now.

A restatement's totals go into the receipt and the table `restatements`, the rows that differ into the table
`restated_rows`.
"""

import dataclasses
import datetime as dt
from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa
from pydantic import BaseModel

from nightscore.common import Broken, NotYet, as_day
from nightscore.job import Job
from nightscore.pipeline.context import Day
from nightscore.pipeline.publish.comparison import Pair, Reported, compare_tables, comparison_resources
from nightscore.store import (
    RESTATED_ROWS,
    RESTATEMENT_SCHEMAS,
    CatalogEntry,
    Plan,
    Receipt,
    Restate,
    Restatement,
    StagedFile,
    TableDiff,
    catalog,
    delta,
    run_folder,
    stage_batches,
)

SHOWN = 5  # paths of a kind, in a message

BATCH_ROWS = 32_768
Tables = Mapping[str, Sequence[StagedFile]]


def stage_restatement(day: Day, ready: Tables, receipt: Receipt) -> Receipt:
    """The receipt with the restatement in it, where the run is one; the rows that differ are staged.

    Raises:
        NotYet: another run has published the day since the plan was made.
    """
    restate = day.plan.restate
    if restate is None:
        return receipt
    state = catalog.read_catalog(day.job.workspace)
    history = state.day_history(receipt.job, day.job.spec.tables, receipt.day)
    if not history or history[-1].run_id != day.plan.replaces:
        raise NotYet(f"{day}: another run has published the day since this one began; look at it again")
    earlier = [past.restatement for entry in history if (past := entry.read_receipt())]
    after = {table: [day.locate(file.path) for file in files] for table, files in ready.items()}
    before = Reported.of(state, receipt.day, [*after, day.job.spec.rejects_table])
    pairs = before.beside(after)
    note = Restatement(
        number=1 + max((past.number for past in earlier if past), default=0), because=restate.because,
        by=restate.by, at=dt.datetime.now(dt.UTC), replaces=day.plan.replaces,
        tables=compare_tables(pairs, before, receipt.tables, comparison_resources(day)),
    )  # fmt: skip
    path = day.run.decided(RESTATED_ROWS)
    day.run.remove_decided(RESTATED_ROWS)  # of an attempt that was stopped
    stage_batches(path, _rows(day, pairs, note.number), RESTATEMENT_SCHEMAS[RESTATED_ROWS])
    return receipt.model_copy(update={"restatement": note})


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


def plan_restatement(job: Job, plan: Plan, past: Sequence[CatalogEntry], restate: Restate | None) -> Plan:
    """The plan of a day that would be published again, with the run that it replaces.

    `past` are the day's receipts that are of the job, or name a table of it: what was closed stays closed,
    whichever job a table belongs to now. A day that was late and is degraded is made whole by a plain run.

    Raises:
        Closed: the day is closed, and this is no restatement.
        Broken: it is one, and the day was never published.
        NotYet: another run is publishing the day.
    """
    closed = next((entry for entry in reversed(past) if _is_closed(job, entry)), None)
    if job.spec.close or closed or restate:
        _refuse_half_published(job, plan, past)
    if restate is None:
        if closed:
            raise _closed(job, plan, closed.read_receipt())
        return plan
    if not (restate.because.strip() and restate.by.strip()):
        raise Broken(f"job {job.name}: a restatement says why and by whom; the receipt keeps both")
    if not past:
        raise Broken(f"job {job.name}: {plan.day} is not published, so there is nothing to restate")
    return dataclasses.replace(plan, restate=restate, replaces=past[-1].run_id)


def _is_closed(job: Job, entry: CatalogEntry) -> bool:
    """Whether a receipt closes its day; that of a day which is still to be made whole does not."""
    receipt = entry.read_receipt()
    return receipt.closed or (job.spec.close and receipt.degraded is None)


def _refuse_half_published(job: Job, plan: Plan, past: Sequence[CatalogEntry]) -> None:
    """Raise `NotYet` unless the files which the plan may replace are those of the receipt in force.

    Otherwise a run that has committed its first table, and no receipt yet, could be replaced by a plain one
    although its day is about to be closed. From here on the commit itself refuses another state of the day.
    """
    seen = {delta.file_run_id(name) for name in plan.seen}
    own = [entry.run_id for entry in past if job.spec.scores_table in entry.versions]  # not what is removed
    if seen == set(own[-1:]):
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
    of = f" of job {last.job}, whose tables are {job.name}'s now," if last.job != job.name else ""
    when = f" at {last.published_at:%Y-%m-%d %H:%M} UTC" if last.published_at else ""
    return Closed(
        "\n  ".join(
            [
                f"job {job.name}: {plan.day} is closed: run {last.run_id}{of} published it{when}, {why}; "
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
    if (model.sha256 if model else "") != now.model_sha256:
        old = f"{model.path} {model.sha256[:16]}" if model else "none"
        yield f"the model: {old} -> {now.model_path} {now.model_sha256[:16]}".rstrip()
    elif model and model.code != now.code and model.code and now.code:  # an older receipt has none
        yield f"the scorer's code: {model.code[:16]} -> {now.code[:16]}"
    yield from _training(now, then)
    yield from _challengers(now, then)
    for name in sorted(now.params.keys() | then.params.keys()):
        if now.params.get(name) != then.params.get(name):
            yield (f"the parameter {name}: {then.params.get(name)!r} -> {now.params.get(name)!r}")
    if now.known_at != then.known_at:
        yield f"what was known: {_moment(then.known_at)} -> {_moment(now.known_at)}"


def _training(now: Plan, then: Receipt) -> Iterator[str]:
    old, new = (of.training.sha256[:16] if of.training else "nothing" for of in (then, now))
    if old != new:
        yield f"what training expects (model.expected): {old} -> {new}"


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
