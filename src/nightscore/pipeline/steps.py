"""One day of a job in three verbs; a newcomer reads this and knows the system.

    plan_day(job, day)                  -> Plan         what is to be scored, cut in pieces
    score_piece(job, plan, piece)       -> StagedFile   scan -> chunk -> score -> stage, one straight line
    publish_day(job, plan, staged)      -> Receipt      prove, decide, audit, commit

Only plans, staged files and receipts pass between them: frozen strings and numbers, so that each may run
in a process of its own. Each may be killed at any point and called again.
"""

import dataclasses
import datetime as dt
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from nightscore.common.errors import Broken, NotYet
from nightscore.common.progress import Report, Stopwatch, counted, silent
from nightscore.common.units import as_day
from nightscore.job.loader import Job
from nightscore.pipeline import binding
from nightscore.pipeline.context import Day
from nightscore.pipeline.prepare import in_pieces, refuse_full_disk, source
from nightscore.pipeline.publish.closing import restating
from nightscore.pipeline.publish.commit import complete, roll_forward
from nightscore.pipeline.publish.finalize import prove_and_publish
from nightscore.pipeline.publish.receipt_builder import skipped, unchanged
from nightscore.pipeline.read import as_of, inputs
from nightscore.pipeline.read.integrity import verify_inputs
from nightscore.pipeline.read.scan import chunks, source_schema
from nightscore.pipeline.score.batches import needed_columns, scored
from nightscore.pipeline.score.canary import with_variant
from nightscore.pipeline.score.challengers import Challengers, with_challengers
from nightscore.pipeline.score.open_model import OpenModel, open_model, planned_scorer, score_nothing
from nightscore.pipeline.score.rejects import Rejects
from nightscore.store import catalog, delta, run_folder
from nightscore.store.engine import Resources, SqlMistakes
from nightscore.store.memory_budget import budget
from nightscore.store.plan import Piece, Plan, Restate, digest
from nightscore.store.promotions import promotion_of
from nightscore.store.receipt import Receipt
from nightscore.store.staging import StagedFile, made, peak_memory, stage, staged
from nightscore.store.variant_file import VariantFile, read_variant, tuned_by
from nightscore.store.versions import versions


def plan_day(
    job: Job, day: dt.date, *, params: Mapping[str, Any] | None = None, force: bool = False,
    limit: int | None = None, model: str | None = None, device: str | None = None,
    known_at: dt.datetime | str | None = None, restate: Restate | None = None, report: Report = silent,
) -> Plan:  # fmt: skip
    """What a run of `day` has to do. Stages the feature snapshot where SQL makes the features.

    A run that was stopped is taken up again; a day whose causes have not changed is `unchanged`.
    `limit` keeps the first rows only, for a preview. `model` is another model file of the workspace,
    `device` another device, instead of the job's. `known_at` leaves out rows that became known later, and
    `restate` publishes a day anew that is published, closed or not.

    Raises:
        Closed: (Broken) the day is closed, its causes are others now, and this is no restatement.
        Broken: the job, its model or an input does not fit; the day's partition is missing and the
            policy is `fail`; there are no rows and the policy is `fail`.
        NotYet: the day's partition is missing and the policy is `wait`; an input is changing.
    """
    watch = Stopwatch()
    run_folder.remove_spilled(job.workspace, job.name)
    roll_forward(job, day, report)
    plan = outlook(
        job, day, params=params, force=force, limit=limit, model=model, device=device, known_at=known_at,
        restate=restate,
    )  # fmt: skip
    report("plan", 1, 1)
    if plan.status != "score" or plan.run_id:
        return plan
    return begin(job, plan, watch, report)


