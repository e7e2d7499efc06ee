"""What became of each day: from receipts, from what is held, and from what each run has told of itself.

Receipts decide what is published; the rest is for people, and says why a day is not.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

from nightscore.common import NightscoreError, Workspace
from nightscore.job import Job, load_all, read_workspace_overrides
from nightscore.pipeline import expected_end, read_held_days, usual_seconds, waited_for
from nightscore.review.days.due import Due
from nightscore.store import Attempt, CatalogEntry, Pace, Pinned, Receipt, Told, catalog, list_told

State = Literal[
    "published", "running", "held", "failed", "waiting", "stopped", "skipped", "missing", "expected"
]
BAD: frozenset[State] = frozenset({"held", "failed", "stopped", "missing"})


@dataclass(frozen=True)
class DayState:
    """Where one day of a job stands.

    `missing` is a day that is due and was never run, `expected` one that is due and may still be under way
    elsewhere: its upstream has not published. `since` is when it came to stand so (UTC). `message` says why,
    also where a published day has a later run that failed; `problem` tells that from the rest.

    `deadline` is by when it is to be published (UTC; None: the job has none): it is `late` where it was
    published after that first, or is not, and that has passed; `at_risk` where it will be by what its run has
    left, or, with no run at work, by what nights usually take. `eta` is when its run will have ended.
    `degraded` says of one that was late and is published what it went on with.
    """

    job: str
    day: str
    state: State
    since: dt.datetime | None = None
    message: str = ""
    attempt: Attempt | None = None
    entry: CatalogEntry | None = None
    held: Receipt | None = None
    problem: bool = False
    deadline: dt.datetime | None = None
    eta: dt.datetime | None = None
    late: bool = False
    at_risk: bool = False
    degraded: str = ""

    @property
    def bad(self) -> bool:
        """Whether a person should look."""
        is_late = self.late and self.entry is None
        return self.state in BAD or self.problem or self.at_risk or is_late or bool(self.degraded)

    @property
    def due(self) -> str:
        """Whether it is late or at risk, for people; "" for neither."""
        return "late" if self.late else ("at risk" if self.at_risk else "")

    def as_json(self) -> dict[str, object]:
        """What a program reads."""
        return {
            "job": self.job, "day": self.day, "state": self.state, "message": self.message,
            "since": self.since.isoformat() if self.since else None,
            "run_id": self.entry.run_id if self.entry else (self.held.run_id if self.held else ""),
            "dag_run": self.attempt.dag_run if self.attempt else "",
            "deadline": self.deadline.isoformat() if self.deadline else None,
            "eta": self.eta.isoformat() if self.eta else None,
            "late": self.late, "at_risk": self.at_risk, "degraded": self.degraded,
        }  # fmt: skip


@dataclass(frozen=True)
class Logbook:
    """The days of some jobs at one moment. Attempts and held days are read once, when first needed."""

    workspace: Workspace
    state: Pinned
    due: Due
    since: str = ""
    until: str = "9"
    _paces: dict[str, Sequence[Pace]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def jobs(self) -> Mapping[str, Job]:
        """The jobs, by name."""
        return self.due.jobs

    @cached_property
    def told(self) -> Told:
        """What runs have told of themselves, listed once."""
        return list_told(self.workspace)

    @cached_property
    def held(self) -> dict[tuple[str, str], Receipt]:
        """(job, day) -> the receipt of a held day as it would be."""
        found = (one.receipt for one in read_held_days(self.workspace))
        return {(receipt.job, receipt.day): receipt for receipt in found}

    @cached_property
    def attempts(self) -> dict[tuple[str, str], Attempt]:
        """(job, day) -> the last attempt, for the days from `since` to `until`."""
        found = self.told.last_attempts(self.since, self.until)
        return {(one.job, one.day): one for one in found}

    @cached_property
    def first_days(self) -> dict[str, str]:
        """Job -> its first published day."""
        found: dict[str, str] = {}
        for job, day in self.state.in_force:
            found[job] = min(day, found.get(job, day))
        return found

    @cached_property
    def first_published(self) -> dict[tuple[str, str], dt.datetime]:
        """(job, day) -> when it was published first, whatever was published again since."""
        found: dict[tuple[str, str], dt.datetime] = {}
        for entry in self.state.history:
            found.setdefault((entry.job, entry.day), entry.published_at)
        return found

    def paces(self, job: str) -> Sequence[Pace]:
        """What the last nights of a job took; read once."""
        if job not in self._paces:
            self._paces[job] = self.told.paces(job)
        return self._paces[job]

    def day(self, job: str, day: str) -> DayState:
        """Where a day stands."""
        state = self._day(job, day)
        due = self.due.deadline(job, dt.date.fromisoformat(day)) if job in self.jobs else None
        if due is None:
            return state
        paces = [] if state.state == "published" else self.paces(job)
        return by_deadline(state, due, self.due.now, self.first_published.get((job, day)), paces)

    def _day(self, job: str, day: str) -> DayState:
        entry = self.state.in_force.get((job, day))
        held, attempt = self.held.get((job, day)), self.attempts.get((job, day))
        if attempt and not attempt.ended and not attempt.is_gone(self.due.now):
            return DayState(job, day, "running", attempt.started, attempt.progress, attempt, entry, held)
        if held and (entry is None or held.run_number > entry.run_number):
            since = attempt.updated if attempt and attempt.state == "held" else held.started_at
            return DayState(job, day, "held", since, _held(held), attempt, entry, held)
        if entry:
            return self._published(entry, attempt)
        if attempt:
            return _unpublished(attempt)
        lacking = self.due.lacking(job, dt.date.fromisoformat(day)) if job in self.jobs else []
        if lacking:
            return DayState(job, day, "expected", message=f"comes after {', '.join(lacking)}")
        when = self.due.complete(job, dt.date.fromisoformat(day)) if job in self.jobs else None
        return DayState(job, day, "missing", when, "never ran")

    def _published(self, entry: CatalogEntry, attempt: Attempt | None) -> DayState:
        later = attempt if attempt and not attempt.good and attempt.updated > entry.published_at else None
        degraded = self._degraded(entry, attempt)
        said = [f"published; a later run {_why(later)}"] if later else []
        said += [f"degraded: {degraded}"] if degraded else []
        return DayState(
            entry.job, entry.day, "published", entry.published_at, "; ".join(said), attempt, entry,
            problem=bool(later), degraded=degraded,
        )  # fmt: skip

    def _degraded(self, entry: CatalogEntry, attempt: Attempt | None) -> str:
        """What a late night went on with, by its own word, else by its receipt; "" of any other."""
        job = self.jobs.get(entry.job)
        if job is None or not job.spec.overdue:
            return ""
        if attempt and attempt.run_id == entry.run_id:
            return attempt.degraded
        return str(entry.read_receipt_or_reason().degraded or "")

    def degraded(self, job: str, last_days: int) -> list[DayState]:
        """The degraded days of a job that a run could make whole now, in rising order."""
        since = (self.due.now.date() - dt.timedelta(days=last_days)).isoformat()
        asks = job in self.jobs and self.jobs[job].spec.overdue
        days = sorted(d for j, d in self.state.in_force if asks and j == job and d >= since)
        states = (self.day(job, day) for day in days)
        return [one for one in states if one.degraded and one.state == "published" and self._is_there(one)]

    def _is_there(self, state: DayState) -> bool:
        """Whether a run of a day would wait for nothing."""
        day = dt.date.fromisoformat(state.day)
        try:
            return not waited_for(self.jobs[state.job], day) and not self.due.lacking(state.job, day)
        except NightscoreError:  # a run says so
            return False

    def missing(self, job: str, last_days: int | None = None) -> list[DayState]:
        """The days that are due and not published, in rising order.

        Those since the job's first published day, and before that, or of a job that has published nothing,
        those that were tried. A day that the job's policy has skipped is none of them.

        Raises:
            Broken: an exchange's calendar is unknown.
        """
        if job not in self.jobs:
            return []
        earliest = dt.date.min
        if last_days is not None:
            earliest = self.due.now.date() - dt.timedelta(days=last_days)
        first = self.first_days.get(job)
        due = self.due.days(job, max(earliest, dt.date.fromisoformat(first))) if first else []
        tried = {d for j, d in [*self.attempts, *self.held] if j == job and d >= earliest.isoformat()}
        days = sorted({*(day.isoformat() for day in due), *tried})
        states = (self.day(job, day) for day in days if (job, day) not in self.state.in_force)
        return [one for one in states if one.state not in ("skipped", "running")]

    def latest(self, job: str) -> DayState | None:
        """Where the day stands that the job should have now; of one that is run by hand, its last."""
        expected = self.due.latest(job) if job in self.jobs else None
        if expected is not None:
            return self.day(job, expected.isoformat())
        days = [d for j, d in [*self.state.in_force, *self.attempts, *self.held] if j == job]
        return self.day(job, max(days)) if days else None

    def calendar(self, job: str, last_days: int) -> list[DayState]:
        """The days of a job, the newest last: those that are due, those of which anything is told.

        A day that is held is there however long ago it is: it waits for a person.
        """
        since = self.due.now.date() - dt.timedelta(days=last_days)
        told = {d for j, d in [*self.state.in_force, *self.attempts, *self.held] if j == job}
        first = self.first_days.get(job)
        if job in self.jobs and first:
            due = self.due.days(job, max(since, dt.date.fromisoformat(first)))
            told |= {day.isoformat() for day in due}
        held = {d for j, d in self.held if j == job}
        return [self.day(job, day) for day in sorted(told) if day >= since.isoformat() or day in held]


def open_logbook(
    workspace: Workspace, state: Pinned | None = None, jobs: Sequence[Job] | None = None, since: str = "",
    until: str = "9",
) -> Logbook:  # fmt: skip
    """The logbook of a workspace at this moment; of the days from `since` to `until` attempts are read.

    Raises:
        Broken: the catalogue or calendars.yaml can't be read.
    """
    state = state or catalog.read_catalog(workspace)
    readable = load_all(workspace)[0] if jobs is None else jobs
    closures = read_workspace_overrides(workspace.root)
    due = Due({job.name: job for job in readable}, state, dt.datetime.now(dt.UTC), closures)
    return Logbook(workspace, state, due, since, until)


def by_deadline(
    state: DayState, due: dt.datetime, now: dt.datetime, first: dt.datetime | None, paces: Sequence[Pace]
) -> DayState:
    """How a day stands to its deadline; `first` is when it was published first."""
    running = state.state == "running" and state.attempt
    eta = expected_end(state.attempt, paces, now) if running and state.attempt else None
    if first is not None or state.state == "skipped":
        late = first is not None and first > due
        return replace(state, deadline=due, eta=eta, late=late)
    usual = usual_seconds(paces)
    ends = eta or (now + dt.timedelta(seconds=usual) if usual is not None and not running else None)
    at_risk = now <= due and ends is not None and ends > due
    return replace(state, deadline=due, eta=eta, late=now > due, at_risk=at_risk)


def _unpublished(attempt: Attempt) -> DayState:
    """A day of which there is no receipt, by what its last run told."""
    if not attempt.ended:
        message = (
            f"its process is gone, in stage {attempt.stage or 'plan'}; run the day again: it goes on there"
        )
        return DayState(attempt.job, attempt.day, "stopped", attempt.updated, message, attempt)
    states: dict[str, State] = {"held": "failed", "published": "missing", "unchanged": "missing"}
    state: State = states.get(attempt.state, attempt.state)  # type: ignore[arg-type]
    messages = {
        "held": "was held, and is held no more: run the day again",
        "missing": "was published, and its receipt is gone",
    }
    message = attempt.message if attempt.state == state else messages.get(attempt.state, messages["missing"])
    return DayState(attempt.job, attempt.day, state, attempt.updated, message, attempt)


def _held(receipt: Receipt) -> str:
    failed = [f"{a.name}: {a.detail}" for a in receipt.audits if not a.passed and a.severity == "fail"]
    return "; ".join(failed) or receipt.reason


def _why(attempt: Attempt) -> str:
    return (
        f"{'was stopped' if not attempt.ended else attempt.state}: {attempt.message or 'its process is gone'}"
    )
