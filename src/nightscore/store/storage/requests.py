"""Requests to a bucket: made again while it is not known what became of them, and what their errors say.

An answer may be lost, and errors of libraries quote the request, which may hold a key: neither leaves here.
"""

import contextlib
import functools
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from obstore import exceptions as raised

from nightscore.common import Broken, NotYet
from nightscore.store.storage.answers import SILENT, answer_of
from nightscore.store.storage.contract import AT_ONCE, Seen

TRIES, FIRST_PAUSE, LONGEST_PAUSE = 8, 0.05, 2.0  # of what can't be known to have been done; seconds
TAKEN = (raised.AlreadyExistsError, raised.PreconditionError)  # and nothing is said of who was first
NO_BUCKET = ("NoSuchBucket", "ContainerNotFound")
UNKNOWN = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "AuthenticationFailed")
ELSEWHERE = "redirect without LOCATION"
HOPELESS = (*NO_BUCKET, *UNKNOWN, ELSEWHERE, "builder error")
DENIED = re.compile(r"status code: 40[13]\b")  # of a listing obstore tells no other kind of error
EXPIRED, SKEWED = "ExpiredToken", "RequestTimeTooSkewed"
INVALID = re.compile('Error parsing Path "(.*?)": ', re.DOTALL)
UNSAYABLE = "\ufffd"  # what a listing, which is XML, has in the place of what XML can't say
Answers = tuple[type[Exception], ...]  # errors that say what was done
T = TypeVar("T")


@dataclass
class Doubt:
    """What the storage did, the last time that it was not known what became of a request."""

    answer: str = SILENT


class Requests:
    """Requests to the bucket at an address; its keys begin with `drop`, which names in the bucket do not."""

    def __init__(self, address: str, drop: str) -> None:
        self.address, self._drop = address.rstrip("/"), drop

    def name(self, key: str) -> str:
        """The name of a key in the bucket."""
        return (
            key[len(self._drop) :] if key.startswith(self._drop) else "" if f"{key}/" == self._drop else key
        )

    def again(self, key: str, call: Callable[[], T], said: Answers = (raised.PreconditionError,)) -> T:
        """The result of a call that may be made several times.

        Raises:
            FileNotFoundError, those of `said`: what the storage says.
            Broken: it does not let us.
            NotYet: it does not answer, or answers that it can't.
        """
        doubt = Doubt()
        for pause in pauses():
            with self.doubtful(key, said, doubt):
                return call()
            time.sleep(pause)
        raise NotYet(f"{self.shown(key)}: the storage {doubt.answer}; try again later")

    @contextlib.contextmanager
    def doubtful(self, key: str, said: Answers, doubt: "Doubt") -> Iterator[None]:
        """A context that passes over an error after which it is not known what was done, 409 among them.

        Errors of `said` are answers. What the storage has said otherwise is kept in `doubt`.
        """
        try:
            yield
        except said as error:
            doubt.answer = answer_of(error)
            raise
        except (raised.BaseError, OSError) as error:
            self._raise_if_known(key, error)
            doubt.answer = answer_of(error)

    def _raise_if_known(self, key: str, error: Exception) -> None:
        """Raise what an error of the storage says for sure; not the error, which may quote a signature."""
        if isinstance(error, raised.NotFoundError | FileNotFoundError) and not self._is_hopeless(error):
            raise FileNotFoundError(self.shown(key)) from None
        if isinstance(error, raised.InvalidPathError):
            named = INVALID.search(str(error))
            raise self._unreadable(named[1] if named else key)
        if EXPIRED in str(error):
            raise NotYet(
                f"{self.shown(key)}: the credentials have expired; try again with new ones"
            ) from None
        denied = isinstance(error, raised.PermissionDeniedError | raised.UnauthenticatedError)
        if denied or DENIED.search(str(error)) or self._is_hopeless(error):
            raise Broken(f"{self.shown(key)}: {self._why(error)}") from None

    def _unreadable(self, name: str) -> Broken:
        """What is said of a key that is in the bucket, and that no request of ours can name."""
        return Broken(
            f"{self.address}: its key {name!r} can't be read: it has a control character, or a part that is "
            "empty, . or ..; copy the object to another key, and remove this one"
        )

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
        if ELSEWHERE in str(error):
            return "the storage sends us elsewhere: the bucket is of another region; set AWS_REGION to it"
        if SKEWED in str(error):
            return "this machine's clock is too far from the storage's (S3 allows 15 minutes); set it right"
        if "builder error" in str(error):
            return "its endpoint is no https:// address (AWS_ or AZURE_ALLOW_HTTP=true allows http://)"
        return "the storage does not let us read or write there; its policy has to allow both"

    def shown(self, key: str) -> str:
        """A key as messages name it."""
        return f"{self.address}/{self.name(key)}"

    def seen(self, found: Mapping[str, Any]) -> Seen:
        """What the storage says of an object, as a look."""
        if UNSAYABLE in found["path"]:
            raise self._unreadable(found["path"])
        moment = found["last_modified"].timestamp()
        tag = f"{found['e_tag']}:{found['size']}"
        return Seen(f"{self._drop}{found['path']}", found["size"], tag, moment, int(moment * 1e9))


def pauses() -> Iterator[float]:
    """Seconds to wait after each try."""
    return (min(LONGEST_PAUSE, FIRST_PAUSE * 2**attempt) for attempt in range(TRIES))


@functools.cache
def _pool(name: str) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(AT_ONCE, thread_name_prefix=name)


def each(call: Callable[[Any], object], items: Iterable[Any], of: str) -> None:
    """Make a call for each of some items, many at once; the first error is raised once all have ended.

    Those of ranges have threads of their own: an object waits for its ranges.
    """
    waiting = [_pool(of).submit(call, item) for item in items]
    for future in waiting:
        future.exception()
    for future in waiting:
        future.result()
