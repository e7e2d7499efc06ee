"""Whether a bucket's storage heeds conditions: one that ignores them would lose nights quietly."""

import contextlib
from collections.abc import Callable
from typing import Any, NoReturn

import obstore

from nightscore.common import Broken
from nightscore.store.storage.requests import TAKEN, Requests


def probe(store: Any, ask: Requests, key: str) -> None:
    """Know that the storage holds to conditions, by an object of a key that nobody else has.

    Raises:
        Broken: it ignores If-None-Match or If-Match.
    """
    name = ask.name(key)
    ask.again(key, lambda: obstore.put(store, name, b"1"))
    try:
        if not _refused(ask, key, lambda: obstore.put(store, name, b"2", mode="create")):
            _raise_unfit(ask, "If-None-Match", "two runs could both decide what becomes of a day")
        first = ask.seen(ask.again(key, lambda: obstore.head(store, name)))
        ask.again(key, lambda: obstore.put(store, name, b"33"))
        options: Any = {"if_match": first.tag.rpartition(":")[0]}
        if not _refused(ask, key, lambda: obstore.get(store, name, options=options).bytes()):
            _raise_unfit(ask, "If-Match", "a file that changes while it is read could not be noticed")
    finally:
        with contextlib.suppress(FileNotFoundError):
            ask.again(key, lambda: obstore.delete(store, [name]))


def _refused(ask: Requests, key: str, call: Callable[[], object]) -> bool:
    """Whether the storage refuses a call for its condition."""
    try:
        ask.again(key, call, TAKEN)
    except TAKEN:
        return True
    return False


def _raise_unfit(ask: Requests, header: str, so: str) -> NoReturn:
    raise Broken(
        f"{ask.address}: this storage ignores {header}, so {so}; allowed are storages that heed "
        "conditional requests, as S3, Google Cloud Storage, Azure Blob Storage and SeaweedFS do"
    )
