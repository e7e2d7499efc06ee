"""The timetables as plain objects; with Airflow's machinery they are tested in test_scheduling.py."""

import datetime as dt
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import islice, pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

pytest.importorskip("airflow")
pytest.importorskip("exchange_calendars")

import pendulum
from airflow.exceptions import AirflowTimetableInvalid, InvalidPartitionKeyError
from airflow.timetables.base import DagRunInfo, DataInterval, TimeRestriction, Timetable

from nightscore.airflow.timetables import day as module
from nightscore.airflow.timetables.cron import CronDayTimetable
from nightscore.airflow.timetables.day import DayTimetable
from nightscore.airflow.timetables.timetable import DailyPartitionTimetable, TradingDayTimetable

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Airflow's and pandas' own

NOW = "2026-11-22T12:00:00Z"
BERLIN = DailyPartitionTimetable("02:30", timezone="Europe/Berlin")
CHICAGO = DailyPartitionTimetable("02:00", timezone="America/Chicago")
ONE = dt.timedelta(days=1)
KINDS: dict[str, DayTimetable] = {
    "Chicago": CHICAGO,
    "Berlin, in the gap": BERLIN,
    "Lord Howe": DailyPartitionTimetable("02:15", timezone="Australia/Lord_Howe"),
    "São Paulo": DailyPartitionTimetable("00:00", timezone="America/Sao_Paulo"),
    "New York": TradingDayTimetable("XNYS", "90m"),
    "New York and Tokyo": TradingDayTimetable(["XTKS", "XNYS"], "5m"),
}
CRONS: dict[str, DayTimetable] = {
    "Mondays": CronDayTimetable("30 2 * * mon", "Europe/Berlin", -1),
    "quarters": CronDayTimetable("0 6 1 1,4,7,10 *", "America/New_York", -2),
}
ALL = {**KINDS, **CRONS}
Freeze = Callable[[str], None]


@pytest.fixture(autouse=True)
def freeze(monkeypatch: pytest.MonkeyPatch) -> Freeze:
    """Sets the timetables' clock, which starts at NOW."""

    def to(moment: str) -> None:
        monkeypatch.setattr(module, "_now", lambda: dt.datetime.fromisoformat(moment))

    to(NOW)
    return to


def bounds(first: str | None = None, last: str | None = None, catchup: bool = True) -> TimeRestriction:
    return TimeRestriction(first and pendulum.parse(first), last and pendulum.parse(last), catchup)  # type: ignore[arg-type]


def coming(timetable: Timetable, restriction: TimeRestriction) -> Iterator[DagRunInfo]:
    """What a scheduler asks for, run after run."""
    last = None
    while last := timetable.next_dagrun_info_v2(last_dagrun_info=last, restriction=restriction):
        yield last


def keys(infos: Iterator[DagRunInfo] | list[DagRunInfo]) -> list[str | None]:
    return [info.partition_key for info in infos]


def midnight(timetable: DayTimetable, day: str) -> str:
    """A day's midnight in the timetable's zone, as a moment."""
    return dt.datetime.fromisoformat(day).replace(tzinfo=timetable.calendar.zone).isoformat()


# Properties of both


@pytest.mark.parametrize("timetable", ALL.values(), ids=ALL.keys())
@pytest.mark.sample(2)
def test_the_schedule_is_the_backfill_over_years(timetable: DayTimetable) -> None:
    """Run after run gives what a backfill of the same days lists; keys, dates and moments rise strictly."""
    first, last = "2021-01-01", "2026-11-10"
    restriction = bounds(midnight(timetable, first), midnight(timetable, last))
    scheduled = list(coming(timetable, restriction))
    utc = [pendulum.parse(f"{day}T00:00:00Z") for day in (first, last)]
    assert scheduled == list(timetable.iter_partition_dagrun_infos(earliest=utc[0], latest=utc[1]))  # type: ignore[arg-type]
    for a, b in pairwise(scheduled):
        assert (a.partition_key, a.partition_date, a.run_after) < (
            b.partition_key,
            b.partition_date,
            b.run_after,
        )
        assert a.run_after < b.run_after and a.partition_date < b.partition_date  # type: ignore[operator]
    if isinstance(timetable, DailyPartitionTimetable):
        assert len(scheduled) == (dt.date.fromisoformat(last) - dt.date.fromisoformat(first)).days + 1


