"""A day carried forward: the rows of the day before, published as this day's, each of which says so.

It is a run of its own: planned, staged, audited, read back and committed as any other, and held to the
receipt of the run whose rows it has. What reads the day's inputs is not asked.
"""

import dataclasses
import datetime as dt
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from nightscore.common import Broken, NotYet, ProgressCallback, Stopwatch, file_sha256, first_line
from nightscore.job import FULL, MADE_BY, CoverageAudit, Job, ParityAudit, SqlAudit, read_job_texts
from nightscore.pipeline.audits.kinds import questions
from nightscore.pipeline.audits.question import Question
from nightscore.pipeline.audits.run import ask_audit, audited, failures
from nightscore.pipeline.context import Day, causes_hash
from nightscore.pipeline.highlights import read_highlights, read_views
from nightscore.pipeline.overdue import (
    carried_text,
    carry_moment,
    clock,
    find_carried,
    find_ladder,
    why_not_carried,
)
from nightscore.pipeline.publish.came_back import find_came_back
from nightscore.pipeline.publish.commit import publish_tables
from nightscore.pipeline.publish.ended import with_ended
from nightscore.pipeline.publish.foreign_head import see_foreign
from nightscore.pipeline.publish.hold import Held, hold_day
from nightscore.pipeline.publish.order import find_own_past
from nightscore.pipeline.publish.ownership import refuse_foreign_tables
from nightscore.pipeline.publish.receipt_builder import build_receipt
from nightscore.pipeline.publish.reconcile import ControlTotals, read_staged_totals
from nightscore.pipeline.request import RunRequest
from nightscore.store import (
    AuditResult,
    Carry,
    CatalogEntry,
    Degraded,
    Engine,
    LiveFile,
    Pinned,
    Plan,
    Receipt,
    RungResult,
    SqlMistakes,
    StagedFile,
    TableProof,
    catalog,
    delta,
    json_digest,
    library_versions,
    open_staged,
    owners,
    proof_differences,
    read_staged,
    renames,
    run_folder,
    stage_batches,
    stamped,
    table_schema,
)

NOT_ASKED = "not asked: it reads an input, and a day that is carried forward has none of its own"
STAMPS = (MADE_BY, "run_id")  # the columns of which a carried row has others than the row it was
Tables = dict[str, list[StagedFile]]


def plan_carried(job: Job, day: dt.date, request: RunRequest, why: NotYet) -> Plan | None:
    """The plan by which a day is carried forward that can't be there in time; None while it still may be.

    Args:
        job: the job.
        day: the day.
        request: what its run was asked for.
        why: what keeps it from being there.

    Raises:
        NotYet: it is time, and there is no day to carry forward: why not, after what kept the day.
        Broken: a table of the job is another's, or another engine has changed it.
    """
    state = catalog.read_catalog(job.workspace)
    ladder = find_ladder(job, day.isoformat(), request, state)
    moment = carry_moment(job, ladder) if ladder else None
    if ladder is None or moment is None or clock() < moment:
        return None
    if impossible := why_not_carried(job, day.isoformat(), state):
        raise NotYet(f"{why}\nnothing can be carried forward in its place: {impossible}") from why
    refuse_foreign_tables(job, state)
    entry = find_carried(job, day.isoformat(), state)
    draft = _draft(job, day, request, state, entry)
    draft = dataclasses.replace(draft, ladder=ladder, carry=Carry(entry.day, entry.run_id, first_line(why)))
    begun = run_folder.find_unfinished_plan(job.workspace, draft)
    if begun and begun.run_number >= _first_number(job, state, draft.day):
        return dataclasses.replace(
            begun, hand_overs=draft.hand_overs, foreign=draft.foreign, own_past=draft.own_past
        )
    run_id = run_folder.new_run_id(draft.fingerprint, draft.started)
    plan = dataclasses.replace(draft, run_id=run_id)
    run = run_folder.folder_of_plan(job.workspace, plan)
    with run.in_use():
        return run_folder.save_plan(run, plan)


def _draft(job: Job, day: dt.date, request: RunRequest, state: Pinned, entry: CatalogEntry) -> Plan:
    values = job.params(request.params)
    live = delta.live_files_of(renames.table_home(job.workspace, job.spec.scores_table), day.isoformat())
    job_hash, started = causes_hash(job), time.time()
    return Plan(
        job.name, day.isoformat(), "carry",
        fingerprint=json_digest("carry_forward", job_hash, day.isoformat(), entry.run_id),
        run_number=max(int(started * 1000), _first_number(job, state, day.isoformat())),
        job_hash=job_hash, key=tuple(job.spec.key), started=started,
        versions=library_versions(job.spec.model.kind),
        params={n: v.isoformat() if isinstance(v, dt.date) else v for n, v in values.items()},
        seen=tuple(sorted(file.path.name for file in live)),
        hand_overs=owners.read_numbers(job.workspace, job.spec.tables),
        foreign=see_foreign(job, day.isoformat(), state, may_replace=False), job_texts=read_job_texts(job),
        own_past=find_own_past(job, day.isoformat(), state),
    )  # fmt: skip


