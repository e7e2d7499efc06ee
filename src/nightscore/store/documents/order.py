"""Days that were published out of their order, of a job that reads its own tables of the days before."""

from collections.abc import Sequence
from dataclasses import dataclass

SHOWN = 3  # spans of days, in a message


@dataclass(frozen=True)
class OwnPast:
    """That an input is an own `table` of its job, of which a day is read by the `days` days after it."""

    table: str
    days: int


@dataclass(frozen=True)
class OutOfOrder:
    """That a day was not published in its turn, as it was in the moment of its publication.

    `later` are days that were published before it, and have read none of this run; `unseen` days before it
    that were published while it ran, and that it has not read: a day, or `first/last` of days that follow one
    another in the table, ISO 8601. `mend` says how the days are made again that lack one.
    """

    later: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()
    mend: str = ""

    def __str__(self) -> str:
        said = [f"published before it, and made without it: {_listed(self.later)}"] if self.later else []
        said += [f"published while it ran, and not seen: {_listed(self.unseen)}"] if self.unseen else []
        return f"{'; '.join(said)}. To be run again, the oldest first: {self.mend}"


def _listed(spans: Sequence[str]) -> str:
    more = f" and {len(spans) - SHOWN} more" if len(spans) > SHOWN else ""
    return ", ".join(span.replace("/", " to ") for span in spans[:SHOWN]) + more
