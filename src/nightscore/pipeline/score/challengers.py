"""Shadow scoring: challengers score the same rows as the champion, in the same pass, and decide nothing.

A challenger's failure affects its own columns alone: where it can't be opened they are null on that day, and
where it can't score a row, or gives NaN or an infinite number for it, they are null in that row. Which rows
these are does not depend on chunks: a chunk that fails is halved until the rows at fault stand alone, in
order. The challenger
is given up for the rest of the piece at the SPARED-th of them, or when it has taken limits.time there. The
receipt says what became of each (`read_challenger_results`).
"""

import dataclasses
import json
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from nightscore.common import NightscoreError, first_line, thread_seconds
from nightscore.job import Job
from nightscore.pipeline.score.lost_values import refuse_lost
from nightscore.pipeline.score.missing_values import filled
from nightscore.pipeline.score.mlflow_registry import fetch_model
from nightscore.pipeline.score.open_model import ModelSource, open_cached_scorer
from nightscore.pipeline.score.row_checks import no_scores
from nightscore.pipeline.score.time_limit import TookTooLong, too_slow, until
from nightscore.scorers import ChunkError, Scorer, plain_variant_of
from nightscore.store import (
    Challenger,
    ChallengerResult,
    ColumnProof,
    Place,
    Plan,
    RunFolder,
    json_digest,
    run_folder,
    storage,
)

SPARED = 100  # rows of a piece that a challenger may fail on, before it is given up there


def add_challengers(job: Job, plan: Plan, champion: Scorer, features: pa.Schema) -> Plan:
    """The plan with the job's challengers, whose bytes are causes of the day; as it is without any."""
    rivals = job.spec.model.rivals
    if not rivals:
        return plan
    needed = (champion.signature.outputs, features)
    challengers = tuple(_inspect(job, plan, name, path, needed) for name, path in rivals.items())
    causes = add_challengers_cause(plan.fingerprint, challengers)
    return dataclasses.replace(plan, challengers=challengers, fingerprint=causes)


def add_challengers_cause(fingerprint: str, challengers: Sequence[Challenger]) -> str:
    """The fingerprint of a day with some challengers; as it is without any."""
    if not challengers:
        return fingerprint
    return json_digest(fingerprint, [(c.name, c.path, c.sha256) for c in challengers])


def _inspect(job: Job, plan: Plan, name: str, path: str, needed: tuple[pa.Schema, pa.Schema]) -> Challenger:
    """A challenger as it is now, with the reason if it can't be used; `needed`: outputs, features."""
    challenger = Challenger(name, path)
    try:
        named = fetch_model(job.workspace, path, job.spec.model.kind)
        file = ModelSource.of(job, named.path).read()
        challenger = Challenger(name, file.name, file.sha256, named.uri)
        problem = _misfit(_open_scorer(job, plan, challenger), *needed)
    except (Exception, SystemExit) as error:  # other people's models: whatever they raise, theirs are null
        problem = _message(error)
    return dataclasses.replace(challenger, refused=problem)


def _misfit(scorer: Scorer, outputs: pa.Schema, features: pa.Schema) -> str:
    """Why a challenger can't score beside the champion; empty if it can."""
    misfits = list(scorer.signature.misfits(features))
    for output in outputs:
        kind = scorer.signature.outputs.field(output.name).type
        if kind != output.type:
            misfits.append(f"its {output.name} is {kind}; the champion's is {output.type}")
    return "; ".join(misfits)


def _open_scorer(job: Job, plan: Plan, challenger: Challenger) -> Scorer:
    return open_cached_scorer(
        job, challenger.path, challenger.sha256, plain_variant_of(job.spec.model.kind, plan.device), plan.code
    )


def _message(error: BaseException) -> str:
    text = first_line(error)
    return text if isinstance(error, NightscoreError | ChunkError) else f"{type(error).__name__}: {text}"


@dataclasses.dataclass
class _OpenChallenger:
    """A challenger of one piece: CPU and wall-clock seconds, rows that it failed on, the first reason.

    It may take `allowed` seconds in all.
    """

    name: str
    allowed: float = math.inf
    scorer: Scorer | None = None
    cpu_seconds: float = 0.0
    seconds: float = 0.0
    started: float = 0.0
    failed: int = 0
    reason: str = ""

    def left(self) -> float:
        """The seconds that are left to it, in the middle of a call."""
        return self.allowed - self.seconds - (time.monotonic() - self.started)

    def fail(self, rows: int, reason: str) -> None:
        """Note rows that it gives nothing for."""
        self.failed += rows
        self.reason = self.reason or reason


