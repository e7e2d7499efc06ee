"""One day of a job in three verbs; a newcomer reads this and knows the system.

    plan_day(job, day)                  -> Plan         what is to be scored, cut in pieces
    score_piece(job, plan, piece)       -> StagedFile   scan -> chunk -> score -> stage, one straight line
    publish_day(job, plan, staged)      -> Receipt      prove, decide, audit, commit

Only plans, staged files and receipts pass between them: frozen strings and numbers, so that each may run
in a process of its own. Each may be killed at any point and called again.
"""

import contextlib
import dataclasses
import datetime as dt
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from nightscore.common import (
    NightscoreError,
    NotYet,
    ProgressCallback,
    Stopwatch,
    as_day,
    silent,
    thread_seconds,
)
from nightscore.delivery import check_deliveries
from nightscore.job import Job, read_airflow_settings, read_job_texts
from nightscore.pipeline import binding
from nightscore.pipeline.context import Day, causes_hash
from nightscore.pipeline.overdue import as_made_now, find_ladder, has_rung
from nightscore.pipeline.prepare import Choose, MapParts, begin
from nightscore.pipeline.publish.carry import plan_carried, publish_carried
from nightscore.pipeline.publish.closing import plan_restatement
from nightscore.pipeline.publish.commit import complete_publication, roll_forward
from nightscore.pipeline.publish.finalize import prove_and_publish
from nightscore.pipeline.publish.foreign_head import see_foreign
from nightscore.pipeline.publish.order import find_own_past
from nightscore.pipeline.publish.ownership import refuse_foreign_tables, refuse_former_names
from nightscore.pipeline.publish.piece_proof import prove_piece, staged_piece
from nightscore.pipeline.publish.receipt_builder import read_unchanged_receipt, skipped_receipt
from nightscore.pipeline.read import inputs
from nightscore.pipeline.read.absent import refuse_unknown_tables, why_skipped
from nightscore.pipeline.read.contents import as_recorded
from nightscore.pipeline.read.days_seen import see_days, see_ignored
from nightscore.pipeline.read.known import as_of
from nightscore.pipeline.read.known.as_reported import see_as_reported
from nightscore.pipeline.read.manifest import refuse_incomplete
from nightscore.pipeline.read.ready import refuse_unready
from nightscore.pipeline.read.rungs import see_degraded
from nightscore.pipeline.read.scan import scan_chunks, source_schema
from nightscore.pipeline.request import DEFAULT_REQUEST, RunRequest
from nightscore.pipeline.score.batches import Deadline, RowScorer, needed_columns, scores_batch
from nightscore.pipeline.score.canary import choose_here, has_lost_variant
from nightscore.pipeline.score.challengers import Challengers, add_challengers, add_challengers_cause
from nightscore.pipeline.score.elsewhere import open_or_on_cpu
from nightscore.pipeline.score.open_model import OpenModel, open_job_model, open_planned_scorer, score_nothing
from nightscore.pipeline.score.rejects import RejectWriter
from nightscore.pipeline.score.time_limit import until
from nightscore.pipeline.training.files import ExpectedFiles, read_expected_files
from nightscore.pipeline.training.holding import hold_to_training, keep_verdict
from nightscore.scorers import OF_MODEL, Scorer
from nightscore.store import (
    EngineResources,
    Ladder,
    LiveFile,
    Piece,
    Pinned,
    Plan,
    Receipt,
    SqlMistakes,
    StagedFile,
    VariantFile,
    catalog,
    delta,
    job_memory_budget,
    json_digest,
    library_versions,
    one_look,
    owners,
    read_promotion,
    read_variant,
    renames,
    run_folder,
    stage_batches,
    tuned_variant,
    with_timings,
)


