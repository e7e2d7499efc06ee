"""Every kind of schedule in Airflow: its timetable says what its calendar says, wherever it is read."""

import datetime as dt
import json
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("airflow")
pytest.importorskip("exchange_calendars")

from airflow.timetables.base import TimeRestriction

from nightscore.airflow.dag import build_dag
from nightscore.airflow.plugin import NightscorePlugin
from nightscore.airflow.timetables import day as module
from nightscore.airflow.timetables.after import AfterTimetable
from nightscore.airflow.timetables.day import DayTimetable
from nightscore.airflow.timetables.timetable import MAKERS, TIMETABLES, ByHandTimetable, timetable_of
from nightscore.job.days.calendars import latest_day
from nightscore.job.days.closures import read_workspace_overrides
from nightscore.job.days.schedule import KINDS, After
from nightscore.job.loader import load
from nightscore.job.upstream import calendar_of
from tests.airflow.test_dags import add, stored

pytestmark = pytest.mark.filterwarnings("ignore")  # Airflow's and pandas' own

NOW = dt.datetime(2026, 11, 28, 12, tzinfo=dt.UTC)
SCHEDULES = {
    "daily": '{daily: "02:30", timezone: Europe/Berlin}',
    "exchange": "{exchange: [XNYS, XLON], after_close: 90m}",
    "cron": '{cron: "30 6 * * 1-5", timezone: America/New_York, day: -1}',
    "after": "{after: [other_top]}",
    "none": "none",
}
CLOSED = "XNYS: {closed: [2026-11-18]}\n"


@pytest.fixture(autouse=True)
def frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_now", lambda: NOW)


@pytest.fixture
def timetables(tmp_path: Path) -> dict[str, Any]:
    """The timetable of a job of each kind of schedule, as it is made and as a scheduler reads it."""
    (tmp_path / "calendars.yaml").write_text(CLOSED)
    add(tmp_path, "other")
    for name, text in SCHEDULES.items():
        add(tmp_path, f"by_{name}", text)
    jobs = {name: load(f"by_{name}", tmp_path) for name in SCHEDULES}
    return {
        name: (job, timetable_of(job), stored(build_dag(job)).timetable, read_workspace_overrides(tmp_path))
        for name, job in jobs.items()
    }


def test_every_kind_of_schedule_has_one_timetable() -> None:
    """In the mapping of makers, but for what comes after others; and in the cases of this file."""
    assert {*MAKERS, After} == set(KINDS.values()) and set(SCHEDULES) == set(KINDS)
    assert len(TIMETABLES) == len(KINDS)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.sample(2)
def test_a_timetable_says_what_the_calendar_says(timetables: dict[str, Any], name: str) -> None:
    """The days from the latest complete one on, when each is complete, and their midnights."""
    job, made, read, closures = timetables[name]
    assert type(read) is type(made)
    calendar = calendar_of(job, closures)
    latest = latest_day(calendar, NOW)
    days = [day for day in calendar.days(latest, latest + dt.timedelta(days=60)) if day >= latest][:20]
    restriction = TimeRestriction(None, None, False)
    for timetable in (made, read):
        keys = [timetable.resolve_partition_date(day.isoformat()) for day in days]
        assert [key.astimezone(calendar.zone).date() for key in keys] == days
        if isinstance(timetable, ByHandTimetable | AfterTimetable):
            assert timetable.next_dagrun_info_v2(last_dagrun_info=None, restriction=restriction) is None
            continue
        runs = list(islice(coming(timetable, restriction), 20))
        assert [run.partition_key for run in runs] == [day.isoformat() for day in days]
        assert [run.run_after for run in runs] == [calendar.complete(day) for day in days]
        assert [run.partition_date for run in runs] == keys


def coming(timetable: DayTimetable, restriction: TimeRestriction) -> Any:
    last = None
    while last := timetable.next_dagrun_info_v2(last_dagrun_info=last, restriction=restriction):
        yield last


@pytest.mark.parametrize("name", KINDS)
def test_a_backfill_has_the_calendars_days(timetables: dict[str, Any], name: str) -> None:
    """Those of three weeks, without one on which the exchange was closed by the workspace's own file."""
    job, made, _, closures = timetables[name]
    first, last = dt.datetime(2026, 11, 2), dt.datetime(2026, 11, 20)
    found = made.iter_partition_dagrun_infos(earliest=first, latest=last)  # type: ignore[arg-type]
    days = calendar_of(job, closures).days(first.date(), last.date())
    assert [info.partition_key for info in found] == [day.isoformat() for day in days]
    assert len(days) and ("2026-11-18" in map(str, days)) == (name != "exchange")


@pytest.mark.parametrize("name", KINDS)
def test_a_timetable_is_registered_and_plain(timetables: dict[str, Any], name: str) -> None:
    """Every process of Airflow finds its class by the plug-in, and its arguments are JSON."""
    _, made, _, _ = timetables[name]
    assert type(made) in NightscorePlugin.timetables
    again = type(made).deserialize(json.loads(json.dumps(made.serialize())))
    assert (again.serialize(), again.summary) == (made.serialize(), made.summary)
