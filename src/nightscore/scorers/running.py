"""Calls of a model that can be stopped from another thread, where what computes it has a way to say so."""

import contextlib
import threading
from collections.abc import Callable, Iterator

_running: dict[int, list[Callable[[], object]]] = {}  # by thread, the innermost call last


@contextlib.contextmanager
def stoppable(stop: Callable[[], object]) -> Iterator[None]:
    """A context of one call in this thread; `stop`, called by any other thread, makes it raise."""
    thread = threading.get_ident()
    _running.setdefault(thread, []).append(stop)
    try:
        yield
    finally:
        _running[thread].pop()
        if not _running[thread]:
            del _running[thread]


def stop_calls(thread: int) -> None:
    """Stop what runs in a thread now, if it can be stopped; what it calls next is not stopped by it."""
    for stop in list(_running.get(thread, ())):
        stop()
