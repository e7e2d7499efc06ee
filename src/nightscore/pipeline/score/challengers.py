"""Models that score the same rows as the champion, in the same pass, and decide nothing.

Whatever a challenger does costs its own columns and no more: where it can't be opened they are null on that
day, and where it can't score a row, or gives NaN for it, they are null in that row. Which rows these are does
not depend on chunks: a chunk that fails is halved until the guilty rows stand alone, in order, and the
challenger is given up for the rest of the piece at the SPARED-th of them, or when it has taken limits.time
there. The receipt names what became of each (`read_challenger_results`).
"""

import dataclasses
import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from nightscore.common import NightscoreError
from nightscore.job import Job
from nightscore.pipeline.score.missing_values import filled
from nightscore.pipeline.score.mlflow_registry import fetch_model
from nightscore.pipeline.score.open_model import ModelSource, open_cached_scorer
from nightscore.scorers import ChunkError, Scorer, plain_variant_of
from nightscore.store import (
    Challenger,
    ChallengerResult,
    ColumnProof,
    Plan,
    RunFolder,
    json_digest,
    run_folder,
)

SPARED = 100  # rows of a piece that a challenger may fail on, before it is given up there


def add_challengers(job: Job, plan: Plan, champion: Scorer, features: pa.Schema) -> Plan:
    """The plan with the job's challengers, whose bytes are causes of the day; as it is without any."""
    rivals = job.spec.model.rivals
    if not rivals:
        return plan
    needed = (champion.signature.outputs, features)
    found = tuple(_looked_at(job, plan, name, path, needed) for name, path in rivals.items())
    causes = json_digest(plan.fingerprint, [(one.name, one.path, one.sha256) for one in found])
    return dataclasses.replace(plan, challengers=found, fingerprint=causes)


def _looked_at(job: Job, plan: Plan, name: str, path: str, needed: tuple[pa.Schema, pa.Schema]) -> Challenger:
    """A challenger as it is now, and why it can't be used, if so; `needed`: outputs, features."""
    found = Challenger(name, path)
    try:
        named = fetch_model(job.workspace, path)
        file = ModelSource(job.workspace, job.spec.model.kind, named.path).read()
        found = Challenger(name, file.name, file.sha256, named.uri)
        problem = _misfit(_opened(job, plan, found), *needed)
    except Exception as error:  # other people's models: whatever they raise costs their columns
        problem = _said(error)
    return dataclasses.replace(found, refused=problem)


def _misfit(scorer: Scorer, outputs: pa.Schema, features: pa.Schema) -> str:
    """Why a challenger can't stand beside the champion, if so."""
    misfits = list(scorer.signature.misfits(features))
    for wanted in outputs:
        kind = scorer.signature.outputs.field(wanted.name).type
        if kind != wanted.type:
            misfits.append(f"its {wanted.name} is {kind}; the champion's is {wanted.type}")
    return "; ".join(misfits)


def _opened(job: Job, plan: Plan, one: Challenger) -> Scorer:
    return open_cached_scorer(
        job, one.path, one.sha256, plain_variant_of(job.spec.model.kind, plan.device), plan.code
    )


def _said(error: BaseException) -> str:
    text = (str(error) or type(error).__name__).splitlines()[0]
    return text if isinstance(error, NightscoreError | ChunkError) else f"{type(error).__name__}: {text}"


@dataclasses.dataclass
class _One:
    """A challenger at work on a piece: CPU and wall-clock seconds, rows that it failed on, why at first."""

    name: str
    scorer: Scorer | None = None
    cpu_seconds: float = 0.0
    seconds: float = 0.0
    failed: int = 0
    reason: str = ""

    def fail(self, rows: int, reason: str) -> None:
        """Note rows that it gives nothing for."""
        self.failed += rows
        self.reason = self.reason or reason


