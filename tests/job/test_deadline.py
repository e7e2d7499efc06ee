"""By when a day is to be published: held to zoneinfo and pandas, over clocks that change."""

import datetime as dt
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nightscore.common.errors import Broken
from nightscore.job import load
from nightscore.job.days.closures import parse_overrides
from nightscore.job.days.deadline import Deadline, deadline_of
from nightscore.job.days.schedule import After, Daily, Exchange
from tests.job.test_loader import add_job
from tests.support.workspace import JOB

ZONES = ["UTC", "America/Chicago", "Europe/Berlin", "Asia/Tokyo", "Australia/Lord_Howe", "Pacific/Apia"]
CLOCKS = st.tuples(st.times().map(lambda t: f"{t:%H:%M}"), st.sampled_from(ZONES))
DAYS = st.dates(dt.date(2010, 1, 1), dt.date(2030, 12, 31))
SPRING, AUTUMN = dt.date(2026, 3, 7), dt.date(2026, 10, 31)  # nights before clocks change in Chicago


def due(schedule: Any, deadline: Any, day: dt.date, **asked: Any) -> dt.datetime | None:
    """`deadline_of` of a job that says so."""
    job: Any = SimpleNamespace(spec=SimpleNamespace(schedule=schedule, deadline=deadline))
    return deadline_of(job, day, **asked)


def shown(moment: dt.datetime, zone: str) -> str:
    """What a clock shows: zoneinfo's answer."""
    return f"{moment.astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M %a}"


@settings(max_examples=150, deadline=None)
@given(DAYS, CLOCKS, CLOCKS, st.booleans())
@example(SPRING, ("02:30", "America/Chicago"), ("02:30", "America/Chicago"), False)
@example(AUTUMN, ("01:30", "America/Chicago"), ("01:30", "America/Chicago"), False)
@example(dt.date(2011, 12, 28), ("06:00", "Pacific/Apia"), ("06:00", "Pacific/Apia"), False)
def test_it_is_the_first_such_time_after_the_start(
    day: dt.date, start: tuple[str, str], due_by: tuple[str, str], business: bool
) -> None:
    """Pandas counts every day's moment from the day on; the first that lies after the start is it.

    Of a time that the clocks leave out, pandas shifts forward by the gap, and of one that comes twice takes
    the first: iCalendar's rule. Where a zone left out a whole day, that has none of its own.
    """
    schedule, (at, of_deadline) = Daily(daily=start[0], timezone=start[1]), due_by
    deadline = Deadline(at=at, timezone=of_deadline, days="business" if business else "calendar")
    found = due(schedule, deadline, day)
    assert found is not None and found.utcoffset() == dt.timedelta(0)
    begins = schedule.calendar().complete(day)
    candidates = pd.date_range(day, periods=12, freq="B" if business else "D") + pd.Timedelta(f"{at}:00")
    truth = []
    for wall in candidates:
        naive = wall.to_pydatetime()
        moment = naive.replace(tzinfo=ZoneInfo(of_deadline), fold=0).timestamp()
        truth.append(dt.datetime.fromtimestamp(moment, dt.UTC))
    assert found == min(moment for moment in truth if moment > begins)
    back = pd.Timestamp(found).tz_convert(of_deadline)
    if f"{back:%H:%M}" != at:  # only in a gap of the clocks, which pandas finds by itself
        with pytest.raises(ValueError, match=r"nonexistent|does not exist"):
            pd.Timestamp(f"{candidates[truth.index(found)]}").tz_localize(of_deadline)


@pytest.mark.parametrize(
    ("day", "utc"),
    [
        ("2026-01-05", "2026-01-06T12:00+00:00"),  # CST
        ("2026-03-07", "2026-03-08T11:00+00:00"),  # the clocks went on at 02:00: CDT
        ("2026-07-01", "2026-07-02T11:00+00:00"),
        ("2026-10-31", "2026-11-01T12:00+00:00"),  # and back: CST
    ],
)
def test_six_in_the_morning_in_chicago(day: str, utc: str) -> None:
    """Of a night that begins at two, by answers made by hand."""
    schedule = Daily(daily="02:00", timezone="America/Chicago")
    found = due(schedule, Deadline(at="06:00"), dt.date.fromisoformat(day))
    assert found == dt.datetime.fromisoformat(utc)


def test_a_night_that_begins_at_the_time_has_until_the_next() -> None:
    """After is after: a night at six is due by six of the next morning; one at 22:00 by six, too."""
    friday = dt.date(2026, 1, 9)
    six = {at: due(Daily(daily=at), Deadline(at="06:00"), friday) for at in ("05:59", "06:00", "22:00")}
    assert {at: shown(found, "UTC") for at, found in six.items() if found} == {
        "05:59": "2026-01-10 06:00 Sat", "06:00": "2026-01-11 06:00 Sun", "22:00": "2026-01-11 06:00 Sun",
    }  # fmt: skip
    monday = due(Daily(daily="05:59"), Deadline(at="06:00", days="business"), friday)
    assert monday and shown(monday, "UTC") == "2026-01-12 06:00 Mon"


