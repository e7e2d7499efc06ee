"""The day that a run scores, for each way in which a run can start (`dag.test()` is in test_nights)."""

import datetime as dt
import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("airflow")

from sqlalchemy import select

from nightscore.airflow.day import day_of_run
from nightscore.airflow.timetables import day as module
from nightscore.common.errors import Broken
from nightscore.job.loader import Job, load
from tests.airflow.test_dags import add
from tests.airflow.test_nights import known, night
from tests.airflow.test_scheduling import backfill, schedule, utc
from tests.support.workspace import DAYS, JOB, make_workspace

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("metadata")]

NOW = dt.datetime(2026, 11, 22, 12, tzinfo=dt.UTC)
NIGHTLY = JOB + 'schedule: {daily: "02:00", timezone: UTC}\n'


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """A nightly job; the timetables' clock stands."""
    monkeypatch.setattr(module, "_now", lambda: NOW)
    return load("mini", make_workspace(tmp_path / "one", 10, NIGHTLY))


def days(job: Job, dag_id: str) -> list[str]:
    """The days that the runs of a DAG score, in the order in which they were made."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session

    with create_session() as session:
        found = session.scalars(select(DagRun).where(DagRun.dag_id == dag_id).order_by(DagRun.id))
        return [str(day_of_run(job, run.partition_key, (run.conf or {}).get("day"))) for run in found]


def trigger(dag_id: str, **options: Any) -> None:
    """What `airflow dags trigger`, the REST API and the UI do."""
    from airflow.api.common.trigger_dag import trigger_dag
    from airflow.utils.types import DagRunTriggeredByType

    trigger_dag(dag_id, triggered_by=DagRunTriggeredByType.REST_API, **options)


def test_a_scheduled_run_scores_its_partition(job: Job) -> None:
    """The day before; the form's defaults say nothing of a day."""
    known(job.workspace.root, "by_schedule")
    schedule("by_schedule", times=3)
    assert days(job, "by_schedule") == ["2026-11-21"]


def test_a_backfill_scores_each_day_of_its_range(job: Job) -> None:
    """Both ends included."""
    known(job.workspace.root, "by_backfill")
    backfill("by_backfill", "2026-11-10", "2026-11-12")
    assert days(job, "by_backfill") == ["2026-11-10", "2026-11-11", "2026-11-12"]


def test_a_backfill_may_go_back_as_far_as_there_is_data(job: Job) -> None:
    """No start date of the DAG bounds it."""
    known(job.workspace.root, "far_back")
    backfill("far_back", "2017-11-01", "2017-11-01")
    assert days(job, "far_back") == ["2017-11-01"]
    assert utc("2017-11-01") < NOW


def test_a_run_of_the_ui_or_the_rest_api_scores_its_key(job: Job) -> None:
    """Also where the form names another day."""
    known(job.workspace.root, "by_key")
    trigger("by_key", partition_key="2026-11-18", conf={"day": "2026-11-01"})
    assert days(job, "by_key") == ["2026-11-18"]


def test_a_run_of_the_form_or_the_command_line_scores_its_day(job: Job) -> None:
    """`airflow dags trigger` can't name a partition key, but it can fill in the form."""
    known(job.workspace.root, "by_form")
    trigger("by_form", conf={"day": "2026-11-18"})
    assert days(job, "by_form") == ["2026-11-18"]


@pytest.mark.slow
def test_a_run_after_another_job_scores_the_day_that_was_published(job: Job, tmp_path: Path) -> None:
    """Also where the other job was run by hand, without a key; and only when all its tables are there."""
    from airflow.jobs.job import Job as Process
    from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
    from airflow.utils.session import create_session

    text = JOB.replace("job: mini", "job: later") + "schedule: {after: [mini_top, mini_scores]}\n"
    later = make_workspace(
        tmp_path / "two", 10, text.replace("mini_top:", "later_top:").replace("FROM mini_", "FROM later_")
    )
    shutil.copytree(job.file.parent, later / "jobs" / "first")  # the job that publishes those tables
    known(later, "later", job="later")
    night(job.workspace.root, "before", day=DAYS[1])
    with create_session() as session:
        runner = SchedulerJobRunner(job=Process())  # type: ignore[no-untyped-call]
        runner._create_dagruns_for_partitioned_asset_dags(session)
    assert days(load("later", later), "later") == [DAYS[1]]


def test_a_run_without_a_day_is_broken_and_never_today(job: Job) -> None:
    """The message says how to name one, and which is the latest that is complete."""
    yesterday = dt.datetime.now(dt.UTC).date() - dt.timedelta(days=1)
    with pytest.raises(
        Broken, match="job mini: this run has no day to score; trigger it with a day"
    ) as found:
        day_of_run(job, None, None)
    latest = (yesterday, yesterday - dt.timedelta(days=1))  # before and after two in the morning
    assert str(found.value).endswith(tuple(f"the latest complete day is {day}" for day in latest))


@pytest.mark.parametrize("text", ["2026-02-30", "20260101", "today", "None"])
def test_what_is_no_day_is_broken(job: Job, text: str) -> None:
    """From the key and from the form alike, with the command line's message."""
    for key, asked in ((text, None), (None, text)):
        with pytest.raises(Broken, match=f"'{text}' is no day; a day is YYYY-MM-DD"):
            day_of_run(job, key, asked)


def test_an_exchanges_latest_session_is_named(tmp_path: Path) -> None:
    """As far as its calendar is known."""
    add(tmp_path, "traded", "{exchange: XNYS, after_close: 90m}")
    with pytest.raises(Broken, match=r"the latest complete day is 20\d\d-\d\d-\d\d"):
        day_of_run(load("traded", tmp_path), None, None)
