"""From staged pieces to a published day, or to one that is held: prove, decide, audit, read back, publish."""

import contextlib
import dataclasses
import datetime as dt
import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa

from nightscore.common import Broken, NotYet, ProgressCallback, Stopwatch, thread_seconds
from nightscore.job import Job, sql_place
from nightscore.pipeline import binding
from nightscore.pipeline.audits.accounts import read_accounts
from nightscore.pipeline.audits.run import audited, failures, run_audits
from nightscore.pipeline.context import Day
from nightscore.pipeline.highlights import read_highlights
from nightscore.pipeline.overdue import lowest_rung
from nightscore.pipeline.publish.came_back import find_came_back
from nightscore.pipeline.publish.closing import stage_restatement
from nightscore.pipeline.publish.commit import publish_tables
from nightscore.pipeline.publish.degraded import count_rungs, degraded_by, with_made_by
from nightscore.pipeline.publish.ended import with_ended
from nightscore.pipeline.publish.full_rows import stage_full_rows
from nightscore.pipeline.publish.hold import Held, hold_day
from nightscore.pipeline.publish.order import refuse_unseen
from nightscore.pipeline.publish.piece_proof import Proven, read_made_by, read_proofs
from nightscore.pipeline.publish.receipt_builder import build_preview, build_receipt
from nightscore.pipeline.publish.reconcile import (
    ControlTotals,
    combine_key_hashes,
    read_reject_reasons,
    read_source_totals,
    read_staged_totals,
    refuse_bad_keys,
    refuse_scored_rejects,
)
from nightscore.pipeline.publish.score_sample import prove_sample
from nightscore.pipeline.publish.whole_query import prove_parts
from nightscore.pipeline.read import inputs, integrity
from nightscore.pipeline.read.contents import input_contents
from nightscore.pipeline.score.challengers import read_challenger_results
from nightscore.pipeline.score.elsewhere import open_to_publish
from nightscore.pipeline.score.lost_values import read_lost_values
from nightscore.pipeline.score.open_model import open_planned_scorer
from nightscore.pipeline.score.rejects import SHOWN_REASONS, over_budget
from nightscore.store import (
    ChallengerResult,
    Engine,
    Receipt,
    SqlMistakes,
    StagedFile,
    catalog,
    find_slower,
    open_staged,
    read_staged,
    sound_file,
    stage_batches,
    stamped,
    with_timings,
)

Tables = Mapping[str, Sequence[StagedFile]]


def prove_and_publish(day: Day, pieces: Sequence[StagedFile], report: ProgressCallback) -> Receipt:
    """Publish what was scored, or hold it for a person; a run with a limit gives a preview.

    Raises:
        Broken: the proof does not hold, or too many rows were rejected.
        Held: an audit of severity `fail` has not passed.
        NotYet: an input has changed, or another run was first.
    """
    proven = read_proofs(day, pieces)
    pieces = proven.files if proven else _as_they_lie(day, pieces)
    job, plan, watch = day.job, day.plan, Stopwatch()
    with day.steady_inputs():
        report("prove", 0, 0)
        aside, before = _stage_rejects(day, pieces), _replayed(day)
        # Before DuckDB, which passes over checksums, proves and decides on them.
        is_read = _is_read(day, aside, proven)
        scores = proven.read_back(is_read) if proven else day.read_back(pieces)
        read_back = {job.spec.scores_table: scores}
        read_back |= {table: day.read_back(files) for table, files in aside.items()}
        proof = _prove(day, pieces if is_read else [], aside, before, proven)
        watch.lap("prove")
        sample = prove_sample(day, pieces)
        watch.lap("sample")
        if plan.limit is not None:
            return build_preview(job, plan, pieces, proof).model_copy(update={"score_sample": sample})
        parts = prove_parts(day, proof)
        if parts:
            watch.lap("whole query")
        report("decide", 0, 0)
        scorer, _ = open_to_publish(job, plan, plan.variant)
        schemas = binding.bind_job(day, scorer).stored
        decided = {table: [file] for table, file in stage_decisions(day, pieces, schemas).items()}
        watch.lap("decide")
        report("audit", 0, 0)
        lines = _bad_lines(day)
        tables: Tables = {job.spec.scores_table: pieces, **decided, **aside, **lines}
        full = stage_full_rows(day)
        staged = {**({"scores": pieces} if is_read else {}), **decided, **aside, **lines}
        with day.engine(staged, views=full.views, asked=audited(job)) as engine:
            accounts = read_accounts(job, engine)
            audits = full.noted(run_audits(job, engine, full.unasked))
            if job.spec.highlights:
                watch.lap("audit")
            highlights = read_highlights(day, engine)
        integrity.refuse_changed_inputs(job, plan)
        plan = dataclasses.replace(plan, sha256=input_contents(job, plan))
    watch.lap("highlights" if highlights else "audit")
    report("read back", 0, 0)
    read_back |= {table: day.read_back(files) for table, files in {**decided, **lines}.items()}
    watch.lap("read back")
    receipt = build_receipt(plan, tables, proof, audits, watch, read_back=read_back, before=before)
    lost = read_lost_values(plan, day.run, dict(before.value_lost) if before else {})
    beside = {
        "challengers": _challengers(day, receipt),
        "value_lost": lost,
        "score_sample": sample,
        "parts": parts,
        "accounts": accounts,
        "macros": _macro_hashes(job),
        "highlights": highlights,
        "came_back": find_came_back(day, tables),
        "slower": find_slower(job.workspace, receipt),
        **degraded_by(day, pieces),
        **_said_of_sql(job),
    }
    receipt = receipt.model_copy(update=beside)
    receipt = with_ended(job, stage_restatement(day, tables, receipt))
    refuse_unseen(job, plan)
    if failed := failures(job, audits):
        hold_day(job.workspace, plan, tables, receipt)
        raise Held(job.name, plan.day, failed)
    return publish_tables(job.workspace, plan, tables, receipt, report)