class Challengers:
    """The challengers of a plan, open for one piece. Not for use by two threads at once."""

    def __init__(self, job: Job, plan: Plan, champion: Scorer) -> None:
        self._job, self._outputs = job, champion.signature.outputs
        self._slow = too_slow(job)
        self._ones = [self._open(job, plan, challenger) for challenger in plan.challengers]

    def _open(self, job: Job, plan: Plan, challenger: Challenger) -> _OpenChallenger:
        if challenger.refused:
            return _OpenChallenger(challenger.name, reason=challenger.refused)
        one = _OpenChallenger(challenger.name, job.spec.limits.seconds or math.inf)
        try:
            one.scorer = until(_open_scorer(job, plan, challenger), one.left, self._slow)
        except (Exception, SystemExit) as error:  # gone or another file since the plan, or no device here
            one.reason = _message(error)
        return one

    @property
    def inputs(self) -> list[str]:
        """The columns of the features that they read."""
        scorers = [challenger.scorer for challenger in self._ones if challenger.scorer]
        return [name for scorer in scorers for name in scorer.signature.inputs.names]

    def columns(self, features: pa.RecordBatch) -> list[pa.Array]:
        """Their columns for rows that the champion has scored, in the order of the scores table."""
        return [column for challenger in self._ones for column in self._score(challenger, features)]

    def _score(self, challenger: _OpenChallenger, rows: pa.RecordBatch) -> list[pa.Array]:
        cpu, challenger.started = thread_seconds(), time.monotonic()
        parts = self._parts(challenger, rows)
        challenger.cpu_seconds += thread_seconds() - cpu
        challenger.seconds += time.monotonic() - challenger.started
        if challenger.scorer and challenger.seconds > challenger.allowed:
            challenger.scorer, challenger.reason = None, self._slow
        return [pa.concat_arrays([part[i] for part in parts]) for i in range(len(self._outputs))]

    def _parts(self, challenger: _OpenChallenger, rows: pa.RecordBatch) -> list[list[pa.Array]]:
        """The outputs of some rows, part by part; null where there are none."""
        if challenger.scorer is None or challenger.failed >= SPARED:
            return [[pa.nulls(rows.num_rows, field.type) for field in self._outputs]]
        try:
            return [self._outputs_of(challenger, challenger.scorer, rows)]
        except TookTooLong:
            challenger.scorer, challenger.reason = None, self._slow
            return [[pa.nulls(rows.num_rows, field.type) for field in self._outputs]]
        except (Exception, SystemExit) as error:  # other people's models
            if rows.num_rows > 1:
                middle = rows.num_rows // 2
                return [*self._parts(challenger, rows[:middle]), *self._parts(challenger, rows[middle:])]
            challenger.fail(1, _message(error))
            return [[pa.nulls(1, field.type) for field in self._outputs]]

    def _outputs_of(
        self, challenger: _OpenChallenger, scorer: Scorer, rows: pa.RecordBatch
    ) -> list[pa.Array]:
        if self._job.spec.policy.value_lost != "count":
            refuse_lost(rows, scorer.signature.inputs)
        outputs = scorer.score(filled(self._job, rows, scorer.signature.inputs))
        if outputs.num_rows != rows.num_rows or outputs.schema.types != self._outputs.types:
            raise ChunkError(
                f"gives {outputs.num_rows} rows of {outputs.schema.types} for {rows.num_rows} rows"
            )
        return [_scores_alone(challenger, outputs.column(name)) for name in self._outputs.names]

    def keep_notes(self, path: Place) -> None:
        """Write down what became of them in this piece."""
        if not self._ones:
            return
        notes = {
            challenger.name: {"cpu_seconds": challenger.cpu_seconds, "reason": self._reason(challenger)}
            for challenger in self._ones
        }
        run_folder.record(path, json.dumps(notes))

    def _reason(self, challenger: _OpenChallenger) -> str:
        return (
            f"given up after {SPARED} rows of a piece: {challenger.reason}"
            if challenger.failed >= SPARED
            else challenger.reason
        )


def _scores_alone(challenger: _OpenChallenger, column: pa.Array) -> pa.Array:
    """A column with a null for what is no score, and for each list that holds one; the first is noted."""
    for bad, what in no_scores(column):
        challenger.reason = challenger.reason or f"gives {what} for some rows"
        column = pc.if_else(pa.array(~bad), column, pa.scalar(None, column.type))
    return column


def read_challenger_results(
    job: Job, plan: Plan, run: RunFolder, rows: int, columns: Mapping[str, ColumnProof]
) -> tuple[ChallengerResult, ...]:
    """What became of a plan's challengers.

    `rows` and `columns` (column -> its statistics) are those of the scores table as it was read back; of a
    table without rows no column has any.
    """
    places = [run.challengers(piece.fingerprint) for piece in plan.pieces] if plan.challengers else []
    notes = storage.ask_each(_note, places)
    results = []
    for challenger in plan.challengers:
        nulls = [
            columns[c].nulls if c in columns else 0
            for c, (name, _) in job.spec.model.challenger_columns.items()
            if name == challenger.name
        ]
        own = [note[challenger.name] for note in notes if challenger.name in note]
        results.append(
            ChallengerResult(
                name=challenger.name, path=challenger.path, sha256=challenger.sha256, uri=challenger.uri,
                rows=rows - max(nulls, default=0),
                cpu_seconds=round(sum(float(note["cpu_seconds"]) for note in own), 6),
                reason=next((str(note["reason"]) for note in own if note["reason"]), challenger.refused),
            )
        )  # fmt: skip
    return tuple(results)


def _note(path: Place) -> dict[str, dict[str, Any]]:
    try:
        notes = json.loads(path.read_text())
        return {str(name): {"cpu_seconds": 0.0, "reason": "", **note} for name, note in notes.items()}
    except (OSError, ValueError, TypeError, AttributeError):  # an attempt was killed between the two, or it
        return {}  # is damaged; the counts are in the scores


def conformed(batch: pa.RecordBatch, schema: pa.Schema, optional: Sequence[str]) -> pa.RecordBatch:
    """A batch of an earlier run with the columns of this one, null where they are challengers' of now."""
    columns = [
        pa.nulls(batch.num_rows, field.type)
        if field.name in optional and field.name not in batch.schema.names
        else batch.column(field.name)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