def _first_number(job: Job, state: Pinned, day: str) -> int:
    past = state.day_history(job.name, job.spec.tables, day)
    return 1 + max((entry.run_number for entry in past), default=-1)


def publish_carried(day: Day, report: ProgressCallback) -> Receipt:
    """Publish the rows of the day before as a plan says, or hold them for a person.

    Raises:
        Broken: a file of the day before is not what its receipt says; nothing is published.
        Held: an audit of severity `fail` has not passed.
        NotYet: the day before has been published again since the plan was made, or another run was first.
    """
    job, plan, watch = day.job, day.plan, Stopwatch()
    entry, source = _source(day)
    report("carry", 0, 0)
    staged = dict(_stage(day, entry, source))
    watch.lap("carry")
    report("read back", 0, 0)
    read_back = {table: day.read_back(files) for table, files in staged.items()}
    _hold_to_source(day, source, read_back)
    seen = {"scores" if table == job.spec.scores_table else table: f for table, f in staged.items()}
    with day.engine(seen, asked=audited(job)) as engine, SqlMistakes(str(day)):
        proof = _prove(day, engine, source)
        watch.lap("read back")
        report("audit", 0, 0)
        audits = tuple(_asked(question, engine) for question in questions(job))
        highlights = read_highlights(day, engine)
        rungs = read_rungs(engine)
    watch.lap("audit")
    receipt = build_receipt(plan, staged, proof, audits, watch, read_back=read_back)
    receipt = receipt.model_copy(
        update={
            **{name: getattr(source, name) for name in ("model", "variant", "device", "promotion")},
            "chunk_rows": source.chunk_rows,
            "highlights": highlights,
            "came_back": find_came_back(day, staged),
            "degraded": _degraded(plan, rungs),
        }
    )
    receipt = with_ended(job, receipt)
    if failed := failures(job, audits):
        hold_day(job.workspace, plan, staged, receipt)
        raise Held(job.name, plan.day, failed)
    return publish_tables(job.workspace, plan, staged, receipt, report)


def _carry(day: Day) -> Carry:
    if day.plan.carry is None:
        raise Broken(f"{day}: run {day.plan.run_id} carries no day forward; run the day again")
    return day.plan.carry


def _source(day: Day) -> tuple[CatalogEntry, Receipt]:
    """What is published of the day before, as the plan saw it."""
    carry = _carry(day)
    entry = find_carried(day.job, day.plan.day, catalog.read_catalog(day.workspace))
    if (entry.day, entry.run_id) != (carry.day, carry.run_id):
        raise NotYet(f"{day}: {carry.day} has been published again since its plan was made; run it again")
    return entry, entry.read_receipt()


def _stage(day: Day, entry: CatalogEntry, source: Receipt) -> Iterator[tuple[str, list[StagedFile]]]:
    """Each table of the job that the day before has, staged; what was set aside then is not of this day."""
    state, spec = catalog.read_catalog(day.workspace), day.job.spec
    for table in spec.tables:
        if table in state.holds(entry):
            files = _unharmed(state.files_of(entry, table), table, source)
            target = day.run.decided(table)
            if not target.exists():
                if table in (spec.scores_table, *spec.decide):
                    _stage_rows(day, files, target)
                else:
                    with open_staged(files[0].path.local(), files[0].path.name) as first:
                        stage_batches(target, [], first.schema_arrow)
            yield table, [read_staged(target)]


def _unharmed(files: Sequence[LiveFile], table: str, source: Receipt) -> Sequence[LiveFile]:
    for file in files:
        there = file.path.exists()
        if not there or file_sha256(file.path.local()) not in source.tables[table].sha256:
            raise Broken(
                f"{file.path}: not the file of which the receipt of run {source.run_id} holds the sha256; it "
                "is not carried forward. `nightscore verify` says more"
            )
    if not files:
        raise Broken(f"table {table}: {source.day} has no file any more; it is not carried forward")
    return files


def _stage_rows(day: Day, files: Sequence[LiveFile], target: Any) -> None:
    """The rows of some published files of one table as this run's."""
    with open_staged(files[0].path.local(), files[0].path.name) as first:
        kept = [field for field in first.schema_arrow if field.name not in STAMPS]
        run_id = first.schema_arrow.field("run_id")
    made_by = table_schema.optional_field(MADE_BY, pa.string())
    schema = pa.schema([*kept, made_by, run_id])
    stage_batches(target, _batches(day, files, schema), schema)