@pytest.mark.parametrize("timetable", ALL.values(), ids=ALL.keys())
def test_every_run_is_of_the_partition_shape(timetable: DayTimetable) -> None:
    """Key = the day, date = its midnight, no interval, after the day; a manual key gives the same date."""
    zone = timetable.calendar.zone
    for info in islice(coming(timetable, bounds("2026-01-01T00:00:00Z")), 200):
        assert info.partition_key and info.partition_date and info.data_interval is None
        assert info.run_after.timezone_name == info.partition_date.timezone_name == "UTC"
        assert info.partition_date.astimezone(zone).date().isoformat() == info.partition_key
        assert timetable.resolve_partition_date(info.partition_key) == info.partition_date
        assert info.run_after > info.partition_date


@pytest.mark.parametrize("timetable", ALL.values(), ids=ALL.keys())
def test_serialization_keeps_everything(timetable: DayTimetable) -> None:
    """The same arguments, the same runs, the same texts, from plain JSON."""
    import json

    again = type(timetable).deserialize(json.loads(json.dumps(timetable.serialize())))
    assert again.serialize() == timetable.serialize()
    assert (again.summary, again.description) == (timetable.summary, timetable.description)
    restriction = bounds("2026-01-01T00:00:00Z")
    assert list(islice(coming(again, restriction), 9)) == list(islice(coming(timetable, restriction), 9))


def test_one_day_makes_one_run() -> None:
    """A backfill from D to D: the run of D; of a day without trading, none."""
    for timetable in KINDS.values():
        assert keys(list(backfill(timetable, "2026-11-16", "2026-11-16"))) == ["2026-11-16"]
    assert keys(list(backfill(KINDS["New York"], "2025-11-27", "2025-11-28"))) == ["2025-11-28"]
    assert keys(list(backfill(KINDS["New York"], "2025-11-27", "2025-11-27"))) == []


def backfill(timetable: Timetable, first: str, last: str) -> Iterator[DagRunInfo]:
    """What Airflow makes of --from-date and --to-date: midnights in UTC."""
    moments = [dt.datetime.fromisoformat(day).replace(tzinfo=dt.UTC) for day in (first, last)]
    yield from timetable.iter_partition_dagrun_infos(earliest=moments[0], latest=moments[1])


ZONES = (
    "Etc/GMT+11", "Pacific/Honolulu", "America/Los_Angeles", "America/New_York", "America/St_Johns", "UTC",
    "Europe/Berlin", "Asia/Kolkata", "Asia/Kathmandu", "Asia/Tokyo", "Australia/Sydney", "Etc/GMT-12",
)  # fmt: skip


@pytest.mark.parametrize("zone", ZONES)
def test_a_backfill_has_the_days_that_a_person_picked(zone: str) -> None:
    """Whatever zone the UI shows and the job has; its moments are those that a browser was seen to send.

    Of each range of up to three days around both changes of clocks, and of a range over all of them.
    """
    at = ZoneInfo(zone)
    starts = [dt.date(2026, 3, 6), dt.date(2026, 10, 23), dt.date(2026, 10, 30)]
    picked = [
        (first + n * ONE, first + (n + more) * ONE) for first in starts for n in range(5) for more in range(3)
    ]
    for first, last in [*picked, (starts[0], starts[-1])]:
        midnight, end = dt.time(), dt.time(23, 59, 59, 999_000)
        sent = [
            dt.datetime.combine(day, t, at).astimezone(dt.UTC) for day, t in ((first, midnight), (last, end))
        ]
        for timetable in KINDS.values():
            wanted = [day.isoformat() for day in timetable.calendar.days(first, last)]
            infos = timetable.iter_partition_dagrun_infos(earliest=sent[0], latest=sent[1])
            assert keys(list(infos)) == wanted, (zone, first, last)
            dates = [
                info.partition_date
                for info in timetable.iter_partition_dagrun_infos(earliest=sent[0], latest=sent[1])
            ]
            low, high = map(timetable.localize_partition_datetime, sent)
            assert all(low <= date <= high for date in dates if date)


