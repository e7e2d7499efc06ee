"""The timetables, and which one each kind of schedule is in Airflow.

    @dag(schedule=DailyPartitionTimetable("02:00", timezone="America/Chicago"))
    @dag(schedule=TradingDayTimetable("XNYS", after_close="90m", overrides="calendars.yaml"))

Their runs, keys and midnights are those of `nightscore.airflow.timetables.day`.
"""

import datetime as dt
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from zoneinfo import ZoneInfo

from airflow.exceptions import AirflowTimetableInvalid
from airflow.sdk import Asset, AssetAll

from nightscore.airflow.timetables.after import AfterTimetable
from nightscore.airflow.timetables.cron import CronDayTimetable
from nightscore.airflow.timetables.day import DayTimetable, EventDayTimetable, check_catchup, zone_of
from nightscore.airflow.workspaces import qualified, uri_of
from nightscore.common import WORKSPACE_VARIABLE, Broken, Workspace
from nightscore.job import (
    MIDNIGHT,
    After,
    ByHand,
    CalendarOverride,
    Cron,
    Daily,
    EveryDay,
    Exchange,
    Job,
    ScheduleKind,
    Sessions,
    exchange_problem,
    first_jobs,
    parse_minutes,
    parse_overrides,
    read_overrides,
    read_workspace_overrides,
)

GROUP = "nightscore"  # of the assets


class DailyPartitionTimetable(DayTimetable):
    """One run for each calendar day, at the local time `at` ("HH:MM") of the day after it.

    On the days when clocks change there is one run, too: a time that is left out counts with the offset from
    before the gap (02:30 means 03:30), and of a time that comes twice the first is taken.

    `catchup` says how many of the days that were missed since the last run are run, the latest one included:
    `7 days`, `all` or `none`; without it the DAG's own `catchup` decides between all and none.

    Raises:
        AirflowTimetableInvalid: `at` is no time, `timezone` no IANA time zone, or `catchup` no such word.
    """

    def __init__(self, at: str = "02:00", timezone: str = "UTC", catchup: str | None = None) -> None:
        self.at, self.timezone, self.catchup = at, timezone, check_catchup(catchup)
        try:
            time = dt.datetime.strptime(at, "%H:%M").time()
        except (TypeError, ValueError):
            raise AirflowTimetableInvalid(
                f'{at!r} is no time of day; write "HH:MM", such as "02:00"'
            ) from None
        self.calendar = EveryDay(time, zone_of(timezone))
        self.description = f"at {at} {timezone}, for the day before"

    def serialize(self) -> dict[str, Any]:
        """The arguments."""
        return {"at": self.at, "timezone": self.timezone, "catchup": self.catchup}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> Self:
        """The timetable of these arguments."""
        return cls(**data)

    @property
    def summary(self) -> str:
        """What the UI shows."""
        return f"daily {self.at} {self.timezone}"


class ByHandTimetable(EventDayTimetable):
    """No run by itself; by hand with a partition key, and backfills, whose days are those of UTC."""

    description = "by hand"

    def __init__(self) -> None:
        self.calendar = EveryDay(MIDNIGHT, ZoneInfo("UTC"))

    def serialize(self) -> dict[str, Any]:
        """Nothing: there are no arguments."""
        return {}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> Self:  # noqa: ARG003 - Airflow passes it
        """The timetable."""
        return cls()

    @property
    def summary(self) -> str:
        """What the UI shows."""
        return "by hand"


