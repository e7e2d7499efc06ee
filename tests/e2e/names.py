"""What workers of one machine are called, so that a test can tell them apart."""

import os

NAME = "NIGHTSCORE_E2E_NAME"


def of_this_process() -> str:
    """The name that the process was started with."""
    return os.environ.get(NAME, "localhost")