def plan_day(
    job: Job, day: dt.date, request: RunRequest = DEFAULT_REQUEST, report: ProgressCallback = silent,
    *, choose: Choose | None = None, map_parts: MapParts | None = None,
) -> Plan:  # fmt: skip
    """What a run of `day` has to do. Stages the feature snapshot where SQL makes the features.

    A run that was stopped is taken up again; a day whose causes have not changed is `unchanged` (idempotent).
    At the job's deadline a day that is not there yet is carried forward, where its `overdue` says so.
    `choose` chooses the variant on a machine that scores; default: this one does.
    `map_parts` stages the parts of features that are made in parts; default: here, one after the other.

    Raises:
        Closed: (Broken) the day is closed, its causes differ now, and this is no restatement.
        Broken: the job, its model or an input does not fit; the day's partition is missing and the
            policy is `fail`; there are no rows and the policy is `fail`.
        NotYet: the day's partition is missing and the policy is `wait`; an input is changing.
    """
    watch = Stopwatch()
    refuse_former_names(job)
    run_folder.remove_spilled(job.workspace, job.name)
    roll_forward(job, day, report)
    try:
        return _planned(job, day, request, report, watch, choose=choose, map_parts=map_parts)
    except NotYet as error:
        carried = plan_carried(job, day, request, error)
        if carried is None:
            raise
        report("plan", 1, 1)
        return carried


def _planned(
    job: Job, day: dt.date, request: RunRequest, report: ProgressCallback, watch: Stopwatch,
    *, choose: Choose | None, map_parts: MapParts | None,
) -> Plan:  # fmt: skip
    plan = draft_plan(job, day, request, scores_here=choose is None)
    report("plan", 1, 1)
    if plan.status == "score":
        keep_verdict(job, plan)
    if plan.status != "score" or plan.run_id:
        return plan
    if job.spec.features.parts is not None and not request.force:
        plan = dataclasses.replace(plan, run_id=run_folder.find_begun(job.workspace, plan))
    return begin(job, plan, choose=choose or choose_here, map_parts=map_parts, watch=watch, report=report)


def draft_plan(
    job: Job, day: dt.date, request: RunRequest = DEFAULT_REQUEST, *, scores_here: bool = True
) -> Plan:
    """The plan of `plan_day`, as far as it is known before a row is read; nothing is written.

    A plan with a `run_id` is a stopped run that would be taken up. Where other machines score, this one need
    not have the job's device. Errors as `plan_day`'s.
    """
    refuse_former_names(job, renames.last_names(job.workspace))
    values = job.params(request.params)
    binding.check_sql(job)
    opening = None if scores_here else open_or_on_cpu
    opened = open_job_model(job, request.model, request.device, request.limit is None, opening)
    expected = _expected(job, opened, request)
    with one_look():  # of a bucket's folders; what changes meanwhile is seen by the look that follows
        files = inputs.resolve_inputs(job, day)
        inputs.refuse_large(job, files)
        refuse_incomplete(job, day)
        refuse_unready(job, day)
        absent = why_skipped(job, files, day)
        if absent:
            return Plan(job.name, day.isoformat(), "skipped", reason=absent)
        # A model or a device that is asked for is what scores; a variant stands for the job's own.
        asked = request.model or request.device or job.spec.model.is_none or has_rung(job, "variant")
        picked = None if asked else read_variant(job)
        known_at = as_of.cutoff(job, request.known_at)
        draft = _draft(job, day, opened, files, values, known_at=known_at, picked=picked, expected=expected)
        draft = dataclasses.replace(
            draft, limit=request.limit, days_seen=see_days(job, files, day), ignored=see_ignored(job, day),
            as_reported=see_as_reported(job, files), widened=inputs.see_widened(files),
            snapshots=inputs.see_snapshots(files),
            degraded_inputs=see_degraded(job, files, day),
        )  # fmt: skip
    with inputs.steady_inputs(job, files, day):
        bound = binding.bind_job(Day(job, draft), opened.scorer)
    draft = add_challengers(job, draft, opened.scorer, bound.features)
    draft = dataclasses.replace(draft, promotion=read_promotion(job, draft))
    draft = _beside_published(job, draft, request, picked)
    if expected and draft.status == "score":
        held = hold_to_training(job, opened, expected, kept=True)
        draft = dataclasses.replace(draft, training=held)
    return draft


def _expected(job: Job, opened: OpenModel, request: RunRequest) -> ExpectedFiles | None:
    """What training expects; nothing of another model that is only looked at, for nothing is published."""
    looked_at = request.model not in (None, job.spec.model.file) and request.limit is not None
    return None if looked_at else read_expected_files(job, opened)


