"""`data/` in a bucket: S3, Google Cloud Storage, Azure Blob Storage.

A put is whole and durable once it is answered, and an answer may be lost: so "exists already" proves nothing
about who was first, and a record is read back after each doubtful answer. Data is read as local files, which
are fetched as the look before found them (If-Match), so nobody reads half of one object and half of another.

What keys there are is asked in `listings`, signs of life and locks are `marks`, and what becomes of a request
whose answer is no answer stands in `requests`.
"""

import contextlib
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any

import obstore
from obstore import exceptions as raised
from obstore.store import MemoryStore, from_url

from nightscore.common import Broken, NotYet, first_line
from nightscore.store.storage.contract import Seen
from nightscore.store.storage.fetches import Fetches, said_time
from nightscore.store.storage.listings import PAGE, Listings
from nightscore.store.storage.marks import Marks
from nightscore.store.storage.mirror import Mirror
from nightscore.store.storage.probe import probe
from nightscore.store.storage.requests import TAKEN, Doubt, Requests, each, pauses

WHOLE = 32 << 20  # bytes up to which data is put by one request, which can be conditional
COPIED = 5_000_000_000  # bytes up to which S3 copies an object by one request
CLIENT: Any = {"timeout": timedelta(minutes=2), "connect_timeout": timedelta(seconds=10)}
RETRY: Any = {"max_retries": 4, "retry_timeout": timedelta(minutes=2)}
ALLOW_HTTP = ("AWS_ALLOW_HTTP", "AZURE_ALLOW_HTTP")
ENDPOINT = re.compile(r"https?://[^/]*@")  # with a user in it


def open_objects(address: str, mirror: Path, drop: str = "") -> "Objects":
    """The storage at an address such as `s3://bucket/prefix`; credentials come from the cloud's usual chain.

    Raises:
        Broken: there is no such kind of address, or what the environment says of it is not understood.
    """
    if address.startswith("memory:"):
        return Objects(MemoryStore(), address, mirror, drop)
    _refuse_credentials()
    plain = any(os.environ.get(name, "").lower() in ("1", "true") for name in ALLOW_HTTP)
    client: Any = {**CLIENT, "allow_http": plain}
    try:
        return Objects(from_url(address, client_options=client, retry_config=RETRY), address, mirror, drop)
    except (raised.BaseError, ValueError) as error:
        raise Broken(f"{address} can't be opened: {first_line(error)}") from error


