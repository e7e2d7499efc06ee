"""What is written elsewhere than below `data/`: files of deliveries, in roots that may be written."""

import contextlib
import glob
import tempfile
from collections.abc import Iterator
from pathlib import Path

from nightscore.common import DATA, Broken, Root, Workspace
from nightscore.store.storage import Folder, Place, Storage, open_bucket


def writable_root(workspace: Workspace, name: str) -> Root:
    """A root that may be written.

    Raises:
        Broken: there is none of the name, or it is read only, or it is where tables and runs lie.
    """
    root = workspace.roots.get(name)
    if root is None:
        raise Broken(
            f"root {name} is not set; set are {', '.join(workspace.roots) or 'none'}. In workspace.yaml: "
            f"roots: {{{name}: {{at: FOLDER, write: true}}}}"
        )
    if name == DATA:
        raise Broken("root data is where tables and runs lie, which nobody else writes; name another")
    if not root.write:
        raise Broken(
            f"root {name} may not be written ({root.setting}); in workspace.yaml: {name}: "
            "{at: FOLDER, write: true}"
        )
    return root


def outgoing_place(workspace: Workspace, name: str, path: str) -> Place:
    """A path below a root that may be written. Errors as `writable_root`'s."""
    root = writable_root(workspace, name)
    home: Storage = open_bucket(root) if root.is_bucket else Folder(root.folder)
    return Place(home, path)


@contextlib.contextmanager
def being_written() -> Iterator[Path]:
    """A context that gives a path of this machine for what is put elsewhere once it is whole."""
    with tempfile.TemporaryDirectory(prefix="nightscore-") as folder:
        yield Path(folder) / "day"


def put_file(place: Place, file: Path) -> None:
    """Have a file there, whole, in the place of what is there.

    Nobody else writes the path meanwhile, so what one who was killed has begun of it goes first.
    """
    if isinstance(place.storage, Folder):  # in a bucket nothing is seen of what is not whole
        for begun in place.parent.glob(f".{glob.escape(place.name)}.*.tmp", hidden=True):
            begun.remove()
    place.storage.put(place.key, file)


def put_text(place: Place, suffix: str, text: str) -> None:
    """Write a small text beside, whole."""
    Place(place.storage, f"{place.key}{suffix}").replace_text(text)


def remove(place: Place, suffix: str) -> None:
    """Take away what is there, or beside it."""
    Place(place.storage, f"{place.key}{suffix}").remove()
