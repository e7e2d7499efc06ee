"""What was sent to whom of a day: `data/attempts/<job>/<day>/<key>-<number>.notice`, one file a try.

Whoever sends creates the file of the next try first, which one process can; so two do not send the same. One
that dies between the two leaves a try that says `sending`: after STALE_SECONDS it counts as failed, and is
sent again. So a message arrives at least once, and twice only then. It has no secret in it: a target is a
kind and the name of its connection. `gc` removes them with the attempts.
"""

import contextlib
import datetime as dt
import hashlib
import os
import socket
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from nightscore.common import NightscoreError, Workspace
from nightscore.store import renames, storage
from nightscore.store.records.attempts import HOME
from nightscore.store.storage import Place, ask_each

STALE_SECONDS = 300.0
TRIES = 6  # then a target is given up for this message


class Notice(BaseModel):
    """One try to send one message to one target. `run` is which run it is about, "" for the day."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    job: str
    day: str
    event: str
    run: str
    target: str
    number: int = 1
    state: Literal["sending", "sent", "failed"] = "sending"
    moment: dt.datetime
    process: str
    problem: str = ""
    subject: str
    text: str
    document: Mapping[str, Any] = {}

    @property
    def key(self) -> str:
        """The same for each try of the same message to the same target."""
        said = "\0".join((self.job, self.day, self.event, self.run, self.target))
        return hashlib.sha256(said.encode()).hexdigest()[:20]

    def is_open(self, now: dt.datetime) -> bool:
        """Whether it did not arrive, as far as anybody knows, and nobody is at it."""
        stale = (now - self.moment).total_seconds() > STALE_SECONDS
        return self.state == "failed" or (self.state == "sending" and stale)

    def again(self, now: dt.datetime) -> "Notice":
        """The next try."""
        update = {"number": self.number + 1, "state": "sending", "moment": now, "process": this_process()}
        return self.model_copy(update={**update, "problem": ""})


def this_process() -> str:
    """Who sends."""
    return f"{socket.gethostname()}:{os.getpid()}"


def list_notices(workspace: Workspace, job: str, day: str) -> dict[str, Notice]:
    """The last try of each message of a day, by its key."""
    with contextlib.suppress(OSError, NightscoreError):
        files = _home(workspace, job, day).glob("*.notice")
        found = [one for one in ask_each(_read, files) if one] if files else []
        return {one.key: one for one in sorted(found, key=lambda one: one.number)}
    return {}


def claim_notice(workspace: Workspace, notice: Notice) -> bool:
    """Whether this try is ours to make. Where nothing can be written it is: better told twice than never."""
    text = notice.model_dump_json()
    try:
        return _place(workspace, notice).create_text(text) == text
    except (OSError, NightscoreError):
        return True


def end_notice(workspace: Workspace, notice: Notice, problem: str = "") -> None:
    """Say how the try ended."""
    state = "failed" if problem else "sent"
    ended = notice.model_copy(update={"state": state, "problem": problem, "moment": dt.datetime.now(dt.UTC)})
    with contextlib.suppress(OSError, NightscoreError):
        _place(workspace, notice).replace_text(ended.model_dump_json())


def open_notices(notices: Mapping[str, Notice], now: dt.datetime) -> Sequence[Notice]:
    """Those that did not arrive and are to be sent again."""
    return [one for one in notices.values() if one.is_open(now) and one.number < TRIES]


def _place(workspace: Workspace, notice: Notice) -> Place:
    return _home(workspace, notice.job, notice.day) / f"{notice.key}-{notice.number:03d}.notice"


def _home(workspace: Workspace, job: str, day: str) -> Place:
    return storage.place_of(workspace, f"{HOME}/{renames.last_names(workspace).jobs.origin(job)}/{day}")


def _read(file: Place) -> Notice | None:
    try:
        return Notice.model_validate_json(file.read_text())
    except (OSError, ValueError, ValidationError, NightscoreError):
        return None
