"""Which days are looked at for their deadlines: those that are due, of the last days, and tonight's."""

import datetime as dt
from collections.abc import Collection

from nightscore.common import Broken, Workspace, as_day
from nightscore.job import Event, load_all, read_workspace_overrides
from nightscore.pipeline import News, tell, tell_again
from nightscore.review.days.due import Due
from nightscore.review.days.logbook import DayState, Logbook
from nightscore.store import Pinned

WATCHED_DAYS = 7  # that are looked back on


def watched_days(book: Logbook) -> list[DayState]:
    """How the days stand that should be published by a deadline and are not, by job and day.

    The day that each job should have now, what was missed of the week before it, and what runs are at.
    """
    since = (book.due.now.date() - dt.timedelta(days=WATCHED_DAYS)).isoformat()
    found: dict[tuple[str, str], DayState] = {}
    for name, job in sorted(book.jobs.items()):
        if job.spec.deadline is not None:
            at_work = {day for made, day in book.attempts if made == name and day >= since}
            for day in sorted({*at_work, *_due(book, name)}):
                found[name, day] = book.day(name, day)
    return [one for one in found.values() if one.entry is None and one.state != "skipped"]


def tell_deadlines(book: Logbook, page: str | None = None) -> list[str]:
    """Tell of the days that are late or at risk, each once; gives who could not be told, and why.

    What did not arrive before, of these days, is sent again. `page` is the address of the page Nightscore.
    """
    problems: list[str] = []
    news = {(one.job, one.day): found for one in watched_days(book) if (found := news_of(one))}
    for (name, day), found in news.items():
        problems += tell(book.jobs[name], day, found, page)
    untold = {key for key, one in book.attempts.items() if one.untold and one.job in book.jobs}
    for name, day in sorted(untold - news.keys()):
        problems += tell_again(book.jobs[name], day)
    return problems


def tell_day(book: Logbook, job: str, day: str, page: str | None = None) -> tuple[str, list[str]]:
    """Tell of one day, if it is late or at risk: how it stands, and who could not be told, and why."""
    state = book.day(job, day)
    news = news_of(state) if state.entry is None else None
    problems = tell(book.jobs[job], day, news, page) if news and job in book.jobs else []
    return f"{state.state}{', ' + state.due if state.due else ''}", problems


def news_of(state: DayState) -> News | None:
    """What is to be told of a day that is not published; None where it is neither late nor at risk."""
    if state.deadline is None or not state.due:
        return None
    said = f"{state.state}{': ' + state.message if state.message else ''}"
    event: Event = "overdue" if state.late else "at_risk"
    held = state.state == "held"
    return News(event, said, deadline=state.deadline, eta=state.eta, is_held=held)


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
        missing = {one.day for one in book.missing(name, WATCHED_DAYS)}
    except Broken:  # an exchange's calendar is unknown: `check` says so
        return set()
    latest = book.due.latest(name)
    return missing | ({latest.isoformat()} if latest else set())
