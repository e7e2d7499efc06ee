"""Which variant was chosen on this machine, for the next nights: `data/choices/`; and what is being tried.

It is of this machine alone, and a cache: without it a night chooses once more.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from nightscore.common import write_text_once


def record(path: Path, text: str) -> None:
    """Write a choice once, complete and durable; one that is there stays.

    One that can't be written is none: what is not kept is chosen, asked or computed again.
    """
    with contextlib.suppress(OSError):
        write_text_once(path, text)


@contextlib.contextmanager
def leave_mark(path: Path) -> Iterator[None]:
    """Leave an empty file while a context lasts; it stays where the process ends in between."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