def _beside_published(job: Job, draft: Plan, request: RunRequest, picked: VariantFile | None) -> Plan:
    """The plan compared with what is published and what was begun: unchanged, taken up, or a new run."""
    hand_overs = owners.read_numbers(job.workspace, job.spec.tables)  # first: what comes later is refused
    state = catalog.read_catalog(job.workspace)
    if request.limit is None:  # a preview publishes nothing
        refuse_foreign_tables(job, state)
    beside = request.force or request.limit is not None or request.restate is not None
    draft = dataclasses.replace(draft, foreign=see_foreign(job, draft.day, state, may_replace=beside))
    past = state.day_history(job.name, job.spec.tables, draft.day)
    last = state.read_receipt(job.name, as_day(draft.day))
    compared = _as_recorded(job, draft, last, picked) if last else draft
    same = last is not None and last.fingerprint == compared.fingerprint and _still_there(state, last)
    same = same and last is not None and last.degraded is None  # that one is made whole
    if last and same and not request.force and request.limit is None:
        return dataclasses.replace(draft, status="unchanged", run_id=last.run_id)
    first = 1 + max((entry.run_number for entry in past), default=-1)  # above the last one's, whosever it is
    draft = dataclasses.replace(
        draft, run_number=max(int(draft.started * 1000), first), hand_overs=hand_overs,
        ladder=find_ladder(job, draft.day, request, state), own_past=find_own_past(job, draft.day, state),
    )  # fmt: skip
    if request.limit is None:
        restated = plan_restatement(job, compared, past, request.restate)
        draft = dataclasses.replace(draft, restate=restated.restate, replaces=restated.replaces)
    resumed = None if request.force else run_folder.find_unfinished_plan(job.workspace, draft)
    if resumed and resumed.run_number >= first and not has_lost_variant(job, resumed):
        return dataclasses.replace(
            resumed,
            restate=draft.restate,
            replaces=draft.replaces,
            hand_overs=hand_overs,
            foreign=draft.foreign,
            own_past=draft.own_past,
            ladder=_same_ladder(resumed.ladder, draft.ladder),
        )
    return draft


def _same_ladder(begun: Ladder | None, now: Ladder | None) -> Ladder | None:
    """The ladder of a run that is taken up: as it is now, with the variant that was found when it began."""
    if begun is None or now is None:
        return None
    told = [one for one in begun.missing if one.startswith("variant: ")]
    return dataclasses.replace(now, late=begun.late, missing=(*told, *now.missing))


def _as_recorded(job: Job, draft: Plan, last: Receipt, picked: VariantFile | None) -> Plan:
    """The plan with its inputs as the receipt knew them, those whose bytes are the same, for a comparison."""
    if last.fingerprint == draft.fingerprint:
        return draft
    files = as_recorded(job, draft.inputs, last)
    return dataclasses.replace(draft, inputs=files, fingerprint=_fingerprint(draft, files, picked))


def score_piece(
    job: Job, plan: Plan, piece: Piece, count: Callable[[int], object] = lambda _: None
) -> StagedFile:
    """Scan a piece, score it in chunks and stage the result. A piece that is staged is left as it is.

    `count` is told how many rows were scored, chunk by chunk.

    Raises:
        Broken: a row can't be scored.
        NotYet: the job, its model or an input has changed since the plan was made, a library is of another
            version here, or it was decided meanwhile that the run is not published.
    """
    day, workspace = Day(job, plan), job.workspace
    day.refuse_changed_job()
    day.refuse_other_versions()
    day.run.refuse_ended()
    path, aside = day.run.scores(piece.fingerprint), day.run.rejects(piece.fingerprint)
    if path.exists():
        count(piece.rows)
        with day.run.in_use(), day.steady_files(piece):
            return staged_piece(day, piece)
    with day.run.in_use(), day.steady_files(piece):
        started, cpu = time.time(), thread_seconds()
        plan, scorer = _opened(job, plan, as_made_now(job, plan, day.run))
        challengers = Challengers(job, plan, scorer)
        room = job_memory_budget(job).piece
        resources = EngineResources(1, room.duckdb, day.temp)
        columns = list(dict.fromkeys([*needed_columns(job, scorer), *challengers.inputs]))
        read = inputs.scored_columns(job, plan.inputs)
        source = source_schema(workspace, piece, columns, resources, read)
        schema = binding.scores_schema(job, source, scorer)
        rejects = RejectWriter(job, plan, aside, binding.rejects_schema(job, source))
        deadline = Deadline(job, rejects.where)
        rows = RowScorer(job, until(scorer, deadline.left, deadline.message), rejects)

        def scores() -> Iterator[pa.RecordBatch]:
            # Rejects and notes are complete before the last batch is given, and so before the file is there.
            with rejects:
                for chunk in scan_chunks(
                    workspace, piece, columns, plan.chunk_rows, resources, size=room.chunk, read=read
                ):
                    deadline.check()
                    for features, outputs in rows.score(chunk):
                        with deadline.paused():  # the time of challengers is not the champion's
                            others = challengers.columns(features)
                        yield scores_batch(plan, schema, features, [*outputs.columns, *others])
                        count(features.num_rows)
            challengers.keep_notes(day.run.challengers(piece.fingerprint))
            rows.lost.keep(day.run.lost_values(piece.fingerprint))

        stage_batches(path, scores(), schema)
        ended = time.time()
        return dataclasses.replace(with_timings(prove_piece(day, piece), started, cpu), ended=ended)


