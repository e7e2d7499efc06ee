"""The name of something in a storage: a folder, data or a record.

It is no path, so that a type checker finds whoever would open it without `local()`.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

from nightscore.store.storage.contract import AT_ONCE, Seen, Storage

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Place:
    """A key in a storage; `str()` is the key, as plans, receipts and messages write it."""

    storage: Storage
    key: str

    def __str__(self) -> str:
        return self.key

    def __truediv__(self, name: str) -> "Place":
        return Place(self.storage, f"{self.key}/{name}")

    def __lt__(self, other: "Place") -> bool:
        return self.key < other.key

    @property
    def name(self) -> str:
        """The last part of the key."""
        return self.key.rpartition("/")[2]

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return PurePosixPath(self.name).stem

    @property
    def parent(self) -> "Place":
        """The folder that it lies in."""
        return Place(self.storage, self.key.rpartition("/")[0])

    def with_suffix(self, suffix: str) -> "Place":
        """The place beside it with another suffix."""
        return Place(self.storage, PurePosixPath(self.key).with_suffix(suffix).as_posix())

    def relative_to(self, folder: "Place") -> str:
        """Its key below a folder's.

        Raises:
            ValueError: it does not lie there.
        """
        return PurePosixPath(self.key).relative_to(folder.key).as_posix()

    def exists(self) -> bool:
        """Whether data or a record is there."""
        return self.look() is not None

    def look(self) -> Seen | None:
        """What is there; None where nothing or a folder is."""
        return self.storage.look(self.key)

    def local(self, seen: Seen | None = None) -> Path:
        """Its data as a local file, as a look found it that was just made, or, without one, as it is now.

        Raises:
            FileNotFoundError: there is none; or the file that is given can't be opened.
        """
        return self.storage.local(self.key, seen)

    def create_text(self, text: str) -> str:
        """Create a record unless there is one; gives what is there, ours or another's. Raises `NotYet`."""
        return self.storage.create(self.key, text.encode()).decode()

    def read_text(self) -> str:
        """A record. `FileNotFoundError` where there is none, `ValueError` where it is no UTF-8."""
        return self.storage.read(self.key).decode()

    def replace_text(self, text: str) -> None:
        """Write what nobody decides by, instead of what may be there."""
        self.storage.replace(self.key, text.encode())

    def replace_file(self, file: Path) -> None:
        """Write a file's bytes instead of what may be there: of what is erased from; see `Storage.put`."""
        self.storage.put(self.key, file)

    def save(self) -> AbstractContextManager[Path]:
        """A context that gives a local path, whose file is the data here at its end; see `Storage.save`."""
        return self.storage.save(self.key)

    def save_copy(self, file: Path) -> None:
        """Have a file of elsewhere here, with its time of change; see `Storage.save_copy`."""
        self.storage.save_copy(self.key, file)

    def glob(self, *patterns: str, hidden: bool = False) -> list["Place"]:
        """What lies below by patterns, one a level, sorted. Raises `Broken`."""
        return [Place(self.storage, key) for key in self.storage.glob(self.key, patterns, hidden=hidden)]

    def glob_folders(self, *patterns: str) -> list["Place"]:
        """The folders among them, hidden ones left out."""
        return [Place(self.storage, key) for key in self.storage.glob_folders(self.key, patterns)]

    def is_folder(self) -> bool:
        """Whether something may lie below."""
        return self.storage.is_folder(self.key)

    def lies_in(self, folder: "Place") -> bool:
        """Whether it lies below a folder, and not elsewhere behind a link."""
        return self.storage.lies_in(self.key, folder.key)

    def walk(self) -> Iterator[Seen]:
        """All that lies below, or what is here itself."""
        return self.storage.walk(self.key)

    def remove(self) -> None:
        """Remove it, and all that is below. Raises `Broken`."""
        self.storage.remove(self.key)

    def scratch(self) -> Path:
        """A folder of this machine for what is temporary in the work on it."""
        return self.storage.scratch(self.key)


def local_files(places: Iterable[Place]) -> tuple[Path, ...]:
    """The data of places of one storage as local files, many fetched at once. Errors as `Place.local`'s."""
    places = list(places)
    return tuple(places[0].storage.local_all(place.key for place in places)) if places else ()


def ask_each(call: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """What a call gives for each of some items, in order, many at once: of a bucket each is a request."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(call, items))
