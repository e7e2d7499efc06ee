"""From what was measured of a challenger to PROMOTE, HOLD or REJECT, with the reasons.

PROMOTE needs evidence: labels by which it is better, beyond chance, or (without labels) a limit of decision
flips that it keeps. A limit that it breaks, and labels by which it is worse, beyond chance, REJECT it. All
else is HOLD: too few days, rows without its score, no difference beyond chance, and one segment that gets
worse, or flips more than the limit allows, although all rows together look well.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import BaseModel

from nightscore.job import Judge, Labels

Word = Literal["PROMOTE", "HOLD", "REJECT"]


class DayMeasure(BaseModel):
    """A published day: its rows, those that the challenger has not scored, and Spearman's rank correlation.

    The correlation is None where the output is no number.
    """

    day: str
    rows: int
    unscored: int
    rank_correlation: float | None


class FlipMeasure(BaseModel):
    """Rows of a decision table over all days, and how many flip; of one value of a segment, or of all."""

    table: str
    segment: str = ""
    value: str = ""
    rows: int
    flips: int

    @property
    def share(self) -> float:
        """Flips per row."""
        return self.flips / self.rows if self.rows else 0.0


class MetricMeasure(BaseModel):
    """A metric of both models, `better` by how much the challenger's is, and the bounds of its interval.

    Of one value of a segment, or of all rows. `problem` says why there is no interval.
    """

    segment: str = ""
    value: str = ""
    rows: int
    clusters: int
    champion: float | None
    challenger: float | None
    better: float | None
    low: float | None
    high: float | None
    problem: str = ""


class ChallengerEvidence(BaseModel):
    """What was measured of one challenger."""

    days: Sequence[DayMeasure] = ()
    flips: Sequence[FlipMeasure] = ()
    metrics: Sequence[MetricMeasure] = ()
    problems: Sequence[str] = ()


Finding = tuple[Word, str]


def reach_verdict(judge: Judge, evidence: ChallengerEvidence) -> tuple[Word, list[str]]:
    """The verdict on a challenger, and each finding that it follows from: the gravest decide."""
    findings = [*_complete(judge, evidence), *_limits(judge, evidence), *_labels(judge, evidence)]
    for word in ("REJECT", "HOLD"):
        reasons = [text for verdict, text in findings if verdict == word]
        if reasons:
            return word, reasons
    return "PROMOTE", [text for _, text in findings]


def _complete(judge: Judge, evidence: ChallengerEvidence) -> Iterator[Finding]:
    for problem in evidence.problems:
        yield "HOLD", problem
    if len(evidence.days) < judge.days:
        yield "HOLD", f"{len(evidence.days)} of {judge.days} days are there to judge by"
    unscored, rows = sum(day.unscored for day in evidence.days), sum(day.rows for day in evidence.days)
    if unscored:
        yield "HOLD", f"{unscored:,} of {rows:,} rows have no score of it"


def _limits(judge: Judge, evidence: ChallengerEvidence) -> Iterator[Finding]:
    least, most = judge.min_rank_correlation, judge.flips
    if least is not None:
        for day in evidence.days:
            if day.rank_correlation is None or day.rank_correlation < least:
                shown = "has none" if day.rank_correlation is None else f"is {day.rank_correlation:.4f}"
                yield "REJECT", f"{day.day}: the rank correlation {shown}; at least {least:g} is asked for"
    if most is not None:
        for measure in evidence.flips:
            if measure.share > most:
                word: Word = "HOLD" if measure.segment else "REJECT"
                broken = f"{measure.share:.2%} of the rows flip; allowed: {most:.2%}"
                yield word, f"{measure.table}{_where(measure)}: {broken}"


def _labels(judge: Judge, evidence: ChallengerEvidence) -> Iterator[Finding]:
    if judge.labels is None:
        yield _without_labels(judge.flips, evidence)
        return
    metric, drop = judge.labels.metric, judge.labels.max_drop
    whole = [measure for measure in evidence.metrics if not measure.segment]
    yield from (_overall(judge.labels, measure) for measure in whole)
    if not whole:
        yield "HOLD", "no day has labels"
    for measure in evidence.metrics:
        if measure.segment and measure.high is not None and measure.high < -drop:
            yield "HOLD", f"{metric}{_where(measure)} is worse{_beyond(drop)}: {_interval(measure)}"


def _without_labels(most: float | None, evidence: ChallengerEvidence) -> Finding:
    if most is None:
        return "HOLD", "neither labels nor max_flips say that it may decide (judge in job.yaml)"
    if not evidence.flips:
        return "HOLD", "there are no decisions whose flips could stand in for labels"
    return "PROMOTE", f"no more than {most:.2%} of any decision's rows flip"


def _overall(labels: Labels, measure: MetricMeasure) -> Finding:
    """Better or worse than the champion less `max_drop`: with one above 0 that asks for no loss beyond it."""
    metric, drop = labels.metric, labels.max_drop
    if measure.low is None or measure.high is None:
        return "HOLD", f"{metric} has no interval: {measure.problem}"
    if measure.high < -drop:
        return "REJECT", f"{metric} is worse{_beyond(drop)}: {_interval(measure)}"
    if measure.low > -drop:
        how = f"no worse{_beyond(drop)}" if drop else "better beyond chance"
        return "PROMOTE", f"{metric} is {how}: {_interval(measure)}"
    return "HOLD", f"{metric} may be better or worse{_beyond(drop)}: {_interval(measure)}"


def _beyond(drop: float) -> str:
    return f" by more than {drop:g}" if drop else " beyond chance"


def _where(measure: FlipMeasure | MetricMeasure) -> str:
    return f" where {measure.segment} is {measure.value}" if measure.segment else ""


def _interval(measure: MetricMeasure) -> str:
    low, high, better = (math.nan if v is None else v for v in (measure.low, measure.high, measure.better))
    return f"better by {better:+.4g} [{low:+.4g}, {high:+.4g}]"
