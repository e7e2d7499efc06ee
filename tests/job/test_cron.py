"""Cron expressions, held to croniter, which we did not write: which days, and when each is complete."""

import datetime as dt
from collections.abc import Iterator
from itertools import takewhile
from zoneinfo import ZoneInfo

import pytest

pytest.importorskip("croniter")

from croniter import croniter
from hypothesis import given, settings
from hypothesis import strategies as st

from nightscore.job.days.cron import CronDays, parse_cron

ZONES = ("America/New_York", "Europe/Berlin", "UTC")
FIRST, LAST = dt.date(2026, 1, 1), dt.date(2027, 12, 31)  # four changes of clocks in two zones
EXPRESSIONS = [
    "0 2 * * 1", "30 6 1 * *", "0 2 * * 1-5", "15 4 1,15 * *", "0 0 * * 0", "0 23 * * 7", "5 5 13 * 5",
    "0 2 */2 * *", "0 2 * * */2", "0 2 1-31/10 * *", "59 23 31 * *", "0 12 29 2 *", "0 3 * jan-mar,DEC mon",
    "@weekly", "@monthly", "@yearly", "@daily", "0 1 1-31 * 1", "0 1 5 * 0-6", "0 1 5 * 1-7", "0 2 * * 5-7",
    "45 1 28-31/3 */3 *", "0 2 * * sun,wed-fri", "0 2 * * 0-7",
]  # fmt: skip


def naive(expression: str) -> Iterator[dt.datetime]:
    """What croniter makes of it by the clock on the wall, without a zone and its changes."""
    return croniter(expression, dt.datetime(2025, 12, 31), ret_type=dt.datetime)


def runs(expression: str, offset: int) -> list[dt.datetime]:
    """Its times, so that the days that they score are those from FIRST to LAST."""
    shift = dt.timedelta(days=offset)
    start = dt.datetime.combine(FIRST, dt.time()) - shift - dt.timedelta(microseconds=1)
    times = croniter(expression, start, ret_type=dt.datetime)
    return list(takewhile(lambda at: (at + shift).date() <= LAST, times))


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_days_and_moments_are_croniters(expression: str, zone: str) -> None:
    """Over two years; the moment of a time on the wall is the standard library's, of two the first."""
    for offset in (-1, -7):
        calendar = CronDays(parse_cron(expression), ZoneInfo(zone), offset, expression)
        found = calendar.days(FIRST, LAST)
        expected = runs(expression, offset)
        assert found == [(at + dt.timedelta(days=offset)).date() for at in expected]
        moments = [at.replace(tzinfo=ZoneInfo(zone)).astimezone(dt.UTC) for at in expected]
        assert [calendar.complete(day) for day in found] == moments


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("expression", ["0 6 * * 1", "30 4 1 * *", "0 12 * * *"])
def test_moments_are_croniters_own_where_no_clock_changes(expression: str, zone: str) -> None:
    """Those of croniter with a zone, at times that are neither left out nor come twice."""
    calendar = CronDays(parse_cron(expression), ZoneInfo(zone), 0, expression)
    start = dt.datetime.combine(FIRST, dt.time(), ZoneInfo(zone)) - dt.timedelta(seconds=1)
    times = croniter(expression, start, ret_type=dt.datetime)
    expected = list(takewhile(lambda at: at.date() <= LAST, times))
    assert [calendar.complete(day) for day in calendar.days(FIRST, LAST)] == expected


def test_where_clocks_change() -> None:
    """Of a time that comes twice the first; one that is left out counts with the offset before the gap."""
    zone = ZoneInfo("Europe/Berlin")
    calendar = CronDays(parse_cron("30 2 * * 0"), zone, -1, "")
    gap, twice = dt.date(2027, 3, 27), dt.date(2026, 10, 24)
    assert calendar.complete(gap) == dt.datetime(2027, 3, 28, 1, 30, tzinfo=dt.UTC)
    assert calendar.complete(twice) == dt.datetime(2026, 10, 25, 0, 30, tzinfo=dt.UTC)