def test_the_command_line_sends_plain_midnights() -> None:
    """Of UTC, or of the zone that Airflow has by default; without a zone it is one of UTC."""
    for zone in (None, dt.UTC, ZoneInfo("America/New_York"), ZoneInfo("Asia/Tokyo")):
        first, last = (dt.datetime(2026, 11, day, tzinfo=zone) for day in (16, 18))
        infos = list(CHICAGO.iter_partition_dagrun_infos(earliest=first, latest=last))
        assert keys(infos) == ["2026-11-16", "2026-11-17", "2026-11-18"]


def test_a_backfill_leaves_days_that_are_not_complete_to_the_schedule(freeze: Freeze) -> None:
    """Otherwise the schedule would run them a second time."""
    assert keys(list(backfill(CHICAGO, "2026-11-20", "2026-11-30"))) == ["2026-11-20", "2026-11-21"]
    freeze("2026-11-22T07:59:59Z")
    assert keys(list(backfill(CHICAGO, "2026-11-20", "2026-11-30"))) == ["2026-11-20"]


# Starting, catching up


def test_without_catchup_only_the_latest_missed_day_is_run(freeze: Freeze) -> None:
    """A new DAG runs the day that is due; after a standstill the latest one; then day after day."""
    restriction = bounds("2026-10-01T00:00:00Z", catchup=False)
    infos = list(islice(coming(CHICAGO, restriction), 3))
    assert keys(infos) == ["2026-11-21", "2026-11-22", "2026-11-23"]
    freeze("2026-12-05T12:00:00Z")
    late = CHICAGO.next_dagrun_info_v2(last_dagrun_info=infos[0], restriction=restriction)
    assert late and late.partition_key == "2026-12-04"
    assert keys(list(islice(coming(KINDS["New York"], restriction), 2))) == ["2026-12-04", "2026-12-07"]


CATCHUPS = [
    ("none", ["2026-11-21"]),
    ("1 day", ["2026-11-21"]),
    ("3 days", ["2026-11-19", "2026-11-20", "2026-11-21"]),
    ("7 days", [f"2026-11-{day}" for day in range(15, 22)]),
    ("all", [f"2026-11-{day:02}" for day in range(2, 22)]),
]


@pytest.mark.parametrize("flag", [True, False])
@pytest.mark.parametrize(("catchup", "days"), CATCHUPS)
def test_a_timetable_says_itself_what_is_caught_up(catchup: str, days: list[str], flag: bool) -> None:
    """Since the last run, the oldest first, whatever the DAG's own flag says; then day after day."""
    timetable = DailyPartitionTimetable("02:00", "America/Chicago", catchup)
    last = DagRunInfo(pendulum.datetime(2026, 11, 2, 8), None, None, "2026-11-01")
    found = []
    for _ in range(len(days) + 1):
        last = timetable.next_dagrun_info_v2(last_dagrun_info=last, restriction=bounds(catchup=flag)) or last
        found.append(last.partition_key)
    assert found == [*days, "2026-11-22"]


@pytest.mark.parametrize("catchup", ["none", "3 days", "all"])
def test_what_never_ran_has_missed_nothing(catchup: str) -> None:
    """The first run is of the latest complete day, of a DAG with a start date, too; none is before it."""
    timetable = DailyPartitionTimetable("02:00", "America/Chicago", catchup)
    for first in (None, "2026-11-01T00:00:00-05:00"):
        assert keys(list(islice(coming(timetable, bounds(first)), 2))) == ["2026-11-21", "2026-11-22"]
    future = next(coming(timetable, bounds("2027-03-01T00:00:00-06:00")))
    assert future.partition_key == "2027-03-01"


def test_days_of_an_exchange_are_its_sessions() -> None:
    """Three days are three sessions, over a weekend and over Thanksgiving."""
    timetable = TradingDayTimetable("XNYS", "90m", catchup="3 days")
    last = DagRunInfo(pendulum.datetime(2026, 11, 2, 22), None, None, "2026-11-02")
    info = timetable.next_dagrun_info_v2(last_dagrun_info=last, restriction=bounds(catchup=False))
    assert info and info.partition_key == "2026-11-18"  # the 20th, a Friday, is the latest


