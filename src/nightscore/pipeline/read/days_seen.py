"""Holes in the days that an input is read for: which are expected, which are there, and what is left out."""

import datetime as dt
from collections.abc import Sequence
from itertools import groupby
from zoneinfo import ZoneInfo

from nightscore.common import Broken, NotYet
from nightscore.job import (
    MIDNIGHT,
    EveryDay,
    Input,
    Job,
    PathInput,
    Sessions,
    SnapshotInput,
    TableInput,
    exchange_problem,
    first_jobs,
    is_by_cron,
    own_table,
)
from nightscore.job import read_workspace_overrides as read_closures
from nightscore.pipeline.read.inputs import Files, days_of, has_days
from nightscore.pipeline.read.listing import list_input, window
from nightscore.pipeline.read.sessions import calendar_days
from nightscore.store import DaysSeen, catalog

NAMED = 50  # names of what is ignored in an input, at most


def see_days(job: Job, files: Files, day: dt.date) -> dict[str, DaysSeen]:
    """The days seen of each input with a lookback of more than one day.

    Raises:
        Broken: an expected day is missing, and `policy.gaps` is fail; or no calendar says which are expected,
            and it is.
        NotYet: the same where `policy.missing` is wait: it may still come.
    """
    found = {}
    for name, source in job.spec.inputs.items():
        if source.lookback > 1 and has_days(source) and source.calendar != "none":
            found[name] = _days_seen(job, name, source, days_of(job, name, files, day), day)
            _refuse_gap(job, name, files, found[name], day)
    return found


def see_ignored(job: Job, day: dt.date, but: str = "") -> dict[str, tuple[str, ...]]:
    """What lies in the folders of each input and its `ignore` leaves out: paths below its own.

    Without those that have `but` in their name.
    """
    found = {}
    for name, source in job.spec.inputs.items():
        if not isinstance(source, TableInput) and (source.no_day == "ignore" or _ignores(source)):
            ignored = list_input(job, name, source, day).ignored
            names = tuple(n for n in ignored if not (but and but in n))
            more = (f"and {len(names) - NAMED} more",) if len(names) > NAMED else ()
            found[name] = names[:NAMED] + more
    return {name: names for name, names in found.items() if names}


def _ignores(source: PathInput | SnapshotInput) -> bool:
    return isinstance(source, PathInput) and bool(source.ignore)


def _refuse_gap(job: Job, name: str, files: Files, seen: DaysSeen, day: dt.date) -> None:
    if job.spec.policy.gaps == "warn" or not (seen.missing or seen.unknown):
        return
    kind = NotYet if job.spec.missing == "wait" and not seen.unknown else Broken
    raise kind(
        f"job {job.name}, day {day}: days seen of input {name}: {seen}; the policy for gaps is fail (or warn)"
        f"{_carried(job, name, files, day)}"
    )


def _carried(job: Job, name: str, files: Files, day: dt.date) -> str:
    """Which of the days that are missing are published, and hold rows of the day before; "" for none."""
    source = job.spec.inputs[name]
    if not (isinstance(source, TableInput) and own_table(job, source)):
        return ""
    read = {file.path for file in files[name]}
    listed = list_input(job, name, source, day).files
    days = sorted({d for d, path in listed if job.workspace.relative(path) not in read})
    if not days:
        return ""
    commands = ", ".join(f"`nightscore run {job.name} --day {d}`" for d in days[:3])
    return (
        f". Published, but carried forward and so not gone on from: {', '.join(days[:NAMED])}; "
        f"{commands}{', …' if len(days) > 3 else ''} makes it whole once its inputs are there"
    )


def _days_seen(job: Job, name: str, source: Input, there: set[str], day: dt.date) -> DaysSeen:
    first, last = window(job, source, day)
    if own_table(job, source):  # before its first night it has no day
        first = max(first, _first_night(job, source, last))
    every = [first + dt.timedelta(days=i) for i in range((last - first).days + 1)]
    # A calendar is asked only where a day is missing: that of an exchange takes seconds to import.
    if all(d.isoformat() in there for d in every):  # of no day, too
        return DaysSeen(len(every), len(every))
    try:
        expected = _expected(job, name, source, first, last)
    except Broken as error:
        return DaysSeen(len(there), 0, unknown=str(error))
    missing = [d.isoformat() not in there for d in expected]
    return DaysSeen(len(expected) - sum(missing), len(expected), spans(expected, missing))


def _first_night(job: Job, source: Input, last: dt.date) -> dt.date:
    """The first day that a job's own table has; the day after `last`, if it has none by then."""
    table = source.table if isinstance(source, TableInput) else ""
    days = [f.day for f in catalog.read_catalog(job.workspace).files(table) if f.day <= last.isoformat()]
    return dt.date.fromisoformat(min(days)) if days else last + dt.timedelta(days=1)


def _expected(job: Job, name: str, source: Input, first: dt.date, last: dt.date) -> list[dt.date]:
    """The days that an input is expected to have: those of its own calendar, or of the job's schedule.

    A lake that a weekly job reads has every day; the job's own table, and those it comes after, its days.
    """
    every = source.calendar is None and not isinstance(source, TableInput) and is_by_cron(job)
    if source.calendar is None and not every:
        return scheduled_days(job, first, last)
    if source.calendar == "daily" or every:
        return EveryDay(MIDNIGHT, ZoneInfo("UTC")).days(first, last)
    check_calendar_of(job, name, source)
    closures = read_closures(job.workspace.root)
    return calendar_days(job.workspace, Sessions(_exchanges(source), overrides=closures), first, last)


def scheduled_days(job: Job, first: dt.date, last: dt.date) -> list[dt.date]:
    """The days of a job's schedule, or those of all the jobs that it comes after, in order.

    Raises:
        Broken: an exchange is not known, or exchange_calendars is missing.
    """
    closures = read_closures(job.workspace.root)
    calendars = [first.spec.schedule.calendar(closures) for first in first_jobs(job)]
    return sorted(set.intersection(*(set(calendar_days(job.workspace, c, first, last)) for c in calendars)))


def check_calendar_of(job: Job, name: str, source: Input) -> None:
    """Raise unless each exchange that an input's calendar names is one.

    Raises:
        Broken: names the line of job.yaml.
    """
    for code in _exchanges(source):
        if problem := exchange_problem(code):
            job.raise_broken(("inputs", name, "calendar"), problem)


def _exchanges(source: Input) -> tuple[str, ...]:
    if source.calendar in (None, "daily", "none"):
        return ()
    return (source.calendar,) if isinstance(source.calendar, str) else tuple(source.calendar or ())


def spans(days: Sequence[dt.date], named: Sequence[bool]) -> tuple[str, ...]:
    """Those that are named among some days, such as the missing; neighbours as `first/last`."""
    found = []
    for is_named, run in groupby(zip(days, named, strict=True), key=lambda pair: pair[1]):
        group = [d.isoformat() for d, _ in run]
        found += [group[0] if len(group) == 1 else f"{group[0]}/{group[-1]}"] if is_named else []
    return tuple(found)
