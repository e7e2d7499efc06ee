"""What became of each run that was tried, published or not: `data/attempts/<job>/<day>/<attempt>.json`.

A receipt says what was published; this says what happened, for people: that a run is at work and how far it
is, that it failed and with which message. Nothing is decided by it: a run goes on where it can't be written,
and one that can't be read is left out. The folder bears the name that the job had first. Each has one writer,
which writes it again as the run goes on; `gc` removes those that are `KEPT_DAYS` old.
"""

import contextlib
import datetime as dt
import os
import secrets
import socket
from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from nightscore.common import NightscoreError, Workspace
from nightscore.store import renames, storage
from nightscore.store.storage import Place, ask_each

HOME = "data/attempts"
KEPT_DAYS = 90
SILENT_SECONDS = 90.0  # a run that says nothing for so long is dead: it writes every HEARTBEAT_SECONDS
HEARTBEAT_SECONDS = 20.0

State = Literal["running", "waiting", "failed", "held", "stopped", "published", "unchanged", "skipped"]
GOOD: frozenset[State] = frozenset({"published", "unchanged", "skipped"})


class Attempt(BaseModel):
    """One try to run a day of a job.

    `state` is `running` until it has ended; `waiting` where the error was retryable (NotYet), `failed` where
    a person has to do something, `held` where an audit holds the day, `stopped` by a signal; else what the
    receipt says. `stage`, `done` and `total` (rows, or what the stage counts) are the last that was told,
    `rate` how many a second were done in the last seconds, `rows` those that were published at its end.
    `by` is who started it, `process` where (`host:pid`), `dag_run` the id of the DAG run in Airflow ("" for
    none). `untold`: who could not be told of it, and why. `degraded`: of a night that was late and published
    all the same, what it went on with. Moments are in UTC.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    job: str
    day: str
    attempt: str
    state: State = "running"
    started: dt.datetime
    updated: dt.datetime
    stage: str = ""
    done: int = 0
    total: int = 0
    rate: float = 0.0
    stage_since: dt.datetime | None = None
    rows: int = 0
    run_id: str = ""
    message: str = ""
    by: str = ""
    process: str = ""
    dag_run: str = ""
    untold: tuple[str, ...] = ()
    degraded: str = ""

    @property
    def ended(self) -> bool:
        """Whether it runs no more."""
        return self.state != "running"

    @property
    def good(self) -> bool:
        """Whether it ended as it should."""
        return self.state in GOOD

    @property
    def seconds(self) -> float:
        """How long it took, or has taken as far as it was heard of."""
        return (self.updated - self.started).total_seconds()

    @property
    def progress(self) -> str:
        """How far it is, for people: its stage, and of how many it has done how many."""
        counted = f": {self.done:,} of {self.total:,}" if self.stage and self.total else ""
        return f"{self.stage or 'begins'}{counted}"

    def is_gone(self, now: dt.datetime) -> bool:
        """Whether it should be at work, and its process is not: killed, or its machine is down.

        Of a DAG run only Airflow knows that: it may wait for a slot between two tasks.
        """
        if self.ended or self.dag_run:
            return False
        host, _, pid = self.process.rpartition(":")
        if host == socket.gethostname() and not _is_alive(int(pid)):
            return True
        return (now - self.updated).total_seconds() > SILENT_SECONDS


def attempt_time(moment: dt.datetime) -> str:
    """How the name of an attempt begins: to the millisecond, so that names sort by time."""
    return f"{moment.astimezone(dt.UTC):%Y%m%dT%H%M%S.%f}"[:-3]


def new_attempt(job: str, day: str, now: dt.datetime, *, by: str, dag_run: str = "") -> Attempt:
    """A try that begins now. Its name sorts by time."""
    name = f"{attempt_time(now)}-{secrets.token_hex(3)}"
    process = f"{socket.gethostname()}:{os.getpid()}"
    return Attempt(
        job=job, day=day, attempt=name, started=now, updated=now, by=by, process=process, dag_run=dag_run
    )


def write_attempt(workspace: Workspace, attempt: Attempt) -> None:
    """Write an attempt, instead of what it said before. Where it can't be written, the run goes on."""
    with contextlib.suppress(OSError, NightscoreError):
        place = _home(workspace, attempt.job, attempt.day) / f"{attempt.attempt}.json"
        place.replace_text(attempt.model_dump_json(indent=1))


def read_attempt(workspace: Workspace, job: str, day: str, name: str) -> Attempt | None:
    """One attempt; None where there is none that can be read."""
    return read_attempt_file(_home(workspace, job, day) / f"{name}.json")


def list_attempts(
    workspace: Workspace, job: str | None = None, since: str = "", until: str = "9"
) -> list[Attempt]:
    """The attempts of a job, or of all, for the days from `since` to `until`, by job, day and time."""
    names = renames.last_names(workspace)
    home = storage.place_of(workspace, HOME)
    found = home.glob(names.jobs.origin(job) if job else "*", "*", "*.json")
    files = [file for file in found if since <= file.parent.name <= until]
    read = [one for one in ask_each(read_attempt_file, files) if one] if files else []
    return [one.model_copy(update={"job": names.jobs.current(one.job)}) for one in read]


def find_attempt_files(workspace: Workspace, before: float | None = None) -> Iterator[Place]:
    """The files of attempts and of what was sent of them: all, or those written before (epoch seconds)."""
    home = storage.place_of(workspace, HOME)
    for file in (*home.glob("*", "*", "*.json"), *home.glob("*", "*", "*.notice")):
        if before is None or ((seen := file.look()) and seen.modified < before):
            yield file


def _home(workspace: Workspace, job: str, day: str) -> Place:
    folder = renames.last_names(workspace).jobs.origin(job)
    return storage.place_of(workspace, f"{HOME}/{folder}/{day}")


def read_attempt_file(file: Place) -> Attempt | None:
    """The attempt in a file; None where it can't be read."""
    try:
        return Attempt.model_validate_json(file.read_text())
    except (OSError, ValueError, ValidationError, NightscoreError):
        return None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True
