"""The candidates of one bake-off: each is tried in a process of its own, and its line says how it was."""

import contextlib
import dataclasses
import datetime as dt
from collections.abc import Callable, Iterator

from nightscore.common import NightscoreError, ProgressCallback
from nightscore.evaluation.bakeoff.candidates import Candidate, reference_candidate, store_candidate
from nightscore.evaluation.bakeoff.results import CandidateResult, rank_results
from nightscore.evaluation.bakeoff.worker import Speed, Trial, TrialFailed
from nightscore.evaluation.bakeoff.workload import Workload, stage_workload
from nightscore.evaluation.bakeoff.yardstick import Yardstick
from nightscore.evaluation.recipes.recipe import Recipe
from nightscore.job import AccuracyBudget
from nightscore.pipeline import Deviation
from nightscore.store import RunFolder, run_folder

FINALISTS = 6

PATIENCE, SLOWER = 120.0, 30  # seconds, and times as long as the reference: then a candidate is given up
REFERENCE = "reference"


class Contestants:
    """Who takes part, on which rows, against what; `lines` is what is known of each by now.

    `seconds` is how long a speed is measured, at the least.
    """

    def __init__(
        self, workload: Workload, budget: AccuracyBudget, seconds: float, reference: Candidate
    ) -> None:
        self.workload, self.job, self.budget, self.seconds = workload, workload.job, budget, seconds
        self.candidates: dict[str, Candidate] = {REFERENCE: reference}
        self.lines: dict[str, CandidateResult] = {}
        self.broken_ladders: dict[str, str] = {}
        self.patience = PATIENCE
        with self.start_trial(reference) as trial:
            trial.speed(0)
            speed = trial.speed(seconds)
        self.base = speed.rows_per_second
        self.patience += SLOWER * workload.plan.rows / self.base
        self.yardstick = Yardstick(self.job, workload.plan)
        self.lines[REFERENCE] = self._measured(reference, speed, Deviation())

    def enter(self, candidate: Candidate) -> None:
        """Compare a candidate's scores, then its answers to adversarial rows, then measure its speed."""
        self.candidates[candidate.name] = candidate
        line = _line(candidate)
        try:
            with self.start_trial(candidate) as trial:
                trial.speed(0)
                change = self.yardstick.measure_deviation(candidate.plan)
                line = dataclasses.replace(line, change=change)
                problems = [*change.breaks(self.budget), *filter(None, [trial.find_adversarial_difference()])]
                line = self._measured(candidate, trial.speed(self.seconds), change)
        except NightscoreError as error:
            line = dataclasses.replace(line, status="failed", why=f"failed: {error}")
        else:
            if problems:
                line = dataclasses.replace(line, status="refused", why=f"refused: {'; '.join(problems)}")
        if line.status != "none" and candidate.ladder:
            self.broken_ladders[candidate.ladder] = candidate.name
        self.lines[candidate.name] = line

    def note(self, recipe: Recipe, why: str, failed: bool = False) -> None:
        """A line for a recipe that made no candidate."""
        reason = f"failed: {why}" if failed else why
        line = CandidateResult(
            recipe.name, recipe.technique, recipe.about, "failed" if failed else "refused", reason
        )
        self.lines[recipe.name] = line

    def keeps(self, data: bytes) -> bool:
        """Whether a model keeps the budget on the day's rows: a probe of a recipe that searches."""
        probe = Recipe("probe", "graph", "", lambda _: data)
        candidate = store_candidate(self.workload, probe, data, self.best().variant)
        try:
            with self.start_trial(candidate) as trial:
                trial.speed(0)
                return not self.yardstick.measure_deviation(candidate.plan).breaks(self.budget)
        except TrialFailed:
            return False
        finally:
            self._run(candidate).remove()

    def start_trial(self, candidate: Candidate) -> Trial:
        """A process that scores by a candidate."""
        self._run(candidate).remove_scored()
        return Trial(self.job, candidate.plan, self.patience)

    def best(self) -> Candidate:
        """The fastest so far that keeps the budget."""
        return self.candidates[next(self.fastest())]

    def fastest(self) -> Iterator[str]:
        """The names of those that can still be taken, the fastest first."""
        left = [line for line in self.lines.values() if line.status == "none" and line.rounds]
        yield from (line.name for line in sorted(left, key=lambda line: -line.times))

    def _run(self, candidate: Candidate) -> RunFolder:
        return run_folder.folder_of_plan(self.job.workspace, candidate.plan)

    def _measured(self, candidate: Candidate, speed: Speed, change: Deviation) -> CandidateResult:
        return dataclasses.replace(
            _line(candidate), change=change, rounds=(speed.rows_per_second / self.base,),
            rows_per_second=speed.rows_per_second, peak_memory=speed.peak_memory,
            cpu_seconds_per_million_rows=speed.cpu_seconds_per_million_rows,
        )  # fmt: skip


