"""The timetables with Airflow's own machinery: serialized DAGs, the scheduler, backfills, manual runs."""

import datetime as dt
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("airflow")
pytest.importorskip("exchange_calendars")

import pendulum
from airflow.exceptions import InvalidPartitionKeyError
from sqlalchemy import select

from nightscore.airflow.timetables import day as module
from nightscore.airflow.timetables.after import AfterTimetable
from nightscore.airflow.timetables.timetable import (
    ByHandTimetable,
    DailyPartitionTimetable,
    TradingDayTimetable,
    table_asset,
)
from nightscore.common import Workspace

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.usefixtures("metadata"),
]  # Airflow's own warnings

PLACE = Workspace(Path("anywhere"))
NOW = dt.datetime(2026, 11, 22, 12, tzinfo=dt.UTC)
DAILY = DailyPartitionTimetable("02:00", timezone="America/Chicago")
TRADING = TradingDayTimetable("XNYS", "90m", overrides={"XNYS": {"closed": ["2026-11-17"]}})


@pytest.fixture(autouse=True)
def frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The timetables' clock stands."""
    monkeypatch.setattr(module, "_now", lambda: NOW)


def make(dag_id: str, timetable: Any, outlets: Sequence[str] = (), **options: Any) -> Any:
    """A DAG of one task that the metadata database knows; `outlets` are the tables that it publishes."""
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
    from airflow.models.dagbundle import DagBundleModel
    from airflow.providers.standard.operators.empty import EmptyOperator
    from airflow.sdk import DAG
    from airflow.utils.session import create_session

    start = pendulum.datetime(2026, 11, 16, tz=timetable.calendar.zone.key)
    with DAG(dag_id, schedule=timetable, start_date=start, max_active_runs=99, **options) as dag:
        EmptyOperator(task_id="nothing", outlets=[table_asset(PLACE, name) for name in outlets])
    with create_session() as session:
        session.merge(DagBundleModel(name="testing"))
    bag = DagBag(dag_folder=os.devnull)
    bag.bag_dag(dag)
    sync_bag_to_db(bag, "testing", None)
    return dag


def runs(dag_id: str) -> list[tuple[str, str | None]]:
    """Type and key of every run, in the order in which they were made."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session

    with create_session() as session:
        found = session.scalars(select(DagRun).where(DagRun.dag_id == dag_id).order_by(DagRun.id))
        return [(run.run_type, run.partition_key) for run in found]


def schedule(dag_id: str, times: int) -> None:
    """What the scheduler does each time when a DAG's next run is due."""
    from airflow.jobs.job import Job
    from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
    from airflow.models.dag import DagModel
    from airflow.utils.session import create_session

    with create_session() as session:
        runner = SchedulerJobRunner(job=Job())  # type: ignore[no-untyped-call]
        model = session.get_one(DagModel, dag_id)
        for _ in range(times):
            if (model.next_dagrun_create_after or NOW) <= NOW:
                runner._create_dag_runs([model], session)


def utc(day: str) -> dt.datetime:
    """What Airflow makes of a date on the command line."""
    return dt.datetime.fromisoformat(day).replace(tzinfo=dt.UTC)


def backfill(dag_id: str, first: str, last: str) -> None:
    """`airflow backfill create --dag-id … --from-date … --to-date …`, and the end of it."""
    from airflow.models.backfill import Backfill, ReprocessBehavior, _create_backfill
    from airflow.utils.session import create_session

    _create_backfill(
        dag_id=dag_id,
        from_date=utc(first),
        to_date=utc(last),
        max_active_runs=2,
        reverse=False,
        dag_run_conf={},
        triggering_user_name="test",
        reprocess_behavior=ReprocessBehavior.NONE,
    )
    with create_session() as session:
        for made in session.scalars(select(Backfill).where(Backfill.completed_at.is_(None))):
            made.completed_at = NOW


def trigger(dag_id: str, key: str | None) -> None:
    """A manual run, as the REST API makes it."""
    from airflow.api.common.trigger_dag import trigger_dag
    from airflow.utils.types import DagRunTriggeredByType

    trigger_dag(dag_id, triggered_by=DagRunTriggeredByType.REST_API, partition_key=key)


@pytest.mark.parametrize("kind", ["daily", "trading"])
def test_a_serialized_dag_has_the_same_timetable(kind: str) -> None:
    """What scheduler and API server read from the database: arguments, overrides and runs included."""
    from airflow.models.serialized_dag import SerializedDagModel

    timetable = {"daily": DAILY, "trading": TRADING}[kind]
    make(f"{kind}_serialized", timetable)
    stored = SerializedDagModel.get_dag(f"{kind}_serialized")
    assert stored is not None and type(stored.timetable) is type(timetable)
    assert stored.timetable.serialize() == timetable.serialize()
    days = pendulum.datetime(2026, 11, 14), pendulum.datetime(2026, 11, 30)
    found = list(stored.iter_dagrun_infos_between(*days))
    assert found == list(timetable.iter_partition_dagrun_infos(earliest=days[0], latest=days[1]))


EXPECTED: dict[str, tuple[Any, list[str]]] = {
    "daily": (DAILY, [f"2026-11-{day}" for day in range(16, 22)]),
    "trading": (TRADING, ["2026-11-16", "2026-11-18", "2026-11-19", "2026-11-20"]),
}


@pytest.mark.parametrize("kind", EXPECTED)
def test_the_scheduler_catches_up_day_by_day(kind: str) -> None:
    """From the start date to the latest complete day, each once, then nothing more is due."""
    timetable, days = EXPECTED[kind]
    make(f"{kind}_catchup", timetable, catchup=True)
    schedule(f"{kind}_catchup", times=20)
    assert runs(f"{kind}_catchup") == [("scheduled", day) for day in days]


