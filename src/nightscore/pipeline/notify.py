"""Who is told what of a day: failed, held, published, at risk, overdue. Each message once, to each target.

A target that fails fails no night: that is said in the log and in `runs`, and the next event of the day, or
`nightscore watch`, tries again.
"""

import datetime as dt
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nightscore.common import as_day
from nightscore.job import Event, Job, Notify
from nightscore.pipeline.eta import expected_end
from nightscore.pipeline.overdue import deadline_moment
from nightscore.pipeline.publish.hold import find_held_day
from nightscore.store import (
    Attempt,
    HighlightResult,
    Notice,
    Receipt,
    catalog,
    claim_notice,
    end_notice,
    list_notices,
    open_notices,
    read_paces,
    this_process,
)

PAGE = "NIGHTSCORE_PAGE"  # the address of the page Nightscore, which messages link to
SAID: Mapping[Event, str] = {
    "failed": "failed", "held": "is held", "published": "is published", "at_risk": "is at risk",
    "overdue": "is overdue", "degraded": "is published, degraded",
}  # fmt: skip
OF_STATES: Mapping[str, Event] = {"failed": "failed", "held": "held", "published": "published"}
Highlights = Sequence[HighlightResult]
PUBLISHED: tuple[Event, ...] = ("degraded", "published")  # who asked for the second gets the first, too
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class News:
    """What happened to a day. `run` is which of its runs it is about, "" where it is the day itself."""

    event: Event
    message: str
    run: str = ""
    deadline: dt.datetime | None = None
    eta: dt.datetime | None = None
    is_held: bool = False
    highlights: Highlights = ()


@dataclass
class Bell:
    """Tells of one day of a job; `page` is the page Nightscore's address, by default $NIGHTSCORE_PAGE."""

    job: Job
    day: str
    page: str | None = None
    _rung: set[Event] = field(default_factory=set)
    _due: tuple[dt.datetime | None] | None = None

    @property
    def deadline(self) -> dt.datetime | None:
        """By when the day is to be published; None where nothing says it."""
        if self._due is None:
            self._due = (deadline_moment(self.job, self.day),)
        return self._due[0]

    def ended(self, attempt: Attempt, receipt: Receipt | None = None) -> list[str]:
        """Tell how a run ended, where that is news; gives who could not be told, and why."""
        event = OF_STATES.get(attempt.state)
        if event is None:
            return []
        message = attempt.message
        if receipt is not None:
            message = f"{receipt.rows.published:,} rows in {attempt.seconds:,.0f} s"
            event, message = _with_rungs(event, message, receipt)
        run = receipt.run_id if receipt else attempt.attempt
        late = self.deadline if event in PUBLISHED else None
        late = late if late and attempt.updated > late else None
        shown = receipt.highlights if receipt else ()
        return self._tell(News(event, message, run, late, highlights=shown))

    def released(self, receipt: Receipt, by: str, because: str) -> list[str]:
        """Tell that a held day is published, by whom and why; gives who could not be told."""
        said = f"{receipt.rows.published:,} rows; it was held, and {by} released it: {because}"
        event, said = _with_rungs("published", said, receipt)
        return self._tell(News(event, said, receipt.run_id, highlights=receipt.highlights))

    def beat(self, attempt: Attempt) -> list[str]:
        """Tell of a run at work that it will miss its deadline, or has; each once."""
        now, due = dt.datetime.now(dt.UTC), self.deadline
        if due is None:
            return []
        eta = expected_end(attempt, read_paces(self.job.workspace, self.job.name), now)
        news = deadline_news(now, due, eta, f"running: {attempt.progress}")
        if news is None or news.event in self._rung:
            return []
        self._rung.add(news.event)
        return self._tell(news)

    def _tell(self, news: News) -> list[str]:
        try:
            return tell(self.job, self.day, news, self.page)
        except Exception as error:  # a night does not fail, or fall silent, because nobody could be told
            log.warning("%s %s: nobody could be told: %s", self.job.name, self.day, type(error).__name__)
            return [f"nobody could be told: {type(error).__name__}"]


def deadline_news(now: dt.datetime, due: dt.datetime, eta: dt.datetime | None, message: str) -> News | None:
    """What is to be told of a day that is not published; None while it may be in time."""
    if now > due:
        return News("overdue", message, deadline=due, eta=eta)
    return News("at_risk", message, deadline=due, eta=eta) if eta and eta > due else None


def tell(job: Job, day: str, news: News, page: str | None = None) -> list[str]:
    """Send news of a day to all who are to get it and have not; gives who could not be told, and why.

    What did not arrive before, of this day, is sent again, too.
    """
    if not job.spec.notify:
        return []
    kinds: tuple[Event, ...] = PUBLISHED if news.event == "degraded" else (news.event,)
    asked = [one for one in job.spec.notify if not {*kinds}.isdisjoint(one.when)]
    page = page or os.environ.get(PAGE, "")
    subject, text, document = compose(job, day, news, page)
    there, now = list_notices(job.workspace, job.name, day), dt.datetime.now(dt.UTC)
    fresh = [
        Notice(
            job=job.name, day=day, event=news.event, run=news.run, target=one.target, moment=now,
            process=this_process(), subject=subject, text=text, document=document,
        )
        for one in asked
    ]  # fmt: skip
    again = [one.again(now) for one in open_notices(there, now)]
    known = {one.key: news.highlights for one in fresh if news.highlights}
    return _send_all(job, [*(one for one in fresh if one.key not in there), *again], known)


