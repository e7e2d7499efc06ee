"""When a job runs, as its job.yaml says it, and which days it has thereby.

A new kind is a class here, with its line in `KINDS`, and what makes Airflow's timetable of it in
`nightscore.airflow.timetables.timetable`.
"""

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    model_validator,
)
from pydantic_core import CoreSchema
from pydantic_core.core_schema import literal_schema, no_info_after_validator_function

from nightscore.job.days.calendars import (
    CATCHUP,
    MIDNIGHT,
    Calendar,
    EveryDay,
    Sessions,
    check_early,
    latest_day,
    parse_catchup,
    parse_minutes,
)
from nightscore.job.days.closures import FILE, CalendarOverride, read_workspace_overrides
from nightscore.job.days.cron import CronDays, check_day_has_begun, parse_cron
from nightscore.job.days.exchanges import exchange_problem
from nightscore.job.fields import (
    Minutes,
    Misplaced,
    Name,
    StrictModel,
    TimeOfDay,
    shaped,
)
from nightscore.job.kinds import Kind, one_of

Code = Annotated[str, shaped(r"^[A-Z0-9]{4}$", "an exchange's four letters, such as XNYS")]


def known_timezone(name: str) -> str:
    """An IANA time zone's name. `ValueError` where there is none of it."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{name!r} is no IANA time zone, such as America/Chicago or UTC") from error
    return name


def _catchup(text: Any) -> Any:
    parse_catchup(text)
    return text.strip()


Catchup = Annotated[
    str,
    BeforeValidator(_catchup),
    shaped(CATCHUP, "`7 days`, all, or none"),
    Field(
        description="days that were missed since the last run and are run, the latest one included: "
        "`7 days`, all, or none, which is the latest alone"
    ),
]
A_WEEK = "7 days"


def _cron(text: str) -> str:
    parse_cron(text)
    return " ".join(text.split())


class ScheduleKind(Kind):
    """What every kind of schedule says: which days it has, and when each is complete."""

    def calendar(self, closures: Mapping[str, CalendarOverride] | None = None) -> Calendar:  # noqa: ARG002
        """The days of the schedule; `closures` are those of a workspace's calendars.yaml, by exchange.

        A kind without days of its own has those of UTC, each complete at its end.
        """
        return EveryDay(MIDNIGHT, ZoneInfo("UTC"))

    def latest_complete_day(
        self, now: dt.datetime, closures: Mapping[str, CalendarOverride] | None = None
    ) -> dt.date:
        """The last day that a job of this schedule may score at `now` (which has an offset).

        Raises:
            Broken: it is unknown, because an exchange's calendar is.
        """
        return latest_day(self.calendar(closures), now)

    def check(self, root: Path) -> None:
        """Check what it needs of the workspace at `root` and of this machine, beyond job.yaml.

        Raises:
            Misplaced: a value of job.yaml is wrong there.
            Broken: a file of the workspace is.
        """


class Daily(StrictModel, ScheduleKind):
    """Every day at a time of day; the run scores the day before."""

    example: ClassVar[str] = "{daily: …}"

    daily: Annotated[
        TimeOfDay,
        Field(description='time of day, "HH:MM" in quotes'),
    ]
    timezone: Annotated[
        str, AfterValidator(known_timezone), Field(description="IANA time zone, such as America/Chicago")
    ] = "UTC"
    catchup: Catchup = A_WEEK

    def __str__(self) -> str:
        return f"daily {self.daily} {self.timezone}"

    def calendar(self, closures: Mapping[str, CalendarOverride] | None = None) -> Calendar:  # noqa: ARG002
        """Every day, complete at the time of day of the next one."""
        return EveryDay(dt.time.fromisoformat(self.daily), ZoneInfo(self.timezone))


class Exchange(StrictModel, ScheduleKind):
    """After the close of each trading session of an exchange, or of several that all trade that day."""

    example: ClassVar[str] = "{exchange: …}"

    exchange: Annotated[
        Annotated[Code, Tag("code")] | Annotated[list[Code], Field(min_length=1), Tag("codes")],
        Discriminator(lambda value: "codes" if isinstance(value, list) else "code"),
        Field(description="ISO 10383 code, such as XNYS; or a list: a day counts if all of them trade"),
    ]
    after_close: Annotated[
        Minutes,
        Field(description="minutes after the close, such as 90m"),
    ] = "0m"
    catchup: Catchup = A_WEEK

    @property
    def exchanges(self) -> tuple[str, ...]:
        """The codes, in order; midnights are those of the first."""
        return (self.exchange,) if isinstance(self.exchange, str) else tuple(self.exchange)

    def __str__(self) -> str:
        return f"{' + '.join(self.exchanges)} close + {self.after_close}"

    def calendar(self, closures: Mapping[str, CalendarOverride] | None = None) -> Calendar:
        """The sessions that all of the exchanges have, closures that no calendar foresaw left out."""
        return Sessions(self.exchanges, parse_minutes(self.after_close), closures or {})

    def check(self, root: Path) -> None:
        """Raise unless each exchange has a calendar, and the closures of calendars.yaml fit it."""
        for code in self.exchanges:
            if problem := exchange_problem(code):
                raise Misplaced(("exchange",), problem)
        closures = read_workspace_overrides(root)
        check_early({code: override for code, override in closures.items() if code in self.exchanges}, FILE)


class Cron(StrictModel, ScheduleKind):
    """At the times of a cron expression, one a day at most: weekly, monthly, on workdays."""

    example: ClassVar[str] = "{cron: …}"

    cron: Annotated[
        str,
        AfterValidator(_cron),
        Field(description='minute, hour, day of month, month, weekday: "0 2 * * 1" is Mondays at 02:00'),
    ]
    timezone: Annotated[
        str, AfterValidator(known_timezone), Field(description="IANA time zone, such as America/Chicago")
    ] = "UTC"
    day: Annotated[
        int, Field(ge=-366, le=0, description="the day that is scored, relative to the date of the run")
    ] = -1
    catchup: Catchup = A_WEEK

    @model_validator(mode="after")
    def _day_has_begun(self) -> Self:
        try:
            check_day_has_begun(parse_cron(self.cron), self.day)
        except ValueError as error:
            raise Misplaced(("day",), str(error)) from None
        return self

    def __str__(self) -> str:
        return f"cron {self.cron} {self.timezone}, day {self.day}"

    def calendar(self, closures: Mapping[str, CalendarOverride] | None = None) -> Calendar:  # noqa: ARG002
        """The days that the runs score, each complete when its run is due."""
        return CronDays(parse_cron(self.cron), ZoneInfo(self.timezone), self.day, str(self))


class After(StrictModel, ScheduleKind):
    """When every named output table has published the day."""

    example: ClassVar[str] = "{after: […]}"

    after: Annotated[list[Name], Field(min_length=1, description="names of output tables")]

    @model_validator(mode="before")
    @classmethod
    def _has_no_catchup(cls, said: Any) -> Any:
        if isinstance(said, dict) and "catchup" in said:
            raise Misplaced(
                ("catchup",),
                "a job that comes after others has none: it runs for each day that they publish. Days that "
                "a paused DAG has not seen are named by `nightscore missing`; `nightscore night` runs them",
            )
        return said

    def __str__(self) -> str:
        return f"after {', '.join(self.after)}"


class ByHand(str, ScheduleKind):
    """By hand alone: the word `none`."""

    example: ClassVar[str] = "none"
    __slots__ = ()

    @classmethod
    def is_meant(cls, name: str, value: Any) -> bool:
        """Whether it is the one word that this kind is written as."""
        return isinstance(value, str) and value == name

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> CoreSchema:
        """Read from the word, and written as it."""
        return no_info_after_validator_function(cls, literal_schema(["none"]))


KINDS: Mapping[str, type[ScheduleKind]] = {
    "daily": Daily,
    "exchange": Exchange,
    "cron": Cron,
    "after": After,
    "none": ByHand,
}
BY_HAND = ByHand("none")
if TYPE_CHECKING:
    Schedule = ScheduleKind
else:
    Schedule = one_of("a schedule", KINDS)
