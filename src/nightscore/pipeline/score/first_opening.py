"""The first opening of a model: held to giving each row a score of its own, before a row is scored by it.

Asked about rows of its first night, by the plain variant, and kept for the next nights by the model's hash
and all else that can change an answer. A few rows, or rows that all get the same, show too little: then the
next night asks again. What later nights' rows would show is seen by each night's score sample
(`nightscore.pipeline.publish.score_sample`).
"""

import contextlib
import dataclasses
import json
import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from nightscore.common import Broken, NotYet, first_line, key_text
from nightscore.job import Job
from nightscore.pipeline.score.neighbours import Sway, find_sway, sound_rows
from nightscore.pipeline.score.open_model import open_cached_scorer, open_fresh_scorer
from nightscore.pipeline.score.sample import read_spread_rows
from nightscore.pipeline.score.time_limit import TookTooLong, too_slow
from nightscore.scorers import (
    ChunkError,
    ContractError,
    ModelChangedError,
    ModelError,
    Scorer,
    plain_variant_of,
    read_hardware,
)
from nightscore.store import InputFile, Plan, choices, json_digest

FORM = 1  # of the questions: a verdict of others is none
ROWS, FEWEST = 128, 16  # rows that are asked about: fewer of a slow model
PATIENCE = 0.25  # seconds that all of them may take at once
DEPENDS = "what is published would depend on chunks, memory and machine. "
OF_ONNX = (
    "Export the model for inference (eval()), without what looks along the rows (a mean, sum or softmax of "
    "axis 0, a range of the batch: dynamic quantization), chance, or memory between calls"
)
OF_CODE = (
    "A row's score may come from that row alone, in the order of the frame: no sorting, no mean or rank "
    "along the rows, no chance, no memory between calls"
)


def hold_to_rows(job: Job, plan: Plan, source: Sequence[InputFile]) -> Plan:
    """The plan, where its model gives each row a score of its own; a challenger that does not scores nothing.

    Raises:
        Broken: the model does not, with the evidence.
        NotYet: the model has changed since the plan was made.
    """
    if job.spec.model.is_none:
        return plan
    asked = _Asked(job, plan, source)
    try:
        problem = asked.of(plan.model_path, plan.model_sha256)
    except ModelChangedError as error:
        raise NotYet(str(error)) from error
    except ModelError as error:
        raise Broken(f"job {job.name}, day {plan.day}: {error}") from error
    except ContractError as error:
        raise Broken(
            f"job {job.name}, day {plan.day}: {plan.model_path}: {error}; nothing is published"
        ) from error
    if problem:
        remedy = DEPENDS + (OF_ONNX if plan.model_path.lower().endswith(".onnx") else OF_CODE)
        raise Broken(
            f"job {job.name}, day {plan.day}: {plan.model_path}: {problem}; {remedy}; nothing is published"
        )
    rivals = tuple(
        rival
        if rival.refused
        else dataclasses.replace(rival, refused=asked.of_rival(rival.path, rival.sha256))
        for rival in plan.challengers
    )
    return dataclasses.replace(plan, challengers=rivals)


class _Asked:
    """Some rows of one day, and the models that are asked about them."""

    def __init__(self, job: Job, plan: Plan, source: Sequence[InputFile]) -> None:
        self.job, self.plan, self.source = job, plan, source
        self.variant = plain_variant_of(job.spec.model.kind, plan.device)

    def of_rival(self, path: str, sha256: str) -> str:
        """The same of a challenger, which breaks nothing but itself."""
        try:
            return self.of(path, sha256)
        except TookTooLong:
            return too_slow(self.job)
        except Exception as error:  # other people's models
            return first_line(error)

    def of(self, path: str, sha256: str) -> str:
        """What is wrong with the scores of a model; empty if nothing is, or nothing can be said today.

        Raises:
            ContractError: it gives other columns or rows than it has to.
        """
        kept = self._kept(sha256)
        if kept.exists():
            return ""
        scorer = open_cached_scorer(self.job, path, sha256, self.variant, self.plan.code)
        try:
            rows = self._rows_for(scorer)
            sway = self._sway(scorer, rows, path, sha256) if rows is not None else None
        except (
            ChunkError,
            MemoryError,
            OSError,
            ImportError,
        ):  # scoring says so, and what becomes of the day
            return ""
        if sway is None and rows is not None and _shows(scorer, rows):
            text = json.dumps(
                {"model": path, "sha256": sha256, "rows": rows.num_rows, "by": str(self.variant)}
            )
            choices.record(kept, text)
        return "" if sway is None else self._said(sway, rows)

    def _rows_for(self, scorer: Scorer) -> pa.RecordBatch | None:
        """The rows that a model can score; fewer of a slow one."""
        if self.rows is None or not self.rows.num_rows:
            return None
        started = time.monotonic()
        few = sound_rows(scorer, self.rows[:FEWEST])
        slow = (time.monotonic() - started) * ROWS / FEWEST > PATIENCE
        rows = few if slow else sound_rows(scorer, self.rows)
        return rows if rows.num_rows else None

    @cached_property
    def rows(self) -> pa.RecordBatch | None:
        """Rows from all over the day, with the columns of all models."""
        return read_spread_rows(self.job, self.plan, self.source, ROWS, columns=self._columns())

    def _columns(self) -> list[str]:
        names: list[str] = []
        for rival in self.plan.challengers:
            with contextlib.suppress(Exception):  # it says so by itself
                scorer = open_cached_scorer(self.job, rival.path, rival.sha256, self.variant, self.plan.code)
                names += [] if rival.refused else scorer.signature.inputs.names
        return names

    def _sway(self, scorer: Scorer, rows: pa.RecordBatch, path: str, sha256: str) -> Sway | None:
        def fresh() -> Scorer:
            return open_fresh_scorer(self.job, path, sha256, self.variant, self.plan.code)

        # Of our own kinds, none remembers anything; a large model would be in memory twice.
        return find_sway(scorer, rows, self.job.spec.scoring.tolerance, fresh if self.plan.code else None)

    def _said(self, sway: Sway, rows: pa.RecordBatch | None) -> str:
        text = f"a row's score depends on the rows beside it, or on when it is scored: {sway}"
        if sway.error or rows is None:
            return text
        key = key_text(self.plan.key, [rows.column(c)[sway.row].as_py() for c in self.plan.key])
        return f"{text} ({key}; scoring.tolerance is {self.job.spec.scoring.tolerance:g})"

    def _kept(self, sha256: str) -> Path:
        """The file of a verdict, named by a hash of all that it depends on."""
        model, scoring = self.job.spec.model, self.job.spec.scoring
        causes = [
            FORM,
            [model.kind, str(self.variant), dict(model.outputs), model.columns],
            [scoring.tolerance, dict(scoring.features_null)],
            dataclasses.asdict(read_hardware()),
            [self.plan.versions, self.plan.code],
        ]
        name = f"{sha256[:12]}-{json_digest(sha256, causes)[:12]}.rows"
        return self.job.workspace.choices / name


def _shows(scorer: Scorer, rows: pa.RecordBatch) -> bool:
    """Whether rows are enough to show a fault: many, or all that a slow model is asked, and not all alike."""
    scored = scorer.score(rows)
    return rows.num_rows >= FEWEST and any(
        len({str(value) for value in scored.column(name).to_pylist()}) > 1 for name in scored.schema.names
    )
