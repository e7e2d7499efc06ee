"""One row explained: its features as they were scored, its scores, what was decided."""

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from nightscore.common import Broken
from nightscore.job import FULL, MADE_BY, Job
from nightscore.pipeline import inputs
from nightscore.store import Engine, ModelResult, Receipt, RunFolder, View, catalog, quote_identifier, renames

Row = dict[str, Any]


class RowExplanation(BaseModel):
    """One row of a published day, from its features to the decisions about it.

    `features` is None where they are no longer there, and `note` says why. `decisions` has the
    rows of each decision table whose key columns are those asked for; an empty list: not chosen.
    """

    job: str
    day: str
    run_id: str
    key: dict[str, str]
    model: ModelResult | None
    features: Row | None
    scores: Row | None
    decisions: dict[str, list[Row]]
    note: str = ""


def explain_row(job: Job, day: dt.date, key: Mapping[str, str]) -> RowExplanation:
    """What is known of one row of a published day.

    Raises:
        Broken: the day is not published, the key's columns are not the job's, or no row has this key.
    """
    if set(key) != set(job.spec.key):
        raise Broken(
            f"the key of job {job.name} is {', '.join(job.spec.key)}; given: {', '.join(key) or 'nothing'}"
        )
    state = catalog.read_catalog(job.workspace)
    entry = state.in_force.get((job.name, day.isoformat()))
    if entry is None:
        raise Broken(f"job {job.name}: {day} is not published")
    receipt, files = entry.read_receipt(), state.paths_of(entry)
    scores = _rows(job, files[job.spec.scores_table], key) if job.spec.scores_table in files else []
    features, note = _features(job, receipt, key)
    note = _rung(job, receipt, scores) or note
    # Others decide by another job now, or have no such day any more.
    held = [t for t in state.holds(entry) if t != job.spec.scores_table and t in files]
    decisions = {t: _rows(job, files[t], key) for t in held}
    if not scores and not any(decisions.values()):
        shown = ", ".join(f"{c}={v}" for c, v in key.items())
        raise Broken(f"job {job.name}, day {day}: no row with {shown}; it was not among the rows to score")
    return RowExplanation(
        job=job.name, day=receipt.day, run_id=receipt.run_id, key=dict(key), model=receipt.model,
        features=features, scores=scores[0] if scores else None, decisions=decisions, note=note,
    )  # fmt: skip


def _rung(job: Job, receipt: Receipt, scores: Sequence[Row]) -> str:
    """What made a row of a late night, where it was not made as every night."""
    made_by = scores[0].get(MADE_BY) if scores and receipt.degraded else None
    if made_by in (None, FULL) or receipt.degraded is None:
        return ""
    if origin := receipt.degraded.carried_from:
        first = str(made_by).removeprefix("carried from ")[:10] or origin
        return f"{made_by}: see `nightscore why {job.name} --day {first}` for how it was made"
    by = receipt.degraded.variant
    return f"made by {made_by}" + (f" ({by.path}, sha256 {by.sha256[:16]}…)" if by else "")


def _features(job: Job, receipt: Receipt, key: Mapping[str, str]) -> tuple[Row | None, str]:
    """The row as it was scored; None and the reason where it can't be shown any more."""
    if receipt.degraded and receipt.degraded.carried_from:
        return None, "it was carried forward"
    if job.features_sql is not None:
        run = RunFolder(renames.runs_home(job.workspace, job.name) / receipt.day / receipt.run_id)
        if not run.snapshots:
            return None, f"the feature snapshot of run {receipt.run_id} has been removed"
        rows = _rows(job, [path.local() for path in run.snapshots], key)
    else:
        recorded = {f.path: f.fingerprint for f in receipt.inputs}
        now = inputs.resolve_inputs(job, dt.date.fromisoformat(receipt.day))[job.spec.source]
        own = [f for f in now if f.day == receipt.day]
        if any(recorded.get(f.path) != f.fingerprint for f in own):
            return None, f"input {job.spec.source} has changed since run {receipt.run_id}"
        rows = _matching(job, inputs.view(job, job.spec.source, own, "rows"), key)
    return (rows[0], "") if rows else (None, "the row is not in the feature snapshot")


def _rows(job: Job, files: Sequence[Path], key: Mapping[str, str]) -> list[Row]:
    """The rows with this key among files; the key's columns that they have are what counts."""
    return _matching(job, View("rows", tuple(files)), key)


def _matching(job: Job, view: View, key: Mapping[str, str]) -> list[Row]:
    with Engine([view], catalog.query_resources(job.workspace)) as engine:
        columns = engine.schema("SELECT * FROM rows").names
        filters = {c: v for c, v in key.items() if c in columns}
        if not filters:
            return []
        # Compared as text: what a person typed is compared with what a person would see.
        terms = [f"{quote_identifier(c)}::VARCHAR = ${i}" for i, c in enumerate(filters, 1)]
        rows = engine.rows(f"SELECT * FROM rows WHERE {' AND '.join(terms)}", list(filters.values()))
    return [{c: v for c, v in zip(columns, row, strict=True) if c != "run_id"} for row in rows]