def outlook(
    job: Job, day: dt.date, *, params: Mapping[str, Any] | None = None, force: bool = False,
    limit: int | None = None, model: str | None = None, device: str | None = None,
    known_at: dt.datetime | str | None = None, restate: Restate | None = None,
) -> Plan:  # fmt: skip
    """What `plan_day` would find, as far as it is known before a row is read; nothing is written.

    A plan with a `run_id` is a stopped run that would be taken up. Errors as `plan_day`'s.
    """
    if limit is not None and limit < 1:
        raise Broken(f"limit {limit} is not allowed: a preview has at least one row")
    values = job.params(params)
    binding.check_sql(job)
    opened = open_model(job, model, device, pinned=limit is None)
    files = inputs.resolve(job, day)
    inputs.refuse_large(job, files)
    absent = _absent(job, files, day)
    if absent:
        return Plan(job.name, day.isoformat(), "skipped", reason=absent)
    # A model or a device that is asked for is what scores; a variant stands for the job's own.
    picked = None if model or device else read_variant(job)
    wanted = dataclasses.replace(
        _wanted(job, day, opened, files, values, known_at=as_of.cutoff(job, known_at), picked=picked),
        limit=limit,
    )
    with inputs.steady(job, files, day):
        bound = binding.bind(Day(job, wanted), opened.scorer)
    wanted = with_challengers(job, wanted, opened.scorer, bound.features)
    wanted = dataclasses.replace(wanted, promotion=promotion_of(job, wanted))
    last = catalog.pinned(job.workspace).receipt(job.name, day)
    same = last is not None and last.fingerprint == wanted.fingerprint and _still_there(job, last)
    if last and same and not force and limit is None:
        return dataclasses.replace(wanted, status="unchanged", run_id=last.run_id)
    number = max(int(wanted.started * 1000), last.run_number + 1 if last else 0)
    if limit is None:
        wanted = restating(job, wanted, last, restate)
    resumed = None if force else run_folder.unfinished(job.workspace, wanted)
    if resumed:
        return dataclasses.replace(resumed, restate=wanted.restate, replaces=wanted.replaces)
    return dataclasses.replace(wanted, run_number=number)


def score_piece(
    job: Job, plan: Plan, piece: Piece, count: Callable[[int], object] = lambda _: None
) -> StagedFile:
    """Scan a piece, score it in chunks and stage the result. A piece that is staged is left as it is.

    `count` is told how many rows were scored, chunk by chunk.

    Raises:
        Broken: a row can't be scored.
        NotYet: the job, its model or an input has changed since the plan was made, or a library is of
            another version here.
    """
    Day(job, plan).refuse_changed_job()
    Day(job, plan).refuse_other_versions()
    root, run = job.workspace.root, run_folder.folder(job.workspace, plan)
    path = run.scores(piece.fingerprint)
    if path.exists():
        count(piece.rows)
        return staged(path, root, run.rejects(piece.fingerprint))
    with run.in_use(), Day(job, plan).steady_inputs():
        started, cpu = time.time(), time.thread_time()
        scorer = planned_scorer(job, plan)
        beside = Challengers(job, plan, scorer)
        room = budget(job).piece
        resources = Resources(1, room.duckdb, run.path)
        columns = list(dict.fromkeys([*needed_columns(job, scorer), *beside.inputs]))
        source = source_schema(root, piece, columns, resources)
        schema = binding.scores_schema(job, source, scorer)
        rows = chunks(root, piece, columns, plan.chunk_rows, resources, size=room.chunk)
        aside = Rejects(job, plan, run.rejects(piece.fingerprint), binding.rejects_schema(job, source))
        batches = beside.noted(
            scored(scorer, rows, schema, aside, beside), run.challengers(piece.fingerprint)
        )
        stage(path, counted(batches, count), schema)
        return made(staged(path, root, run.rejects(piece.fingerprint)), started, cpu)


def publish_day(job: Job, plan: Plan, pieces: Sequence[StagedFile], report: Report = silent) -> Receipt:
    """Prove what was staged, decide, audit, and publish the day's tables together.

    Raises:
        Broken: rows were lost or gained, a key stands twice, more rows were rejected than the job allows, an
            audit failed (`Held`: a person may release the day); nothing is published.
        NotYet: an input changed while it was read, a library is of another version than the plan's, or
            another run was first; nothing is published.
    """
    if plan.status == "unchanged":
        return unchanged(job, plan)
    if plan.status == "skipped":
        return skipped(plan)
    run = run_folder.folder(job.workspace, plan)
    with run.in_use():
        if run.publication.exists():
            return complete(job.workspace, run, report)
        day = Day(job, plan)
        day.refuse_changed_job()
        day.refuse_other_versions()
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
    files = inputs.resolve(job, moment)
    plan = Plan(job.name, moment.isoformat(), "score", params=job.params(params), inputs=files)
    at_work = Day(job, plan)
    with at_work.engine(threads=at_work.sql_threads) as engine:
        with SqlMistakes(binding.features_place(job)):
            select = binding.features_select(job)
            batches = engine.stream(select, order=binding.key_order(job))
            return pa.Table.from_batches(batches, engine.schema(select))


