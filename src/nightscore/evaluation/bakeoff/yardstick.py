"""How far a candidate's scores and decisions are from the reference's, from what both have staged."""

import dataclasses
import datetime as dt
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from nightscore.common import NightscoreError, first_line
from nightscore.evaluation.bakeoff.worker import TrialFailed
from nightscore.evaluation.decision_changes import compare_decisions, measure_total_move
from nightscore.job import Job, Metric, read_sql, sql_place
from nightscore.pipeline import (
    Day,
    Deviation,
    bind_job,
    compare_scores,
    comparison_resources,
    inputs,
    open_planned_scorer,
    stage_decisions,
)
from nightscore.store import Plan, SqlMistakes, StagedFile, accuracy_budget_for, read_staged, run_folder


class Yardstick:
    """What the reference staged for a day; candidates are held to it."""

    def __init__(self, job: Job, plan: Plan) -> None:
        self._day = Day(job, plan)
        self._budget = accuracy_budget_for(job)
        scorer = open_planned_scorer(job, plan)
        self._outputs = scorer.signature.outputs
        self._stored = bind_job(self._day, scorer).stored
        self._scores = _read_staged(job, plan)
        self._decided = self._decisions(plan)
        self._metric = self._measured(plan)

    def measure_deviation(self, plan: Plan) -> Deviation:
        """How far what a candidate's plan has staged is from what the reference staged.

        Raises:
            TrialFailed: the two can't be compared, or the candidate's scores can't be decided on.
        """
        job = self._day.job
        theirs = _read_staged(job, plan)
        self._refuse_unlike(theirs)
        try:
            deviation = compare_scores(self._paths(self._scores), self._paths(theirs), self._outputs)
            flips, rows, totals = self._flips(plan)
            metric = self._measured(plan)
        except NightscoreError as error:
            raise TrialFailed(first_line(error)) from error
        return dataclasses.replace(
            deviation, flips=flips, decisions=rows, totals=totals, metric=metric, metric_before=self._metric
        )

    def _flips(self, plan: Plan) -> tuple[int, int, float]:
        if not self._decided:
            return 0, 0, 0.0
        theirs, resources, changes = self._decisions(plan), comparison_resources(self._day), []
        pairs = {table: (file, theirs[table]) for table, file in self._decided.items()}
        for table, pair in pairs.items():
            changes += compare_decisions(table, pair, self._day.job.spec.key, self._budget, resources)
        moves = [measure_total_move(pair, resources) for pair in pairs.values()]
        return sum(change.changed for change in changes), sum(change.rows for change in changes), max(moves)

    def _decisions(self, plan: Plan) -> dict[str, Path]:
        day = Day(self._day.job, plan)
        for table in day.job.decide_sql:  # of the rows as they are now, not of an earlier look
            day.run.remove_decided(table)
        files = stage_decisions(day, _read_staged(day.job, plan), self._stored)
        return {table: day.locate(file.path) for table, file in files.items()}

    def _measured(self, plan: Plan) -> float | None:
        """The metric, where the job has one and there are labels."""
        metric = self._budget.metric
        if metric is None:
            return None
        job, day = self._day.job, dt.date.fromisoformat(plan.day)
        days = inputs.list_input_days(job)
        if days and days[-1] < day + dt.timedelta(days=metric.after_days):
            return None
        files = inputs.resolve_later_inputs(job, day, metric.after_days)
        later = Day(job, dataclasses.replace(plan, inputs=files), metric.after_days)
        text = read_sql(job, ("budget", "metric", "sql"), metric.sql)
        with (
            later.engine({"scores": _read_staged(job, plan)}) as engine,
            SqlMistakes(sql_place(job, metric.sql)),
        ):
            return _one_number(engine.rows(text), job, metric)

    def _refuse_unlike(self, theirs: list[StagedFile]) -> None:
        ours = self._scores
        if sum(f.rows for f in theirs) != sum(f.rows for f in ours):
            raise TrialFailed(
                f"it scores {sum(f.rows for f in theirs):,} rows, the model {sum(f.rows for f in ours):,}"
            )
        reference, candidate = (
            pq.read_schema(self._day.locate(files[0].path)).remove_metadata() for files in (ours, theirs)
        )
        if not reference.equals(candidate):
            raise TrialFailed(f"it gives ({_shown(candidate)}); the model gives ({_shown(reference)})")

    def _paths(self, files: list[StagedFile]) -> list[Path]:
        return [self._day.locate(file.path) for file in files]


def _read_staged(job: Job, plan: Plan) -> list[StagedFile]:
    run = run_folder.folder_of_plan(job.workspace, plan)
    return [read_staged(run.scores(p.fingerprint), run.rejects(p.fingerprint)) for p in plan.pieces]


def _one_number(rows: list[tuple[object, ...]], job: Job, metric: Metric) -> float | None:
    if len(rows) != 1 or len(rows[0]) != 1 or isinstance(rows[0][0], str | bytes | list | dict):
        job.raise_broken(("budget", "metric", "sql"), f"{metric.sql} gives no single number")
    value = rows[0][0]
    return None if value is None else float(value)  # type: ignore[arg-type]


def _shown(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} {field.type}" for field in schema if field.name != "run_id")
