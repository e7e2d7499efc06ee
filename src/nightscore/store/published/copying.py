"""A folder's models, lake and tables, brought to where a workspace's `data` is to lie from then on."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nightscore.common import Broken, Workspace, file_sha256
from nightscore.store.storage import Place, place_of

LEFT = ("choices",)  # of this machine: which variant is the fastest here
LOG = "_delta_log"


@dataclass(frozen=True)
class Copied:
    """One file: its path as plans write it, its bytes, and whether it was there already, the same."""

    path: str
    bytes: int
    there: bool


def copy_data(workspace: Workspace, folder: Path, dry_run: bool = False) -> Iterator[Copied]:
    """Copy what lies in a folder to the root `data` of a workspace, file by file, logs of tables last.

    Each has the time of change that it has in the folder, so it is the same cause. A file that is there with
    the same bytes is left, so that a copy that was stopped is gone on with. Nothing of `data/choices`, and no
    lock, is copied. No run may work in either place meanwhile. Where a file is in the way, nothing at all is
    copied: receipts without their tables would be of days that nobody can read.

    Raises:
        Broken: there is no such folder, it is the root itself, or a file is there with other bytes.
        NotYet: the storage does not answer.
    """
    if not folder.is_dir():
        raise Broken(f"{folder} is no folder; name that with models/, lake/ and tables/ in it")
    if folder.resolve() == workspace.data.resolve():
        raise Broken(
            f"{folder} is what the workspace's data is already; set NIGHTSCORE_ROOT_DATA to where it is to "
            "lie, such as s3://bucket/prefix, and copy again"
        )
    files = sorted(_files(folder), key=lambda path: (LOG in path.parts, path))
    places = {file: place_of(workspace, f"data/{file.relative_to(folder).as_posix()}") for file in files}
    there = {file for file, place in places.items() if _is_there(place, file)}  # before anything is copied
    for file, place in places.items():
        if file not in there and not dry_run:
            place.save_copy(file)
        yield Copied(place.key, file.stat().st_size, there=file in there)


def _files(folder: Path) -> Iterator[Path]:
    """What is copied: all but what is of one machine alone, and half-written files."""
    for path in folder.rglob("*"):
        parts = path.relative_to(folder).parts
        temporary = path.name == "lock" or path.name.endswith(".tmp")
        spilled = any(part.startswith((".duckdb-", ".new.duckdb-")) for part in parts)
        if path.is_file() and parts[0] not in LEFT and not (temporary or spilled):
            yield path


def _is_there(place: Place, file: Path) -> bool:
    """Whether a file is in its place already. Raises `Broken` where that is another file."""
    found = place.look()
    if found is None:
        return False
    if found.bytes != file.stat().st_size or file_sha256(place.local()) != file_sha256(file):
        raise Broken(
            f"{place} is there already, and is another file than {file}: a copy overwrites nothing, and "
            "nothing was copied. Remove it there, or copy to an empty prefix"
        )
    return True