def test_timetables_that_were_serialized_before_are_read() -> None:
    """Without `catchup`; then the DAG's own flag says it, as it did."""
    daily = DailyPartitionTimetable.deserialize({"at": "02:00", "timezone": "America/Chicago"})
    trading = TradingDayTimetable.deserialize({"exchange": ["XNYS"], "after_close": "90m", "overrides": {}})
    last = DagRunInfo(pendulum.datetime(2026, 11, 17, 8), None, None, "2026-11-16")
    for timetable, latest in ((daily, "2026-11-21"), (trading, "2026-11-20")):
        for flag, day in ((False, latest), (True, "2026-11-17")):
            info = timetable.next_dagrun_info_v2(last_dagrun_info=last, restriction=bounds(catchup=flag))
            assert info and info.partition_key == day


def test_without_a_start_date_catchup_begins_with_the_latest_day() -> None:
    """There is nothing to catch up from."""
    assert keys(list(islice(coming(CHICAGO, bounds()), 2))) == ["2026-11-21", "2026-11-22"]


def test_start_and_end_bound_the_days_not_the_runs() -> None:
    """The first run is of the start date, the last of the end date, though it starts a day later."""
    restriction = bounds("2026-11-10T00:00:00-06:00", "2026-11-12T00:00:00-06:00")
    assert keys(coming(CHICAGO, restriction)) == ["2026-11-10", "2026-11-11", "2026-11-12"]
    assert keys(coming(CHICAGO, bounds("2026-11-10T00:00:01-06:00", "2026-11-11T23:59:59-06:00"))) == [
        "2026-11-11"
    ]
    future = next(coming(CHICAGO, bounds("2027-03-01T00:00:00-06:00", catchup=False)))
    assert future.partition_key == "2027-03-01"


def test_after_a_run_of_another_timetable_comes_the_next_day() -> None:
    """Of another zone's midnights the key counts; of a cron's runs the moment."""
    at = pendulum.datetime(2026, 11, 18, 23)
    berlin = DagRunInfo(at, None, pendulum.datetime(2026, 11, 16, 23), "2026-11-17")
    other = DagRunInfo(at, None, pendulum.datetime(2026, 11, 17, 6), "north")
    cron = DagRunInfo(at, DataInterval.exact(at))
    for last, expected in ((berlin, "2026-11-18"), (other, "2026-11-18"), (cron, "2026-11-18")):
        info = CHICAGO.next_dagrun_info_v2(last_dagrun_info=last, restriction=bounds())
        assert info and info.partition_key == expected


THANKSGIVING = [
    ("2026-11-23", "2026-11-23T17:30-05:00"),
    ("2026-11-24", "2026-11-24T17:30-05:00"),
    ("2026-11-25", "2026-11-25T17:30-05:00"),
    ("2026-11-27", "2026-11-27T14:30-05:00"),
    ("2026-11-30", "2026-11-30T17:30-05:00"),
]


def test_the_week_of_thanksgiving() -> None:
    """No Thursday, and Friday's run after the early close."""
    infos = list(islice(coming(KINDS["New York"], bounds("2026-11-23T00:00:00-05:00")), 5))
    assert [(i.partition_key, i.run_after) for i in infos] == [
        (key, dt.datetime.fromisoformat(run)) for key, run in THANKSGIVING
    ]


def test_the_gap_that_airflow_s_own_timetable_stumbles_over() -> None:
    """Berlin, March 2027: each day once (CronPartitionTimetable loses the 27th and has the 28th twice)."""
    infos = list(islice(coming(BERLIN, bounds("2027-03-26T00:00:00+01:00")), 4))
    assert keys(infos) == ["2027-03-26", "2027-03-27", "2027-03-28", "2027-03-29"]
    shown = [i.run_after.astimezone(ZoneInfo("Europe/Berlin")).strftime("%d %H:%M") for i in infos]
    assert shown == ["27 02:30", "28 03:30", "29 02:30", "30 02:30"]


# Manual keys

