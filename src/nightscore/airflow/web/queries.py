"""The queries of persons that run: how many may, and how one ends whose person has gone."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from nightscore.airflow.web import kept
from nightscore.airflow.web.access import Sight
from nightscore.airflow.web.query import DOWNLOADED, SHOWN, ask_worker
from nightscore.common import NotYet
from nightscore.store import QueryLimits, View

OF_A_USER = 2  # queries of one person at once, for one process of the API server
IN_ALL = 4  # of all persons


class Busy(NotYet):
    """As many queries run as may."""


@dataclass(frozen=True)
class Person:
    """Who asks: as Airflow knows him, and by name."""

    id: str
    name: str


@dataclass(eq=False)
class Running:
    """A query at work. `answer` is its CSV file, or empty where rows are kept in `folder`; or its mistake."""

    person: Person
    sql: str
    form: Literal["kept", "csv"]
    folder: Path
    since: float = field(default_factory=time.monotonic)
    answer: "Future[bytes]" = field(default_factory=Future)
    _gone: threading.Event = field(default_factory=threading.Event)

    @property
    def limits(self) -> QueryLimits:
        """Where it ends."""
        return DOWNLOADED if self.form == "csv" else SHOWN

    @property
    def id(self) -> str:
        """What an address calls it; its person's alone."""
        return self.folder.name

    @property
    def age(self) -> int:
        """For how many seconds it runs."""
        return int(time.monotonic() - self.since)

    @property
    def left(self) -> int:
        """Within how many seconds it will have ended."""
        return max(1, int(self.limits.seconds or 0) - self.age)

    def cancel(self) -> None:
        """End it soon, unless it has ended."""
        self._gone.set()

    def is_cancelled(self) -> bool:
        """Whether nobody waits for it any more."""
        return self._gone.is_set() or kept.is_cancelled(self.folder)


_lock = threading.Lock()
_running: list[Running] = []


def start(sql: str, sight: Sight, person: Person, form: Literal["kept", "csv"]) -> Running:
    """Begin a query.

    Raises:
        Busy: too many run; says whose, and for how long at most.
    """
    views = sight.state.views()
    with _lock:
        _refuse_too_many(person)
        folder = kept.new_folder(person.id, sql, sight.dag_ids)
        running = Running(person, sql, form, folder)
        _running.append(running)
    threading.Thread(target=_work, args=(running, views), daemon=True).start()
    return running


def queries_of(person: Person) -> list[Running]:
    """Those of a person that run in this process."""
    with _lock:
        return [one for one in _running if one.person.id == person.id]


def _work(running: Running, views: Sequence[View]) -> None:
    running.answer.set_running_or_notify_cancel()
    answer, error = b"", None
    try:
        answer = ask_worker(
            running.sql, views, running.limits, running.form, running.folder, gone=running.is_cancelled
        )
    except BaseException as raised:  # handed on to who waits
        error = raised
    if error or running.form == "csv":
        kept.remove_folder(running.folder)
    with _lock:
        _running.remove(running)
    if error:
        running.answer.set_exception(error)
    else:
        running.answer.set_result(answer)


def _refuse_too_many(person: Person) -> None:
    mine = [one for one in _running if one.person.id == person.id]
    if len(mine) >= OF_A_USER:
        told = "; ".join(f"one for {one.age} s, at most {one.left} s more" for one in mine)
        raise Busy(
            f"{OF_A_USER} queries of yours are running, as many as a person may have at once: {told}. "
            "Cancel one, or wait"
        )
    if len(_running) >= IN_ALL:
        told = "; ".join(f"{one.person.name}, for {one.age} s" for one in _running)
        soon = min(one.left for one in _running)
        raise Busy(
            f"{IN_ALL} queries are running, as many as may at once: {told}. "
            f"There is room in {soon} seconds at the latest"
        )
