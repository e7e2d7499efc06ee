"""Stopping at a signal, at once.

Python delivers a signal to the main thread between two byte codes, and DuckDB can hold that thread for a
minute. So a thread of its own waits for SIGTERM and SIGINT and ends the process there and then. That is
safe because a run may be killed at any point: what is staged is kept, nothing half is ever seen.
"""

import os
import signal
import sys
import threading

SIGNALS = {signal.SIGTERM, signal.SIGINT}


def exit_on_signals() -> None:
    """From now on SIGINT and SIGTERM end the process with 130 and 143. Call it before any thread starts."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    threading.Thread(target=_watch, name="signals", daemon=True).start()


def _watch() -> None:
    received = signal.sigwait(SIGNALS)
    print(
        f"\nstopped by {signal.Signals(received).name}; what is finished is kept", file=sys.stderr, flush=True
    )
    os._exit(128 + received)