def test_business_days_of_an_exchange_are_its_sessions() -> None:
    """Thanksgiving 2025 is none, nor a closure that no calendar foresaw; a weekend has no deadline at all."""
    pytest.importorskip("exchange_calendars")
    schedule = Exchange(exchange="XNYS", after_close="90m")
    six = Deadline(at="06:00", timezone="America/New_York", days="business")
    wednesday = dt.date(2025, 11, 26)
    found = due(schedule, six, wednesday)
    assert found and shown(found, "America/New_York") == "2025-11-28 06:00 Fri"
    closed = parse_overrides({"XNYS": {"closed": ["2025-11-28"]}}, "calendars.yaml")
    found = due(schedule, six, wednesday, closures=closed)
    assert found and shown(found, "America/New_York") == "2025-12-01 06:00 Mon"
    every = due(schedule, Deadline(at="06:00", timezone="America/New_York"), wednesday)
    assert every and shown(every, "America/New_York") == "2025-11-27 06:00 Thu"
    assert due(schedule, six, dt.date(2025, 11, 29)) is None


def test_what_comes_after_others_begins_when_they_may() -> None:
    """By itself its day ends in the deadline's zone; with the moment of its upstream, by that."""
    tokyo = Deadline(at="06:00", timezone="Asia/Tokyo")
    day = dt.date(2026, 1, 5)
    found = due(After(after=["x"]), tokyo, day)
    assert found and shown(found, "Asia/Tokyo") == "2026-01-06 06:00 Tue"
    evening = Deadline(at="20:00", timezone="America/New_York")
    close = dt.datetime(2026, 1, 5, 22, 30, tzinfo=dt.UTC)  # 17:30 in New York
    found = due(After(after=["x"]), evening, day, start=close)
    assert found and shown(found, "America/New_York") == "2026-01-05 20:00 Mon"


SAID = {
    'schedule: {daily: "02:00"}\ndeadline: 12:30\n': r"deadline.*750",
    'schedule: {daily: "02:00"}\ndeadline: "6 am"\n': r"deadline.*6 am",
    'schedule: {daily: "02:00"}\ndeadline: {at: "06:00", timezone: Chicago}\n': r"timezone.*'Chicago'",
    'schedule: {daily: "02:00"}\ndeadline: {at: "06:00", days: all}\n': r"days.*'calendar' or 'business'",
    'schedule: {after: [x]}\ndeadline: "06:00"\n': r"names no time zone; name one: deadline: \{at: \"06",
    'deadline: "06:00"\n': r"schedule: none has no day that is due",
    "timeout: 2 hours\n": r"timeout.*2 hours",
    "notify: [{slack: ops, webhook: hook}]\n": r"has webhook, slack for a target; allowed: one of webhook, s",
    "notify: [{email: mail}]\n": r"has nobody to get it",
    "notify: [{slack: ops, to: [a@example.com]}]\n": r"is of email alone",
    "notify: [{email: mail, to: [nobody]}]\n": r"to.*nobody",
    "notify: [{slack: ops, when: [overdue]}]\n": r"overdue needs a deadline of the job",
    "notify: [{slack: ops, when: [late]}]\n": r"when.*late",
    "notify: [{slack: ops}, {slack: ops}]\n": r"slack ops stands twice",
    "notify: [{slack: https://hooks.slack.com/services/T/B/X}]\n": r"slack.*hooks",
}


@pytest.mark.parametrize("lines", SAID)
def test_a_mistake_is_named(tmp_path: Path, lines: str) -> None:
    """File, line, the value, and what is allowed."""
    add_job(tmp_path, "mini", JOB + lines)
    with pytest.raises(Broken, match=r"jobs/mini/job.yaml:\d+") as error:
        load("mini", tmp_path)
    import re

    assert re.search(SAID[lines], str(error.value)), error.value


def test_it_is_no_cause_of_any_row(tmp_path: Path) -> None:
    """A deadline, a target more, or a timeout runs no published day again."""
    add_job(tmp_path, "mini", JOB + 'schedule: {daily: "02:00"}\n')
    before = load("mini", tmp_path).hash
    said = 'deadline: "06:00"\nnotify: [{slack: ops, when: [at_risk]}]\ntimeout: 2h\n'
    add_job(tmp_path, "mini", JOB + 'schedule: {daily: "02:00"}\n' + said)
    job = load("mini", tmp_path)
    assert job.hash == before and job.spec.deadline == Deadline(at="06:00")
