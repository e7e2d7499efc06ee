"""Which days a job should have by now: by its schedule, or by what the tables that it comes after have."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field

from nightscore.common import Broken
from nightscore.job import After, ByHand, CalendarOverride, Job, deadline_among, latest_day, makers_of
from nightscore.store import Pinned


@dataclass(frozen=True)
class Due:
    """The days of some jobs that are due at a moment (UTC)."""

    jobs: Mapping[str, Job]
    state: Pinned
    now: dt.datetime
    closures: Mapping[str, CalendarOverride] = field(default_factory=dict)

    def days(self, name: str, first: dt.date, last: dt.date | None = None) -> list[dt.date]:
        """The days of a job from `first` on that are due, in rising order; none of one that is run by hand.

        Of a job that comes after others: those that all their tables have.

        Raises:
            Broken: an exchange's calendar is unknown.
        """
        schedule = self.jobs[name].spec.schedule
        if isinstance(schedule, ByHand):
            return []
        if isinstance(schedule, After):
            upstream = [self.state.published.get(table, {}) for table in schedule.after]
            common = set.intersection(*(set(days) for days in upstream))
            found = sorted(map(dt.date.fromisoformat, common))
            return [day for day in found if first <= day and (last is None or day <= last)]
        calendar = schedule.calendar(self.closures)
        latest = latest_day(calendar, self.now)
        until = latest if last is None else min(last, latest)
        return calendar.days(first, until) if first <= until else []

    def latest(self, name: str, _seen: frozenset[str] = frozenset()) -> dt.date | None:
        """The last day that a job should have now: of one that comes after others, that they should have.

        None of one that is run by hand, or comes after such; or where a calendar is unknown.
        """
        schedule = self.jobs[name].spec.schedule
        if isinstance(schedule, ByHand) or name in _seen:
            return None
        if not isinstance(schedule, After):
            try:
                return schedule.latest_complete_day(self.now, self.closures)
            except Broken:
                return None
        makers = [self.maker(table) for table in schedule.after]
        days = [self.latest(maker, _seen | {name}) if maker else None for maker in makers]
        known = [day for day in days if day]
        return min(known) if known and len(known) == len(days) else None

    def has(self, name: str, day: dt.date) -> bool:
        """Whether a day is one that a job may have by now, whatever its upstream has."""
        schedule = self.jobs[name].spec.schedule
        if isinstance(schedule, After | ByHand):
            makers = [m for t in getattr(schedule, "after", ()) if (m := self.maker(t)) and m != name]
            return all(self.has(maker, day) for maker in makers)
        return day in self.days(name, day, day)

    def complete(self, name: str, day: dt.date) -> dt.datetime | None:
        """From which moment a day of a job is due by a clock; None where no clock says it."""
        schedule = self.jobs[name].spec.schedule
        if isinstance(schedule, After | ByHand):
            return None
        try:
            return schedule.calendar(self.closures).complete(day)
        except (Broken, ValueError):
            return None

    def deadline(self, name: str, day: dt.date) -> dt.datetime | None:
        """By when a day of a job is to be published; None where it has no deadline, or none is known."""
        try:
            return deadline_among(self.jobs, name, day, self.closures)
        except Broken:  # an exchange's calendar is unknown
            return None

    def maker(self, table: str) -> str | None:
        """The job that makes a table, as job.yaml says."""
        return next((maker.name for maker in makers_of([table], self.jobs.values())), None)

    def lacking(self, name: str, day: dt.date) -> list[str]:
        """The tables that a job comes after, and that have not published a day yet."""
        schedule = self.jobs[name].spec.schedule
        if not isinstance(schedule, After):
            return []
        return [t for t in schedule.after if day.isoformat() not in self.state.published.get(t, {})]