def _batches(day: Day, files: Sequence[LiveFile], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    names, origin = schema.names[:-2], _carry(day).day
    for file in files:
        with open_staged(file.path.local(), file.path.name) as parquet:
            for batch in parquet.iter_batches(use_threads=False):
                columns = [batch.column(name) for name in names]
                made = _made_by(batch, origin)
                carried = pa.RecordBatch.from_arrays([*columns, made], [*names, MADE_BY])
                yield stamped(carried, day.plan.run_id, schema)


def _made_by(batch: pa.RecordBatch, origin: str) -> pa.Array:
    """From which day each row is: one that was carried there itself keeps the day that it was made on."""
    if MADE_BY not in batch.schema.names:  # published before the job had a ladder
        return pa.repeat(pa.scalar(carried_text(FULL, origin)), batch.num_rows)
    coded = batch.column(MADE_BY).cast(pa.string()).fill_null(FULL).dictionary_encode()
    texts = pa.array([carried_text(one, origin) for one in coded.dictionary.to_pylist()], pa.string())
    return pa.DictionaryArray.from_arrays(coded.indices, texts).cast(pa.string())


def _hold_to_source(day: Day, source: Receipt, read_back: Mapping[str, TableProof]) -> None:
    """Hold each carried table to what the receipt of its day proves of its columns."""
    for table in (day.job.spec.scores_table, *day.job.spec.decide):
        recorded, found = source.tables[table], read_back[table]
        kept = [
            {name: one for name, one in columns.items() if name not in STAMPS}
            for columns in (recorded.columns, found.columns)
        ]
        differ = proof_differences(*kept)
        if found.rows != recorded.rows:
            differ.insert(0, f"{found.rows:,} rows, the receipt says {recorded.rows:,}")
        if differ:
            raise Broken(f"{day}: table {table} is not carried forward as it was: {'; '.join(differ)}")


def _prove(day: Day, engine: Engine, source: Receipt) -> ControlTotals:
    """Rows and key hash of what was published of the day before, and of what is staged."""
    rows, out = read_staged_totals(engine, "scores", day.job.spec.key, source.rows.published)
    if (rows, out) != (source.rows.published, source.key_hash.out):
        raise Broken(
            f"{day}: {rows:,} rows with key hash {out} are staged, and the receipt of {source.day} says "
            f"{source.rows.published:,} with {source.key_hash.out}; nothing is published"
        )
    return ControlTotals(source.rows.published, rows, source.key_hash.out, out)


def _asked(question: "Question[Any]", engine: Engine) -> AuditResult:
    """What an audit answers; of one that can't be asked without the day's inputs, that it was not asked."""
    if _reads_inputs(question):
        return AuditResult(name=str(question.audit), passed=False, severity="warn", detail=NOT_ASKED)
    with SqlMistakes(question.place):
        question.bind(engine)
    return ask_audit(question, engine)


def _reads_inputs(question: "Question[Any]") -> bool:
    """Whether an audit reads an input of the job, by its SQL as it is parsed, not by the words in it."""
    audit, inputs = question.audit, {name.lower() for name in question.job.spec.inputs}
    match audit:
        case SqlAudit():
            return not inputs.isdisjoint(read_views(audit.sql, question.place))
        case CoverageAudit():
            return not inputs.isdisjoint({audit.coverage.of.lower(), audit.coverage.in_.lower()})
        case _:
            return isinstance(audit, ParityAudit)


def read_rungs(engine: Engine) -> tuple[RungResult, ...]:
    """How many rows of the scores each rung has made, the most first."""
    rows = engine.rows(
        f"SELECT coalesce({MADE_BY}, '{FULL}'), count(*) AS n FROM scores GROUP BY 1 ORDER BY n DESC, 1"
    )
    return tuple(RungResult(made_by=made_by, rows=n) for made_by, n in rows)


def _degraded(plan: Plan, rungs: tuple[RungResult, ...]) -> Degraded:
    if plan.carry is None or plan.ladder is None:
        raise Broken(f"job {plan.job}, day {plan.day}: its plan carries nothing; run the day again")
    return Degraded(
        rungs=rungs, since=dt.datetime.fromtimestamp(plan.started, dt.UTC),
        deadline=dt.datetime.fromisoformat(plan.ladder.deadline), why=plan.carry.why,
        carried_from=plan.carry.day, carried_run=plan.carry.run_id,
    )  # fmt: skip
