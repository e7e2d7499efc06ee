"""Which days are looked at for their deadlines: those that are due, of the last days, and tonight's."""

import datetime as dt
from collections.abc import Collection

from nightscore.common import Broken, Workspace, as_day
from nightscore.job import load_all, read_workspace_overrides
from nightscore.review.days.due import Due
from nightscore.review.days.logbook import DayState, Logbook
from nightscore.review.days.tonight import CATCHUP_DAYS
from nightscore.store import Pinned


def watched_days(book: Logbook) -> list[DayState]:
    """How the days stand that should be published by a deadline and are not, by job and day.

    The day that each job should have now, what was missed of the week before it, and what runs are at.
    """
    since = (book.due.now.date() - dt.timedelta(days=CATCHUP_DAYS)).isoformat()
    found: dict[tuple[str, str], DayState] = {}
    for name, job in sorted(book.jobs.items()):
        if job.spec.deadline is not None:
            at_work = {day for made, day in book.attempts if made == name and day >= since}
            for day in sorted({*at_work, *_due(book, name)}):
                found[name, day] = book.day(name, day)
    return [one for one in found.values() if one.entry is None and one.state != "skipped"]


def list_deadlines(
    workspace: Workspace, days: Collection[tuple[str, str]]
) -> dict[tuple[str, str], dt.datetime]:
    """(job, day) -> by when it is to be published (UTC), of some days; those without a deadline are left out.

    Raises:
        Broken: calendars.yaml can't be read.
    """
    jobs = {job.name: job for job in load_all(workspace)[0]}
    closures, nothing = read_workspace_overrides(workspace.root), Pinned(workspace, None, ())
    due = Due(jobs, nothing, dt.datetime.now(dt.UTC), closures)
    asked = {(name, day): due.deadline(name, as_day(day)) for name, day in days if name in jobs}
    return {key: moment for key, moment in asked.items() if moment}


def _due(book: Logbook, name: str) -> set[str]:
    try:
        missing = {one.day for one in book.missing(name, CATCHUP_DAYS)}
    except Broken:  # an exchange's calendar is unknown: `check` says so
        return set()
    latest = book.due.latest(name)
    return missing | ({latest.isoformat()} if latest else set())
