"""The receipt of a run, built from its plan and what it staged."""

import dataclasses
import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow.parquet as pq

from nightscore.common import NotYet, Stopwatch
from nightscore.job import Job
from nightscore.pipeline.publish.reconcile import ControlTotals
from nightscore.scorers import read_hardware
from nightscore.store import (
    FORMAT,
    AuditResult,
    Cost,
    InputResult,
    KeyHash,
    ModelResult,
    Plan,
    Promotion,
    Receipt,
    RejectResult,
    ReplayResult,
    RowCounts,
    StagedFile,
    TableProof,
    TableResult,
    VariantResult,
    catalog,
    peak_memory,
    storage,
    without_bounds,
)

PREVIEW_ROWS = 20  # rows of a preview that its receipt shows


def read_unchanged_receipt(job: Job, plan: Plan) -> Receipt:
    """The receipt in force of a day whose causes have not changed."""
    receipt = catalog.read_catalog(job.workspace).read_receipt(job.name, dt.date.fromisoformat(plan.day))
    if receipt is None or receipt.run_id != plan.run_id:
        raise NotYet(f"job {job.name}: {plan.day} was published by another run in this moment; run it again")
    return receipt.model_copy(update={"status": "unchanged", "foreign": plan.foreign})


def skipped_receipt(plan: Plan) -> Receipt:
    """The receipt of a day that the job's policy leaves out."""
    return Receipt(job=plan.job, day=plan.day, run_id=plan.run_id, status="skipped", reason=plan.reason)


def build_preview(job: Job, plan: Plan, pieces: Sequence[StagedFile], proof: ControlTotals) -> Receipt:
    """The receipt of a run with a limit: nothing is published; it holds the first scored rows."""
    receipt = build_receipt(plan, {"": pieces}, proof, (), Stopwatch())
    rows = receipt.rows.model_copy(update={"published": 0})
    first = pq.read_table(storage.locate(job.workspace, pieces[0].path), partitioning=None).slice(
        0, PREVIEW_ROWS
    )
    update = {"status": "preview", "tables": {}, "rows": rows}
    return receipt.model_copy(update={**update, "preview": tuple(first.drop(["run_id"]).to_pylist())})


def build_receipt(
    plan: Plan,
    staged: Mapping[str, Sequence[StagedFile]],
    proof: ControlTotals,
    audits: tuple[AuditResult, ...],
    watch: Stopwatch,
    *,
    read_back: Mapping[str, TableProof] | None = None,
    before: Receipt | None = None,
) -> Receipt:
    """The receipt of a run about to be published; its tables' versions come with the commits.

    `before` is the receipt of the run whose rejects this one scored again.
    """
    scores = next(iter(staged.values()))
    spent, speed = _scoring(scores)
    machine = read_hardware()
    return Receipt(
        job=plan.job,
        day=plan.day,
        run_id=plan.run_id,
        status="published",
        format=FORMAT,
        rows=RowCounts(read=proof.read, scored=proof.scored, rejected=proof.rejected, published=proof.scored),
        tables={name: _table(files, (read_back or {}).get(name), plan.key) for name, files in staged.items()},
        key_hash=KeyHash(in_=proof.in_, out=proof.out, rejected=proof.aside, columns=plan.key),
        rejects=tuple(RejectResult(stage=s, reason=r, rows=n) for (s, r), n in proof.reasons.items()),
        **_scored_by(plan),
        promotion=Promotion.model_validate(plan.promotion) if plan.promotion else None,
        inputs=_inputs(plan),
        days_seen=plan.days_seen,
        ignored=plan.ignored,
        as_reported=plan.as_reported,
        widened=plan.widened,
        snapshots=plan.snapshots,
        degraded_inputs=plan.degraded_inputs,
        foreign=plan.foreign,
        training=plan.training,
        replayed=_replayed(plan, before) if before else None,
        params=plan.params,
        closed=plan.closes,
        known_at=plan.known_at,
        seconds=_rounded({**plan.seconds, "score": spent, **watch.seconds}),
        cost=_cost(plan, staged, watch),
        rows_per_second=speed,
        audits=(*audits, *_kept_budget(plan), *_missing_rungs(plan)),
        run_number=plan.run_number,
        fingerprint=plan.fingerprint,
        job_hash=plan.job_hash,
        chunk_rows=plan.chunk_rows,
        started_at=dt.datetime.fromtimestamp(plan.started, dt.UTC),
        versions=plan.versions,
        hardware={"processor": machine.processor, "cores": machine.cores, "memory_bytes": machine.memory},
    )