def _opened(job: Job, plan: Plan, now: Plan) -> tuple[Plan, Scorer]:
    """What a piece is scored by now; by the plan itself, where the variant of a late night can't be had."""
    if now is not plan:
        with contextlib.suppress(NightscoreError):
            return now, open_planned_scorer(job, now)
    return plan, open_planned_scorer(job, plan)


def publish_day(
    job: Job, plan: Plan, pieces: Sequence[StagedFile], report: ProgressCallback = silent
) -> Receipt:
    """Prove what was staged, decide, audit, and publish the day's tables together.

    Raises:
        Broken: rows were lost or gained, a key is there twice, more rows were rejected than the job allows,
            an audit failed (`Held`: a person may release the day); nothing is published.
        NotYet: an input changed while it was read, a library is of another version than the plan's, or
            another run was first; nothing is published.
    """
    if plan.status == "unchanged":
        return read_unchanged_receipt(job, plan)
    if plan.status == "skipped":
        return skipped_receipt(plan)
    run = run_folder.folder_of_plan(job.workspace, plan)
    with run.in_use():
        if run.outcome:
            return complete_publication(job.workspace, run, report)
        day = Day(job, plan)
        day.refuse_changed_job()
        day.refuse_other_versions()
        if plan.status == "carry":
            return publish_carried(day, report)
        return prove_and_publish(day, pieces, report)


def features(job: Job, day: dt.date | str, params: Mapping[str, Any] | None = None) -> pa.Table:
    """The rows that a run of `day` scores, sorted by key.

    Training reads them here, so that there is no second implementation of a feature. Nothing is
    staged, and the model is not opened.

    Raises:
        Broken: as `plan_day`, for the SQL and the inputs.
    """
    moment = as_day(day)
    binding.check_sql(job)
    files = inputs.resolve_inputs(job, moment)
    see_days(job, files, moment)
    plan = Plan(job.name, moment.isoformat(), "score", params=job.params(params), inputs=files)
    at_work = Day(job, plan)
    with at_work.engine(threads=at_work.sql_threads) as engine:
        with SqlMistakes(binding.features_place(job)):
            select = binding.features_select(job)
            batches = engine.stream(select, order=binding.key_order(job))
            return pa.Table.from_batches(batches, engine.schema(select))


def check_job(job: Job) -> str:
    """Check that a job's spec, SQL and model fit together on its latest day, without reading data.

    Returns:
        A line that says so, with what the job publishes.

    Raises:
        Broken: names file, line, the offending value and what is allowed.
    """
    read_airflow_settings(job.workspace)  # no night here needs them, and there would be no DAG
    binding.check_sql(job)
    refuse_former_names(job)
    refuse_foreign_tables(job)
    opened = open_job_model(job)
    score_nothing(job, opened)
    refuse_unknown_tables(job)
    day, draft = _latest(job, opened)
    bound = binding.bind_job(day, opened.scorer)
    rivals = add_challengers(job, draft, opened.scorer, bound.features).challengers
    useless = "".join(
        f"; challenger {rival.path} can't be used: {rival.refused}" for rival in rivals if rival.refused
    )
    held = hold_to_training(job, opened)
    trained = f"; {held}" if held else ""
    made = f"{len(bound.features)} feature columns{_in_parts(job)}"
    sent = check_deliveries(job, bound.stored) if job.spec.deliver else []
    onward = f"; delivers to {', '.join(sent)}" if sent else ""
    others = "".join(
        f"; {name}: {found}"
        for name, found in opened.libraries.items()
        if OF_MODEL in name and "logged" in found
    )
    return f"ok: {made}; publishes {', '.join(bound.stored)}{onward}{trained}{useless}{others}"


