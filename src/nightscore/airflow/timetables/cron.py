"""The timetable of a cron expression: weekly, monthly, on workdays."""

from typing import Any, Self

from airflow.exceptions import AirflowTimetableInvalid

from nightscore.airflow.timetables.day import DayTimetable, check_catchup, zone_of
from nightscore.job import CronDays, check_day_has_begun, parse_cron


class CronDayTimetable(DayTimetable):
    """One run at each time of a cron expression, by the clock of `timezone`; at most one a day.

    The run scores the day that lies `day` days (0, -1 to -366) from the date of the run. Where clocks change,
    and for `catchup`, it is as `DailyPartitionTimetable`.

    Raises:
        AirflowTimetableInvalid: an argument is wrong.
    """

    def __init__(self, cron: str, timezone: str = "UTC", day: int = -1, catchup: str | None = None) -> None:
        self.cron, self.timezone, self.day, self.catchup = cron, timezone, day, check_catchup(catchup)
        try:
            parsed = parse_cron(cron)
            check_day_has_begun(parsed, day)
        except ValueError as error:
            raise AirflowTimetableInvalid(str(error)) from None
        if isinstance(day, bool) or not isinstance(day, int) or not -366 <= day <= 0:
            raise AirflowTimetableInvalid(
                f"{day!r} is no day relative to that of the run; allowed: -366 to 0"
            )
        self.calendar = CronDays(parsed, zone_of(timezone), day, self.summary)
        scored = {0: "that day", -1: "the day before"}.get(day, f"{-day} days before")
        self.description = f"at {parsed.at:%H:%M} {timezone} by cron {cron}, for {scored}"

    def serialize(self) -> dict[str, Any]:
        """The arguments."""
        return {"cron": self.cron, "timezone": self.timezone, "day": self.day, "catchup": self.catchup}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> Self:
        """The timetable of these arguments."""
        return cls(**data)

    @property
    def summary(self) -> str:
        """What the UI shows."""
        return f"cron {self.cron} {self.timezone}, day {self.day}"
