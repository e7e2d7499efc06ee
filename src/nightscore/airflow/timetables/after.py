"""The timetable of a job that comes after others: run when they have published a day, and backfillable.

Airflow's own timetable of assets has no days, and so no backfill. Here the days are those of the jobs at the
head of the chain: where there are several, the days that all of them have.
"""

import contextlib
import datetime as dt
from collections.abc import Sequence
from typing import Any, Self, cast
from zoneinfo import ZoneInfo

import pendulum
from airflow.partition_mappers.base import PartitionMapper
from airflow.timetables.simple import PartitionedAssetTimetable

from nightscore.airflow.timetables.day import DayTimetable, EventDayTimetable
from nightscore.job import MIDNIGHT, days_of_all, wall_clock_to_utc


class DayMapper(PartitionMapper):
    """A day of a table is that day of the job after it, and its midnight is that of the job's zone.

    Airflow's IdentityMapper carries the midnight of the run that published the table: of another zone, or
    none if it was run by hand; then a backfill would not find the run of the day, and make a second one.
    """

    def __init__(self, timezone: str = "UTC") -> None:
        super().__init__()
        self.timezone = timezone

    def to_downstream(self, key: str) -> str:
        """The same day."""
        return key

    def to_partition_date(self, downstream_key: str) -> dt.datetime | None:
        """The midnight of the day; None for a key that is no day."""
        with contextlib.suppress(ValueError):
            day = dt.date.fromisoformat(downstream_key)
            return pendulum.instance(wall_clock_to_utc(day, MIDNIGHT, ZoneInfo(self.timezone)))
        return None

    def serialize(self) -> dict[str, Any]:
        """The argument."""
        return {"timezone": self.timezone}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> Self:
        """The mapper of this argument."""
        return cls(**data)


class AfterTimetable(EventDayTimetable, PartitionedAssetTimetable):
    """One run for each day that all of some assets have; their days are those of the timetables `upstream`.

    No run comes by the clock. A run by hand and a backfill are of the upstream's days, complete ones.
    """

    periodic = True  # what Airflow asks before it allows a backfill

    def __init__(self, assets: Any, upstream: Sequence[DayTimetable]) -> None:
        self.upstream = tuple(upstream)
        self.calendar = days_of_all([one.calendar for one in self.upstream])
        super().__init__(assets=assets, default_partition_mapper=DayMapper(self.calendar.zone.key))
        names = sorted(key.name for key, _ in self.asset_condition.iter_assets())
        self.description = f"after {' and '.join(names)}, for their day"

    def serialize(self) -> dict[str, Any]:
        """The assets and the timetables of the upstream."""
        from airflow.serialization.encoders import encode_asset_like, encode_timetable

        return {
            "assets": encode_asset_like(self.asset_condition),
            "upstream": [encode_timetable(one) for one in self.upstream],
        }

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> Self:
        """The timetable of these."""
        from airflow.serialization.decoders import decode_asset_like, decode_timetable

        upstream = [cast(DayTimetable, decode_timetable(one)) for one in data["upstream"]]
        return cls(decode_asset_like(data["assets"]), upstream)

    @property
    def summary(self) -> str:
        """What the UI shows."""
        return self.description.removesuffix(", for their day")
