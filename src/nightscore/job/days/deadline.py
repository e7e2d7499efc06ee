"""Until when a day has to be published: `deadline`. It is no cause of any row.

Light to import, as all of a job's spec. Pure: what the clock shows is asked by nobody here.
"""

import datetime as dt
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field

from nightscore.job.days.calendars import MIDNIGHT, ONE_DAY, REACHES, Calendar, Sessions, wall_clock_to_utc
from nightscore.job.days.closures import CalendarOverride
from nightscore.job.days.schedule import After, ByHand, ScheduleKind, known_timezone
from nightscore.job.fields import (
    Misplaced,
    StrictModel,
    TimeOfDay,
)

if TYPE_CHECKING:
    from nightscore.job.loader import Job

SATURDAY = 5


class Deadline(StrictModel):
    """By when a day is to be published: the first such time after it is complete."""

    at: Annotated[
        TimeOfDay,
        Field(description='time of day, "HH:MM" in quotes'),
    ]
    timezone: Annotated[
        Annotated[str, AfterValidator(known_timezone)] | None,
        Field(description="IANA time zone; default: the schedule's, if that names one"),
    ] = None
    days: Annotated[
        Literal["calendar", "business"],
        Field(
            description="on which days a deadline may be: all, or Monday to Friday (of an exchange: its "
            "sessions); a day's deadline is on the next one"
        ),
    ] = "calendar"

    def zone_of(self, schedule: ScheduleKind) -> ZoneInfo:
        """The zone whose clocks are meant, in a job of this schedule."""
        return ZoneInfo(self.timezone or getattr(schedule, "timezone", None) or "UTC")

    def check(self, schedule: ScheduleKind) -> None:
        """Hold it to the job's schedule.

        Raises:
            Misplaced: the schedule has no days by a clock, or no time zone.
        """
        if isinstance(schedule, ByHand):
            raise Misplaced((), "a job with schedule: none has no day that is due; give it a schedule")
        if self.timezone is None and getattr(schedule, "timezone", None) is None:
            example = f'deadline: {{at: "{self.at}", timezone: America/Chicago}}'
            raise Misplaced((), f"the schedule ({schedule}) names no time zone; name one: {example}")

    def first_after(self, start: dt.datetime, zone: ZoneInfo, calendar: Calendar) -> dt.datetime | None:
        """The first such time (UTC) after a moment; None where an exchange has no session after it."""
        hours, minutes = map(int, self.at.split(":"))
        first = start.astimezone(zone).date()
        for reach in REACHES:
            for day in self._days(first, first + reach, calendar):
                moment = wall_clock_to_utc(day, dt.time(hours, minutes), zone)
                if moment > start:
                    return moment
        return None

    def _days(self, first: dt.date, last: dt.date, calendar: Calendar) -> list[dt.date]:
        if self.days == "business" and isinstance(calendar, Sessions):
            return calendar.days(first, last)
        days = [first + i * ONE_DAY for i in range((last - first).days + 1)]
        return [day for day in days if self.days == "calendar" or day.weekday() < SATURDAY]


def read_deadline_word(value: Any) -> Any:
    """A time alone as a deadline of the schedule's time zone."""
    return {"at": value} if isinstance(value, str) else value


def deadline_of(
    job: "Job",
    day: dt.date,
    start: dt.datetime | None = None,
    closures: Mapping[str, CalendarOverride] | None = None,
) -> dt.datetime | None:
    """The moment (UTC) by which a day of a job is to be published; None where it has no deadline.

    Args:
        job: with or without `deadline`.
        day: the day that is scored. One that is none of the job's schedule has no deadline.
        start: from when on the day may run (it has an offset); default: as the schedule says. One that comes
            after others has no clock of its own: its day is complete when it ends in the deadline's zone.
        closures: those of the workspace's calendars.yaml.

    Raises:
        Broken: an exchange's calendar is unknown.
    """
    return deadline_after(job.spec.deadline, job.spec.schedule, day, start, closures)


def deadline_after(
    deadline: Deadline | None,
    schedule: ScheduleKind,
    day: dt.date,
    start: dt.datetime | None = None,
    closures: Mapping[str, CalendarOverride] | None = None,
) -> dt.datetime | None:
    """`deadline_of` by what a job.yaml says, without the job."""
    if deadline is None:
        return None
    zone, calendar = deadline.zone_of(schedule), schedule.calendar(closures)
    if start is None and isinstance(schedule, After | ByHand):
        start = wall_clock_to_utc(day + ONE_DAY, MIDNIGHT, zone)
    try:
        return deadline.first_after(start or calendar.complete(day), zone, calendar)
    except ValueError:  # no session of the exchange
        return None
