"""What keys a bucket has: a level at a time, as folders, or all below one, a thousand a request."""

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import obstore

from nightscore.store.storage.contract import Seen
from nightscore.store.storage.requests import Requests

PAGE = 1_000  # keys that a storage lists, or removes, by one request
DIRECTORY_BUCKET = "--x-s3"  # in the name of a bucket of S3 Express


class Listings:
    """The listings of a bucket, each of them whole."""

    def __init__(self, store: Any, requests: Requests) -> None:
        self._store, self._ask = store, requests

    def first_names(self, key: str) -> list[str]:
        """Names right below a folder, of as many as the storage lists at once."""
        name = f"{self._ask.name(key)}/"
        page = self._ask.again(key, lambda: next(obstore.list(self._store, name, chunk_size=PAGE), None))
        return [found["path"][len(name) :].partition("/")[0] for found in page or ()]

    def children(self, key: str) -> tuple[Sequence[str], Sequence[tuple[str, Seen]]]:
        """The folders and the objects right below a key ("": the top), by name."""
        name = self._ask.name(key)
        prefix = f"{name}/" if name else ""
        listed = self._ask.again(key, lambda: obstore.list_with_delimiter(self._store, prefix or None))
        folders = (found[len(prefix) :] for found in listed["common_prefixes"])
        objects = ((found["path"][len(prefix) :], self._ask.seen(found)) for found in listed["objects"])
        return sorted(name for name in folders if name), sorted((n, seen) for n, seen in objects if n)

    def below(self, key: str, folders: Sequence[str]) -> Mapping[str, Sequence[tuple[str, Seen]]]:
        """All objects below some of a key's folders, each with its name from there on, a thousand a request.

        The folders are neighbours: between the first and the last by name lies no other, and no other name
        begins with one of theirs. One that is left out is to be listed by itself: the storage does not list
        by name, and from a name on (S3's directory buckets don't).
        """
        if DIRECTORY_BUCKET in self._ask.address:
            return {}
        name = self._ask.name(key)
        prefix = f"{name}/" if name else ""
        found = self._ask.again(key, lambda: self._neighbours(prefix, folders))
        return {folder: objects for folder, objects in found.items() if objects}

    def _neighbours(self, prefix: str, folders: Sequence[str]) -> dict[str, list[tuple[str, Seen]]]:
        found: dict[str, list[tuple[str, Seen]]] = {folder: [] for folder in folders}
        last = ""
        start = f"{prefix}{_before(folders[0])}"
        for page in obstore.list(self._store, prefix or None, offset=start, chunk_size=PAGE):
            for one in page:
                name, _, rest = one["path"][len(prefix) :].partition("/")
                if name < last:
                    return {}
                if name > folders[-1]:
                    return found if all(found.values()) else {}
                last = name
                if rest and name in found:
                    found[name].append((rest, self._ask.seen(one)))
        return found

    def _below(self, key: str, flat: bool) -> Iterator[str]:
        if flat:
            yield from (found.key for found in self.all(f"{key}/"))
            return
        folders, objects = self.children(key)
        yield from (f"{key}/{name}/" for name in folders)
        yield from (found.key for _, found in objects)

    def all(self, prefix: str) -> Iterator[Seen]:
        """By listings that are whole: one of which a request has failed ends there, as if no more came."""
        name = self._ask.name(prefix)
        return map(self._ask.seen, self._ask.again(prefix, lambda: obstore.list(self._store, name).collect()))

    def names(self, key: str, patterns: Sequence[str], hidden: bool) -> Iterator[tuple[str, bool]]:
        """The keys below a folder that have all of some patterns, each with whether it is a folder.

        Of one level what lies deeper is not listed; of more levels all is, a thousand keys a request.
        """
        start = len(key) + 1
        for found in self._below(key, flat=len(patterns) > 1):
            if not (below := found[start:].rstrip("/")):
                continue  # what some servers keep of a folder that was there
            parts = below.split("/")
            head = parts[: len(patterns)]
            if len(head) == len(patterns) and _fit(head, patterns, hidden):
                yield f"{key}/{'/'.join(head)}", found.endswith("/") or len(parts) > len(patterns)


def _before(name: str) -> str:
    """A text before a name and all that lies below it, and after most others, that is no folder's name.

    SeaweedFS takes a folder's name, to list from there on, to be after all that lies in it.
    """
    last = name[-1]
    return f"{name[:-1]}{chr(ord(last) - 1)}~" if "1" <= last <= "9" else name[:-1]


def _fit(parts: Sequence[str], patterns: Sequence[str], hidden: bool) -> bool:
    fit = all(fnmatchcase(part, pattern) for part, pattern in zip(parts, patterns, strict=True))
    return fit and (hidden or not any(part.startswith(".") for part in parts))