def tell_again(job: Job, day: str) -> list[str]:
    """Send again what did not arrive of a day; gives who could not be told, and why."""
    if not job.spec.notify:
        return []
    now = dt.datetime.now(dt.UTC)
    there = open_notices(list_notices(job.workspace, job.name, day), now)
    return _send_all(job, [one.again(now) for one in there], {})


def compose(job: Job, day: str, news: News, page: str) -> tuple[str, str, dict[str, Any]]:
    """The subject, the text and the document of a message."""
    link = _link(job, day, news, page)
    todo = what_to_do(job, day, "held" if news.is_held else news.event)
    subject = f"{job.name} {day} {SAID[news.event]}"
    lines = [*_of_the_deadline(job, news), news.message, "", f"What to do: {todo}"]
    if news.event in PUBLISHED:
        lines.append(f"Report: {link or f'nightscore report {job.name} --day {day}'}")
    elif link:
        lines.append(f"Page: {link}")
    if job.spec.owner:
        lines.append(f"Owner: {job.spec.owner}")
    document = {
        "job": job.name, "day": day, "event": news.event, "subject": subject, "message": news.message,
        "what_to_do": todo, "page": link, "owner": job.spec.owner, "run": news.run,
        "deadline": news.deadline.isoformat() if news.deadline else None,
        "eta": news.eta.isoformat() if news.eta else None,
    }  # fmt: skip
    return subject, "\n".join(lines), document


def what_to_do(job: Job, day: str, event: Event) -> str:
    """The next step of who reads it."""
    again = f"nightscore run {job.name} --day {day}"
    steps: Mapping[Event, str] = {
        "failed": f"mend what the message names, then run the day again: {again}",
        "held": f"look at it (nightscore held {job.name}), then nightscore release {job.name} --day {day} "
        "--by NAME --because TEXT, or discard it",
        "published": "nothing",
        "degraded": f"tell who reads it; once all is there, this makes it whole: {again}",
        "at_risk": f"see what holds it up: nightscore missing {job.name}, nightscore runs {job.name}",
        "overdue": f"see why it is not there (nightscore missing {job.name}), tell who waits for it, and "
        f"run it: {again}",
    }
    return steps[event]


def _with_rungs(event: Event, message: str, receipt: Receipt) -> tuple[Event, str]:
    """The news of a day that was published; of one that was late and went on with another rung, of that."""
    if event != "published" or receipt.degraded is None:
        return event, message
    return "degraded", f"DEGRADED: {receipt.degraded}\n{message}"


def _of_the_deadline(job: Job, news: News) -> Iterator[str]:
    if news.deadline is None or job.spec.deadline is None:
        return
    zone = job.spec.deadline.zone_of(job.spec.schedule)
    ends = f"; it will be there about {news.eta.astimezone(zone):%Y-%m-%d %H:%M}" if news.eta else ""
    yield f"Due by {news.deadline.astimezone(zone):%Y-%m-%d %H:%M} {zone.key}{ends}"


def _link(job: Job, day: str, news: News, page: str) -> str:
    if not page:
        return ""
    there = f"/{day}" if news.event in PUBLISHED else ""
    place = f"/w/{job.workspace.name}" if job.workspace.name else ""
    return f"{page.rstrip('/')}{place}/jobs/{job.name}{there}"


def _send_all(job: Job, notices: list[Notice], known: Mapping[str, Highlights]) -> list[str]:
    """Send notices; `known` are the highlights of some, by their keys."""
    targets = {one.target: one for one in job.spec.notify}
    problems = [_send(job, targets[one.target], one, known) for one in notices if one.target in targets]
    return [one for one in problems if one]


def _send(job: Job, target: Notify, notice: Notice, known: Mapping[str, Highlights]) -> str:
    from nightscore.delivery import Message, Unsent, send_message

    if not claim_notice(job.workspace, notice):
        return ""
    shown, is_first = known.get(notice.key) or _highlights(job, notice), notice.event in PUBLISHED
    message = Message(notice.subject, notice.text, notice.document, notice.key, shown, is_first)
    try:
        send_message(target, message)
    except Unsent as error:
        end_notice(job.workspace, notice, str(error))
        log.warning("%s could not be told that %s: %s", target.target, notice.subject, error)
        return f"{target.target}: {error}"
    end_notice(job.workspace, notice)
    return ""


def _highlights(job: Job, notice: Notice) -> Highlights:
    """The day's numbers, as its receipt has them now; none where they can't be read.

    None is kept with a notice: who is erased from a receipt stands in no message that is sent again.
    """
    if not job.spec.highlights or notice.event not in (*PUBLISHED, "held"):
        return ()
    try:
        receipt = _receipt(job, notice)
    except Exception as error:  # nobody is left untold of a day because its numbers can't be read
        log.warning("%s: told without highlights: %s", notice.subject, type(error).__name__)
        return ()
    return receipt.highlights if receipt else ()


def _receipt(job: Job, notice: Notice) -> Receipt | None:
    if notice.event == "held":
        held = find_held_day(job.workspace, job.name, as_day(notice.day))
        return held.receipt if held else None
    history = catalog.read_catalog(job.workspace).history
    return next((e.read_receipt() for e in history if (e.job, e.run_id) == (job.name, notice.run)), None)