def _latest(job: Job, opened: OpenModel) -> tuple[Day, Plan]:
    """A job's latest day, to bind it on."""
    days = inputs.list_full_days(job) or inputs.list_input_days(job)
    day = days[-1] if days else dt.date.today()
    draft = _draft(job, day, opened, inputs.resolve_inputs(job, day), job.params())
    return Day(job, draft), draft


def published_columns(job: Job) -> Mapping[str, pa.Schema]:
    """Table -> the columns that a job would publish on its latest day, whatever the table has.

    Raises:
        Broken: as `check_job`.
    """
    binding.check_sql(job)
    refuse_former_names(job)
    refuse_foreign_tables(job)
    opened = open_job_model(job)
    return binding.bind_columns(_latest(job, opened)[0], opened.scorer).stored


def _in_parts(job: Job) -> str:
    features = job.spec.features
    if features.parts is None:
        return ""
    by = f"by {features.split_by}" if features.split_by else "by getvariable('part')"
    return f", made in {features.parts:,} parts {by}"


def _draft(
    job: Job, day: dt.date, opened: OpenModel, files: inputs.Files, values: Mapping[str, Any],
    *, known_at: str = "", picked: VariantFile | None = None, expected: ExpectedFiles | None = None,
) -> Plan:  # fmt: skip
    """The plan before its run begins: the day's causes and their fingerprint."""
    params = {n: v.isoformat() if isinstance(v, dt.date) else v for n, v in values.items()}
    scores = delta.live_files_of(renames.table_home(job.workspace, job.spec.scores_table), day.isoformat())
    plan = Plan(
        job.name, day.isoformat(), "score", job_hash=causes_hash(job), key=tuple(job.spec.key),
        model_path=opened.name, model_sha256=opened.sha256, device=opened.device,
        model_uri=opened.uri, model_version=opened.version, code=opened.code,
        tuned=tuned_variant(picked) if picked else None,
        params=params, inputs=files, known_at=known_at, closes=job.spec.close,
        versions={**library_versions(job.spec.model.kind), **opened.libraries},
        started=time.time(),
        seen=tuple(sorted(f.path.name for f in scores)), job_texts=read_job_texts(job),
        training=expected.cause if expected else None,
    )  # fmt: skip
    return dataclasses.replace(plan, fingerprint=_fingerprint(plan, files, picked))


def _fingerprint(plan: Plan, files: inputs.Files, picked: VariantFile | None) -> str:
    """The hash of a day's causes, with some files in the place of its inputs; challengers are among them.

    Its recipe does not change (docs/decisions/0018): what is new enters only where it is not its default.
    """
    read = {name: [(f.path, f.fingerprint) for f in input_files] for name, input_files in files.items()}
    used = picked.cause if picked and picked.reference.sha256 == plan.model_sha256 else None
    causes = json_digest(
        plan.job_hash, plan.day, plan.params, plan.model_sha256, plan.code, plan.device, read,
        *([plan.known_at] if plan.known_at else []), *([used] if used else []),
        *([{"training": plan.training.sha256}] if plan.training else []),
    )  # fmt: skip
    return add_challengers_cause(causes, plan.challengers)


def _still_there(state: Pinned, receipt: Receipt) -> bool:
    """Whether the tables still hold what the receipt says, but what was removed: none was rolled back."""
    for table in receipt.tables.keys() - state.in_force[receipt.job, receipt.day].removed.keys():
        live = delta.live_files_of(state.home(table), receipt.day)
        if {file.run_id for file in live} != {receipt.run_id} and not _is_as_accepted(
            state, receipt, live, table
        ):
            return False
    return True


def _is_as_accepted(state: Pinned, receipt: Receipt, live: Sequence[LiveFile], table: str) -> bool:
    """Whether a day's files are those that a person accepted, or none, as the receipt says."""
    if receipt.accepted is None and receipt.tables[table].files:
        return False
    ours = state.files_of(state.in_force[receipt.job, receipt.day], table)
    return {file.path for file in live} == {file.path for file in ours}
