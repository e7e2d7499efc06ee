"""Timetables whose partitions are days: every day, every trading session, or those asked for by hand.

    @dag(schedule=DailyPartitionTimetable("02:00", timezone="America/Chicago"))
    @dag(schedule=TradingDayTimetable("XNYS", after_close="90m", overrides="calendars.yaml"))

One run per day, when the day is complete. The partition key is the day (YYYY-MM-DD), the partition date its
midnight in the timetable's zone, so that a backfill from D to D makes the run of D, unless D has one.
`start_date` and `end_date` of a DAG bound the partition dates, not the moments of the runs.

Airflow's machinery for them; which days there are is the business of `nightscore.job.calendars`.
"""

import datetime as dt
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pendulum
from airflow.exceptions import AirflowTimetableInvalid, InvalidPartitionKeyError
from airflow.timetables.base import DagRunInfo, DataInterval, TimeRestriction, Timetable
from airflow.utils.types import DagRunType

from nightscore.common.errors import Broken, clipped
from nightscore.common.workspace import VARIABLE
from nightscore.job.calendars import (
    MIDNIGHT,
    ONE,
    Calendar,
    EveryDay,
    Sessions,
    latest_day,
    minutes,
    moment,
    next_day,
    require,
)
from nightscore.job.closures import Override, overrides_of, read_overrides, unknown_exchange


def _utc(when: dt.datetime) -> pendulum.DateTime:
    return pendulum.instance(when).in_timezone("UTC")