def field(low: int, high: int) -> st.SearchStrategy[str]:
    """A field: everything, every so many, or a list of numbers and ranges, with steps."""
    number = st.integers(low, high)
    spans = st.lists(number, min_size=2, max_size=2, unique=True).map(
        lambda two: "-".join(map(str, sorted(two)))
    )
    steps = st.tuples(spans, st.integers(1, high)).map(lambda pair: f"{pair[0]}/{pair[1]}")
    parts = st.lists(number.map(str) | spans | steps, min_size=1, max_size=3).map(",".join)
    return st.just("*") | st.integers(1, high).map(lambda step: f"*/{step}") | parts


@given(st.integers(0, 59), st.integers(0, 23), field(1, 31), field(1, 12), field(0, 6))
@settings(max_examples=150, deadline=None)
def test_any_expression_has_croniters_days(
    minute: int, hour: int, days: str, months: str, weekdays: str
) -> None:
    """Over a year and a half, or until croniter finds no more."""
    expression = f"{minute} {hour} {days} {months} {weekdays}"
    try:
        cron = parse_cron(expression)
    except ValueError as error:
        if "two ways" in str(error):
            assert "*" in days + weekdays and "*" not in (days, weekdays)
            return
        assert "never comes" in str(error)
        with pytest.raises(Exception, match="failed to find"):
            next(naive(expression))
        return
    last = dt.date(2027, 6, 30)
    expected = [at.date() for at in takewhile(lambda at: at.date() <= last, naive(expression))]
    assert CronDays(cron, ZoneInfo("UTC"), 0, "").days(FIRST, last) == [
        day for day in expected if day >= FIRST
    ]
    assert cron.at == dt.time(hour, minute)


WRONG = {
    "0 2 * *": "is no cron expression; allowed: minute, hour, day of month, month and weekday, such as",
    "0 0 2 * * 1": "is no cron expression",
    "": "is no cron expression",
    "@hourly": "is no cron expression",
    "0 2,14 * * 1": "several times a day, such as 02:00 and 14:00, and both would score the same day",
    "*/30 2 * * 1": "several times a day, such as 02:00 and 02:30",
    "* * * * *": "several times a day, such as 00:00 and 00:01",
    "60 2 * * 1": "'60' is no minute; allowed: 0 to 59",
    "0 24 * * 1": "'24' is no hour",
    "0 2 0 * *": "'0' is no day of month; allowed: 1 to 31",
    "0 2 * 13 *": "'13' is no month; allowed: 1 to 12, or jan|feb",
    "0 2 * * 8": r"'8' is no weekday; allowed: 0 to 7, or sun\|mon",
    "0 2 * * fri-mon": "'fri-mon' is no weekday; .* ranges that rise",
    "0 2 * * mo": "'mo' is no weekday",
    "0 2 L * *": "'L' is no day of month",
    "0 2 * * 1#2": "'1#2' is no weekday",
    "0 2 5-5 * *": "'5-5' is no day of month; .* ranges that rise",
    "0 2 5/5 * *": "'5/5' is no day of month; .* steps of \\* or of a range",
    "0 2 *,5 * *": r"'\*,5' is no day of month; .* \* alone",
    "0 2 * * 2-7/3": "'2-7/3' is no weekday",
    "0 2 */2 * 1": r"is read in two ways: days that are '\*/2' and '1', or one of the two",
    "0 2 1-31 * */2": "is read in two ways",
    "0 2 1,,2 * *": "'1,,2' is no day of month",
    "0 2 */0 * *": r"'\*/0' is no day of month",
    "0 2 -1 * *": "'-1' is no day of month",
    "0 2 \u0661 * *": "is no day of month",
    "0 2 30 2 *": "never comes: no month that it names has such a day",
    "0 2 31 4,6 *": "never comes",
}


@pytest.mark.parametrize(("expression", "message"), WRONG.items())
def test_what_is_wrong_is_named(expression: str, message: str) -> None:
    """With what is allowed."""
    with pytest.raises(ValueError, match=message):
        parse_cron(expression)
