"""Whether a day is late or at risk: by moments made by hand."""

import datetime as dt
from dataclasses import replace
from pathlib import Path

import pytest

from nightscore.common import Workspace, as_day
from nightscore.job import load_all, start_of
from nightscore.review.days.due import Due
from nightscore.review.days.logbook import DayState, by_deadline
from nightscore.store import Attempt, Pace, Pinned
from tests.job.test_loader import add_job
from tests.support.workspace import JOB

DUE = dt.datetime(2026, 1, 6, 12, tzinfo=dt.UTC)
MINUTE = dt.timedelta(minutes=1)
NIGHTS = [Pace(day="d", run_id="r", rows=1_000, seconds={"features": 600.0, "score": 1_200.0})] * 9
MISSING = DayState("mini", "2026-01-05", "missing")


def at_work(done: int, rate: float, since: dt.datetime) -> DayState:
    """A run that scores 1,000 rows and has done so many."""
    attempt = Attempt(
        job="mini", day="2026-01-05", attempt="a", started=since, updated=since, stage="score", done=done,
        total=1_000, rate=rate, stage_since=since,
    )  # fmt: skip
    return DayState("mini", "2026-01-05", "running", since, attempt=attempt)


@pytest.mark.parametrize(
    ("state", "before", "first", "told"),
    [
        (MISSING, 31, None, ""),  # it usually takes 30 minutes
        (MISSING, 29, None, "at risk"),
        (replace(MISSING, state="waiting"), 29, None, "at risk"),
        (MISSING, -1, None, "late"),
        (replace(MISSING, state="held"), -1, None, "late"),
        (replace(MISSING, state="skipped"), -1, None, ""),
        (at_work(400, 1.0, DUE), 11, None, ""),  # 600 s are left
        (at_work(400, 1.0, DUE), 9, None, "at risk"),
        (at_work(400, 0.5, DUE), 19, None, "at risk"),
        (at_work(400, 1.0, DUE), -1, None, "late"),
        (replace(MISSING, state="published"), -100, DUE, ""),
        (replace(MISSING, state="published"), -100, DUE + MINUTE, "late"),
        (at_work(400, 1.0, DUE), -100, DUE - MINUTE, ""),  # published in time, and published again
    ],
)
def test_how_a_day_stands_to_its_deadline(
    state: DayState, before: int, first: dt.datetime | None, told: str
) -> None:
    """`before` it so many minutes."""
    found = by_deadline(state, DUE, DUE - before * MINUTE, first, NIGHTS)
    assert (found.due, found.deadline) == (told, DUE)
    if state.state == "running" and first is None:
        left = (1_000 - state.attempt.done) / state.attempt.rate  # type: ignore[union-attr]
        assert found.eta == DUE - before * MINUTE + dt.timedelta(seconds=left)


def test_without_a_night_before_nothing_is_guessed() -> None:
    """No usual time: late when it is late, and not before."""
    assert by_deadline(MISSING, DUE, DUE - MINUTE, None, []).due == ""
    assert by_deadline(MISSING, DUE, DUE + MINUTE, None, []).due == "late"


def test_a_job_that_comes_after_others_has_their_start(tmp_path: Path) -> None:
    """Of a chain the first job's clock counts: due on the same evening, not on the next."""
    workspace = Workspace(tmp_path)
    evening = 'deadline: {at: "23:00", timezone: America/New_York}\n'
    add_job(tmp_path, "a", JOB + 'schedule: {daily: "22:00", timezone: Asia/Tokyo}\n')
    second = JOB.replace("job: mini", "job: second").replace("mini_top", "second_top")
    add_job(tmp_path, "b", second + "schedule: {after: [mini_top]}\n" + evening)
    jobs = {job.name: job for job in load_all(workspace)[0]}
    due = Due(jobs, Pinned(workspace, None, ()), DUE)
    start = dt.datetime(2026, 1, 6, 13, tzinfo=dt.UTC)  # 22:00 of the next day in Tokyo
    assert start_of(jobs, "second", as_day("2026-01-05")) == start
    assert due.deadline("second", as_day("2026-01-05")) == dt.datetime(2026, 1, 7, 4, tzinfo=dt.UTC)
    assert due.deadline("mini", as_day("2026-01-05")) is None