class _DayTimetable(Timetable):
    """What both have in common: a calendar, seen with Airflow's eyes."""

    partitioned = True
    run_ordering: Sequence[str] = ("partition_date", "run_after")

    calendar: Calendar

    def _info(self, day: dt.date) -> DagRunInfo:
        return DagRunInfo(
            run_after=_utc(self.calendar.complete(day)),
            data_interval=None,
            partition_date=self._midnight(day),
            partition_key=day.isoformat(),
        )

    def _midnight(self, day: dt.date) -> pendulum.DateTime:
        return _utc(moment(day, MIDNIGHT, self.calendar.zone))

    def next_dagrun_info_v2(
        self, *, last_dagrun_info: DagRunInfo | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        """The run after the last one; without catchup, of days that were missed only the latest is run."""
        latest = latest_day(self.calendar, _now())
        after = self._after(last_dagrun_info, restriction.earliest)
        day = latest if after is None or (after <= latest and not restriction.catchup) else after
        found = next_day(self.calendar, day)
        late = restriction.latest is not None and self._midnight(found) > restriction.latest
        return None if late else self._info(found)

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        """Not for partitions, which have no data interval: Airflow asks `next_dagrun_info_v2`."""
        raise NotImplementedError(f"{type(self).__name__} has partitions: ask next_dagrun_info_v2")

    def _after(self, last: DagRunInfo | None, earliest: dt.datetime | None) -> dt.date | None:
        """The first day that may come next, or None where nothing bounds it."""
        bounds = []
        if last is not None:
            bounds.append(self._day_of(last) + ONE)
        if earliest is not None:
            first = earliest.astimezone(self.calendar.zone).date()
            bounds.append(first if self._midnight(first) >= earliest else first + ONE)
        return max(bounds, default=None)

    def _day_of(self, info: DagRunInfo) -> dt.date:
        # The key first: where a DAG's time zone was changed, its earlier runs have midnights of another one.
        # The rest is for runs of a timetable that this one replaced.
        try:
            return dt.date.fromisoformat(info.partition_key or "")
        except ValueError:
            if info.partition_date is not None:
                return info.partition_date.astimezone(self.calendar.zone).date()
            return latest_day(self.calendar, info.run_after)

    def iter_partition_dagrun_infos(
        self, *, earliest: dt.datetime, latest: dt.datetime
    ) -> Iterator[DagRunInfo]:
        """The runs of a backfill: days whose midnight lies between two wall clock times, both included.

        Days that are not complete yet are left to the schedule, which would run them a second time.
        """
        low, high = self.localize_partition_datetime(earliest), self.localize_partition_datetime(latest)
        zone = self.calendar.zone
        last = min(high.astimezone(zone).date(), latest_day(self.calendar, _now()))
        for day in self.calendar.days(low.astimezone(zone).date(), last):
            if low <= self._midnight(day) <= high:
                yield self._info(day)

    def localize_partition_datetime(self, dt: dt.datetime) -> pendulum.DateTime:
        """The moment when the clocks of this timetable's zone show what `dt` shows."""
        return _utc(moment(dt.date(), dt.time(), self.calendar.zone))

    def _decode_partition_date(self, partition_key: str) -> dt.datetime:
        try:
            day = dt.date.fromisoformat(partition_key)
        except ValueError:
            day = None
        if day is None or day.isoformat() != partition_key:  # 20261116 and 2026-W47-1 are days to Python, too
            raise InvalidPartitionKeyError(
                f"{clipped(partition_key)} is no partition key of this DAG; write a day, YYYY-MM-DD"
            )
        try:
            require(self.calendar, day)
        except (ValueError, Broken) as error:
            raise InvalidPartitionKeyError(str(error)) from error
        return self._midnight(day)

    def infer_manual_data_interval(self, *, run_after: pendulum.DateTime) -> DataInterval:
        """A point: a manual run has no interval of its own."""
        return DataInterval.exact(run_after)

    def generate_run_id(
        self,
        *,
        run_type: DagRunType,
        run_after: dt.datetime,
        data_interval: DataInterval | None,  # noqa: ARG002 - Airflow passes it
        **extra: Any,
    ) -> str:
        """An id with the day in it, another each time: a day may be run again beside an earlier run."""
        name = extra.get("partition_key") or run_after.isoformat()
        return run_type.generate_run_id(suffix=f"{name}__{secrets.token_hex(4)}")


class DailyPartitionTimetable(_DayTimetable):
    """One run for each calendar day, at the local time `at` ("HH:MM") of the day after it.

    On the days when clocks change there is one run, too: a time that is left out counts with the offset from
    before the gap (02:30 means 03:30), and of a time that comes twice the first is taken.

    Raises:
        AirflowTimetableInvalid: `at` is no time, or `timezone` no IANA time zone.
    """

    def __init__(self, at: str = "02:00", timezone: str = "UTC") -> None:
        self.at, self.timezone = at, timezone
        try:
            time = dt.datetime.strptime(at, "%H:%M").time()
        except (TypeError, ValueError):
            raise AirflowTimetableInvalid(
                f'{at!r} is no time of day; write "HH:MM", such as "02:00"'
            ) from None
        try:
            zone = ZoneInfo(timezone)
        except (ZoneInfoNotFoundError, ValueError, TypeError, OSError):
            raise AirflowTimetableInvalid(
                f"{timezone!r} is no IANA time zone, such as America/Chicago or UTC"
            ) from None
        self.calendar = EveryDay(time, zone)
        self.description = f"at {at} {timezone}, for the day before"

    def serialize(self) -> dict[str, Any]:
        """The arguments."""
        return {"at": self.at, "timezone": self.timezone}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> Self:
        """The timetable of these arguments."""
        return cls(**data)

    @property
    def summary(self) -> str:
        """What the UI shows."""
        return f"daily {self.at} {self.timezone}"


class ByHandTimetable(_DayTimetable):
    """No run by itself; by hand with a partition key, and backfills, whose days are those of UTC."""

    description = "by hand"

    def __init__(self) -> None:
        self.calendar = EveryDay(MIDNIGHT, ZoneInfo("UTC"))

    def next_dagrun_info_v2(
        self,
        *,
        last_dagrun_info: DagRunInfo | None,  # noqa: ARG002 - Airflow passes it
        restriction: TimeRestriction,  # noqa: ARG002 - Airflow passes it
    ) -> DagRunInfo | None:
        """None, ever."""
        return None

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


class TradingDayTimetable(_DayTimetable):
    """One run for each trading session of an exchange, `after_close` ("90m") after that day's actual close.

    With several exchanges a day counts if it is a session of all of them (by its date on each), and its run
    starts after the last has closed; midnights are those of the first.

    `overrides` adds closures and early closes that no calendar foresaw: a file (relative to
    $NIGHTSCORE_WORKSPACE, else to the current folder; its form stands in `nightscore.job.closures`), or what
    is in one.
    It is read when the DAG file is parsed and kept in the serialized DAG: scheduler and API server need no
    such file, and a change of it makes a new version of the DAG.

    Raises:
        AirflowTimetableInvalid: an argument is wrong, or the file has a mistake; names its line.
    """

    def __init__(
        self,
        exchange: str | Sequence[str] = "XNYS",
        after_close: str = "0m",
        overrides: str | Path | Mapping[str, Any] | None = None,
    ) -> None:
        self.exchanges = (exchange,) if isinstance(exchange, str) else tuple(exchange)
        self.after_close = after_close
        if not self.exchanges or len(set(self.exchanges)) < len(self.exchanges):
            raise AirflowTimetableInvalid(
                f"{exchange!r} is no list of exchanges; write one or several, each once"
            )
        try:
            self.overrides = {k: v for k, v in _overrides(overrides).items() if k in self.exchanges}
            self.calendar = Sessions(self.exchanges, minutes(after_close), self.overrides)
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
            if problem := unknown_exchange(code):
                raise AirflowTimetableInvalid(problem)

    def serialize(self) -> dict[str, Any]:
        """The arguments, with what the override file says of these exchanges."""
        return {
            "exchange": list(self.exchanges),
            "after_close": self.after_close,
            "overrides": {code: self.overrides[code].plain() for code in sorted(self.overrides)},
        }

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> Self:
        """The timetable of these arguments."""
        return cls(**data)

    @property
    def summary(self) -> str:
        """What the UI shows."""
        return f"{'+'.join(self.exchanges)} close + {self.after_close}"


def _overrides(given: str | Path | Mapping[str, Any] | None) -> dict[str, Override]:
    if isinstance(given, str | Path):
        return read_overrides(Path(os.environ.get(VARIABLE, ".")) / given, str(given))
    return overrides_of(given or {})


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
