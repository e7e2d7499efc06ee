"""`data/` in a bucket: S3, Google Cloud Storage, Azure Blob Storage. The only module that imports obstore.

A put is whole and durable once it is answered, and an answer may be lost: so "exists already" proves nothing
about who was first, and a record is read back after each doubtful answer. Data is read as local files, which
are fetched as the look before found them (If-Match), so nobody reads half of one object and half of another.

There are no locks. A sign of life is an object that its process renews, and counts by the storage's own
clock, so that machines may disagree about the time.
"""

import contextlib
import functools
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import obstore
from obstore import exceptions as raised
from obstore.store import MemoryStore, from_url

from nightscore.common import Broken, NotYet
from nightscore.store.storage.contract import Seen
from nightscore.store.storage.mirror import Mirror, changed

TRIES, FIRST_PAUSE, LONGEST_PAUSE = 8, 0.05, 2.0  # of what can't be known to have been done; seconds
AT_ONCE = 32  # requests
PAGE = 1_000  # keys that a storage lists, or removes, by one request
RANGE = 8 << 20  # bytes of an object that one request fetches
WHOLE = 32 << 20  # bytes up to which data is put by one request, which can be conditional
COPIED = 5_000_000_000  # bytes up to which S3 copies an object by one request
BEAT, ALIVE = 600.0, 1_800.0  # seconds between two signs of life; for so long one of them counts
LEASE = 300.0  # seconds that a lock counts whose process has gone
PAUSE = 0.1  # seconds between two looks at a lock
LOCK = "lock"  # the folder of signs of life and of locks
CLIENT: Any = {"timeout": timedelta(minutes=2), "connect_timeout": timedelta(seconds=10)}
RETRY: Any = {"max_retries": 4, "retry_timeout": timedelta(minutes=2)}
TAKEN = (raised.AlreadyExistsError, raised.PreconditionError)  # and nothing is said of who was first
NO_BUCKET = ("NoSuchBucket", "ContainerNotFound")
UNKNOWN = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "AuthenticationFailed")
HOPELESS = (*NO_BUCKET, *UNKNOWN, "builder error")
ALLOW_HTTP = ("AWS_ALLOW_HTTP", "AZURE_ALLOW_HTTP")
DENIED = re.compile(r"status code: 40[13]\b")  # of a listing obstore tells no other kind of error
EXPIRED, SKEWED = "ExpiredToken", "RequestTimeTooSkewed"
ENDPOINT = re.compile(r"https?://[^/]*@")  # with a user in it
Answers = tuple[type[Exception], ...]  # errors that say what was done
T = TypeVar("T")


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
        raise Broken(f"{address} can't be opened: {_first_line(error)}") from error