class Challengers:
    """The challengers of a plan, open for one piece. Not for use by two threads at once."""

    def __init__(self, job: Job, plan: Plan, champion: Scorer) -> None:
        self._job, self._outputs = job, champion.signature.outputs
        self._ones = [self._open(job, plan, one) for one in plan.challengers]

    def _open(self, job: Job, plan: Plan, one: Challenger) -> _One:
        if one.refused:
            return _One(one.name, reason=one.refused)
        try:
            return _One(one.name, _opened(job, plan, one))
        except Exception as error:  # gone or another file since the plan was made, or no device here
            return _One(one.name, reason=_said(error))

    @property
    def inputs(self) -> list[str]:
        """The columns of the features that they read."""
        return [name for one in self._ones if one.scorer for name in one.scorer.signature.inputs.names]

    def columns(self, features: pa.RecordBatch) -> list[pa.Array]:
        """Their columns for rows that the champion has scored, in the order of the scores table."""
        return [column for one in self._ones for column in self._scored(one, features)]

    def _scored(self, one: _One, rows: pa.RecordBatch) -> list[pa.Array]:
        cpu, started = time.thread_time(), time.monotonic()
        parts = self._parts(one, rows)
        one.cpu_seconds += time.thread_time() - cpu
        one.seconds += time.monotonic() - started
        if one.scorer and one.seconds > (self._job.spec.limits.seconds or math.inf):
            one.scorer, one.reason = None, f"takes longer than limits.time, {self._job.spec.limits.time}"
        return [pa.concat_arrays([part[i] for part in parts]) for i in range(len(self._outputs))]

    def _parts(self, one: _One, rows: pa.RecordBatch) -> list[list[pa.Array]]:
        """The outputs of some rows, part by part; null where there are none."""
        if one.scorer is None or one.failed >= SPARED:
            return [[pa.nulls(rows.num_rows, field.type) for field in self._outputs]]
        try:
            return [self._given(one, one.scorer, rows)]
        except Exception as error:  # other people's models
            if rows.num_rows > 1:
                middle = rows.num_rows // 2
                return [*self._parts(one, rows[:middle]), *self._parts(one, rows[middle:])]
            one.fail(1, _said(error))
            return [[pa.nulls(1, field.type) for field in self._outputs]]

    def _given(self, one: _One, scorer: Scorer, rows: pa.RecordBatch) -> list[pa.Array]:
        found = scorer.score(filled(rows, self._job.spec.scoring.features_null))
        if found.num_rows != rows.num_rows or found.schema.types != self._outputs.types:
            raise ChunkError(f"gives {found.num_rows} rows of {found.schema.types} for {rows.num_rows} rows")
        columns = [_without_nan(found.column(name)) for name in self._outputs.names]
        if any(column.null_count for column in columns):
            one.reason = one.reason or "gives NaN for some rows"
        return columns

    def keep_notes(self, path: Path) -> None:
        """Write down what became of them in this piece."""
        if not self._ones:
            return
        notes = {
            one.name: {"cpu_seconds": one.cpu_seconds, "reason": self._reason(one)} for one in self._ones
        }
        run_folder.record(path, json.dumps(notes))

    def _reason(self, one: _One) -> str:
        return (
            f"given up after {SPARED} rows of a piece: {one.reason}" if one.failed >= SPARED else one.reason
        )


def _without_nan(column: pa.Array) -> pa.Array:
    """A column with a null for each NaN."""
    if not pa.types.is_floating(column.type):
        return column
    return pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)


def read_challenger_results(
    job: Job, plan: Plan, run: RunFolder, rows: int, columns: Mapping[str, ColumnProof]
) -> tuple[ChallengerResult, ...]:
    """What became of a plan's challengers: rows as they were read back, of a table of so many rows."""
    notes = [_note(run.challengers(piece.fingerprint)) for piece in plan.pieces]
    found = []
    for one in plan.challengers:
        nulls = [
            columns[c].nulls for c, (name, _) in job.spec.model.challenger_columns.items() if name == one.name
        ]
        own = [note[one.name] for note in notes if one.name in note]
        found.append(
            ChallengerResult(
                name=one.name, path=one.path, sha256=one.sha256, uri=one.uri,
                rows=rows - max(nulls, default=0),
                cpu_seconds=round(sum(float(note["cpu_seconds"]) for note in own), 6),
                reason=next((str(note["reason"]) for note in own if note["reason"]), one.refused),
            )
        )  # fmt: skip
    return tuple(found)


def _note(path: Path) -> Mapping[str, Mapping[str, float | str]]:
    try:
        found: Mapping[str, Mapping[str, float | str]] = json.loads(path.read_text())
    except (OSError, ValueError):  # an attempt was killed between the two; the counts are in the scores
        return {}
    return found


def conformed(batch: pa.RecordBatch, schema: pa.Schema, optional: Sequence[str]) -> pa.RecordBatch:
    """A batch of an earlier run with the columns of this one, null where they are challengers' of now."""
    columns = [
        pa.nulls(batch.num_rows, field.type)
        if field.name in optional and field.name not in batch.schema.names
        else batch.column(field.name)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
