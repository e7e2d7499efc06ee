"""Signs of life and locks in a bucket, which has neither: objects that their process renews.

They count by the storage's own clock, so that machines may disagree about the time.
"""

import contextlib
import secrets
import threading
import time
from collections.abc import Iterator
from typing import Protocol

from nightscore.common import Broken, NotYet
from nightscore.store.storage.contract import Seen

BEAT, ALIVE = 600.0, 1_800.0  # seconds between two signs of life; for so long one of them counts
LEASE = 300.0  # seconds that a lock counts whose process has gone
PAUSE = 0.1  # seconds between two looks at a lock
LOCK = "lock"  # the folder of signs of life and of locks


class Marked(Protocol):
    """What marks are made of."""

    def replace(self, key: str, data: bytes) -> None:
        """Write an object, whole."""

    def remove_object(self, key: str) -> None:
        """Remove one object, there or not."""

    def list_all(self, prefix: str) -> Iterator[Seen]:
        """The objects below a folder's key, which ends with `/`."""

    def now(self) -> float:
        """The storage's time."""


class Marks:
    """The marks in a storage; see `Storage` for what each method promises."""

    def __init__(self, objects: Marked) -> None:
        self._objects = objects

    @contextlib.contextmanager
    def hold(self, key: str) -> Iterator[None]:
        sign = f"{key}/{LOCK}/{secrets.token_hex(8)}"
        self._objects.replace(sign, b"")
        with self._beating(sign, BEAT):
            yield

    @contextlib.contextmanager
    def _beating(self, sign: str, seconds: float) -> Iterator[None]:
        """A context in which a sign of life is renewed every so often, and removed at its end."""
        ended = threading.Event()
        beat = threading.Thread(target=self._beat, args=(sign, seconds, ended), daemon=True)
        beat.start()
        try:
            yield
        finally:
            ended.set()
            beat.join()
            with contextlib.suppress(NotYet, Broken):
                self._objects.remove_object(sign)

    def _beat(self, sign: str, seconds: float, ended: threading.Event) -> None:
        while not ended.wait(seconds):
            with contextlib.suppress(NotYet, Broken):  # the next beat may get through
                self._objects.replace(sign, b"")

    def is_held(self, key: str) -> bool:
        signs = list(self._objects.list_all(f"{key}/{LOCK}/"))
        return bool(signs) and max(sign.modified for sign in signs) > self._objects.now() - ALIVE

    @contextlib.contextmanager
    def lock(self, key: str, *, shared: bool, seconds: float) -> Iterator[bool]:
        """Each puts its mark and then looks for others': of two at once at least one sees the other's.

        A mark of a process that has gone counts for `LEASE` seconds; one that is there renews it.
        """
        kind = "shared" if shared else "alone"
        mark, end = f"{key}/{LOCK}/{kind}-{secrets.token_hex(8)}", time.monotonic() + seconds
        self._objects.replace(mark, b"")
        with self._beating(mark, LEASE / 4):
            while (others := self._others(key, mark, shared)) and time.monotonic() <= end:
                self._objects.remove_object(mark)  # so that of two who wait for each other one goes first
                time.sleep(PAUSE * (1 + secrets.randbelow(4)))
                self._objects.replace(mark, b"")
            yield not others

    def _others(self, key: str, mark: str, shared: bool) -> list[str]:
        """The marks in the way of one: all others, or of a shared one those of who would be alone."""
        signs = [sign for sign in self._objects.list_all(f"{key}/{LOCK}/") if sign.key != mark]
        if shared:
            signs = [sign for sign in signs if sign.key.rpartition("/")[2].startswith("alone-")]
        now = self._objects.now() if signs else 0.0
        return [sign.key for sign in signs if sign.modified > now - LEASE]
