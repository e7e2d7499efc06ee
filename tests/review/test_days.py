"""When a night will have ended, and how a day stands when several things were told of it."""

import dataclasses
import datetime as dt
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from nightscore.common.workspace import Workspace
from nightscore.job.loader import load
from nightscore.pipeline.eta import expected_end, usual_seconds
from nightscore.review.days.due import Due
from nightscore.review.days.logbook import Logbook
from nightscore.store import Attempt, CatalogEntry, Pace, Pinned, Receipt, storage
from tests.support.workspace import JOB, make_workspace

NOW = dt.datetime(2026, 11, 27, 3, 0, tzinfo=dt.UTC)
STAGES = {"plan": 10.0, "score": 100.0, "prove": 20.0, "decide": 30.0}
DAY = "2026-11-26"


def paces(scale: float = 1.0, rows: int = 1_000_000) -> list[Pace]:
    """Nights whose stages took 0.9 to 1.1 times STAGES."""
    spread = np.linspace(0.9, 1.1, 9) * scale
    return [
        Pace(day=str(i), run_id=str(i), rows=rows, seconds={s: t * factor for s, t in STAGES.items()})
        for i, factor in enumerate(spread)
    ]


def attempt(**values: object) -> Attempt:
    """One that is at work since ten seconds."""
    begun = NOW - dt.timedelta(seconds=10)
    told = {
        "job": "mini",
        "day": DAY,
        "attempt": "a",
        "started": begun,
        "updated": NOW,
        "process": "elsewhere:1",
    }
    return Attempt(**{**told, **values})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("told", "left"),
    [
        ({"stage": "plan"}, 0 + 100 + 20 + 30),  # ten of its ten seconds are over
        ({"stage": "score", "done": 400_000, "total": 1_000_000, "rate": 20_000.0}, 30 + 20 + 30),
        ({"stage": "score", "done": 400_000, "total": 2_000_000, "rate": 20_000.0}, 80 + 2 * (20 + 30)),
        ({"stage": "score"}, 90 + 20 + 30),  # nothing is counted yet: what is left of the usual
        ({"stage": "decide", "stage_since": NOW - dt.timedelta(seconds=12)}, 18),
        (
            {"stage": "decide", "stage_since": NOW - dt.timedelta(seconds=900)},
            0,
        ),  # longer than usual: any moment
    ],
)
def test_what_is_left_is_the_rest_of_the_stage_and_the_stages_after_it(
    told: Mapping[str, object], left: float
) -> None:
    """By the rate of the last seconds where rows are counted, else by the median of the nights before."""
    end = expected_end(attempt(**told), paces(), NOW)
    assert end is not None and (end - NOW).total_seconds() == pytest.approx(left, rel=1e-6, abs=1e-6)


def test_without_nights_before_only_a_rate_tells() -> None:
    """A first night: while rows are counted their rest, else nothing is claimed."""
    assert expected_end(attempt(stage="plan"), [], NOW) is None
    end = expected_end(attempt(stage="score", done=1, total=11, rate=2.0), [], NOW)
    assert end == NOW + dt.timedelta(seconds=5)
    assert usual_seconds([]) is None
    assert usual_seconds(paces()) == pytest.approx(np.median([one.total for one in paces()]))


def entry(moment: dt.datetime, number: int = 1) -> CatalogEntry:
    """A receipt of the day, as the catalogue lists it."""
    space = Workspace(Path("/nowhere"))
    return CatalogEntry("mini", DAY, "r", number, moment, {"mini_scores": 1}, storage.tables(space) / "x")


@dataclasses.dataclass(frozen=True)
class Told:
    """What is told of a day, and what is to be seen of it."""

    state: str
    published: dt.datetime | None = None
    last: Attempt | None = None
    held: int | None = None  # the number of the held run
    bad: bool = False


HOUR = dt.timedelta(hours=1)
CASES = {
    "published": Told("published", NOW - HOUR, attempt(state="published", updated=NOW - HOUR)),
    "published, and a later run failed": Told("published", NOW - HOUR, attempt(state="failed"), bad=True),
    "published after a run that failed": Told("published", NOW, attempt(state="failed", updated=NOW - HOUR)),
    "published, and run again": Told("running", NOW - HOUR, attempt(stage="score")),
    "at work": Told("running", None, attempt(stage="score")),
    "killed": Told("stopped", None, attempt(updated=NOW - HOUR), bad=True),
    "a DAG run between its tasks": Told("running", None, attempt(updated=NOW - HOUR, dag_run="x")),
    "failed": Told("failed", None, attempt(state="failed", message="no such column"), bad=True),
    "not yet there": Told("waiting", None, attempt(state="waiting")),
    "left out by its policy": Told("skipped", None, attempt(state="skipped")),
    "held": Told("held", None, attempt(state="held"), held=1, bad=True),
    "published, and a later run is held": Told("held", NOW - HOUR, attempt(state="held"), held=2, bad=True),
    "held once, published by a later run": Told("published", NOW, attempt(state="published"), held=0),
    "held, and discarded": Told("failed", None, attempt(state="held"), bad=True),
    "never run": Told("missing", bad=True),
}


@pytest.mark.parametrize("name", CASES)
def test_how_a_day_stands(name: str) -> None:
    """What is published is published; what was told after it is said beside it."""
    told = CASES[name]
    space = Workspace(Path("/nowhere"))
    history = (entry(told.published),) if told.published else ()
    state = Pinned(space, None, history)
    book = Logbook(space, state, Due({}, state, NOW))
    held = Receipt(
        job="mini", day=DAY, run_id="h", status="held", run_number=told.held or 0, reason="an audit"
    )
    book.__dict__["held"] = {("mini", DAY): held} if told.held is not None else {}
    book.__dict__["attempts"] = {("mini", DAY): told.last} if told.last else {}
    found = book.day("mini", DAY)
    assert (found.state, found.bad) == (told.state, told.bad)
    if told.bad:
        assert found.message


def test_a_day_that_was_tried_is_missing_before_the_first_is_published(tmp_path: Path) -> None:
    """A job whose first night failed owes it; other days before its first it doesn't."""
    job = load("mini", make_workspace(tmp_path, 40, JOB + 'schedule: {daily: "01:00", timezone: UTC}\n'))
    state = Pinned(job.workspace, None, ())
    book = Logbook(job.workspace, state, Due({"mini": job}, state, NOW))
    book.__dict__["held"] = {}
    book.__dict__["attempts"] = {("mini", DAY): attempt(state="failed", message="no such column")}
    assert [(one.day, one.state) for one in book.missing("mini")] == [(DAY, "failed")]
    book.__dict__["attempts"] = {}
    assert book.missing("mini") == []
