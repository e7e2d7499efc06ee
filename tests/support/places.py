"""A file or folder of a test, as the store names it."""

from pathlib import Path

from nightscore.store import Place
from nightscore.store.storage import Folder

DISK = Folder(Path("/"))


def place(path: Path) -> Place:
    """The place of an absolute path on this machine's disk."""
    return Place(DISK, path.relative_to("/").as_posix())
