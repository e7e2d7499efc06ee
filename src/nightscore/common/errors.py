"""The two errors of a night, because a scheduler can do two things: try again, or call someone."""

from collections.abc import Iterable
from typing import ClassVar

LONGEST = 100  # characters of a value in a message
KEPT = 10_000  # characters of a text in a table


class NightscoreError(Exception):
    """What a night says when it does not publish: one message for a person, never a traceback."""

    exit_code: ClassVar[int] = 1


class Broken(NightscoreError):
    """A permanent error: retrying won't help, a person has to change the job, its model or its data."""

    exit_code: ClassVar[int] = 1


class NotYet(NightscoreError):
    """A retryable (transient) error: the same call may succeed later.

    An input is missing or was changing, or another run was first.
    """

    exit_code: ClassVar[int] = 75


def refuse_unsaid(**said: str) -> None:
    """Hold a decision to what is kept of it: `by` whom, `because` of what.

    Raises:
        Broken: one of them is empty.
    """
    for option, text in said.items():
        if not text.strip():
            raise Broken(f"{option} is empty; it stands in the record, for whoever asks later")


def key_text(names: Iterable[str], values: Iterable[object]) -> str:
    """A key for a message: `id=1, name=Ada`."""
    return ", ".join(f"{name}={value_text(value)}" for name, value in zip(names, values, strict=True))


def value_text(value: object) -> str:
    """A value for a message as it is; where it can't be printed, or is long, its repr, clipped."""
    text = str(value)
    return text if text.isprintable() and len(text) <= LONGEST else clipped(value)


def first_line(error: BaseException) -> str:
    """The first line of what an error of a library says; its kind where it says nothing."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__).strip()


def clipped(value: object) -> str:
    """A value for a message: its repr, at most about a line of it."""
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def kept_text(text: str) -> str:
    """A text as tables of what was set aside keep it: one that is long is cut, and says so."""
    return text if len(text) <= KEPT else f"{text[:KEPT]}… ({len(text):,} characters)"