BAD_KEYS = [
    (CHICAGO, "yesterday", r"'yesterday' is no partition key of this DAG; write a day, YYYY-MM-DD"),
    (CHICAGO, "20261116", r"write a day, YYYY-MM-DD"),
    (CHICAGO, "2026-W47-1", r"write a day, YYYY-MM-DD"),
    (CHICAGO, "2026-11-31", r"write a day, YYYY-MM-DD"),
    (CHICAGO, "2026-11-16 ", r"write a day, YYYY-MM-DD"),
    (CHICAGO, "2026-11-16T00:00:00", r"write a day, YYYY-MM-DD"),
    (
        KINDS["New York"],
        "2026-11-26",
        r"2026-11-26 is no session of XNYS; the nearest: 2026-11-25 and 2026-11-27",
    ),
    (KINDS["New York"], "2025-01-09", r"the nearest: 2025-01-08 and 2025-01-10"),
    (
        KINDS["New York and Tokyo"],
        "2026-11-23",
        r"no session of XTKS and XNYS; the nearest: 2026-11-20 and 2026-11-24",
    ),
    (TradingDayTimetable("XSAU"), "2199-01-01", r"2199-01-01 is no session of XSAU; there is none near it"),
]


@pytest.mark.parametrize(("timetable", "key", "message"), BAD_KEYS, ids=[key for _, key, _ in BAD_KEYS])
def test_a_bad_key_says_what_is_allowed(timetable: Timetable, key: str, message: str) -> None:
    """What Airflow's API answers with HTTP 400."""
    with pytest.raises(InvalidPartitionKeyError, match=message):
        timetable.resolve_partition_date(key)


def test_a_run_s_id_begins_with_its_day_and_is_never_twice_the_same() -> None:
    """A backfill may run a day again beside an earlier run; a manual run without a key has its moment."""
    from airflow.utils.types import DagRunType

    at = pendulum.datetime(2026, 11, 22, 8)
    arguments: dict[str, Any] = {"run_type": DagRunType.SCHEDULED, "run_after": at, "data_interval": None}
    ids = {CHICAGO.generate_run_id(**arguments, partition_key="2026-11-21") for _ in range(9)}
    assert len(ids) == 9 and all(i.startswith("scheduled__2026-11-21__") for i in ids)
    assert CHICAGO.generate_run_id(**arguments).startswith("scheduled__2026-11-22T08:00:00+00:00__")
    assert CHICAGO.infer_manual_data_interval(run_after=at) == DataInterval.exact(at)


# Arguments

WRONG: dict[str, tuple[Callable[..., Any], tuple[Any, ...], str]] = {
    "no time": (DailyPartitionTimetable, ("25:00",), r"'25:00' is no time of day; write \"HH:MM\""),
    "seconds": (DailyPartitionTimetable, ("02:00:00",), r"is no time of day"),
    "a number": (DailyPartitionTimetable, (2,), r"2 is no time of day"),
    "no zone": (DailyPartitionTimetable, ("02:00", "Chicago"), r"'Chicago' is no IANA time zone, such as"),
    "a path as zone": (DailyPartitionTimetable, ("02:00", "../etc"), r"is no IANA time zone"),
    "catchup": (
        DailyPartitionTimetable,
        ("02:00", "UTC", "7"),
        r"'7' is not allowed; allowed: a number of days",
    ),
    "catchup of sessions": (
        TradingDayTimetable,
        ("XNYS", "0m", None, True),
        r"True is not allowed; allowed: a",
    ),
    "cron": (CronDayTimetable, ("0 2,14 * * 1",), r"several times a day, such as 02:00 and 14:00"),
    "cron's day": (CronDayTimetable, ("0 2 * * 1", "UTC", 1), r"1 is no day relative to that of the run"),
    "cron's zone": (CronDayTimetable, ("0 2 * * 1", "Berlin"), r"'Berlin' is no IANA time zone"),
    "no exchange": (TradingDayTimetable, ([],), r"is no list of exchanges"),
    "one twice": (TradingDayTimetable, (["XNYS", "XNYS"],), r"is no list of exchanges; write .* each once"),
    "hours": (
        TradingDayTimetable,
        ("XNYS", "1h"),
        r"'1h' is no time after the close; write minutes, such as \"90m\"",
    ),
    "no text": (TradingDayTimetable, ("XNYS", 90), r""),
    "a wrong override": (
        TradingDayTimetable,
        ("XNYS", "0m", {"XNYS": {"shut": []}}),
        r"overrides: XNYS: shut: ",
    ),
    "no file": (TradingDayTimetable, ("XNYS", "0m", "nowhere.yaml"), r"nowhere.yaml: can't be read"),
}