def checked(job: Job) -> str:
    """Hold a job's spec, SQL and model together on its latest day, without reading data; says how.

    Raises:
        Broken: names file, line, the offending value and what is allowed.
    """
    binding.check_sql(job)
    opened = open_model(job)
    score_nothing(job, opened)
    days = inputs.days(job)
    day = days[-1] if days else dt.date.today()
    files = inputs.resolve(job, day)
    wanted = _wanted(job, day, opened, files, job.params())
    bound = binding.bind(Day(job, wanted), opened.scorer)
    rivals = with_challengers(job, wanted, opened.scorer, bound.features).challengers
    useless = "".join(
        f"; challenger {one.path} can't be used: {one.refused}" for one in rivals if one.refused
    )
    return f"ok: {len(bound.features)} feature columns; publishes {', '.join(bound.stored)}{useless}"


def _absent(job: Job, files: inputs.Files, day: dt.date) -> str:
    """Why the day is skipped, if it is."""
    names = inputs.missing(job, files, day)
    if not names:
        return ""
    text = f"job {job.name}: no partition of {day} in {', '.join(names)}"
    if job.spec.policy.missing == "wait":
        raise NotYet(f"{text} yet")
    if job.spec.policy.missing == "fail":
        raise Broken(f"{text}; the policy for a missing day is fail (or wait, or skip)")
    return text


def _wanted(
    job: Job, day: dt.date, opened: OpenModel, files: inputs.Files, values: Mapping[str, Any],
    *, known_at: str = "", picked: VariantFile | None = None,
) -> Plan:  # fmt: skip
    """The plan without its run: the day's causes and their fingerprint."""
    params = {n: v.isoformat() if isinstance(v, dt.date) else v for n, v in values.items()}
    read = {name: [(f.path, f.fingerprint) for f in some] for name, some in files.items()}
    used = picked.cause if picked and picked.reference.sha256 == opened.sha256 else None
    causes = digest(
        job.hash, day.isoformat(), params, opened.sha256, opened.code, opened.device, read,
        *([known_at] if known_at else []), *([used] if used else []),
    )  # fmt: skip
    scores = delta.live(job.workspace.tables / job.spec.scores_table)
    return Plan(
        job.name, day.isoformat(), "score", fingerprint=causes, job_hash=job.hash, key=tuple(job.spec.key),
        model_path=opened.name, model_sha256=opened.sha256, device=opened.device,
        model_uri=opened.uri, model_version=opened.version, code=opened.code,
        tuned=tuned_by(picked) if picked else None,
        params=params, inputs=files, known_at=known_at, closes=job.spec.close, versions=versions(),
        started=time.time(),
        seen=tuple(sorted(f.path.name for f in scores if f.day == day.isoformat())),
    )  # fmt: skip


def _still_there(job: Job, receipt: Receipt) -> bool:
    """Whether the tables still hold what the receipt says (nobody has rolled one back)."""
    return all(
        {f.run_id for f in delta.live(job.workspace.tables / t) if f.day == receipt.day} == {receipt.run_id}
        for t in receipt.tables
    )


def begin(job: Job, wanted: Plan, watch: Stopwatch, report: Report) -> Plan:
    """A new run: its name, its feature snapshot, its pieces."""
    plan = dataclasses.replace(wanted, run_id=run_folder.new_run_id(wanted.fingerprint, wanted.started))
    run = run_folder.folder(job.workspace, plan)
    with run.in_use():
        with Day(job, plan).steady_inputs():
            plan = dataclasses.replace(plan, sha256=verify_inputs(job, plan.inputs))
        watch.lap("plan")
        rows = source(job, plan, run, report)
        refuse_full_disk(job, plan, run, rows)
        watch.lap("features")
        plan = with_variant(job, plan, rows)
        watch.lap("choose")
        plan = dataclasses.replace(
            plan, seconds=watch.seconds, cpu_seconds=watch.cpu_seconds, peak_memory=peak_memory()
        )
        plan = in_pieces(job, plan, rows)
        run_folder.save(run, plan)
    return plan