def _as_they_lie(day: Day, pieces: Sequence[StagedFile]) -> list[StagedFile]:
    """The staged files with the rows and bytes that they have: whoever staged them is not believed.

    One that is gone or damaged stays as it is told: what reads it back says what is wrong with it.

    Raises:
        Broken: there is none.
    """
    if not pieces:
        raise Broken(f"{day}: none of {len(day.plan.pieces)} pieces was staged; nothing is published")
    found = []
    for piece in pieces:
        with contextlib.suppress(OSError, ValueError, KeyError, pa.ArrowException):
            lies = read_staged(day.place(piece.path))
            made_by = read_made_by(day.place(piece.path).local()) if day.job.spec.overdue else ""
            piece = dataclasses.replace(piece, rows=lies.rows, bytes=lies.bytes, made_by=made_by)  # noqa: PLW2901
        found.append(piece)
    return found


def _said_of_sql(job: Job) -> dict[str, str]:
    return {} if job.spec.sql == "exact" else {"sql": job.spec.sql}


def _macro_hashes(job: Job) -> dict[str, str]:
    return {name: hashlib.sha256(text.encode()).hexdigest() for name, text in job.macros.items()}


def _challengers(day: Day, receipt: Receipt) -> tuple[ChallengerResult, ...]:
    scores = receipt.tables[day.job.spec.scores_table]
    return read_challenger_results(day.job, day.plan, day.run, scores.rows, scores.columns)


def prove_and_decide(day: Day, pieces: Sequence[StagedFile]) -> Tables:
    """The tables of a day as a run would publish them: proven and decided; nothing is published.

    Raises:
        Broken: as for a run; but no audit is run.
    """
    with day.steady_inputs():
        aside = _stage_rejects(day, pieces)
        for piece in pieces:
            sound_file(day.place(piece.path))
        _prove(day, pieces, aside, None, None)
        schemas = binding.bind_job(day, open_planned_scorer(day.job, day.plan)).stored
        decided = {table: [file] for table, file in stage_decisions(day, pieces, schemas).items()}
    return {day.job.spec.scores_table: pieces, **decided, **aside, **_bad_lines(day)}


def _bad_lines(day: Day) -> Tables:
    """The lines that the inputs leave out, as the run found them; nothing where the job leaves none out."""
    if not day.job.spec.leaves_lines_out:
        return {}
    return {day.job.spec.bad_lines_table: [read_staged(day.run.bad_lines)]}


def _stage_rejects(day: Day, pieces: Sequence[StagedFile]) -> dict[str, list[StagedFile]]:
    """The rejects of all pieces as one staged file of their table; nothing where the job sets none aside."""
    if not day.job.spec.rejecting:
        return {}
    path = day.run.rejected
    if not path.exists():
        scorer = open_planned_scorer(day.job, day.plan)
        stage_batches(
            path, _rejected(day, pieces), binding.bind_job(day, scorer).stored[day.job.spec.rejects_table]
        )
    return {day.job.spec.rejects_table: [read_staged(path)]}


def _rejected(day: Day, pieces: Sequence[StagedFile]) -> Iterator[pa.RecordBatch]:
    for piece in pieces:
        if piece.rejects:
            with open_staged(day.place(piece.rejects).local(), piece.rejects) as file:
                yield from file.iter_batches()


def _is_read(day: Day, aside: Tables, proven: Proven | None) -> bool:
    """Whether SQL reads the scores here: of decisions, audits, highlights, rejects, or for a key twice."""
    asked = [*day.job.decide_sql.values(), *audited(day.job), *day.job.highlight_sql]
    is_proven = proven is not None and proven.keys_rise
    return not is_proven or bool(asked) or any(file.rows for files in aside.values() for file in files)


