"""The candidates of one bake-off: each is tried in a process of its own, and its line says how it was."""

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

from nightscore.common.errors import NightError
from nightscore.evaluation.bakeoff.candidates import Candidate, placed
from nightscore.evaluation.bakeoff.results import Result
from nightscore.evaluation.bakeoff.worker import Failed, Speed, Trial
from nightscore.evaluation.bakeoff.workload import Ground
from nightscore.evaluation.bakeoff.yardstick import Yardstick
from nightscore.evaluation.recipes.recipe import Recipe
from nightscore.job.accuracy_budget import AccuracyBudget
from nightscore.pipeline.score.deviation import Change
from nightscore.store import run_folder

PATIENCE, SLOWER = 120.0, 30  # seconds, and times as long as the reference: then a candidate is given up
REFERENCE = "reference"


class Field:
    """Who takes part, on which rows, against what; `lines` is what is known of each by now.

    `seconds` is how long a speed is measured, at the least.
    """

    def __init__(self, ground: Ground, budget: AccuracyBudget, seconds: float, reference: Candidate) -> None:
        self.ground, self.job, self.budget, self.seconds = ground, ground.job, budget, seconds
        self.candidates: dict[str, Candidate] = {REFERENCE: reference}
        self.lines: dict[str, Result] = {}
        self.broken_ladders: dict[str, str] = {}
        self.patience = PATIENCE
        with self.trial(reference) as trial:
            trial.speed(0)
            speed = trial.speed(seconds)
        self.base = speed.rows_per_second
        self.patience += SLOWER * ground.plan.rows / self.base
        self.yardstick = Yardstick(self.job, ground.plan)
        self.lines[REFERENCE] = self._measured(reference, speed, Change())

    def enter(self, candidate: Candidate) -> None:
        """Compare a candidate's scores, then its answers to adversarial rows, then measure its speed."""
        self.candidates[candidate.name] = candidate
        line = _line(candidate)
        try:
            with self.trial(candidate) as trial:
                trial.speed(0)
                change = self.yardstick.change(candidate.plan)
                line = dataclasses.replace(line, change=change)
                problems = [*change.breaks(self.budget), *filter(None, [trial.surprised()])]
                line = self._measured(candidate, trial.speed(self.seconds), change)
        except (Failed, NightError) as error:
            line = dataclasses.replace(line, status="failed", why=f"failed: {error}")
        else:
            if problems:
                line = dataclasses.replace(line, status="refused", why=f"refused: {'; '.join(problems)}")
        if line.status != "none" and candidate.ladder:
            self.broken_ladders[candidate.ladder] = candidate.name
        self.lines[candidate.name] = line

    def note(self, recipe: Recipe, why: str, failed: bool = False) -> None:
        """A line for a recipe that made no candidate."""
        said = f"failed: {why}" if failed else why
        line = Result(recipe.name, recipe.technique, recipe.about, "failed" if failed else "refused", said)
        self.lines[recipe.name] = line

    def keeps(self, data: bytes) -> bool:
        """Whether a model keeps the budget on the day's rows: a probe of a recipe that searches."""
        probe = Recipe("probe", "graph", "", lambda _: data)
        candidate = placed(self.ground, probe, data, self.best().variant)
        try:
            with self.trial(candidate) as trial:
                trial.speed(0)
                return not self.yardstick.change(candidate.plan).breaks(self.budget)
        except Failed:
            return False
        finally:
            shutil.rmtree(self._folder(candidate), ignore_errors=True)

    def trial(self, candidate: Candidate) -> Trial:
        """A process that scores by a candidate."""
        shutil.rmtree(self._folder(candidate) / "scores", ignore_errors=True)
        return Trial(self.job, candidate.plan, self.patience)

    def best(self) -> Candidate:
        """The fastest so far that keeps the budget."""
        return self.candidates[next(self.fastest())]

    def fastest(self) -> Iterator[str]:
        """The names of those that can still be taken, the fastest first."""
        left = [one for one in self.lines.values() if one.status == "none" and one.rounds]
        yield from (one.name for one in sorted(left, key=lambda one: -one.times))

    def _folder(self, candidate: Candidate) -> Path:
        return run_folder.folder(self.job.workspace, candidate.plan).path

    def _measured(self, candidate: Candidate, speed: Speed, change: Change) -> Result:
        return dataclasses.replace(
            _line(candidate), change=change, rounds=(speed.rows_per_second / self.base,),
            rows_per_second=speed.rows_per_second, peak_memory=speed.peak_memory,
            cpu_seconds_per_million_rows=speed.cpu_seconds_per_million_rows,
        )  # fmt: skip


def _line(candidate: Candidate) -> Result:
    return Result(candidate.name, candidate.technique, candidate.about, bytes=candidate.bytes)