class Objects:
    """The storage below an address; see `Storage` for what each method promises.

    `mirror` is a folder of this machine in which fetched files lie under their names, and beside it what is
    temporary. It may be lost at any time, and be shared by processes. `drop` is what keys begin with and
    names in the bucket do not: `data/` where the address is that of a workspace's `data`.
    """

    def __init__(self, store: Any, address: str, mirror: Path, drop: str) -> None:
        self._store, self.address = store, address.rstrip("/")
        self._ask = Requests(address, drop)
        self._list = Listings(store, self._ask)
        self._marks = Marks(self)
        self._mirror = Mirror(mirror)
        self._fetch = Fetches(store, self._ask, self._mirror)
        self._working = mirror.with_name(f"{mirror.name}-working")
        self._is_fit = False
        self._fit_lock = threading.Lock()

    def create(self, key: str, data: bytes) -> bytes:
        return self._create(key, data, {})

    def _create(self, key: str, data: bytes, said: Mapping[str, str]) -> bytes:
        self.refuse_unfit()
        doubt = Doubt()
        for pause in pauses():
            with contextlib.suppress(*TAKEN), self._ask.doubtful(key, TAKEN, doubt):
                obstore.put(self._store, self._ask.name(key), data, mode="create", attributes=dict(said))
                return data
            with contextlib.suppress(FileNotFoundError):
                return self.read(key)  # ours, whose answer was lost; or another's
            time.sleep(pause)
        raise NotYet(
            f"{self._ask.shown(key)}: the storage takes no record: it {doubt.answer}; nothing is decided"
        )

    def read(self, key: str) -> bytes:
        return bytes(self._ask.again(key, lambda: obstore.get(self._store, self._ask.name(key)).bytes()))

    def replace(self, key: str, data: bytes) -> None:
        self._ask.again(key, lambda: obstore.put(self._store, self._ask.name(key), data))

    def put(self, key: str, file: Path) -> None:
        self._ask.again(key, lambda: obstore.put(self._store, self._ask.name(key), file))
        self.forget(self._mirror.path(self._ask.name(key)))  # what was fetched of it before

    @contextlib.contextmanager
    def save(self, key: str) -> Iterator[Path]:
        target = self._mirror.path(self._ask.name(key))
        before = self._mirror.state(target)
        with self._mirror.part(target) as part:
            yield part
            if found := self._put_file(key, part, {}):
                self._mirror.take(found, part, target, before)

    def save_copy(self, key: str, file: Path) -> None:
        if self.look(key) is None:  # a copy that goes on where it was stopped sends nothing twice
            self._put_file(key, file, said_time(file))

    def _put_file(self, key: str, file: Path, said: Mapping[str, str]) -> Seen | None:
        """Put a file unless there is one; gives what is there now where that is ours."""
        size = file.stat().st_size
        data = file.read_bytes() if size <= WHOLE else None
        if data is None:  # in parts, which no storage makes conditional; two attempts have the same bytes
            if self.look(key) is not None:
                return None
            self._ask.again(
                key, lambda: obstore.put(self._store, self._ask.name(key), file, attributes=dict(said))
            )
        elif self._create(key, data, said) != data:
            return None
        found = self.look(key)
        if found is None or found.bytes != size:
            raise NotYet(f"{self._ask.shown(key)}: {size} bytes were put, and are not there; run again")
        return found

    def link(self, names: Mapping[str, str]) -> None:
        each(lambda pair: self._copy(*pair), names.items(), "objects")

    def _copy(self, second: str, first: str) -> None:
        if self.look(second) is not None:
            return
        found = self.look(first)
        if found is None:
            raise FileNotFoundError(self._ask.shown(first))
        if found.bytes > COPIED:
            file = self.local(first)
            self._ask.again(second, lambda: obstore.put(self._store, self._ask.name(second), file))
        else:
            self._ask.again(
                second, lambda: obstore.copy(self._store, self._ask.name(first), self._ask.name(second))
            )

    def local(self, key: str, seen: Seen | None = None) -> Path:
        found = seen or self.look(key)
        if found is None:
            raise FileNotFoundError(self._ask.shown(key))
        path = self._mirror.path(self._ask.name(key))
        self._fetch.file(found, path)
        return path

    def tail(self, seen: Seen, length: int) -> bytes:
        return self._fetch.tail(seen, length)

    def local_all(self, keys: Iterable[str]) -> Sequence[Path]:
        keys = list(keys)
        each(self.local, keys, "objects")
        return [self._mirror.path(self._ask.name(key)) for key in keys]

    def tag(self, path: Path) -> str | None:
        """Which object a file of the mirror is, on whatever machine; None where it was changed since."""
        return self._mirror.tag(path)

    def fetch(self, files: Mapping[Seen, Path]) -> None:
        """Have objects on this machine as a look found them, many at once, each under a path.

        Raises:
            NotYet: one is another now.
        """
        self._mirror.refuse_others()
        each(lambda pair: self._fetch.file(*pair), files.items(), "objects")

    def forget(self, path: Path) -> None:
        """Have no file of this machine under a path whose object is gone."""
        self._mirror.forget(path)

    def look(self, key: str) -> Seen | None:
        try:
            return self._ask.seen(
                self._ask.again(key, lambda: obstore.head(self._store, self._ask.name(key)))
            )
        except FileNotFoundError:
            return None

    def glob(self, key: str, patterns: Sequence[str], *, hidden: bool = False) -> list[str]:
        return sorted({name for name, _ in self._list.names(key, patterns, hidden)})

    def glob_folders(self, key: str, patterns: Sequence[str]) -> list[str]:
        return sorted(
            {name for name, is_folder in self._list.names(key, patterns, hidden=False) if is_folder}
        )

    def each(self, call: Callable[[Any], object], items: Sequence[Any]) -> None:
        """Make a call, which asks for something here, for each of some items, many at once."""
        each(call, items, "objects")

    def first_names(self, key: str) -> list[str]:
        return self._list.first_names(key)

    def children(self, key: str) -> tuple[Sequence[str], Sequence[tuple[str, Seen]]]:
        """The folders and the objects right below a key ("": the top), by name."""
        return self._list.children(key)

    def below(self, key: str, folders: Sequence[str]) -> Mapping[str, Sequence[tuple[str, Seen]]]:
        """All objects below some of a key's folders that are neighbours; see `Listings.below`."""
        return self._list.below(key, folders)

    def list_all(self, prefix: str) -> Iterator[Seen]:
        """The objects below a folder's key, which ends with `/`."""
        return self._list.all(prefix)

    def is_folder(self, key: str) -> bool:
        return bool(self.first_names(key))

    def lies_in(self, key: str, folder: str) -> bool:  # noqa: ARG002 - there are no links
        return True

    def walk(self, key: str) -> Iterator[Seen]:
        if found := self.look(key):
            yield found
        yield from self._list.all(f"{key}/")

    def remove(self, key: str) -> None:
        keys = [found.key for found in self.walk(key)]
        for start in range(0, len(keys), PAGE):
            self._remove_all(key, keys[start : start + PAGE])
        for gone in keys:
            self.forget(self._mirror.path(self._ask.name(gone)))

    def _remove_all(self, key: str, keys: Sequence[str]) -> None:
        """Remove keys by one request; at the first that is gone Azure's client stops, so then one by one."""
        try:
            self._ask.again(key, lambda: obstore.delete(self._store, [self._ask.name(k) for k in keys]))
        except FileNotFoundError:
            for one in keys if len(keys) > 1 else ():
                self._remove_all(one, [one])

    def remove_object(self, key: str) -> None:
        """Remove one object, there or not."""
        self._remove_all(key, [key])

    def hold(self, key: str) -> AbstractContextManager[None]:
        return self._marks.hold(key)

    def is_held(self, key: str) -> bool:
        return self._marks.is_held(key)

    def lock(self, key: str, *, shared: bool, seconds: float) -> AbstractContextManager[bool]:
        return self._marks.lock(key, shared=shared, seconds=seconds)

    def now(self) -> float:
        key = "data/.nightscore/clock"
        self.replace(key, b"")
        if found := self.look(key):
            return found.modified
        raise NotYet(f"{self._ask.shown(key)}: was written, and is not there; try again later")

    def scratch(self, key: str) -> Path:
        self._mirror.refuse_others()
        return self._working / key

    def scratch_folders(self, key: str, patterns: Sequence[str]) -> list[Path]:
        return [path for path in (self._working / key).glob("/".join(patterns)) if path.is_dir()]

    def table_address(self, key: str) -> str:
        return f"{self.address}/{self._ask.name(key)}"

    def refuse_unfit(self) -> None:
        """Know that the storage holds to conditions. Raises `Broken` where it does not."""
        with self._fit_lock:
            if not self._is_fit:
                probe(self._store, self._ask, f"data/.nightscore/probe-{secrets.token_hex(8)}")
                self._is_fit = True


def _refuse_credentials() -> None:
    """Refuse an endpoint with a password: libraries write it into the text of errors."""
    for name, value in os.environ.items():
        if name.startswith(("AWS_", "AZURE_", "GOOGLE_")) and ENDPOINT.match(value):
            raise Broken(
                f"{name} holds a user or a password, which would come into messages and logs; an endpoint is "
                "https://host:port, and credentials come from the cloud's usual chain (for S3: AWS_…)"
            )
