"""Days and when they are complete: exchanges against golden answers, clocks that change, schedules."""

import csv
import datetime as dt
import subprocess
import sys
from bisect import bisect_right
from itertools import pairwise, product
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("exchange_calendars")

from nightscore.common.errors import Broken
from nightscore.job.days import calendars
from nightscore.job.days.calendars import (
    EveryDay,
    Sessions,
    latest_day,
    next_day,
    wall_clock_to_utc,
)
from nightscore.job.days.closures import parse_overrides
from nightscore.job.days.exchanges import known_exchanges
from nightscore.job.days.schedule import BY_HAND, After, Cron, Daily, Exchange, ScheduleKind
from tests.faults.marks import mostly_slow
from tests.job.golden import make_sessions

GOLDEN = Path(__file__).parent / "golden"
FIRST, LAST = dt.date(2023, 1, 1), dt.date(2026, 12, 31)
UTC = ZoneInfo("UTC")
ONE = dt.timedelta(days=1)


def golden(name: str) -> dict[dt.date, dt.datetime]:
    """Session -> close, as made by hand."""
    with (GOLDEN / f"{name}.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {dt.date.fromisoformat(r["session"]): dt.datetime.fromisoformat(r["close_utc"]) for r in rows}


def day(text: str) -> dt.date:
    return dt.date.fromisoformat(text)


def at(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


# Exchanges


@pytest.mark.parametrize("name", ["XNYS", "XLON", "XTKS"])
def test_every_session_and_close_of_four_years_is_right(name: str) -> None:
    """2023 to 2026: the same sessions, and the same closes to the second, as the answers made by hand."""
    sessions = Sessions((name,))
    assert {d: sessions.complete(d) for d in sessions.days(FIRST, LAST)} == golden(name)


def test_the_golden_answers_are_what_their_script_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has edited a CSV by hand."""
    monkeypatch.setattr(make_sessions, "HERE", tmp_path)
    make_sessions.main()
    for name in ("XNYS", "XLON", "XTKS"):
        assert (tmp_path / f"{name}.csv").read_bytes() == (GOLDEN / f"{name}.csv").read_bytes()


SPECIAL = {
    "the day before Thanksgiving": ("XNYS", "2026-11-25", "2026-11-25T21:00Z"),
    "Thanksgiving": ("XNYS", "2026-11-26", None),
    "the half day after it": ("XNYS", "2026-11-27", "2026-11-27T18:00Z"),
    "Good Friday": ("XNYS", "2024-03-29", None),
    "Good Friday in London": ("XLON", "2024-03-29", None),
    "Easter Monday in London": ("XLON", "2024-04-01", None),
    "Easter Monday in New York": ("XNYS", "2024-04-01", "2024-04-01T20:00Z"),
    "a half day before Independence Day": ("XNYS", "2025-07-03", "2025-07-03T17:00Z"),
    "Independence Day observed, no half day before": ("XNYS", "2026-07-02", "2026-07-02T20:00Z"),
    "Christmas Eve in London": ("XLON", "2026-12-24", "2026-12-24T12:30Z"),
    "New Year's Eve in London, on the Friday before": ("XLON", "2023-12-29", "2023-12-29T12:30Z"),
    "the Friday before clocks change in New York": ("XNYS", "2026-03-06", "2026-03-06T21:00Z"),
    "the Monday after": ("XNYS", "2026-03-09", "2026-03-09T20:00Z"),
    "London, whose clocks haven't changed by then": ("XLON", "2026-03-09", "2026-03-09T16:30Z"),
    "London, when they have": ("XLON", "2026-03-30", "2026-03-30T15:30Z"),
    "the National Day of Mourning for President Carter": ("XNYS", "2025-01-09", None),
    "the Coronation": ("XLON", "2023-05-08", None),
    "the last 15:00 in Tokyo": ("XTKS", "2024-11-01", "2024-11-01T06:00Z"),
    "the first 15:30 in Tokyo": ("XTKS", "2024-11-05", "2024-11-05T06:30Z"),
    "a day between two holidays in Tokyo": ("XTKS", "2026-09-22", None),
}


@pytest.mark.parametrize(("name", "on", "close"), SPECIAL.values(), ids=SPECIAL.keys())
def test_days_that_calendars_get_wrong(name: str, on: str, close: str | None) -> None:
    """Written down once more, apart from the golden files."""
    sessions = Sessions((name,))
    assert sessions.days(day(on), day(on)) == ([day(on)] if close else [])
    if close:
        assert sessions.complete(day(on)) == at(close)


def test_minutes_after_the_close_are_minutes_after_the_actual_close() -> None:
    """90 minutes after 13:00 in New York on a half day."""
    assert Sessions(("XNYS",), dt.timedelta(minutes=90)).complete(day("2026-11-27")) == at(
        "2026-11-27T19:30Z"
    )


def test_several_exchanges_count_when_all_have_closed() -> None:
    """A day is one of all of them; it is complete with the last close, whichever that is."""
    both = Sessions(("XTKS", "XLON"))
    tokyo, london = golden("XTKS"), golden("XLON")
    found = {d: both.complete(d) for d in both.days(FIRST, LAST)}
    assert found == {d: max(tokyo[d], london[d]) for d in tokyo.keys() & london.keys()}
    assert both.zone.key == "Asia/Tokyo"


@pytest.mark.slow
def test_no_session_is_lost_between_decades() -> None:
    """What is kept decade by decade is what exchange_calendars gives in one piece."""
    import exchange_calendars

    whole = exchange_calendars.get_calendar("XNYS", start="2008-06-01", end="2031-06-30")
    closes = {s.date(): c.to_pydatetime() for s, c in whole.closes.items()}
    sessions = Sessions(("XNYS",))
    assert {d: sessions.complete(d) for d in sessions.days(day("2008-06-01"), day("2031-06-30"))} == closes


@given(st.datetimes(dt.datetime(2023, 3, 1), dt.datetime(2026, 12, 31), timezones=st.just(UTC)))
def test_the_latest_session_is_the_last_whose_run_may_have_started(now: dt.datetime) -> None:
    """At any moment: as they are in the golden answers."""
    delay = dt.timedelta(minutes=90)
    closes = list(golden("XNYS").items())
    index = bisect_right([close + delay for _, close in closes], now)
    assert latest_day(Sessions(("XNYS",), delay), now) == closes[index - 1][0]


def test_a_day_that_is_no_session_is_refused_with_the_nearest() -> None:
    """Thanksgiving: who asks for it is told what there is."""
    with pytest.raises(
        ValueError, match=r"2026-11-26 is no session of XNYS; the nearest: 2026-11-25 and 2026-11-27"
    ):
        Sessions(("XNYS",)).complete(day("2026-11-26"))


def test_where_a_calendar_ends_it_says_so() -> None:
    """Beyond what is known there is an error, never a day too few in silence."""
    with pytest.raises(
        Broken, match=r"no session of XSAU is known on or after .*; exchange_calendars knows XSAU from"
    ):
        next_day(Sessions(("XSAU",)), day("2199-01-01"))
    with pytest.raises(Broken, match=r"no session of XSAU is known that was complete at 1900"):
        latest_day(Sessions(("XSAU",)), at("1900-01-01T00:00Z"))


def test_what_the_package_cannot_compute_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own errors (with pandas 3, NotImplementedError for Athens) become one that names its version."""
    import exchange_calendars

    def fails(*_: Any, **__: Any) -> None:
        raise NotImplementedError("implemented by subclasses")

    monkeypatch.setattr(exchange_calendars, "get_calendar", fails)
    with pytest.raises(Broken, match=r"exchange_calendars 4\S* has no calendar of QQQQ: NotImplementedError"):
        Sessions(("QQQQ",)).days(FIRST, LAST)


def test_the_list_of_exchanges_is_the_package_s_own() -> None:
    """Read from file names, it is what the package lists under four letters."""
    import exchange_calendars

    names = exchange_calendars.get_calendar_names(include_aliases=False)
    assert known_exchanges() == {name for name in names if len(name) == 4 and name.isupper()}


# Clocks that change

ZONES = [
    "America/Chicago",
    "Europe/Berlin",
    "Australia/Lord_Howe",
    "America/Sao_Paulo",
    "America/Havana",
    "Africa/Casablanca",
    "Asia/Tehran",
    "Pacific/Apia",
    "UTC",
]
TIMES = ["00:00", "00:30", "01:45", "02:00", "02:30", "03:00", "23:59"]


def read_backwards(on: dt.date, time: dt.time, zone: ZoneInfo) -> list[dt.datetime]:
    """Every moment at which clocks of `zone` show a time, found by asking what they show at each."""
    naive = dt.datetime.combine(on, time)
    moments = (naive.replace(tzinfo=dt.UTC) + dt.timedelta(minutes=15 * i) for i in range(-60, 61))
    return [m for m in moments if m.astimezone(zone).replace(tzinfo=None) == naive]


def changes(zone: ZoneInfo) -> list[dt.date]:
    """Every day of forty years on which clocks of `zone` change, and those beside it."""
    noons = [dt.datetime(1996, 1, 1, 12, tzinfo=dt.UTC) + i * ONE for i in range(40 * 365)]
    changed = [
        b.date()
        for a, b in pairwise(noons)
        if a.astimezone(zone).utcoffset() != b.astimezone(zone).utcoffset()
    ]
    return [on + i * ONE for on in changed for i in (-1, 0, 1)]


@pytest.mark.parametrize("zone", [ZoneInfo(name) for name in ZONES], ids=ZONES)
@pytest.mark.sample(2)
def test_a_moment_is_the_first_at_which_clocks_show_the_time(zone: ZoneInfo) -> None:
    """Where clocks never show it, the moment is the one at which they would have, had they not changed."""
    for on, time in product(changes(zone), map(dt.time.fromisoformat, TIMES)):
        found, shown = wall_clock_to_utc(on, time, zone), read_backwards(on, time, zone)
        before = (found - ONE).astimezone(zone).utcoffset()
        assert before is not None
        assert found == (shown[0] if shown else dt.datetime.combine(on, time, dt.UTC) - before)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("time", mostly_slow(TIMES, ["00:00", "02:30", "23:59"]))
@pytest.mark.sample(9)
def test_each_day_has_one_run_over_forty_years(zone: str, time: str) -> None:
    """No day skipped or twice, runs in the order of their days and midnights, each after its day is over."""
    days = EveryDay(dt.time.fromisoformat(time), ZoneInfo(zone))
    found = days.days(day("1996-01-01"), day("2035-12-31"))
    every = {day("1996-01-01") + i * ONE for i in range((day("2035-12-31") - day("1996-01-01")).days + 1)}
    assert found == sorted(found) and every - set(found) == (
        {day("2011-12-30")} if zone == "Pacific/Apia" else set()
    )
    starts = [wall_clock_to_utc(d, dt.time(0), ZoneInfo(zone)) for d in found]
    runs = [days.complete(d) for d in found]
    assert all(a < b for a, b in pairwise(starts)) and all(a < b for a, b in pairwise(runs))
    assert all(run >= end for run, end in zip(runs, starts[1:], strict=False))


CHANGES = {
    "a gap: 02:30 means 03:30": ("02:30", "Europe/Berlin", "2027-03-27", "2027-03-28T03:30+02:00"),
    "a doubled time: the first": ("02:30", "Europe/Berlin", "2026-10-24", "2026-10-25T02:30+02:00"),
    "a gap in Chicago": ("02:00", "America/Chicago", "2026-03-07", "2026-03-08T03:00-05:00"),
    "a doubled time in Chicago": ("01:30", "America/Chicago", "2026-10-31", "2026-11-01T01:30-05:00"),
    "half an hour on Lord Howe": ("02:15", "Australia/Lord_Howe", "2026-10-03", "2026-10-04T02:45+11:00"),
    "a gap at midnight": ("00:00", "America/Sao_Paulo", "2018-11-03", "2018-11-04T01:00-02:00"),
}


@pytest.mark.parametrize(("time", "zone", "on", "expected"), CHANGES.values(), ids=CHANGES.keys())
def test_the_rule_where_clocks_change(time: str, zone: str, on: str, expected: str) -> None:
    """As written in the docstrings."""
    assert EveryDay(dt.time.fromisoformat(time), ZoneInfo(zone)).complete(day(on)) == at(expected)


# Schedules of job.yaml

LATEST = [
    (Daily(daily="02:00", timezone="America/Chicago"), "2026-11-22T07:59:59Z", "2026-11-20"),
    (Daily(daily="02:00", timezone="America/Chicago"), "2026-11-22T08:00:00Z", "2026-11-21"),
    (Daily(daily="02:30", timezone="Europe/Berlin"), "2027-03-28T01:29:59Z", "2027-03-26"),
    (Daily(daily="02:30", timezone="Europe/Berlin"), "2027-03-28T01:30:00Z", "2027-03-27"),
    (Exchange(exchange="XNYS", after_close="90m"), "2026-11-27T19:29:59Z", "2026-11-25"),
    (Exchange(exchange="XNYS", after_close="90m"), "2026-11-27T19:30:00Z", "2026-11-27"),
    (Exchange(exchange="XNYS"), "2026-11-29T12:00:00Z", "2026-11-27"),
    (Cron(cron="0 2 * * 1", timezone="Europe/Berlin"), "2026-11-23T00:59:59Z", "2026-11-15"),
    (Cron(cron="0 2 * * 1", timezone="Europe/Berlin"), "2026-11-23T01:00:00Z", "2026-11-22"),
    (Cron(cron="0 6 1 * *", day=-1), "2026-11-27T12:00:00Z", "2026-10-31"),
    (Cron(cron="0 0 29 2 *", day=-366), "2026-11-27T12:00:00Z", "2023-02-28"),
    (After(after=["retail_scores"]), "2026-11-22T23:59:59Z", "2026-11-21"),
    (BY_HAND, "2026-11-23T00:00:00Z", "2026-11-22"),
]


@pytest.mark.parametrize(("schedule", "now", "expected"), LATEST, ids=str)
def test_the_latest_complete_day_of_each_schedule(schedule: ScheduleKind, now: str, expected: str) -> None:
    """To the second: the day before, until the moment when its run may start."""
    assert schedule.latest_complete_day(at(now)) == day(expected)


def test_overrides_reach_a_schedule() -> None:
    """A closed session is not the latest."""
    closed = parse_overrides({"XNYS": {"closed": ["2026-11-27"]}})
    found = Exchange(exchange="XNYS").latest_complete_day(at("2026-11-29T12:00Z"), closed)
    assert found == day("2026-11-25")


def test_a_moment_without_a_zone_is_none() -> None:
    """A naive time would be read in the zone of whatever machine it is."""
    with pytest.raises(ValueError, match=r"has no time zone"):
        BY_HAND.latest_complete_day(dt.datetime(2026, 11, 22))


@pytest.mark.parametrize("text", ["90", "m", "-5m", "1h", "٩m", "99999m", "1.5m"])
def test_a_time_after_the_close_is_in_minutes(text: str) -> None:
    """As job.yaml has it."""
    with pytest.raises(ValueError, match=r"write minutes"):
        calendars.parse_minutes(text)


def test_importing_the_calendar_is_light() -> None:
    """A scheduler parses DAG files again and again: no pandas before a session is computed."""
    heavy = "{'pandas', 'numpy', 'exchange_calendars', 'duckdb', 'pyarrow', 'onnxruntime', 'airflow'}"
    code = f"import sys, nightscore.job.days.calendars; sys.exit(str({heavy} & sys.modules.keys() or 0))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() in ("", "0")