class Objects:
    """The storage below an address; see `Storage` for what each method promises.

    `mirror` is a folder of this machine in which fetched files lie under their names, and beside it what is
    temporary. It may be lost at any time, and be shared by processes. `drop` is what keys begin with and
    names in the bucket do not: `data/` where the address is that of a workspace's `data`.
    """

    def __init__(self, store: Any, address: str, mirror: Path, drop: str) -> None:
        self._store, self.address, self._drop = store, address.rstrip("/"), drop
        self._mirror = Mirror(mirror)
        self._working = mirror.with_name(f"{mirror.name}-working")
        self._is_fit = False
        self._fit_lock = threading.Lock()

    def _name(self, key: str) -> str:
        """The name of a key in the bucket."""
        return (
            key[len(self._drop) :] if key.startswith(self._drop) else "" if f"{key}/" == self._drop else key
        )

    def create(self, key: str, data: bytes) -> bytes:
        self.refuse_unfit()
        for pause in _pauses():
            with contextlib.suppress(*TAKEN), self._doubtful(key, TAKEN):
                obstore.put(self._store, self._name(key), data, mode="create")
                return data
            with contextlib.suppress(FileNotFoundError):
                return self.read(key)  # ours, whose answer was lost; or another's
            time.sleep(pause)
        raise NotYet(f"{self._shown(key)}: the storage takes no record; nothing is decided")

    def read(self, key: str) -> bytes:
        return bytes(self._again(key, lambda: obstore.get(self._store, self._name(key)).bytes()))

    def replace(self, key: str, data: bytes) -> None:
        self._again(key, lambda: obstore.put(self._store, self._name(key), data))

    @contextlib.contextmanager
    def save(self, key: str) -> Iterator[Path]:
        target = self._mirror.path(self._name(key))
        before = self._mirror.state(target)
        with self._mirror.part(target) as part:
            yield part
            if found := self._put_file(key, part):
                self._mirror.take(found, part, target, before)

    def _put_file(self, key: str, file: Path) -> Seen | None:
        """Put a file unless there is one; gives what is there now where that is ours."""
        if self.look(key) is not None:
            return None
        size = file.stat().st_size
        data = file.read_bytes() if size <= WHOLE else None
        if data is None:  # in parts, which no storage makes conditional; two attempts have the same bytes
            self._again(key, lambda: obstore.put(self._store, self._name(key), file))
        elif self.create(key, data) != data:
            return None
        found = self.look(key)
        if found is None or found.bytes != size:
            raise NotYet(f"{self._shown(key)}: {size} bytes were put, and are not there; run again")
        return found

    def link(self, names: Mapping[str, str]) -> None:
        _each(lambda pair: self._copy(*pair), names.items(), "objects")

    def _copy(self, second: str, first: str) -> None:
        if self.look(second) is not None:
            return
        found = self.look(first)
        if found is None:
            raise FileNotFoundError(self._shown(first))
        if found.bytes > COPIED:
            file = self.local(first)
            self._again(second, lambda: obstore.put(self._store, self._name(second), file))
        else:
            self._again(second, lambda: obstore.copy(self._store, self._name(first), self._name(second)))

    def local(self, key: str) -> Path:
        found = self.look(key)
        if found is None:
            raise FileNotFoundError(self._shown(key))
        path = self._mirror.path(self._name(key))
        self._fetch(found, path)
        return path

    def local_all(self, keys: Iterable[str]) -> Sequence[Path]:
        keys = list(keys)
        _each(self.local, keys, "objects")
        return [self._mirror.path(self._name(key)) for key in keys]

    def fetch(self, files: Mapping[Seen, Path]) -> None:
        """Have objects on this machine as a look found them, many at once, each under a path.

        Raises:
            NotYet: one is another now.
        """
        self._mirror.refuse_others()
        _each(lambda pair: self._fetch(*pair), files.items(), "objects")

    def forget(self, path: Path) -> None:
        """Have no file of this machine under a path whose object is gone."""
        self._mirror.forget(path)

    def _fetch(self, found: Seen, path: Path) -> None:
        if self._mirror.holds(path, found):
            return
        before = self._mirror.state(path)
        with self._mirror.part(path) as part:
            with part.open("wb") as file:
                file.truncate(found.bytes)
                starts = range(0, found.bytes, RANGE)
                _each(lambda start: self._fetch_range(found, file.fileno(), start), starts, "ranges")
            if not self._mirror.take(found, part, path, before):
                raise changed(self._shown(found.key))

    def _fetch_range(self, found: Seen, descriptor: int, start: int) -> None:
        stop = min(start + RANGE, found.bytes)
        options: Any = {"if_match": found.tag.rpartition(":")[0], "range": (start, stop)}
        try:
            data = self._again(
                found.key, lambda: obstore.get(self._store, self._name(found.key), options=options).bytes()
            )
        except (raised.PreconditionError, FileNotFoundError) as error:
            raise changed(self._shown(found.key)) from error
        if len(data) != stop - start:
            raise NotYet(f"{self._shown(found.key)}: cut short while it was being read")
        left = memoryview(data)
        while left:  # of what a disk has no room for, the system writes the first part and says no more
            written = os.pwrite(descriptor, left, start)
            left, start = left[written:], start + written

    def look(self, key: str) -> Seen | None:
        try:
            return self._seen(self._again(key, lambda: obstore.head(self._store, self._name(key))))
        except FileNotFoundError:
            return None

    def glob(self, key: str, patterns: Sequence[str], *, hidden: bool = False) -> list[str]:
        return sorted({name for name, _ in self._names(key, patterns, hidden)})

    def glob_folders(self, key: str, patterns: Sequence[str]) -> list[str]:
        return sorted({name for name, is_folder in self._names(key, patterns, hidden=False) if is_folder})

    def first_names(self, key: str) -> list[str]:
        name = f"{self._name(key)}/"
        page = self._again(key, lambda: next(obstore.list(self._store, name, chunk_size=PAGE), None))
        return [found["path"][len(name) :].partition("/")[0] for found in page or ()]

    def _names(self, key: str, patterns: Sequence[str], hidden: bool) -> Iterator[tuple[str, bool]]:
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

    def each(self, call: Callable[[Any], object], items: Sequence[Any]) -> None:
        """Make a call, which asks for something here, for each of some items, many at once."""
        _each(call, items, "objects")

    def children(self, key: str) -> tuple[Sequence[str], Sequence[tuple[str, Seen]]]:
        """The folders and the objects right below a key ("": the top), by name."""
        name = self._name(key)
        prefix = f"{name}/" if name else ""
        listed = self._again(key, lambda: obstore.list_with_delimiter(self._store, prefix or None))
        folders = (found[len(prefix) :] for found in listed["common_prefixes"])
        objects = ((found["path"][len(prefix) :], self._seen(found)) for found in listed["objects"])
        return sorted(name for name in folders if name), sorted((n, seen) for n, seen in objects if n)

    def _below(self, key: str, flat: bool) -> Iterator[str]:
        if flat:
            yield from (found.key for found in self._walk(f"{key}/"))
            return
        folders, objects = self.children(key)
        yield from (f"{key}/{name}/" for name in folders)
        yield from (found.key for _, found in objects)

    def _walk(self, prefix: str) -> Iterator[Seen]:
        """By listings that are whole: one of which a request has failed ends there, as if no more came."""
        name = self._name(prefix)
        return map(self._seen, self._again(prefix, lambda: obstore.list(self._store, name).collect()))

    def is_folder(self, key: str) -> bool:
        return bool(self.first_names(key))

    def lies_in(self, key: str, folder: str) -> bool:  # noqa: ARG002 - there are no links
        return True

    def walk(self, key: str) -> Iterator[Seen]:
        if found := self.look(key):
            yield found
        yield from self._walk(f"{key}/")

    def remove(self, key: str) -> None:
        keys = [found.key for found in self.walk(key)]
        for start in range(0, len(keys), PAGE):
            self._remove_all(key, keys[start : start + PAGE])

    def _remove_all(self, key: str, keys: Sequence[str]) -> None:
        """Remove keys by one request; at the first that is gone Azure's client stops, so then one by one."""
        try:
            self._again(key, lambda: obstore.delete(self._store, [self._name(k) for k in keys]))
        except FileNotFoundError:
            for one in keys if len(keys) > 1 else ():
                self._remove_all(one, [one])

    @contextlib.contextmanager
    def hold(self, key: str) -> Iterator[None]:
        sign = f"{key}/{LOCK}/{secrets.token_hex(8)}"
        self.replace(sign, b"")
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
                self._remove_all(sign, [sign])

    def _beat(self, sign: str, seconds: float, ended: threading.Event) -> None:
        while not ended.wait(seconds):
            with contextlib.suppress(NotYet, Broken):  # the next beat may get through
                self.replace(sign, b"")

    def is_held(self, key: str) -> bool:
        signs = list(self._walk(f"{key}/{LOCK}/"))
        return bool(signs) and max(sign.modified for sign in signs) > self.now() - ALIVE

    @contextlib.contextmanager
    def lock(self, key: str, *, shared: bool, seconds: float) -> Iterator[bool]:
        """Each puts its mark and then looks for others': of two at once at least one sees the other's.

        A mark of a process that has gone counts for `LEASE` seconds; one that is there renews it.
        """
        kind = "shared" if shared else "alone"
        mark, end = f"{key}/{LOCK}/{kind}-{secrets.token_hex(8)}", time.monotonic() + seconds
        self.replace(mark, b"")
        with self._beating(mark, LEASE / 4):
            while (others := self._others(key, mark, shared)) and time.monotonic() <= end:
                self._remove_all(mark, [mark])  # so that of two who wait for each other one goes first
                time.sleep(PAUSE * (1 + secrets.randbelow(4)))
                self.replace(mark, b"")
            yield not others

    def _others(self, key: str, mark: str, shared: bool) -> list[str]:
        """The marks in the way of one: all others, or of a shared one those of who would be alone."""
        signs = [sign for sign in self._walk(f"{key}/{LOCK}/") if sign.key != mark]
        if shared:
            signs = [sign for sign in signs if sign.key.rpartition("/")[2].startswith("alone-")]
        now = self.now() if signs else 0.0
        return [sign.key for sign in signs if sign.modified > now - LEASE]

    def now(self) -> float:
        key = "data/.nightscore/clock"
        self.replace(key, b"")
        if found := self.look(key):
            return found.modified
        raise NotYet(f"{self._shown(key)}: was written, and is not there; try again later")

    def scratch(self, key: str) -> Path:
        self._mirror.refuse_others()
        return self._working / key

    def scratch_folders(self, key: str, patterns: Sequence[str]) -> list[Path]:
        return [path for path in (self._working / key).glob("/".join(patterns)) if path.is_dir()]

    def table_address(self, key: str) -> str:
        return f"{self.address}/{self._name(key)}"

    def refuse_unfit(self) -> None:
        """Know that the storage holds to conditions: one that ignores them would lose nights quietly.

        Raises:
            Broken: it ignores If-None-Match or If-Match.
        """
        with self._fit_lock:
            if not self._is_fit:
                self._probe(f"data/.nightscore/probe-{secrets.token_hex(8)}")
                self._is_fit = True

    def _probe(self, key: str) -> None:
        self._again(key, lambda: obstore.put(self._store, self._name(key), b"1"))
        try:
            if not self._refused(key, lambda: obstore.put(self._store, self._name(key), b"2", mode="create")):
                self._raise_unfit("If-None-Match", "two runs could both decide what becomes of a day")
            first = self.look(key)
            self._again(key, lambda: obstore.put(self._store, self._name(key), b"33"))
            options: Any = {"if_match": first.tag.rpartition(":")[0] if first else ""}
            if not self._refused(
                key, lambda: obstore.get(self._store, self._name(key), options=options).bytes()
            ):
                self._raise_unfit("If-Match", "a file that changes while it is read could not be noticed")
        finally:
            self.remove(key)

    def _refused(self, key: str, call: Callable[[], object]) -> bool:
        """Whether the storage refuses a call for its condition."""
        try:
            self._again(key, call, TAKEN)
        except TAKEN:
            return True
        return False

    def _raise_unfit(self, header: str, so: str) -> NoReturn:
        raise Broken(
            f"{self.address}: this storage ignores {header}, so {so}; allowed are storages that heed "
            "conditional requests, as S3, Google Cloud Storage, Azure Blob Storage and SeaweedFS do"
        )

    def _again(self, key: str, call: Callable[[], T], said: Answers = (raised.PreconditionError,)) -> T:
        """The result of a call that may be made several times.

        Raises:
            FileNotFoundError, those of `said`: what the storage says.
            Broken: it does not let us.
            NotYet: it does not answer.
        """
        for pause in _pauses():
            with self._doubtful(key, said):
                return call()
            time.sleep(pause)
        raise NotYet(f"{self._shown(key)}: the storage does not answer; try again later")

    @contextlib.contextmanager
    def _doubtful(self, key: str, said: Answers) -> Iterator[None]:
        """A context that passes over an error after which it is not known what was done, 409 among them.

        Errors of `said` are answers.
        """
        try:
            yield
        except said:
            raise
        except (raised.BaseError, OSError) as error:
            self._raise_if_known(key, error)

    def _raise_if_known(self, key: str, error: Exception) -> None:
        """Raise what an error of the storage says for sure; not the error, which may quote a signature."""
        if isinstance(error, raised.NotFoundError | FileNotFoundError) and not self._is_hopeless(error):
            raise FileNotFoundError(self._shown(key)) from None
        if EXPIRED in str(error):
            raise NotYet(
                f"{self._shown(key)}: the credentials have expired; try again with new ones"
            ) from None
        denied = isinstance(error, raised.PermissionDeniedError | raised.UnauthenticatedError)
        if denied or DENIED.search(str(error)) or self._is_hopeless(error):
            raise Broken(f"{self._shown(key)}: {self._why(error)}") from None

    def _is_hopeless(self, error: Exception) -> bool:
        return any(text in str(error) for text in HOPELESS)

    def _why(self, error: Exception) -> str:
        """Why the storage does not let us, without what it quotes of the request: that may hold a key."""
        if isinstance(error, raised.UnauthenticatedError) or any(text in str(error) for text in UNKNOWN):
            return (
                "the storage does not know us; set the credentials of its usual chain (for S3: AWS_…, for "
                "Azure: AZURE_…)"
            )
        if any(text in str(error) for text in NO_BUCKET):
            return "there is no such bucket"
        if SKEWED in str(error):
            return "this machine's clock is too far from the storage's (S3 allows 15 minutes); set it right"
        if "builder error" in str(error):
            return f"its endpoint is no https:// address ({' or '.join(ALLOW_HTTP)}=true allows http://)"
        return "the storage does not let us read or write there; its policy has to allow both"

    def _shown(self, key: str) -> str:
        return f"{self.address}/{self._name(key)}"

    def _seen(self, found: Mapping[str, Any]) -> Seen:
        moment = found["last_modified"].timestamp()
        tag = f"{found['e_tag']}:{found['size']}"
        return Seen(f"{self._drop}{found['path']}", found["size"], tag, moment, int(moment * 1e9))


