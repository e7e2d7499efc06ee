"""Which days there are, and from which moment each is complete. Pure; knows nothing of Airflow.

`EveryDay`, where a day is complete at a time of the next day; `Sessions`, where it is complete some minutes
after the close of one or several exchanges, closures that no calendar foresaw included; and `AllOf`, the days
that several calendars have.

Light to import: exchange_calendars (with pandas, 2 seconds) is imported when sessions are computed.
"""

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from nightscore.common import Broken
from nightscore.job.days.closures import CalendarOverride
from nightscore.job.days.exchanges import closes_of, facts_of

CATCHUP = r"^([1-9][0-9]{0,3}) days?$|^all$|^none$"
MIDNIGHT = dt.time(0)
ONE_DAY = dt.timedelta(days=1)
REACHES = (
    10 * ONE_DAY,
    400 * ONE_DAY,  # no exchange rests longer
    3300 * ONE_DAY,  # from one 29 February to the next, over 2100, and a year back
)  # how far a next or a latest day is looked for


def wall_clock_to_utc(day: dt.date, at: dt.time, zone: ZoneInfo) -> dt.datetime:
    """The moment (in UTC) when the clocks of `zone` show `at` on `day`.

    Where clocks change, iCalendar's rule (RFC 5545, 3.3.5): of a time that comes twice the first; a time that
    is left out is counted with the offset before the gap, so 02:30 in a gap from 02:00 to 03:00 means 03:30.
    """
    return dt.datetime.combine(day, at, zone).replace(fold=0).astimezone(dt.UTC)


def exists(day: dt.date, zone: ZoneInfo) -> bool:
    """Whether the clocks of a zone ever showed a date: Pacific/Apia had no 2011-12-30."""
    return wall_clock_to_utc(day, MIDNIGHT, zone).astimezone(zone).date() == day


class Calendar(Protocol):
    """Days in order, and when each is complete; later days are complete later."""

    @property
    def zone(self) -> ZoneInfo:
        """The zone whose midnights begin and end a day."""
        ...

    @property
    def unit(self) -> str:
        """What a day of this calendar is, for messages: `session of XNYS`."""
        ...

    def days(self, first: dt.date, last: dt.date) -> list[dt.date]:
        """Every day from `first` to `last`, both included, in rising order."""
        ...

    def complete(self, day: dt.date) -> dt.datetime:
        """The moment (in UTC) from which `day` is complete: its run may start.

        Raises:
            ValueError: `day` is none of this calendar.
        """
        ...


@dataclass(frozen=True)
class EveryDay:
    """Every day of the civil calendar, complete at the time `at` of the next day."""

    at: dt.time
    zone: ZoneInfo

    @property
    def unit(self) -> str:
        """What a day of this calendar is, for messages."""
        return f"day in {self.zone.key}"

    def days(self, first: dt.date, last: dt.date) -> list[dt.date]:
        """Every day from `first` to `last`; without what a zone left out."""
        dates = (first + i * ONE_DAY for i in range((last - first).days + 1))
        return [day for day in dates if exists(day, self.zone)]

    def complete(self, day: dt.date) -> dt.datetime:
        """`at` of the day after `day`, as `moment` reads it."""
        return wall_clock_to_utc(day + ONE_DAY, self.at, self.zone)


@dataclass(frozen=True)
class Sessions:
    """Days on which all of some exchanges trade, complete `after_close` after the last of them has closed.

    A day counts by its date on each exchange, and only if it is a session of every one of them: what runs on
    it needs the prices of all. Midnights are those of the first exchange.
    """

    exchanges: tuple[str, ...]
    after_close: dt.timedelta = dt.timedelta(0)
    overrides: Mapping[str, CalendarOverride] = field(default_factory=dict)

    @property
    def zone(self) -> ZoneInfo:
        """The first exchange's zone."""
        return facts_of(self.exchanges[0]).zone

    @property
    def unit(self) -> str:
        """What a day of this calendar is, for messages."""
        return f"session of {' and '.join(self.exchanges)}"

    def days(self, first: dt.date, last: dt.date) -> list[dt.date]:
        """Every day from `first` to `last` that is a session of all exchanges.

        Raises:
            Broken: exchange_calendars is missing, or can't compute an exchange.
        """
        return sorted(set.intersection(*(set(self._closes(name, first, last)) for name in self.exchanges)))

    def complete(self, day: dt.date) -> dt.datetime:
        """The last exchange's close of `day` (an early one included), and `after_close` more.

        Raises:
            ValueError: `day` is no session of them all; names the nearest ones.
        """
        require_day(self, day)
        return max(self._closes(name, day, day)[day] for name in self.exchanges) + self.after_close

    def _closes(self, exchange: str, first: dt.date, last: dt.date) -> dict[dt.date, dt.datetime]:
        override = self.overrides.get(exchange, CalendarOverride())
        closes = {day: close for day, close in closes_of(exchange, first, last) if day not in override.closed}
        early = {
            day: wall_clock_to_utc(day, at, facts_of(exchange).zone) for day, at in override.early.items()
        }
        return closes | {day: close for day, close in early.items() if day in closes}


