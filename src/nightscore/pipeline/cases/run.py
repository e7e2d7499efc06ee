"""The cases of a job, one after the other, and what became of each."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from nightscore.common import Broken, NightscoreError
from nightscore.job import Case, Job
from nightscore.pipeline import binding
from nightscore.pipeline.cases.compare import Difference, find_differences
from nightscore.pipeline.cases.night import make_case
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
        started, differences, problem = time.monotonic(), list[Difference](), ""
        try:
            made = make_case(job, case, opened())
            if case.spec.error:
                differences = [_no_error(case)]
            else:
                differences = find_differences(job, case, made)
        except NightscoreError as error:
            if case.spec.error is None or not isinstance(error, Broken):
                problem = str(error)
            elif case.spec.error not in str(error):
                differences = [_other_error(case, str(error))]
        yield CaseResult(job.name, case, tuple(differences), problem, time.monotonic() - started)


def _no_error(case: Case) -> Difference:
    return _other_error(case, "no error")


def _other_error(case: Case, actual: str) -> Difference:
    return Difference(case.place(("error",)), "error", "", "", case.spec.error or "", actual)
