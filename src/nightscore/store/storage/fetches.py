"""Objects of a bucket as files of this machine, each as a look found it.

A bucket's time of an object is when it was put there. What was copied there with its time (`save_copy`) says
that itself, in the answer that brings its bytes: so a file that was copied has the time that it had on disk,
and is the same cause. Whoever puts another object in its place puts it without.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import obstore
from obstore import exceptions as raised

from nightscore.common import NotYet
from nightscore.store.storage.contract import Seen
from nightscore.store.storage.mirror import Mirror, changed
from nightscore.store.storage.requests import Requests, each

RANGE = 8 << 20  # bytes of an object that one request fetches
SAID = "nightscorechanged"  # of an object's own metadata: its time of change in ns. Azure takes letters alone


def said_time(file: Path) -> dict[str, str]:
    """What an object says of the time of change of the file that it is a copy of."""
    return {SAID: str(file.stat().st_mtime_ns)}


class Fetches:
    """Fetches objects into a mirror."""

    def __init__(self, store: Any, ask: Requests, mirror: Mirror) -> None:
        self._store, self._ask, self._mirror = store, ask, mirror

    def file(self, found: Seen, path: Path) -> None:
        """Have an object under a path, unless it is there.

        Raises:
            NotYet: it is another now.
        """
        if self._mirror.holds(path, found):
            return
        before = self._mirror.state(path)
        with self._mirror.part(path) as part:
            said: dict[str, str] = {}
            with part.open("wb") as file:
                file.truncate(found.bytes)
                starts = range(0, found.bytes, RANGE)
                each(lambda start: said.update(self._range(found, file.fileno(), start)), starts, "ranges")
            if not self._mirror.take(found, part, path, before, _changed_ns(found, said)):
                raise changed(self._ask.shown(found.key))

    def tail(self, found: Seen, length: int) -> bytes:
        """The last bytes of an object, or all that it has. Raises as `file`."""
        return bytes(self._get(found, max(0, found.bytes - length), found.bytes)[0]) if found.bytes else b""

    def _range(self, found: Seen, descriptor: int, start: int) -> Mapping[str, str]:
        """Fetch a range of an object; gives what the object says of itself."""
        data, said = self._get(found, start, min(start + RANGE, found.bytes))
        left = memoryview(data)
        while left:  # of what a disk has no room for, the system writes the first part and says no more
            written = os.pwrite(descriptor, left, start)
            left, start = left[written:], start + written
        return said

    def _get(self, found: Seen, start: int, stop: int) -> tuple[Any, Mapping[str, str]]:
        options: Any = {"if_match": found.tag.rpartition(":")[0], "range": (start, stop)}

        def get() -> tuple[Any, Mapping[str, str]]:
            answer = obstore.get(self._store, self._ask.name(found.key), options=options)
            return answer.bytes(), answer.attributes

        try:
            data, said = self._ask.again(found.key, get)
        except (raised.PreconditionError, FileNotFoundError) as error:
            raise changed(self._ask.shown(found.key)) from error
        if len(data) != stop - start:
            raise NotYet(f"{self._ask.shown(found.key)}: cut short while it was being read")
        return data, said


def _changed_ns(found: Seen, said: Mapping[str, str]) -> int:
    """An object's time of change: what it says, or when it was put there."""
    text = said.get(SAID, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else found.changed_ns