@pytest.mark.parametrize(("kind", "arguments", "message"), WRONG.values(), ids=WRONG.keys())
def test_wrong_arguments_are_import_errors(
    kind: Callable[..., Any], arguments: tuple[Any, ...], message: str
) -> None:
    """Raised where the DAG file has them, so that Airflow shows its line."""
    with pytest.raises(AirflowTimetableInvalid, match=message):
        kind(*arguments)


def test_an_unknown_exchange_is_found_when_the_dag_is_loaded() -> None:
    """Without importing pandas; says which was meant."""
    with pytest.raises(AirflowTimetableInvalid, match=r"no exchange 'XNYX'; did you mean XNYS\?"):
        TradingDayTimetable("XNYX").validate()
    for timetable in KINDS.values():
        timetable.validate()


def test_an_override_file_is_read_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative to the workspace; what it says of these exchanges is serialized; then no file is needed."""
    file = tmp_path / "calendars.yaml"
    file.write_text(
        'XNYS:\n  closed: [2026-11-23]\n  early: {2026-11-24: "11:00"}\nXLON: {closed: [2026-11-25]}\n'
    )
    monkeypatch.setenv("NIGHTSCORE_WORKSPACE", str(tmp_path))
    data = TradingDayTimetable("XNYS", "90m", overrides="calendars.yaml").serialize()
    file.unlink()
    assert data["overrides"] == {"XNYS": {"closed": ["2026-11-23"], "early": {"2026-11-24": "11:00"}}}
    first = next(coming(TradingDayTimetable.deserialize(data), bounds("2026-11-23T00:00:00-05:00")))
    assert first.partition_key == "2026-11-24"
    assert first.run_after == dt.datetime.fromisoformat("2026-11-24T12:30-05:00")


def test_what_people_read() -> None:
    """Summary and description as the UI shows them."""
    assert CHICAGO.summary == "daily 02:00 America/Chicago"
    assert CHICAGO.description == "at 02:00 America/Chicago, for the day before"
    both = KINDS["New York and Tokyo"]
    assert (both.summary, both.description) == (
        "XTKS+XNYS close + 5m",
        "5m after the close of XTKS and XNYS, for that session",
    )


def test_a_backfill_by_cron_has_the_days_of_its_runs() -> None:
    """A month of Sundays that Mondays score; a missed quarter is caught up."""
    assert keys(list(backfill(CRONS["Mondays"], "2026-10-20", "2026-11-30"))) == [
        "2026-10-25", "2026-11-01", "2026-11-08", "2026-11-15"
    ]  # fmt: skip
    quarters = CronDayTimetable("0 6 1 1,4,7,10 *", "America/New_York", -2, "2 days")
    last = DagRunInfo(pendulum.datetime(2026, 1, 1, 11), None, None, "2025-12-30")
    info = quarters.next_dagrun_info_v2(last_dagrun_info=last, restriction=bounds(catchup=False))
    assert info and info.partition_key == "2026-06-29"  # of 30 March, 29 June, 29 September the last two
    assert info.run_after == dt.datetime.fromisoformat("2026-07-01T06:00-04:00")


def test_what_people_read_of_a_cron_expression() -> None:
    """When it runs, and for which day."""
    texts = {0: "for that day", -1: "for the day before", -7: "for 7 days before"}
    for day, text in texts.items():
        found = CronDayTimetable("0 22 * * fri", "Europe/Berlin", day)
        assert found.description == f"at 22:00 Europe/Berlin by cron 0 22 * * fri, {text}"
        assert found.summary == f"cron 0 22 * * fri Europe/Berlin, day {day}"


def test_a_dag_file_with_both_is_light_to_parse() -> None:
    """Nothing of pandas, numpy or exchange_calendars beyond what Airflow itself imports."""
    code = """
import sys, airflow.sdk, airflow.timetables.base, airflow.exceptions
before = set(sys.modules)
from nightscore.airflow.timetables.timetable import DailyPartitionTimetable, TradingDayTimetable
DailyPartitionTimetable().validate(); TradingDayTimetable(["XNYS", "XLON"]).validate()
heavy = {"pandas", "numpy", "exchange_calendars", "duckdb", "pyarrow", "onnxruntime", "deltalake"}
sys.exit(1 if heavy & (sys.modules.keys() - before) else 0)
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
