"""Files that are written into a folder of a person's, none over another."""

from collections.abc import Mapping
from pathlib import Path

from nightscore.common import Broken, write_once
from nightscore.job import schema_text

SCHEMAS = ("job", "case")  # of what is in a job's folder, for an editor


def write_new_files(root: Path, files: Mapping[str, bytes]) -> list[str]:
    """Write some files below a folder, by their paths in it; those that are there with these bytes are kept.

    So a call that was killed is ended by the next one. Gives the paths that were written.

    Raises:
        Broken: one is there with other bytes, or a folder would have to be where a file is; names it, and
            nothing was written.
    """
    new = [name for name, data in files.items() if not _is_there(root, name, data)]
    for name in new:
        with write_once(root / name) as temporary:
            temporary.write_bytes(files[name])
        _is_there(root, name, files[name])  # who wrote it meanwhile keeps it, and we say so
    return new


def schema_files() -> dict[str, bytes]:
    """The schemas that an editor holds a job's files to: path in the workspace -> bytes."""
    return {f"jobs/{of}.schema.json": schema_text(of).encode() for of in SCHEMAS}


def _is_there(root: Path, name: str, data: bytes) -> bool:
    """Whether a file is there, with the bytes that it is to have. Broken if it has others."""
    path = root / name
    above = next(one for one in (path, *path.parents) if one.exists() or one.is_symlink())
    if above != path:
        if not above.is_dir():
            raise Broken(f"{above} is no folder; move it, or choose another one. Nothing was written over")
        return False
    if not path.is_file() or path.read_bytes() != data:
        raise Broken(f"{path} is there already; move it, or choose another folder. Nothing was written over")
    return True
