"""A late night by `dag.test()`: the day before is carried forward at the deadline, by the usual tasks."""

import datetime as dt
import math
from pathlib import Path

import pytest

pytest.importorskip("airflow")

from deltalake import DeltaTable

from nightscore import load, run
from nightscore.airflow.events.lineage_facets import facets_of_receipt
from nightscore.store import Receipt
from tests.airflow.test_nights import night, receipt, states
from tests.support.workspace import JOB, make_workspace, write_day

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("metadata")]


def days(now: dt.datetime) -> tuple[str, str]:
    """The day of tonight, whose run began an hour ago, and the one before it."""
    began = (now - dt.timedelta(minutes=60)).date()
    return (began - dt.timedelta(days=1)).isoformat(), (began - dt.timedelta(days=2)).isoformat()


def carry_at(now: dt.datetime, seconds: float) -> str:
    """A night that began an hour ago; so many seconds from now the day before is carried forward."""
    due = (now + dt.timedelta(minutes=3)).replace(second=0, microsecond=0)
    before = math.floor((due - now).total_seconds() - seconds)
    began = now - dt.timedelta(minutes=60)
    return (
        f'schedule: {{daily: "{began:%H:%M}"}}\ndeadline: "{due:%H:%M}"\n'
        f"overdue: [{{carry_forward: yesterday, before: {before}s}}]\n"
    )


def made_by(root: Path, day: str) -> dict[str, int]:
    """Rows of a day by what made them, as deltalake reads the table."""
    frame = DeltaTable(str(root / "data/tables/mini_scores")).to_pandas()
    counts: dict[str, int] = frame[frame["day"].astype(str) == day]["made_by"].value_counts().to_dict()
    return counts


def test_a_task_that_waits_wakes_at_the_margin(tmp_path: Path) -> None:
    """It is deferred until the partition lands, or until it is time; then all three tasks go on."""
    now = dt.datetime.now(dt.UTC)
    tonight, before = days(now)
    root = make_workspace(tmp_path, 100, JOB + carry_at(now, 8), days=(before,))
    run(load("mini", root), before)
    done = night(root, "carried", day=tonight)
    assert (done.state, states(done)["publish"]) == ("success", ["success"])
    told = receipt(done)
    assert told["degraded"]["carried_from"] == before
    assert made_by(root, tonight) == {f"carried from {before}": 100}
    lineage = facets_of_receipt(load("mini", root), Receipt.model_validate(told))
    assert [Path(one.name).name for one in lineage.inputs] == ["mini_scores", "mini_top"]
    write_day(root, tonight, 70)
    again = night(root, "carried_again", day=tonight)
    assert "degraded" not in receipt(again) and made_by(root, tonight) == {"full": 70}


def test_scoring_that_is_late_ends_and_the_day_before_is_published(tmp_path: Path) -> None:
    """The task that scores begins no piece any more; the one that publishes carries the day forward."""
    now = dt.datetime.now(dt.UTC)
    tonight, before = days(now)
    root = make_workspace(tmp_path, 100, JOB + carry_at(now, -2), days=(tonight, before))
    assert run(load("mini", root), before, force=True).degraded is None
    for paces in (root / "data/attempts").glob("*/paces.json"):
        paces.unlink()  # as if nothing told how long a night takes
    done = night(root, "late", day=tonight)
    assert (done.state, receipt(done)["degraded"]["carried_from"]) == ("success", before)
    assert made_by(root, tonight) == {f"carried from {before}": 100}