def _prove(
    day: Day, pieces: Sequence[StagedFile], aside: Tables, before: Receipt | None, proven: Proven | None
) -> ControlTotals:
    """Rows and key hashes of the source, the scores and the rejects; without `pieces` by their proofs alone.

    Raises `Broken` where they differ, a key is null or not unique, or more rows were rejected than allowed.
    """
    plan, key = day.plan, day.job.spec.key
    source = {r.path for piece in plan.pieces for r in piece.ranges}
    ours = [path for path in map(day.place, source) if path.parent == day.run.path]  # and not an input
    for path in sorted(ours):
        sound_file(path)  # before anything parses them
    proof = proven.totals if proven else None
    is_unique = proven is not None and proven.keys_rise
    if proof is None or not is_unique or aside:
        views = {**({"scores": pieces} if pieces else {}), **aside}
        with day.engine(views, source, day.budget.proof, asked=()) as engine, SqlMistakes(str(day)):
            if not is_unique:
                refuse_bad_keys(engine, [day.locate(file.path) for file in pieces], key, str(day))
            proof = proof or _read_totals(day, engine)
            for table in aside:
                proof = _with_rejects(day, engine, table, proof, bool(pieces))
    if before:  # a replay has to account for the rows that the run before it read
        proof = proof._replace(read=before.rows.read, in_=before.key_hash.in_)
    expected = (proof.scored + proof.rejected, combine_key_hashes(proof.out, proof.aside))
    if proof.read != plan.day_rows or (proof.read, proof.in_) != expected:
        raise Broken(
            f"{day}: {proof.read} of {plan.day_rows} rows were read, {proof.scored} staged and "
            f"{proof.rejected} rejected (key hashes {proof.in_}, {proof.out}, {proof.aside}): "
            "rows were lost or changed; nothing is published"
        )
    return proof


def _read_totals(day: Day, engine: Engine) -> ControlTotals:
    """Rows and key hashes of the source and of the scores, read again."""
    key, read = day.job.spec.key, inputs.scored_columns(day.job, day.plan.inputs)
    rows = day.plan.day_rows
    scored_rows, out = read_staged_totals(engine, "scores", key, rows)
    read_rows, in_ = read_source_totals(engine, day.workspace, day.plan.pieces, key, read, of=rows)
    return ControlTotals(read_rows, scored_rows, in_, out)


def _replayed(day: Day) -> Receipt | None:
    """For a replay, the receipt of the run whose rejects it scores. NotYet where that is not in force."""
    if not day.plan.replay_of:
        return None
    before = catalog.read_catalog(day.job.workspace).read_receipt(
        day.job.name, dt.date.fromisoformat(day.plan.day)
    )
    if before is None or before.run_id != day.plan.replay_of:
        raise NotYet(f"{day}: another run has published the day since the replay began; look at it again")
    return before


def _with_rejects(
    day: Day, engine: Engine, table: str, proof: ControlTotals, beside_scores: bool
) -> ControlTotals:
    """The proof with what was set aside. Broken where it is too much, or a key is also among the scores."""
    rejected, aside = read_staged_totals(engine, table, day.job.spec.key)
    why = read_reject_reasons(engine, table)
    if rejected > day.job.spec.policy.max_rejected_rows(day.plan.day_rows):
        reasons = "; ".join(
            f"{rows:,} {code} ({text})" for (_, code), (rows, text) in list(why.items())[:SHOWN_REASONS]
        )
        raise Broken(over_budget(day.job, day.plan, f"{rejected:,}", reasons))
    if beside_scores:  # else there is no reject
        refuse_scored_rejects(engine, table, day.job.spec.key, str(day))
    counts = {cause: rows for cause, (rows, _) in why.items()}
    return proof._replace(rejected=rejected, aside=aside, reasons=counts)


def stage_decisions(
    day: Day, scores: Sequence[StagedFile], schemas: Mapping[str, pa.Schema]
) -> dict[str, StagedFile]:
    """Stage every decision table of the job, in the stored `schemas`; each sees those that stand before it.

    Rows are sorted by all columns: the same rows are the same bytes. Where a table's SQL does not say which
    rung made a row, it is the lowest that made any of the scores: each of them may have gone into it.

    Raises:
        Broken: the SQL fails on these rows.
    """
    staged: dict[str, StagedFile] = {}
    if not day.job.decide_sql:
        return staged
    made_by = lowest_rung([rung.made_by for rung in count_rungs(day, scores)])
    asked = list(day.job.decide_sql.values())
    with day.engine({"scores": scores}, threads=day.sql_threads, asked=asked) as engine:
        for table in day.job.decide_sql:
            staged[table] = _stage_decision(day, engine, table, schemas[table], made_by)
            day.show(engine, table, staged[table])
    return staged


def _stage_decision(day: Day, engine: Engine, table: str, schema: pa.Schema, made_by: str) -> StagedFile:
    job, run_id, path = day.job, day.plan.run_id, day.run.decided(table)
    started, cpu = time.time(), thread_seconds()
    if not path.exists():
        with SqlMistakes(sql_place(job, job.spec.decide[table])):
            select = binding.decide_select(job, table)
            binding.refuse_unbound(job, table, engine.schema(select), schema)
            batches = engine.stream(select, order="ALL")
            stage_batches(
                path, (stamped(with_made_by(b, schema, made_by), run_id, schema) for b in batches), schema
            )
    return with_timings(read_staged(path), started, cpu)
