"""When a night that is at work will have ended: by how it goes, and by what the last nights took."""

import datetime as dt
import statistics
from collections.abc import Sequence

from nightscore.store import Attempt, Pace

LAST = 20  # nights


def usual_seconds(paces: Sequence[Pace]) -> float | None:
    """What the last nights took, the median of their totals; None where nothing is told."""
    return statistics.median(one.total for one in paces[-LAST:]) if paces else None


def expected_end(attempt: Attempt, paces: Sequence[Pace], now: dt.datetime) -> dt.datetime | None:
    """The moment (UTC) by which a run will have published; None where neither it nor nights before tell.

    What is left of its stage by its rate in the last seconds, else by what the stage usually takes; then the
    stages that follow as they usually are, by the rows of this night where they are known.
    """
    told = paces[-LAST:]
    if not told:
        rest = _rest_of_stage(attempt)
        return now + dt.timedelta(seconds=rest) if rest is not None else None
    stages = list(told[-1].seconds)
    at = stages.index(attempt.stage) if attempt.stage in stages else 0
    following = sum(_usual(told, stage, attempt.total) for stage in stages[at + 1 :])
    rest = _rest_of_stage(attempt)
    if rest is None:
        spent = (now - (attempt.stage_since or attempt.started)).total_seconds()
        rest = max(0.0, _usual(told, stages[at], attempt.total) - spent)
    return now + dt.timedelta(seconds=rest + following)


def _rest_of_stage(attempt: Attempt) -> float | None:
    """Seconds that the stage has left at its rate."""
    if attempt.total and attempt.rate > 0:
        return max(0.0, (attempt.total - attempt.done) / attempt.rate)
    return None


def _usual(told: Sequence[Pace], stage: str, rows: int) -> float:
    """Seconds of a stage: the median of nights, for so many rows as this one has (0: unknown)."""
    spent = [(one.seconds[stage], one.rows) for one in told if stage in one.seconds]
    if not spent:
        return 0.0
    if rows > 0 and all(count for _, count in spent):
        return statistics.median(seconds / count for seconds, count in spent) * rows
    return statistics.median(seconds for seconds, _ in spent)