class TradingDayTimetable(DayTimetable):
    """One run for each trading session of an exchange, `after_close` ("90m") after that day's actual close.

    With several exchanges a day counts if it is a session of all of them (by its date on each), and its run
    starts after the last has closed; midnights are those of the first.

    `overrides` adds closures and early closes that no calendar foresaw: a file (relative to
    $NIGHTSCORE_WORKSPACE, else to the current folder; its form stands in
    `nightscore.job.days.closures`), or what is in one.
    It is read when the DAG file is parsed and kept in the serialized DAG: scheduler and API server need no
    such file, and a change of it makes a new version of the DAG. `catchup` is as of the daily one.

    Raises:
        AirflowTimetableInvalid: an argument is wrong, or the file has a mistake; names its line.
    """

    def __init__(
        self,
        exchange: str | Sequence[str] = "XNYS",
        after_close: str = "0m",
        overrides: str | Path | Mapping[str, Any] | None = None,
        catchup: str | None = None,
    ) -> None:
        self.catchup = check_catchup(catchup)
        self.exchanges = (exchange,) if isinstance(exchange, str) else tuple(exchange)
        self.after_close = after_close
        if not self.exchanges or len(set(self.exchanges)) < len(self.exchanges):
            raise AirflowTimetableInvalid(
                f"{exchange!r} is no list of exchanges; write one or several, each once"
            )
        try:
            self.overrides = {k: v for k, v in _overrides(overrides).items() if k in self.exchanges}
            self.calendar = Sessions(self.exchanges, parse_minutes(after_close), self.overrides)
        except (AttributeError, ValueError, Broken) as error:
            raise AirflowTimetableInvalid(str(error)) from error
        self.description = (
            f"{after_close} after the close of {' and '.join(self.exchanges)}, for that session"
        )

    def validate(self) -> None:
        """Holds the exchanges to the list of those that exchange_calendars has.

        Raises:
            AirflowTimetableInvalid: it has no such exchange; says which was meant.
        """
        for code in self.exchanges:
            if problem := exchange_problem(code):
                raise AirflowTimetableInvalid(problem)

    def serialize(self) -> dict[str, Any]:
        """The arguments, with what the override file says of these exchanges."""
        return {
            "exchange": list(self.exchanges),
            "after_close": self.after_close,
            "overrides": {code: self.overrides[code].plain() for code in sorted(self.overrides)},
            "catchup": self.catchup,
        }

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> Self:
        """The timetable of these arguments."""
        return cls(**data)

    @property
    def summary(self) -> str:
        """What the UI shows."""
        return f"{'+'.join(self.exchanges)} close + {self.after_close}"


def _overrides(source: str | Path | Mapping[str, Any] | None) -> dict[str, CalendarOverride]:
    if isinstance(source, str | Path):
        return read_overrides(Path(os.environ.get(WORKSPACE_VARIABLE, ".")) / source, str(source))
    return parse_overrides(source or {})


def timetable_of(job: Job, others: Sequence[Job] | None = None) -> DayTimetable:
    """When Airflow runs the job, as its job.yaml says; `others` are the workspace's jobs, if they are read.

    Raises:
        Broken: the exchange is unknown, or calendars.yaml has a mistake.
    """
    if isinstance(job.spec.schedule, After):
        assets = AssetAll(*(table_asset(job.workspace, name) for name in job.spec.schedule.after))
        return AfterTimetable(assets, [_days_of(first) for first in first_jobs(job, others)])
    return MAKERS[type(job.spec.schedule)](job, job.spec.schedule)


def table_asset(workspace: Workspace, table: str) -> Asset:
    """The asset that stands for an output table; its partitions are days."""
    uri = f"{uri_of(workspace)}tables/{table}"
    return Asset(name=qualified(workspace, table), uri=uri, group=GROUP)


def _days_of(first: Job) -> DayTimetable:
    """The timetable of a job at the head of a chain; every day where it has none that is known."""
    schedule = ByHand("none") if isinstance(first.spec.schedule, After) else first.spec.schedule
    try:
        return MAKERS[type(schedule)](first, schedule)
    except Broken:  # said by that job's own DAG, in whose place there is a stub
        return ByHandTimetable()


def _daily(job: Job, schedule: Daily) -> DailyPartitionTimetable:  # noqa: ARG001 - a maker's arguments
    return DailyPartitionTimetable(schedule.daily, schedule.timezone, schedule.catchup)


def _exchange(job: Job, schedule: Exchange) -> TradingDayTimetable:
    try:
        overrides = read_workspace_overrides(job.workspace.root)
        plain = {code: override.plain() for code, override in overrides.items()}
        timetable = TradingDayTimetable(schedule.exchanges, schedule.after_close, plain, schedule.catchup)
        timetable.validate()
    except AirflowTimetableInvalid as error:
        job.raise_broken(("schedule", "exchange"), str(error))
    return timetable


def _cron(job: Job, schedule: Cron) -> CronDayTimetable:  # noqa: ARG001 - a maker's arguments
    return CronDayTimetable(schedule.cron, schedule.timezone, schedule.day, schedule.catchup)


def _by_hand(job: Job, schedule: ByHand) -> ByHandTimetable:  # noqa: ARG001 - a maker's arguments
    return ByHandTimetable()


MAKERS: Mapping[type[ScheduleKind], Callable[[Job, Any], DayTimetable]] = {
    Daily: _daily,
    Exchange: _exchange,
    Cron: _cron,
    ByHand: _by_hand,
}
TIMETABLES: list[type[DayTimetable]] = [
    AfterTimetable,
    ByHandTimetable,
    CronDayTimetable,
    DailyPartitionTimetable,
    TradingDayTimetable,
]
