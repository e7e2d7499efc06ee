"""The front page's rows: of each job the day that it should have now, how that stands, and its usual pace."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from nightscore.airflow.web import dag_runs
from nightscore.airflow.web.access import Sight
from nightscore.airflow.web.staged import first_staged_rows
from nightscore.common import Broken
from nightscore.job import Job, airflow_settings_of
from nightscore.pipeline import expected_end, usual_seconds
from nightscore.review import DayState, Logbook, open_logbook
from nightscore.store import CatalogEntry, Pace, Receipt, read_attempt

DAYS = 42  # that are looked back on
SPARKS = 20  # nights of a sparkline
WIDTH, HEIGHT = 100, 20  # of one, in pixels
LOOKS = ("all", "needs a look", "running", "published", "not published")


@dataclass(frozen=True)
class Row:
    """One job on the front page."""

    name: str
    job: Job | None
    latest: DayState | None
    missing: Sequence[DayState]
    held: Sequence[str]
    at_work: Sequence[str]
    problem: str
    paces: Sequence[Pace]
    last: CatalogEntry | None
    before: CatalogEntry | None
    next_run: dt.datetime | str
    dag_run: str
    now: dt.datetime

    @property
    def owner(self) -> str:
        """Who is called."""
        return self.job.spec.owner if self.job else ""

    @property
    def zone(self) -> str:
        """The time zone of its nights, as its schedule says it."""
        return str(getattr(self.job.spec.schedule, "timezone", "UTC")) if self.job else "UTC"

    @cached_property
    def receipt(self) -> Receipt | None:
        """That of the last published day."""
        return self.last.read_receipt_or_reason() if self.last else None

    @cached_property
    def receipt_before(self) -> Receipt | None:
        """That of the published day before it."""
        return self.before.read_receipt_or_reason() if self.before else None

    @property
    def bad(self) -> bool:
        """Whether somebody should look."""
        return bool(self.missing or self.held) or (self.latest is not None and self.latest.bad)

    @property
    def usual(self) -> float | None:
        """Seconds that the nights before the last published one took, usually."""
        return usual_seconds([one for one in self.paces if not self.last or one.run_id != self.last.run_id])

    @property
    def took(self) -> float | None:
        """Seconds that the last published night took."""
        mine = [one.total for one in self.paces if self.last and one.run_id == self.last.run_id]
        return mine[-1] if mine else None

    @property
    def eta(self) -> dt.datetime | None:
        """When the run that is at work will have ended."""
        if self.latest is None or self.latest.state != "running" or not self.latest.attempt:
            return None
        return expected_end(self.latest.attempt, self.paces, self.now)

    @property
    def spark(self) -> str:
        """The points of the last nights' seconds, for a polyline in a box of WIDTH by HEIGHT."""
        totals = [one.total for one in self.paces[-SPARKS:]]
        if len(totals) < 2:
            return ""
        most, step = max(totals) or 1.0, WIDTH / (len(totals) - 1)
        return " ".join(f"{i * step:.1f},{HEIGHT - HEIGHT * t / most:.1f}" for i, t in enumerate(totals))


def book_of(sight: Sight, day: str = "") -> Logbook:
    """The logbook of what the user may see: of the last days, or of one."""
    readable = [job for job in sight.jobs.values() if isinstance(job, Job)]
    since = day or (dt.datetime.now(dt.UTC).date() - dt.timedelta(days=DAYS)).isoformat()
    book = open_logbook(sight.workspace, sight.state, readable, since, day or "9")
    scored = {
        day: dag_runs.with_scored(sight.dag_id(day[0]), attempt) for day, attempt in book.attempts.items()
    }
    book.attempts.update(scored)
    return book


def list_rows(sight: Sight, book: Logbook) -> list[Row]:
    """A row for each job that can be read, and for each that has published and whose folder is gone."""
    days: dict[str, list[str]] = {}
    for job, day in sight.state.in_force:
        days.setdefault(job, []).append(day)
    names = [name for name, job in sight.jobs.items() if isinstance(job, Job)]
    names += sorted(days.keys() - sight.jobs.keys())
    ids = {name: sight.dag_id(name) for name in names}
    planned, runs = dag_runs.next_runs([*ids.values()]), dag_runs.runs_of_days([*ids.values()])
    misplaced = dag_runs.misplaced({ids[name]: _pool(sight.jobs.get(name)) for name in names})
    return [
        _row(
            book, name, sorted(days.get(name, [])), planned.get(ids[name], ""), runs.get(ids[name], {}),
            misplaced=misplaced.get(ids[name], ""),
        )
        for name in names
    ]  # fmt: skip


def _pool(job: Job | Broken | None) -> str | None:
    return airflow_settings_of(job).pool if isinstance(job, Job) else None


def _row(
    book: Logbook,
    name: str,
    days: Sequence[str],
    planned: dt.datetime | str,
    runs: Mapping[str, str],
    *,
    misplaced: str,
) -> Row:
    latest = book.latest(name)
    missing, problem = _missing(book, name)
    held = sorted(day for job, day in book.held if job == name and book.day(name, day).state == "held")
    at_work = sorted(
        day for job, day in book.attempts if job == name and book.day(name, day).state == "running"
    )
    entries = [book.state.in_force[name, day] for day in days[-2:]]
    run = runs.get(latest.day, "") if latest else ""
    return Row(
        name, book.jobs.get(name), latest, missing, held, at_work, misplaced or problem, book.paces(name),
        entries[-1] if entries else None, entries[-2] if len(entries) > 1 else None, planned,
        (latest.attempt.dag_run if latest and latest.attempt else "") or run, book.due.now,
    )  # fmt: skip


def _missing(book: Logbook, name: str) -> tuple[list[DayState], str]:
    try:
        return [one for one in book.missing(name, DAYS) if one.state != "held"], ""
    except Broken as error:  # a calendar that is unknown: the row says so
        return [], str(error)


def is_shown(row: Row, owner: str, look: str, words: str) -> bool:
    """Whether a row passes the filters of the front page."""
    state = row.latest.state if row.latest else ""
    looks = {
        "needs a look": row.bad, "running": bool(row.at_work), "published": state == "published",
        "not published": state != "published",
    }  # fmt: skip
    return (
        (not owner or row.owner == owner)
        and looks.get(look, True)
        and words.casefold() in row.name.casefold()
    )


def days_of(sight: Sight, job: str) -> tuple[list[DayState], list[DayState]]:
    """The last days of a job for its calendar, and those that are missing."""
    book = book_of(sight)
    try:
        return book.calendar(job, DAYS), book.missing(job, DAYS)
    except Broken:  # a calendar that is unknown: the job's own message says so
        return [], []


def run_standing(sight: Sight, run: dag_runs.Run, day: dt.date | None) -> dict[str, Any]:
    """What the page of a run that has not published shows: how its day stands, and what it told itself."""
    if day is None:
        return {"state": None, "attempt": None, "eta": None, "staged": []}
    book = book_of(sight, day.isoformat())
    state = book.day(run.job, day.isoformat())
    attempt = read_attempt(sight.workspace, run.job, day.isoformat(), run.attempt)
    attempt = dag_runs.with_scored(run.dag_id, attempt) if attempt else None
    own = state.attempt and state.attempt.attempt == run.attempt
    held = state.state == "held" and (own or not attempt)
    return {
        "state": state if own or held or run.at_work else None,
        "attempt": attempt,
        "eta": expected_end(attempt, book.paces(run.job), book.due.now)
        if attempt and not attempt.ended else None,
        "staged": list(first_staged_rows(sight.workspace, run.job, day.isoformat())) if held else [],
    }  # fmt: skip
