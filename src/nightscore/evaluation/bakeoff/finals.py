"""The last rounds: the fastest and the reference in turns, then the held-out day."""

import contextlib
import dataclasses
import datetime as dt
from collections.abc import Callable, Iterator

from nightscore.common.progress import Report
from nightscore.evaluation.bakeoff.candidates import Candidate, reference
from nightscore.evaluation.bakeoff.contestants import REFERENCE, Field
from nightscore.evaluation.bakeoff.results import order
from nightscore.evaluation.bakeoff.worker import Failed
from nightscore.evaluation.bakeoff.workload import Ground, ground
from nightscore.evaluation.bakeoff.yardstick import Yardstick

FINALISTS = 6


def in_turns(field: Field, rounds: int, report: Report) -> None:
    """The fastest that keep the budget and the reference, round after round: ratios that can be compared.

    Every other round goes backwards, so that what the machine does meanwhile hits all alike.
    """
    names = [REFERENCE, *(name for name in field.fastest() if name != REFERENCE)][: FINALISTS + 1]
    speeds: dict[str, list[float]] = {name: [] for name in names}
    with contextlib.ExitStack() as stack:
        trials = {name: stack.enter_context(field.trial(field.candidates[name])) for name in names}
        for trial in trials.values():
            trial.speed(0)
        for done in range(rounds):
            report("rounds", done, rounds)
            for name in names if done % 2 == 0 else names[::-1]:
                speeds[name].append(trials[name].speed(field.seconds).rows_per_second)
    for name in names:
        ratios = tuple(a / b for a, b in zip(speeds[name], speeds[REFERENCE], strict=True))
        middle = sorted(speeds[name])[len(speeds[name]) // 2]
        field.lines[name] = dataclasses.replace(field.lines[name], rounds=ratios, rows_per_second=middle)


def taken(field: Field, held: dt.date | None, report: Report) -> str:
    """The name of the first that keeps the budget on the held-out day, too."""
    with _judge(field, held, report) as keeps:
        for line in order(list(field.lines.values())):
            if line.name == REFERENCE or keeps(line.name):
                return line.name
    return REFERENCE


@contextlib.contextmanager
def _judge(field: Field, held: dt.date | None, report: Report) -> Iterator[Callable[[str], bool]]:
    """A function that says whether a candidate keeps the budget on the held-out day."""
    if held is None:
        yield lambda _: True
        return
    with ground(field.job, held, report) as whole:
        # Of a part of a day the other end: the same rows may be there on both days.
        part = field.ground.plan.limit is not None and field.ground.plan.rows == field.ground.plan.limit
        other = whole.last(field.ground.plan.rows) if part else whole
        with field.trial(reference(other)) as trial:
            trial.speed(0)
        yardstick = Yardstick(field.job, other.plan)
        yield lambda name: _keeps_on(field, other, yardstick, name)


def _keeps_on(field: Field, other: Ground, yardstick: Yardstick, name: str) -> bool:
    line, candidate = field.lines[name], _moved(field.candidates[name], other)
    try:
        with field.trial(candidate) as trial:
            trial.speed(0)
            change = yardstick.change(candidate.plan)
    except Failed as error:
        field.lines[name] = dataclasses.replace(line, status="failed", why=f"failed: {error}")
        return False
    line = dataclasses.replace(line, held_out=change)
    if problems := change.breaks(field.budget):
        why = f"refused: on the held-out day {other.plan.day}, {'; '.join(problems)}"
        line = dataclasses.replace(line, status="refused", why=why)
    field.lines[name] = line
    return not problems


def _moved(candidate: Candidate, other: Ground) -> Candidate:
    """The same candidate on another day's rows."""
    plan = dataclasses.replace(
        other.plan, tuned=candidate.plan.tuned, variant=candidate.plan.variant,
        chunk_rows=candidate.plan.chunk_rows, run_id=f"{other.plan.run_id}-{candidate.plan.run_id[-8:]}",
    )  # fmt: skip
    return dataclasses.replace(candidate, plan=plan)