@dataclass(frozen=True)
class AllOf:
    """Days that all of some calendars have, complete when they are in each; midnights of the first."""

    calendars: tuple[Calendar, ...]

    @property
    def zone(self) -> ZoneInfo:
        """The first calendar's zone."""
        return self.calendars[0].zone

    @property
    def unit(self) -> str:
        """What a day of this calendar is, for messages."""
        return " and ".join(dict.fromkeys(calendar.unit for calendar in self.calendars))

    def days(self, first: dt.date, last: dt.date) -> list[dt.date]:
        """Every day from `first` to `last` that all of the calendars have."""
        return sorted(set.intersection(*(set(calendar.days(first, last)) for calendar in self.calendars)))

    def complete(self, day: dt.date) -> dt.datetime:
        """The last moment at which one of them is complete."""
        return max(calendar.complete(day) for calendar in self.calendars)


def days_of_all(calendars: Sequence[Calendar]) -> Calendar:
    """The days that all of some calendars have; each of them counts once."""
    distinct: list[Calendar] = []
    for calendar in calendars:
        if calendar not in distinct:
            distinct.append(calendar)
    return distinct[0] if len(distinct) == 1 else AllOf(tuple(distinct))


def require_day(calendar: Calendar, day: dt.date) -> None:
    """Raise `ValueError` unless `day` is a day of `calendar`.

    Raises:
        ValueError: it is none; names the nearest ones.
    """
    if calendar.days(day, day):
        return
    reach = REACHES[1]
    near = [*calendar.days(day - reach, day - ONE_DAY)[-1:], *calendar.days(day + ONE_DAY, day + reach)[:1]]
    nearest = f"the nearest: {' and '.join(map(str, near))}" if near else "there is none near it"
    raise ValueError(f"{day} is no {calendar.unit}; {nearest}")


def next_day(calendar: Calendar, day: dt.date) -> dt.date:
    """The first day of `calendar` that is `day` or lies after it.

    Raises:
        Broken: none is known; an exchange's calendar ends.
    """
    for reach in REACHES:
        if days := calendar.days(day, day + reach):
            return days[0]
    raise Broken(f"no {calendar.unit} is known on or after {day}{_known_spans(calendar)}")


def latest_day(calendar: Calendar, now: dt.datetime) -> dt.date:
    """The last day of `calendar` that is complete at `now` (which has an offset).

    Raises:
        Broken: none is known; an exchange's calendar begins later, or ended long ago.
    """
    if now.tzinfo is None:
        raise ValueError(f"{now} has no time zone, so it is no moment")
    today = now.astimezone(calendar.zone).date()
    for reach in REACHES:
        for day in reversed(calendar.days(today - reach, today + ONE_DAY)):
            if calendar.complete(day) <= now:
                return day
    raise Broken(
        f"no {calendar.unit} is known that was complete at {now.isoformat()}{_known_spans(calendar)}"
    )


def next_after(calendar: Calendar, after: dt.date, now: dt.datetime, most: int | None) -> dt.date:
    """The day whose run comes next, where `after` is the first one that has not been run yet.

    Of days that were missed before `now` the last `most` are run (None: all of them), the oldest first.

    Raises:
        Broken: none is known; an exchange's calendar ends.
    """
    latest = latest_day(calendar, now)
    if most is None or after > latest:
        return next_day(calendar, after)
    return calendar.days(after, latest)[-most:][0]


def parse_catchup(text: Any) -> int | None:
    """How many days that were missed are run, the latest one included; None for all of them.

    Raises:
        ValueError: it is neither a number of days nor one of the words.
    """
    found = re.match(CATCHUP, text.strip()) if isinstance(text, str) else None
    if found is None:
        raise ValueError(f"{text!r} is not allowed; allowed: a number of days, such as 7 days; all; or none")
    return int(found[1]) if found[1] else {"all": None, "none": 1}[found[0]]


def parse_minutes(text: str) -> dt.timedelta:
    """What `90m` means.

    Raises:
        ValueError: it is no number of minutes.
    """
    digits = text.removesuffix("m")
    if digits == text or not (digits.isascii() and digits.isdigit()) or len(digits) > 4:
        raise ValueError(f'{text!r} is no time after the close; write minutes, such as "90m", up to "9999m"')
    return dt.timedelta(minutes=int(digits))


def check_early(overrides: Mapping[str, CalendarOverride], shown: str) -> None:
    """Check early closes against the exchanges' calendars: each on a session, and none after the usual close.

    Not done while scheduling, where an early close that fits no session is better ignored than a night lost.

    Raises:
        Broken: names the exchange and the day; `shown` is where the overrides come from.
    """
    for name, override in overrides.items():
        for day, at in override.early.items():
            listed = dict(closes_of(name, day, day))
            if day not in listed:
                raise Broken(f"{shown}: {name}: early: {day} is no session of {name}")
            if wall_clock_to_utc(day, at, facts_of(name).zone) > listed[day]:
                usual = listed[day].astimezone(facts_of(name).zone)
                raise Broken(
                    f"{shown}: {name}: early: {at:%H:%M} on {day} is after the close at {usual:%H:%M}"
                )


def _known_spans(calendar: Calendar) -> str:
    if isinstance(calendar, AllOf):
        return "".join(map(_known_spans, calendar.calendars))
    names = calendar.exchanges if isinstance(calendar, Sessions) else ()
    spans = (f"{name} from {facts_of(name).first} to {facts_of(name).last}" for name in names)
    return "".join(f"; exchange_calendars knows {span}" for span in spans)
