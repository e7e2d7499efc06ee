"""The two errors of a night, because a scheduler can do two things: try again, or call someone."""

from typing import ClassVar

LONGEST = 100  # characters of a value in a message


class NightError(Exception):
    """What a night says when it does not publish: one message for a person, never a traceback."""

    exit_code: ClassVar[int] = 1


class Broken(NightError):
    """Retrying won't help: a person has to change the job, its model or its data."""

    exit_code: ClassVar[int] = 1


class NotYet(NightError):
    """The same call may succeed later: an input is missing or was changing, or another run was first."""

    exit_code: ClassVar[int] = 75


def clipped(value: object) -> str:
    """A value for a message: its repr, at most about a line of it."""
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