def _refuse_credentials() -> None:
    """Refuse an endpoint with a password: libraries write it into the text of errors."""
    for name, value in os.environ.items():
        if name.startswith(("AWS_", "AZURE_", "GOOGLE_")) and ENDPOINT.match(value):
            raise Broken(
                f"{name} holds a user or a password, which would come into messages and logs; an endpoint is "
                "https://host:port, and credentials come from the cloud's usual chain (for S3: AWS_…)"
            )


def _fit(parts: Sequence[str], patterns: Sequence[str], hidden: bool) -> bool:
    fit = all(fnmatchcase(part, pattern) for part, pattern in zip(parts, patterns, strict=True))
    return fit and (hidden or not any(part.startswith(".") for part in parts))


def _pauses() -> Iterator[float]:
    return (min(LONGEST_PAUSE, FIRST_PAUSE * 2**attempt) for attempt in range(TRIES))


@functools.cache
def _pool(name: str) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(AT_ONCE, thread_name_prefix=name)


def _each(call: Callable[[Any], object], items: Iterable[Any], of: str) -> None:
    """Make a call for each of some items, many at once; the first error is raised once all have ended.

    Those of ranges have threads of their own: an object waits for its ranges.
    """
    waiting = [_pool(of).submit(call, item) for item in items]
    for future in waiting:
        future.exception()
    for future in waiting:
        future.result()


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
