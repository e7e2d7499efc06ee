"""The five fields of cron as days and one time of day. Pure.

What cron programs agree on: numbers and names, lists, ranges, steps of ranges and of `*`, 7 for Sunday, and
of day of month and weekday either one, where both are named. What they do not agree on is refused. Written
here because only Airflow brings croniter, and a job is read without it; croniter is what tests hold this to.
"""

import datetime as dt
import re
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from nightscore.job.days.calendars import MIDNIGHT, ONE_DAY, exists, wall_clock_to_utc

MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
}
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
NAMES = {
    "month": dict(zip(MONTHS, range(1, 13), strict=True)),
    "weekday": dict(zip(WEEKDAYS, range(7), strict=True)),
}
FIELDS = {"minute": (0, 59), "hour": (0, 23), "day of month": (1, 31), "month": (1, 12), "weekday": (0, 7)}
ATOM = r"([0-9]{1,2}|[a-z]{3})"
PART = re.compile(rf"(?:{ATOM}|(?:\*|{ATOM}-{ATOM})(?:/([0-9]{{1,2}}))?)")
LEAP_YEARS = (dt.date(2000, 1, 1), dt.date(2004, 12, 31))  # every date of a calendar is among these
SAID = 2  # times of a day that a message names


@dataclass(frozen=True)
class Cron:
    """On which dates, and at which time of day."""

    at: dt.time
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]  # 0 is Sunday
    either: bool  # whether one of the two, day of month and weekday, is enough

    def has(self, date: dt.date) -> bool:
        """Whether it runs on a date."""
        if date.month not in self.months:
            return False
        by_day, by_weekday = date.day in self.days, date.isoweekday() % 7 in self.weekdays
        return by_day or by_weekday if self.either else by_day and by_weekday


def parse_cron(text: str) -> Cron:
    """The dates and the time of a cron expression.

    Raises:
        ValueError: it is none, runs more than once a day, or never; says what is allowed.
    """
    fields = MACROS.get(text.strip().lower(), text).split()
    if len(fields) != len(FIELDS):
        raise ValueError(
            f"{text!r} is no cron expression; allowed: minute, hour, day of month, month and weekday, "
            f'such as "0 2 * * 1", or one of {", ".join(MACROS)}'
        )
    minutes, hours, days, months, weekdays = (
        _values(text, name, field) for name, field in zip(FIELDS, fields, strict=True)
    )
    if len(minutes) * len(hours) > 1:
        times = [f"{hour:02}:{minute:02}" for hour in sorted(hours) for minute in sorted(minutes)][:SAID]
        raise ValueError(
            f"{text!r} has several times a day, such as {' and '.join(times)}, and both would score the same "
            "day; allowed: one minute and one hour"
        )
    at = dt.time(min(hours), min(minutes))
    cron = Cron(at, days, months, frozenset(weekday % 7 for weekday in weekdays), _either(text, fields))
    first, last = LEAP_YEARS
    if not any(cron.has(first + i * ONE_DAY) for i in range((last - first).days)):
        raise ValueError(f"{text!r} never comes: no month that it names has such a day")
    return cron


def _either(text: str, fields: list[str]) -> bool:
    day, weekday = fields[2], fields[4]
    both = day != "*" and weekday != "*"
    if both and "*" in day + weekday:
        raise ValueError(
            f"{text!r} is read in two ways: days that are {day!r} and {weekday!r}, or one of the two; "
            "allowed: * in one of these fields, or numbers in both, of which one is enough"
        )
    return both


def _values(text: str, name: str, field: str) -> frozenset[int]:
    """The values of a field."""
    parts = field.lower().split(",")
    values = [_part(name, part) if len(parts) == 1 or "*" not in part else None for part in parts]
    if None in values:
        low, high = FIELDS[name]
        names = f", or {'|'.join(NAMES[name])}" if name in NAMES else ""
        raise ValueError(
            f"{text!r}: {field!r} is no {name}; allowed: {low} to {high}{names}; * alone, lists (1,3), "
            "ranges that rise (1-5), and steps of * or of a range (*/2)"
        )
    return frozenset(value for part in values for value in part or ())


def _part(name: str, part: str) -> range | None:
    """The values of a part of a field; None where it is none."""
    low, high = FIELDS[name]
    found = PART.fullmatch(part)
    if found is None:
        return None
    one, first, last, step = found.groups()
    if one is not None:
        start = end = _number(name, one)
    elif first is not None:
        start, end = _number(name, first), _number(name, last)
        end = -1 if end == start or (step and name == "weekday" and end == high) else end
    else:
        start, end = low, high - (name == "weekday")
    stride = int(step or 1)
    return range(start, end + 1, stride) if low <= start <= end <= high and stride else None


def _number(name: str, text: str) -> int:
    """A number or a name; what is neither is beyond every field."""
    return int(text) if text.isdigit() else NAMES.get(name, {}).get(text, 100)


@dataclass(frozen=True)
class CronDays:
    """Days that a cron expression's runs score: `offset` days (0, or less) from the date of the run."""

    cron: Cron
    zone: ZoneInfo
    offset: int
    shown: str

    @property
    def unit(self) -> str:
        """What a day of this calendar is, for messages."""
        return f"day of {self.shown}"

    def days(self, first: dt.date, last: dt.date) -> list[dt.date]:
        """Every day from `first` to `last` that a run scores."""
        dates = (first + i * ONE_DAY for i in range((last - first).days + 1))
        return [day for day in dates if self.cron.has(self._run(day)) and exists(day, self.zone)]

    def complete(self, day: dt.date) -> dt.datetime:
        """The moment of the run that scores `day`."""
        return wall_clock_to_utc(self._run(day), self.cron.at, self.zone)

    def _run(self, day: dt.date) -> dt.date:
        return day - self.offset * ONE_DAY


def check_day_has_begun(cron: Cron, offset: int) -> None:
    """Raise `ValueError` where a run would score a day at the moment when that begins."""
    if offset == 0 and cron.at == MIDNIGHT:
        raise ValueError("0 is not allowed at 00:00, when that day begins; allowed: -1, or a later time")
