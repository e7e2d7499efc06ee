"""Calls that may take so long and no longer, whatever they are busy with.

Python can't end a thread. A call that is still busy when its time is over is left to itself, in a thread
that keeps no process from ending.
"""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")
GRACE = 1.0  # seconds for a call to end once it was told to
AGAIN = 0.05  # seconds between two times that it is told
_others = threading.local()  # CPU seconds that other threads have spent for this one
_left: list[threading.Thread] = []  # calls that were left to themselves


class TimeOver(Exception):
    """The time of a call was over before it ended."""


def call_in_time(act: Callable[[], T], seconds: float, stop: Callable[[int], object]) -> T:
    """What a call gives, or whatever it raises.

    Args:
        act: the call; it runs in a thread of its own.
        seconds: how long it may take.
        stop: told the thread's number when the time is over, again and again until the call has ended.

    Raises:
        TimeOver: it took longer. If it has not ended when it was told to, it goes on by itself.
    """
    call = _Call(act)
    thread = threading.Thread(target=call.run, name="call", daemon=True)
    thread.start()
    thread.join(min(max(seconds, 0.0), threading.TIMEOUT_MAX))
    if thread.is_alive():
        until = time.monotonic() + GRACE
        while thread.is_alive() and time.monotonic() < until:
            stop(thread.ident or 0)
            thread.join(AGAIN)
        if thread.is_alive():
            _left.append(thread)
        raise TimeOver
    _others.seconds = getattr(_others, "seconds", 0.0) + call.cpu
    if call.error is not None:
        raise call.error
    return call.result[0]


def thread_seconds() -> float:
    """CPU seconds of this thread, with those of the calls that it has had made in time."""
    return time.thread_time() + float(getattr(_others, "seconds", 0.0))


def calls_left_running() -> bool:
    """Whether a call that was left to itself goes on: then the process has to be ended, and not to end."""
    return any(thread.is_alive() for thread in _left)


class _Call(Generic[T]):
    def __init__(self, act: Callable[[], T]) -> None:
        self._act = act
        self.result: list[T] = []
        self.error: BaseException | None = None
        self.cpu = 0.0

    def run(self) -> None:
        try:
            self.result.append(self._act())
        except BaseException as error:  # it is raised where the call was made
            self.error = error
        self.cpu = time.thread_time()
