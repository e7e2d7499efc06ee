"""The cases of a job, one after the other, and what became of each."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from nightscore.common import NightscoreError, NotYet
from nightscore.job import Case, Job
from nightscore.pipeline import binding
from nightscore.pipeline.cases.compare import Difference, find_differences
from nightscore.pipeline.cases.night import MistakenCase, make_case
from nightscore.pipeline.score.open_model import OpenModel, open_job_model


@dataclass(frozen=True)
class CaseResult:
    """What became of a case: what is not as expected, or why it could not be run; and its seconds."""

    job: str
    case: Case
    differences: tuple[Difference, ...]
    problem: str
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether all is as expected."""
        return not (self.differences or self.problem)


def run_cases(job: Job, cases: Sequence[Case]) -> Iterator[CaseResult]:
    """Run some cases of a job, each in a temporary workspace; nothing of the job's `data/` is written.

    A case that can't be run says why in its `problem`, and keeps no other from being run.
    """

    @cache
    def opened() -> OpenModel:
        binding.check_sql(job)
        return open_job_model(job)

    for case in cases:
        started = time.monotonic()
        differences, problem = _tried(job, case, opened)
        yield CaseResult(job.name, case, tuple(differences), problem, time.monotonic() - started)


def _tried(job: Job, case: Case, opened: Callable[[], OpenModel]) -> tuple[list[Difference], str]:
    """What is not as a case expects it, or why it could not be run."""
    expected = case.spec.error
    try:
        made = make_case(job, case, opened())
        return ([_instead(case, "no error")] if expected else find_differences(job, case, made)), ""
    except NightscoreError as error:
        if expected is None or isinstance(error, NotYet | MistakenCase):
            return [], str(error)
        return ([] if expected in str(error) else [_instead(case, str(error))]), ""


def _instead(case: Case, actual: str) -> Difference:
    """That a run has not ended with the error that is expected."""
    return Difference(case.place(("error",)), "error", "", "", case.spec.error or "", actual)