def _line(candidate: Candidate) -> CandidateResult:
    return CandidateResult(candidate.name, candidate.technique, candidate.about, bytes=candidate.bytes)


def measure_finalists(contestants: Contestants, rounds: int, report: ProgressCallback) -> None:
    """The fastest that keep the budget and the reference, round after round: ratios that can be compared.

    Every other round goes backwards, so that what the machine does meanwhile hits all alike.
    """
    names = [REFERENCE, *(name for name in contestants.fastest() if name != REFERENCE)][: FINALISTS + 1]
    speeds: dict[str, list[float]] = {name: [] for name in names}
    with contextlib.ExitStack() as stack:
        trials = {
            name: stack.enter_context(contestants.start_trial(contestants.candidates[name])) for name in names
        }
        for trial in trials.values():
            trial.speed(0)
        for done in range(rounds):
            report("rounds", done, rounds)
            for name in names if done % 2 == 0 else names[::-1]:
                speeds[name].append(trials[name].speed(contestants.seconds).rows_per_second)
    for name in names:
        ratios = tuple(a / b for a, b in zip(speeds[name], speeds[REFERENCE], strict=True))
        middle = sorted(speeds[name])[len(speeds[name]) // 2]
        contestants.lines[name] = dataclasses.replace(
            contestants.lines[name], rounds=ratios, rows_per_second=middle
        )


def choose_winner(contestants: Contestants, held: dt.date | None, report: ProgressCallback) -> str:
    """The name of the first that keeps the budget on the held-out day, too."""
    with _judge(contestants, held, report) as keeps:
        for line in rank_results(list(contestants.lines.values())):
            if line.name == REFERENCE or keeps(line.name):
                return line.name
    return REFERENCE


@contextlib.contextmanager
def _judge(
    contestants: Contestants, held: dt.date | None, report: ProgressCallback
) -> Iterator[Callable[[str], bool]]:
    """A function that says whether a candidate keeps the budget on the held-out day."""
    if held is None:
        yield lambda _: True
        return
    with stage_workload(contestants.job, held, report) as whole:
        # Of a part of a day the other end, since the same rows may be there on both days.
        plan = contestants.workload.plan
        other = whole.last(plan.rows) if plan.limit is not None and plan.rows == plan.limit else whole
        with contestants.start_trial(reference_candidate(other)) as trial:
            trial.speed(0)
        yardstick = Yardstick(contestants.job, other.plan)
        yield lambda name: _keeps_on(contestants, other, yardstick, name)


def _keeps_on(contestants: Contestants, other: Workload, yardstick: Yardstick, name: str) -> bool:
    line, candidate = contestants.lines[name], _moved(contestants.candidates[name], other)
    try:
        with contestants.start_trial(candidate) as trial:
            trial.speed(0)
            change = yardstick.measure_deviation(candidate.plan)
    except TrialFailed as error:
        contestants.lines[name] = dataclasses.replace(line, status="failed", why=f"failed: {error}")
        return False
    line = dataclasses.replace(line, held_out=change)
    if problems := change.breaks(contestants.budget):
        why = f"refused: on the held-out day {other.plan.day}, {'; '.join(problems)}"
        line = dataclasses.replace(line, status="refused", why=why)
    contestants.lines[name] = line
    return not problems


def _moved(candidate: Candidate, other: Workload) -> Candidate:
    """The same candidate on another day's rows."""
    plan = dataclasses.replace(
        other.plan, tuned=candidate.plan.tuned, variant=candidate.plan.variant,
        chunk_rows=candidate.plan.chunk_rows, run_id=f"{other.plan.run_id}-{candidate.plan.run_id[-8:]}",
    )  # fmt: skip
    return dataclasses.replace(candidate, plan=plan)
