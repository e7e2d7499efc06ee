"""A calendar as Airflow's timetables: one run per day, when the day is complete; days are partitions.

The partition key is the day (YYYY-MM-DD), the partition date its midnight in the calendar's zone, so that a
backfill from D to D makes the run of D, unless D has one. `start_date` and `end_date` of a DAG bound the
partition dates, not the moments of the runs.

Airflow's machinery for them; which days there are is the business of `nightscore.job.days.calendars`.
"""

import datetime as dt
import secrets
from collections.abc import Iterator, Sequence
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pendulum
from airflow.exceptions import AirflowTimetableInvalid, InvalidPartitionKeyError
from airflow.timetables.base import DagRunInfo, DataInterval, TimeRestriction, Timetable
from airflow.utils.types import DagRunType

from nightscore.common import Broken, clipped
from nightscore.job import (
    MIDNIGHT,
    ONE_DAY,
    Calendar,
    latest_day,
    next_after,
    next_day,
    parse_catchup,
    require_day,
    wall_clock_to_utc,
)

LAST_MILLISECOND = 999_000  # of a second, in microseconds: where a picked range ends


def _utc(when: dt.datetime) -> pendulum.DateTime:
    return pendulum.instance(when).in_timezone("UTC")


def picked_day(moment: dt.datetime) -> dt.date:
    """The day that a person picked who made Airflow send this moment, without a zone one of UTC.

    Its UI sends the first and the last millisecond of a picked range by the clock of the zone that it shows,
    the command line a midnight of UTC. Neither says which zone it was: the nearest midnight of UTC is that
    of the picked day for every zone within twelve hours of UTC, whatever the zone of the job.
    """
    at = moment.astimezone(dt.UTC) if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
    ends = at.microsecond >= LAST_MILLISECOND
    nearest = (at + dt.timedelta(hours=12, milliseconds=int(ends))).date()
    return nearest - ONE_DAY if ends else nearest


def check_catchup(text: str | None) -> str | None:
    """The argument `catchup` as it is.

    Raises:
        AirflowTimetableInvalid: it is none; says what is allowed.
    """
    try:
        parse_catchup("all" if text is None else text)
    except ValueError as error:
        raise AirflowTimetableInvalid(str(error)) from None
    return text


def zone_of(name: str) -> ZoneInfo:
    """The time zone of a name.

    Raises:
        AirflowTimetableInvalid: there is none.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError):
        raise AirflowTimetableInvalid(
            f"{name!r} is no IANA time zone, such as America/Chicago or UTC"
        ) from None


class DayTimetable(Timetable):
    """What timetables of days have in common: a calendar, seen with Airflow's eyes."""

    partitioned = True
    run_ordering: Sequence[str] = ("partition_date", "run_after")

    calendar: Calendar
    catchup: str | None = None  # `7 days`, all or none; None: what the DAG's own `catchup` says

    def _info(self, day: dt.date) -> DagRunInfo:
        return DagRunInfo(
            run_after=_utc(self.calendar.complete(day)),
            data_interval=None,
            partition_date=self._midnight(day),
            partition_key=day.isoformat(),
        )

    def _midnight(self, day: dt.date) -> pendulum.DateTime:
        return _utc(wall_clock_to_utc(day, MIDNIGHT, self.calendar.zone))

    def next_dagrun_info_v2(
        self, *, last_dagrun_info: DagRunInfo | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        """The run after the last one; of days that were missed those that `catchup` allows, the oldest first.

        A DAG that has never run begins with its latest day: before its first one nothing was missed.
        """
        after, most = self._after(last_dagrun_info, restriction.earliest), self._most(restriction)
        if last_dagrun_info is None and self.catchup is not None:
            most = 1
        if after is None:
            day = latest_day(self.calendar, _now())
        else:
            day = next_after(self.calendar, after, _now(), most)
        coming = next_day(self.calendar, day)
        late = restriction.latest is not None and self._midnight(coming) > restriction.latest
        return None if late else self._info(coming)

    def _most(self, restriction: TimeRestriction) -> int | None:
        """How many days that were missed are run: as the timetable says, else as Airflow's `catchup` does."""
        if self.catchup is not None:
            return parse_catchup(self.catchup)
        return None if restriction.catchup else 1

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        """Not for partitions, which have no data interval: Airflow asks `next_dagrun_info_v2`."""
        raise NotImplementedError(f"{type(self).__name__} has partitions: ask next_dagrun_info_v2")

    def _after(self, last: DagRunInfo | None, earliest: dt.datetime | None) -> dt.date | None:
        """The first day that may come next, or None where nothing bounds it."""
        bounds = []
        if last is not None:
            bounds.append(self._day_of(last) + ONE_DAY)
        if earliest is not None:
            first = earliest.astimezone(self.calendar.zone).date()
            bounds.append(first if self._midnight(first) >= earliest else first + ONE_DAY)
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
        """The runs of a backfill: the days from the picked day of one moment to that of another.

        Days that are not complete yet are left to the schedule, which would run them a second time.
        """
        last = min(picked_day(latest), latest_day(self.calendar, _now()))
        yield from map(self._info, self.calendar.days(picked_day(earliest), last))

    def localize_partition_datetime(self, dt: dt.datetime) -> pendulum.DateTime:
        """The partition date of the day that a person picked: Airflow asks for those of both bounds."""
        return self._midnight(picked_day(dt))

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
            require_day(self.calendar, day)
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


class EventDayTimetable(DayTimetable):
    """One whose runs come by no clock: by hand, with an event, or in a backfill of its days."""

    def next_dagrun_info_v2(
        self,
        *,
        last_dagrun_info: DagRunInfo | None,  # noqa: ARG002 - Airflow passes it
        restriction: TimeRestriction,  # noqa: ARG002 - Airflow passes it
    ) -> DagRunInfo | None:
        """None, ever."""
        return None


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
