"""For a process under libfaketime 0.9.10, which refuses the call that Python 3.11 sleeps by (EINVAL)."""

import select
import time


def sleep(seconds: float) -> None:
    """Wait for nothing, so long."""
    select.select([], [], [], seconds)


time.sleep = sleep
