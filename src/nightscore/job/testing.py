"""The contract of calendars as one function that every kind of schedule is tested with."""

import datetime as dt
from collections.abc import Sequence
from itertools import pairwise

from nightscore.job.days.calendars import (
    MIDNIGHT,
    ONE_DAY,
    Calendar,
    latest_day,
    next_day,
    require_day,
    wall_clock_to_utc,
)

SPAN = 40 * ONE_DAY  # around each moment, in which days are looked at one by one


def check_calendar(calendar: Calendar, moments: Sequence[dt.datetime]) -> None:
    """Check that `calendar` keeps its contract around some moments (which have offsets).

    Checked: days rise, each once, and are the same asked for together or in parts; later days are complete
    later, and none before it has begun; the latest complete day never goes back in time, is never in the
    future, and is complete while the next one is not; the day after a day is the next one that there is;
    what is no day is refused.

    Raises:
        AssertionError: with what does not hold.
    """
    latest = [latest_day(calendar, now) for now in sorted(moments)]
    assert latest == sorted(latest), f"the latest complete day goes back in time: {latest}"
    for now, day in zip(sorted(moments), latest, strict=True):
        _check_latest(calendar, now, day)
        _check_days(calendar, day - SPAN, day + SPAN)


def _check_latest(calendar: Calendar, now: dt.datetime, day: dt.date) -> None:
    assert day <= now.astimezone(calendar.zone).date(), f"at {now} the latest day is {day}, in the future"
    assert calendar.complete(day) <= now, f"at {now} the latest day is {day}, which is not complete"
    after = next_day(calendar, day + ONE_DAY)
    assert calendar.complete(after) > now, f"at {now} the latest day is {day}, but {after} is complete, too"


def _check_days(calendar: Calendar, first: dt.date, last: dt.date) -> None:
    days = calendar.days(first, last)
    assert days, f"no day between {first} and {last}"
    assert all(a < b for a, b in pairwise(days)), f"days do not rise: {days}"
    assert first <= days[0] and days[-1] <= last, f"days beyond {first} and {last}: {days}"
    middle = first + (last - first) / 2
    parts = calendar.days(first, middle) + calendar.days(middle + ONE_DAY, last)
    assert parts == days, f"asked for in two parts, the days are others: {set(parts) ^ set(days)}"
    moments = [calendar.complete(day) for day in days]
    assert all(a < b for a, b in pairwise(moments)), f"a later day is complete earlier: {moments}"
    for day, complete in zip(days, moments, strict=True):
        assert complete > wall_clock_to_utc(day, MIDNIGHT, calendar.zone), (
            f"{day} is complete before it has begun"
        )
        assert next_day(calendar, day) == day, f"the first day from {day} on is not {day}"
    for day, after in pairwise(days):
        assert next_day(calendar, day + ONE_DAY) == after, f"{after} does not come after {day}"
    _check_gaps(calendar, days)


def _check_gaps(calendar: Calendar, days: Sequence[dt.date]) -> None:
    every = (days[0] + i * ONE_DAY for i in range((days[-1] - days[0]).days))
    for day in set(every) - set(days):
        try:
            require_day(calendar, day)
        except ValueError:
            continue
        raise AssertionError(f"{day} is no {calendar.unit}, and not refused")
