"""`nightscore judge`: how the challengers of a job have done on its published days, and what follows.

Judged are the last published days, as many as the job's judge section asks for, that the champion of now and
the challenger of now have scored: other bytes under the same name are another model. Where labels are asked
for, only days whose labels are complete count. Nothing is written.
"""

import datetime as dt
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from pydantic import BaseModel

from nightscore.common import Broken, NightscoreError, ProgressCallback, silent
from nightscore.evaluation.decision_changes import compare_challenger_decisions
from nightscore.evaluation.intervals import DayMetric, metric_interval
from nightscore.evaluation.outcomes import (
    LabelsError,
    find_last_labelled_day,
    measure_outcomes,
    scored_output,
)
from nightscore.evaluation.verdict import (
    ChallengerEvidence,
    DayMeasure,
    FlipMeasure,
    MetricMeasure,
    Word,
    reach_verdict,
)
from nightscore.job import Job
from nightscore.pipeline import (
    Day,
    ModelSource,
    fetch_model,
    is_scalar_number,
    rank_correlation_of,
    read_column,
)
from nightscore.scorers import ModelError
from nightscore.store import Receipt, catalog

Where = tuple[str, str, str]  # a table, and of it a segment and its value; empty texts are all rows


class Verdict(BaseModel):
    """What was measured of a challenger, and what follows from it."""

    name: str
    model: str
    sha256: str
    verdict: Word
    reasons: list[str]
    evidence: ChallengerEvidence


class Judgement(BaseModel):
    """The verdicts on a job's challengers."""

    job: str
    champion: str
    sha256: str
    metric: str
    confidence: float
    verdicts: list[Verdict]


def judge_challengers(
    job: Job, day: dt.date | None = None, report: ProgressCallback = silent, *, only: str | None = None
) -> Judgement:
    """The verdict on each challenger of a job (or on one, by its path) by its published days, up to `day`.

    Raises:
        Broken: the job has no challengers, or its labels can't be made.
        NotYet: the registry that has the champion can't be reached.
    """
    job.refuse_no_model("judged")
    rivals = job.spec.model.rivals
    if not rivals:
        job.raise_broken(("model",), "has no challengers, so there is nobody to judge")
    champion = read_model_sha256(job, job.spec.model.name)
    settings = job.spec.judge
    return Judgement(
        job=job.name,
        champion=job.spec.model.name,
        sha256=champion,
        metric=settings.labels.metric if settings.labels else "",
        confidence=settings.confidence,
        verdicts=[
            _judged(job, name, champion, day, report) for name, path in rivals.items() if only in (None, path)
        ],
    )


def read_model_sha256(job: Job, model: str) -> str:
    """The sha256 of a model as it is now. Broken, or NotYet, where it can't be read."""
    try:
        named = fetch_model(job.workspace, model, job.spec.model.kind)
        return ModelSource.of(job, named.path).read().sha256
    except ModelError as error:
        raise Broken(str(error)) from error


def _judged(job: Job, name: str, champion: str, until: dt.date | None, report: ProgressCallback) -> Verdict:
    model = job.spec.model.rivals[name]
    try:
        sha256 = read_model_sha256(job, model)
        evidence = _evidence(job, name, _days(job, name, (champion, sha256), until), report)
    except NightscoreError as error:
        if isinstance(error, LabelsError):
            raise
        sha256, evidence = "", ChallengerEvidence(problems=[str(error)])
    word, reasons = reach_verdict(job.spec.judge, evidence)
    return Verdict(name=name, model=model, sha256=sha256, verdict=word, reasons=reasons, evidence=evidence)


def _days(
    job: Job, name: str, hashes: tuple[str, str], until: dt.date | None
) -> list[tuple[Receipt, list[Path]]]:
    """The receipts and the files of scores of the days to judge by, the newest first."""
    state, days = catalog.read_catalog(job.workspace), []
    last = min(filter(None, (until, find_last_labelled_day(job))), default=dt.date.max).isoformat()
    for (other, day), entry in sorted(state.in_force.items(), reverse=True):
        if other != job.name or day > last or job.spec.scores_table not in state.holds(entry):
            continue
        receipt = entry.read_receipt()
        hashes_beside = {challenger.name: challenger.sha256 for challenger in receipt.challengers}
        if receipt.model and (receipt.model.sha256, hashes_beside.get(name)) == hashes:
            days.append(
                (receipt, [file.path.local() for file in state.files_of(entry, job.spec.scores_table)])
            )
        if len(days) == job.spec.judge.days:
            break
    return days


def _evidence(
    job: Job, name: str, days: Sequence[tuple[Receipt, list[Path]]], report: ProgressCallback
) -> ChallengerEvidence:
    measured, problems = [], []
    flipped: Counter[Where] = Counter()
    rows: Counter[Where] = Counter()
    metrics: dict[tuple[str, str], list[DayMetric]] = {}
    for i, (receipt, files) in enumerate(days):
        report(f"judge {name}", i, len(days))
        measured.append(_day(job, name, receipt.day, files))
        try:
            for change in compare_challenger_decisions(
                Day.of(job, receipt, known_at=receipt.known_at), files, name
            ):
                flipped[change[:3]] += change.changed
                rows[change[:3]] += change.rows
        except NightscoreError as error:
            problems.append(f"{receipt.day}: its decisions can't be made again: {error}")
        for where, metric in measure_outcomes(job, name, receipt, files):
            metrics.setdefault(where, []).append(metric)
    return ChallengerEvidence(
        days=measured,
        flips=[_flip(where, rows[where], flipped[where]) for where in rows],
        metrics=list(_metrics(job, metrics)),
        problems=problems,
    )


def _day(job: Job, name: str, day: str, files: Sequence[Path]) -> DayMeasure:
    """Rows of a day, and Spearman's correlation of both scores."""
    output = scored_output(job)
    ours, theirs = (read_column(files, column) for column in (output, f"{name}__{output}"))
    correlation = rank_correlation_of(ours, theirs) if is_scalar_number(ours.type) else None
    return DayMeasure(day=day, rows=len(ours), unscored=theirs.null_count, rank_correlation=correlation)


def _flip(where: Where, rows: int, count: int) -> FlipMeasure:
    table, segment, value = where
    return FlipMeasure(table=table, segment=segment, value=value, rows=rows, flips=count)


def _metrics(job: Job, by_segment: Mapping[tuple[str, str], Sequence[DayMetric]]) -> Iterator[MetricMeasure]:
    """The metric of all rows, and of segments' values: of k of those each interval is at 1 - (1 - c) / k.

    So that one of many values is not worse by chance alone more often than one would be (Bonferroni).
    """
    labels, confidence = job.spec.judge.labels, job.spec.judge.confidence
    parts = sum(1 for segment, _ in by_segment if segment)
    for (segment, value), days in sorted(by_segment.items()):
        level = 1 - (1 - confidence) / parts if segment else confidence
        compared = metric_interval(labels.metric if labels else "", days, level)
        numbers = {
            n: v if math.isfinite(v) else None for n, v in asdict(compared).items() if isinstance(v, float)
        }
        yield MetricMeasure(
            segment=segment,
            value=value,
            rows=compared.rows,
            clusters=compared.clusters,
            problem=compared.problem,
            **numbers,
        )