def _scored_by(plan: Plan) -> dict[str, Any]:
    """The model, and how it was computed; nothing of a job without one."""
    if not plan.model_sha256:
        return {}
    model = ModelResult(
        path=plan.model_path, sha256=plan.model_sha256, uri=plan.model_uri, version=plan.model_version,
        code=plan.code,
    )  # fmt: skip
    device = plan.variant.device
    return {"model": model, "device": device, "variant": _variant(plan), "tried": plan.tried}


def _variant(plan: Plan) -> VariantResult:
    tuned = dataclasses.asdict(plan.tuned) if plan.tuned else {}
    values = {**dataclasses.asdict(plan.variant), **tuned, "canary": plan.canary}
    return VariantResult(**values, chunk_rows=plan.chunk_rows, why=plan.why)


def _kept_budget(plan: Plan) -> tuple[AuditResult, ...]:
    """Whether the variant of a bake-off could be used, where there is one."""
    if not (plan.tuned or plan.warning):
        return ()
    detail = plan.warning or (f"canary of {plan.canary.rows:,} rows" if plan.canary else "")
    name = "the bake-off's variant is usable and keeps its budget"
    return (AuditResult(name=name, passed=not plan.warning, severity="warn", detail=detail),)


def late_variant(plan: Plan) -> VariantResult | None:
    """The variant that scored what a late night had not scored yet, with its file; None: there is none."""
    late = plan.ladder.late if plan.ladder else None
    if late is None:
        return None
    values = {**dataclasses.asdict(late.variant), **dataclasses.asdict(late.tuned), "canary": late.canary}
    return VariantResult(**values, chunk_rows=late.chunk_rows, why="the night was late (overdue)")


def _missing_rungs(plan: Plan) -> tuple[AuditResult, ...]:
    """The rungs of the job's `overdue` that a late night could not have taken, or could not take."""
    missing = plan.ladder.missing if plan.ladder else ()
    name = "a late night has each rung of its overdue"
    return (
        (AuditResult(name=name, passed=False, severity="warn", detail="; ".join(missing)),) if missing else ()
    )


def _replayed(plan: Plan, before: Receipt) -> ReplayResult:
    model = before.model.sha256 if before.model else ""
    return ReplayResult(run_id=before.run_id, model_sha256=model, rows=plan.rows, carried=plan.carried)


def _cost(plan: Plan, staged: Mapping[str, Sequence[StagedFile]], watch: Stopwatch) -> Cost:
    scores = next(iter(staged.values()))
    spent = {**plan.cpu_seconds, "score": sum(f.cpu_seconds for f in scores), **watch.cpu_seconds}
    rows = sum(f.rows for f in scores if f.ended)
    return Cost(
        cpu_seconds=_rounded(spent),
        cpu_seconds_per_million_rows=round(sum(spent.values()) / rows * 1e6, 3) if rows else 0.0,
        peak_memory_bytes=max([plan.peak_memory, peak_memory(), *(f.peak_memory for f in scores)]),
        bytes_read=sum(f.bytes for f in _inputs(plan)),
        bytes_written=sum(f.bytes for files in staged.values() for f in files),
    )


def _rounded(seconds: Mapping[str, float]) -> dict[str, float]:
    return {stage: round(spent, 3) for stage, spent in seconds.items()}


def _inputs(plan: Plan) -> tuple[InputResult, ...]:
    files = {f.path: f for input_files in plan.inputs.values() for f in input_files}
    return tuple(
        InputResult(path=f.path, bytes=f.bytes, fingerprint=f.fingerprint, sha256=plan.sha256.get(f.path, ""))
        for f in files.values()
    )


def _table(files: Sequence[StagedFile], proof: TableProof | None, key: Sequence[str]) -> TableResult:
    counts = {"rows": sum(f.rows for f in files), "bytes": sum(f.bytes for f in files)}
    proven = {"sha256": proof.sha256, "columns": without_bounds(proof.columns, key)} if proof else {}
    return TableResult(files=len(files), **counts, **proven)


def _scoring(files: Sequence[StagedFile]) -> tuple[float, int]:
    """Wall-clock seconds of scoring and rows per second, over the pieces that this attempt scored."""
    fresh = [f for f in files if f.ended]
    if not fresh:
        return 0.0, 0
    spent = max(f.ended for f in fresh) - min(f.started for f in fresh)
    return spent, round(sum(f.rows for f in fresh) / max(spent, 1e-9))
