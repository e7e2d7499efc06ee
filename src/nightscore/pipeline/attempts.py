"""Each run tells what becomes of it, while it works and when it ends: see `store.records.attempts`.

And it has those told who want to know (`notify`).
"""

import contextlib
import contextvars
import datetime as dt
import getpass
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar

from nightscore.common import NotYet, Pace, ProgressCallback, end_process, may_end_process
from nightscore.job import Job, seconds_of
from nightscore.pipeline.notify import Bell
from nightscore.pipeline.publish.hold import Held
from nightscore.store import HEARTBEAT_SECONDS, Attempt, Receipt, new_attempt, note_pace, write_attempt

PUBLISHING = "link"  # the stage from which on the day is as good as published
STAGE_SECONDS = 2.0  # a stage that begins so soon after the last word is left to the heartbeat
_current: ContextVar["Recorder | None"] = ContextVar("current", default=None)


class Recorder:
    """Writes one attempt; `report` is a progress callback that also passes on what it is told."""

    def __init__(
        self, job: Job, attempt: Attempt, onward: ProgressCallback, *, keeps: bool = True,
        page: str | None = None, last_try: bool = False,
    ) -> None:  # fmt: skip
        self._workspace, self._onward, self._keeps = job.workspace, onward, keeps
        self._bell = Bell(job, attempt.day, page) if job.spec.notify and keeps else None
        self._last_try = last_try
        self._gate, self._is_halted, self._is_publishing = threading.Lock(), False, False
        self._lock, self._left, self._pace = threading.Lock(), threading.Event(), Pace()
        self.attempt = attempt
        self._write()

    def report(self, stage: str, done: int, total: int) -> None:
        """Keep where a stage is: written when one begins, of a night that lasts, and with each heartbeat.

        A run that is halted stays here.
        """
        with self._gate:
            self._is_publishing |= stage == PUBLISHING
        if self._is_halted:
            threading.Event().wait()  # until the process has ended
        update: dict[str, object] = {"stage": stage, "done": done, "total": total}
        update["rate"] = self._pace.rate(stage, done, total)
        now, begins = dt.datetime.now(dt.UTC), stage != self.attempt.stage
        if begins:
            update["stage_since"] = now
        self.attempt = self.attempt.model_copy(update=update)
        if begins and (now - self.attempt.updated).total_seconds() > STAGE_SECONDS:
            with self._lock:
                self._write()
        self._onward(stage, done, total)

    def halt(self) -> bool:
        """Let the run go no further; not where it publishes already, or has ended."""
        with self._gate:
            self._is_halted = not (self._is_publishing or self.attempt.ended)
        return self._is_halted

    def finish(self, receipt: Receipt) -> None:
        """It ended with a receipt; what a published night took is told to the next."""
        if self._keeps and receipt.status == "published" and receipt.degraded is None:
            note_pace(self._workspace, receipt)
        reason = receipt.reason if receipt.status == "skipped" else ""
        rows = receipt.rows.published
        degraded = str(receipt.degraded or "")
        self._end(
            receipt, state=receipt.status, message=reason, run_id=receipt.run_id, rows=rows, degraded=degraded
        )

    def fail(self, error: BaseException) -> None:
        """It ended with an error, unless it had ended before."""
        if not self.attempt.ended:
            state, message = outcome_of(error)
            self.end("failed" if state == "waiting" and self._last_try else state, message)

    def end(self, state: str, message: str) -> None:
        """It ended without a receipt: see `Attempt`."""
        self._end(None, state=state, message=message)

    def _end(self, receipt: Receipt | None, **values: object) -> None:
        self.leave(**values)
        if self._bell and (untold := self._bell.ended(self.attempt, receipt)):
            self.leave(untold=tuple(untold))

    def leave(self, **values: object) -> None:
        """No more is told of it here; another process may go on."""
        self._left.set()
        with self._lock:
            self._write(**values)

    def _write(self, **values: object) -> None:
        self.attempt = self.attempt.model_copy(update={**values, "updated": dt.datetime.now(dt.UTC)})
        if self._keeps:
            write_attempt(self._workspace, self.attempt)

    def beat(self) -> None:
        """Write the attempt again and again until it is left."""
        while not self._left.wait(HEARTBEAT_SECONDS):
            with self._lock:
                if not self._left.is_set():
                    self._write()
            if self._bell:
                self._bell.beat(self.attempt)


def outcome_of(error: BaseException) -> tuple[str, str]:
    """The state and the message of an attempt that ends with an error."""
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return "stopped", "stopped by a person; what is finished is kept"
    states = {Held: "held", NotYet: "waiting"}
    state = next((name for kind, name in states.items() if isinstance(error, kind)), "failed")
    return state, str(error) or type(error).__name__


@contextlib.contextmanager
def recorded(
    job: Job, day: dt.date, report: ProgressCallback, *, is_preview: bool = False
) -> Iterator[tuple[ProgressCallback, Callable[[Receipt], None]]]:
    """A context in which a run of a day tells what becomes of it; gives what to report to, and what ends it.

    Within another run of the day it is that one's. A preview tells nothing: it publishes nothing.
    """
    outer = _current.get()
    if is_preview or (outer and (outer.attempt.job, outer.attempt.day) == (job.name, day.isoformat())):
        yield report, lambda receipt: None  # noqa: ARG005 - what ends it is the outer one
        return
    attempt = new_attempt(job.name, day.isoformat(), dt.datetime.now(dt.UTC), by=_user())
    with recording(Recorder(job, attempt, report)) as recorder, ended_in_time(job, recorder):
        yield recorder.report, recorder.finish


@contextlib.contextmanager
def ended_in_time(job: Job, recorder: Recorder) -> Iterator[None]:
    """A context that ends the process, if it is a command's, when the job's `timeout` is over: not yet.

    That is safe, as a kill is at any point. A run that publishes already is let to its end.
    """
    if job.spec.timeout is None or not may_end_process():
        yield
        return

    def end() -> None:
        if recorder.halt():
            message = f"job {job.name}: {recorder.attempt.day}: {timeout_message(job)}"
            recorder.end("failed", message)
            end_process(NotYet.exit_code, "not yet", message)

    timer = threading.Timer(seconds_of(job.spec.timeout), end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def timeout_message(job: Job) -> str:
    """Why a run that took too long was ended."""
    return (
        f"timeout: the run took longer than {job.spec.timeout}; nothing is published, what is staged is "
        "kept, and the next run goes on there"
    )


@contextlib.contextmanager
def recording(recorder: Recorder) -> Iterator[Recorder]:
    """A context that an attempt is written in, now and then; an error ends it."""
    token = _current.set(recorder)
    beat = contextvars.copy_context().run  # what is asked for connections is, of this context
    threading.Thread(target=beat, args=(recorder.beat,), name="heartbeat", daemon=True).start()
    try:
        yield recorder
    except BaseException as error:
        recorder.fail(error)
        raise
    finally:
        if not recorder.attempt.ended:
            recorder.leave()
        _current.reset(token)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a number without a name, as containers have
        return ""
