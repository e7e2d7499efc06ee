"""`limits.time` and `limits.load` of a job: no call of a model, and no opening of one, takes longer."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from nightscore.common import Broken, TimeOver, call_in_time
from nightscore.job import Job
from nightscore.scorers import ModelError, Scorer, Signature, stop_calls


class TookTooLong(Broken):
    """Scoring took longer than the job allows."""


@dataclasses.dataclass(frozen=True)
class TimedScorer:
    """A scorer whose calls end after `left()` seconds: ONNX Runtime is stopped, others go on alone."""

    scorer: Scorer
    left: Callable[[], float]
    message: str

    @property
    def signature(self) -> Signature:
        """The columns needed and given."""
        return self.scorer.signature

    def score(self, chunk: pa.RecordBatch) -> pa.RecordBatch:
        """What the scorer gives.

        Raises:
            TookTooLong: it was not there in time; with the job's limit.
        """
        try:
            return call_in_time(lambda: self.scorer.score(chunk), self.left(), stop_calls)
        except TimeOver as error:
            raise TookTooLong(self.message) from error

    def __getattr__(self, name: str) -> Any:
        """What else a kind of scorer has."""
        return getattr(self.scorer, name)


def timed(job: Job, scorer: Scorer) -> Scorer:
    """A scorer of which no call takes longer than the job allows; as it is where the job has no limit."""
    seconds = job.spec.limits.seconds
    return (
        scorer if seconds is None else TimedScorer(scorer, lambda: seconds, too_long(job, f"job {job.name}"))
    )


def opened_in_time(job: Job, name: str, opening: Callable[[], Scorer]) -> Scorer:
    """What opens a model gives, unless it takes longer than the job allows.

    Raises:
        ModelError: it was not open in time; or as `opening` does.
    """
    try:
        return call_in_time(opening, job.spec.limits.load_seconds, stop_calls)
    except TimeOver as error:
        raise ModelError(
            f"{name}: opening it took longer than limits.load, {job.spec.limits.load}, of the job.yaml"
        ) from error


def until(scorer: Scorer, left: Callable[[], float], message: str) -> Scorer:
    """A timed scorer with other seconds left, and what is said when they are over; any other as it is."""
    if not isinstance(scorer, TimedScorer):
        return scorer
    return dataclasses.replace(scorer, left=left, message=message)


def too_long(job: Job, where: str) -> str:
    """What is said where the time is over."""
    return (
        f"{where}: scoring one piece took longer than limits.time, {job.spec.limits.time}, of its job.yaml; "
        "nothing is published"
    )


def too_slow(job: Job) -> str:
    """What is said of a challenger of which a call took longer."""
    return f"takes longer than limits.time, {job.spec.limits.time}"