def test_after_a_standstill_the_scheduler_makes_the_days_that_were_missed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Airflow's flag is off; of the four days without a scheduler three are run, the oldest first."""
    timetable = DailyPartitionTimetable("02:00", "America/Chicago", "3 days")
    monkeypatch.setattr(module, "_now", lambda: NOW - dt.timedelta(days=4))
    make("standstill", timetable, catchup=False)
    schedule("standstill", times=1)
    assert runs("standstill") == [("scheduled", "2026-11-17")]  # the latest: before it nothing was missed
    monkeypatch.setattr(module, "_now", lambda: NOW)
    make("standstill", timetable, catchup=False)  # the DAG's file is read again
    schedule("standstill", times=9)
    days = ("2026-11-17", "2026-11-19", "2026-11-20", "2026-11-21")
    assert runs("standstill") == [("scheduled", day) for day in days]


def test_without_catchup_the_scheduler_makes_the_latest_day() -> None:
    """Then it waits for the next one."""
    make("latest", TRADING, catchup=False)
    schedule("latest", times=5)
    assert runs("latest") == [("scheduled", "2026-11-20")]


@pytest.mark.parametrize("kind", EXPECTED)
def test_a_backfill_of_one_day_makes_one_run(kind: str) -> None:
    """From D to D: D, and no second one where D was run; of a longer time: what is missing of it."""
    timetable, days = EXPECTED[kind]
    dag_id = f"{kind}_backfill"
    make(dag_id, timetable, catchup=False)
    for _ in range(2):
        backfill(dag_id, "2026-11-18", "2026-11-18")
        assert runs(dag_id) == [("backfill", "2026-11-18")]
    backfill(dag_id, "2026-11-16", "2026-11-30")
    assert sorted(runs(dag_id)) == [("backfill", day) for day in days]


def test_a_manual_run_of_a_day_keeps_a_backfill_from_making_another() -> None:
    """Both have the same partition date."""
    make("manual", DAILY, catchup=False)
    trigger("manual", "2026-11-18")
    backfill("manual", "2026-11-17", "2026-11-19")
    assert runs("manual") == [
        ("manual", "2026-11-18"),
        ("backfill", "2026-11-17"),
        ("backfill", "2026-11-19"),
    ]


def test_a_manual_run_may_have_no_key_and_no_wrong_one() -> None:
    """A day without trading is refused before anything is made."""
    make("refused", TRADING, catchup=False)
    with pytest.raises(
        InvalidPartitionKeyError, match=r"2026-11-17 is no session of XNYS; the nearest: 2026-11-16"
    ):
        trigger("refused", "2026-11-17")
    assert runs("refused") == []
    trigger("refused", None)
    assert runs("refused") == [("manual", None)]


def test_a_job_without_a_schedule_runs_by_hand_and_in_backfills_alone() -> None:
    """The scheduler makes no run of it; its days are partitions like any other job's."""
    make("hand", ByHandTimetable(), catchup=True)
    schedule("hand", times=5)
    assert runs("hand") == []
    trigger("hand", "2026-11-18")
    backfill("hand", "2026-11-17", "2026-11-19")
    expected = [("manual", "2026-11-18"), ("backfill", "2026-11-17"), ("backfill", "2026-11-19")]
    assert runs("hand") == expected


def test_a_backfill_does_not_make_the_schedule_skip_or_repeat() -> None:
    """Days of a backfill, then the schedule's next: each day once."""
    make("both", DAILY, catchup=False)
    schedule("both", times=1)
    backfill("both", "2026-11-17", "2026-11-25")
    schedule("both", times=5)
    keys = [key for _, key in runs("both")]
    assert keys == [f"2026-11-{day}" for day in (21, 17, 18, 19, 20)]


def publish(table: str, day: str, date: dt.datetime | None) -> None:
    """The event of a run that has published a day of a table, and what the scheduler makes of it."""
    from airflow.assets.manager import asset_manager
    from airflow.jobs.job import Job
    from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
    from airflow.serialization.encoders import ensure_serialized_asset
    from airflow.utils.session import create_session

    with create_session() as session:
        asset = ensure_serialized_asset(table_asset(PLACE, table))
        event = {"partition_key": day, "partition_date": date}
        asset_manager.register_asset_change(asset=asset, session=session, **event)  # type: ignore[arg-type]
    with create_session() as session:
        runner = SchedulerJobRunner(job=Job())  # type: ignore[no-untyped-call]
        runner._create_dagruns_for_partitioned_asset_dags(session)


def test_a_job_after_others_runs_by_their_events_and_in_backfills() -> None:
    """Its days are those that both have; what was published while it was paused, a backfill makes up for."""
    after = AfterTimetable(
        table_asset(PLACE, "up_daily") & table_asset(PLACE, "up_trading"), [TRADING, DAILY]
    )
    make("up_one", DAILY, outlets=["up_daily"], catchup=False)
    make("up_two", TRADING, outlets=["up_trading"], catchup=False)
    make("down", after, catchup=False)
    schedule("down", times=5)
    assert runs("down") == []
    publish("up_daily", "2026-11-18", utc("2026-11-18") + dt.timedelta(hours=6))
    assert runs("down") == []
    publish("up_trading", "2026-11-18", None)  # of a run by hand, which has no date
    assert runs("down") == [("asset_triggered", "2026-11-18")]
    with pytest.raises(InvalidPartitionKeyError, match=r"2026-11-17 is no session of XNYS and day in"):
        trigger("down", "2026-11-17")
    backfill("down", "2026-11-14", "2026-11-30")
    missing = [("backfill", f"2026-11-{day}") for day in (16, 19, 20)]
    assert runs("down") == [("asset_triggered", "2026-11-18"), *missing]
