"""Stopping at a signal, at once.

Python delivers a signal to the main thread between two byte codes, and DuckDB can hold that thread for a
minute. So a thread of its own waits for SIGTERM and SIGINT and ends the process there and then. That is
safe because a run may be killed at any point: what is staged is kept, nothing half is ever seen.
"""

import contextlib
import json
import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

SIGNALS = {signal.SIGTERM, signal.SIGINT}
_temporary: set[Path] = set()  # what is half written now, by any thread
_ours: list[bool] = []  # whether this process may be ended from here, and whether its output is JSON


@contextlib.contextmanager
def temporary(path: Path) -> Iterator[Path]:
    """A file or a folder that is removed if a signal ends the process while it is in use."""
    _temporary.add(path)
    try:
        yield path
    finally:
        _temporary.discard(path)


def exit_on_signals(as_json: bool = False) -> None:
    """From now on SIGINT and SIGTERM end the process with 130 and 143. Call it before any thread starts.

    With `as_json` standard output gets the document of a run that was cancelled.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    _ours[:] = [as_json]
    threading.Thread(target=_watch, name="signals", daemon=True).start()


def may_end_process() -> bool:
    """Whether this process is a command of ours, and no notebook or worker, which are not to be ended."""
    return bool(_ours)


def end_process(code: int, status: str, message: str) -> None:
    """End a command at once, from any thread: says why, and removes what is half written."""
    print(f"\nnightscore: {status}: {message}", file=sys.stderr, flush=True)
    if any(_ours):
        print(json.dumps({"status": status, "message": message}, ensure_ascii=False), flush=True)
    for path in list(_temporary):
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    os._exit(code)


def _watch() -> None:
    received = signal.sigwait(SIGNALS)
    message = f"stopped by {signal.Signals(received).name}; what is finished is kept"
    end_process(128 + received, "cancelled", message)
