"""What the writers of sample lakes share: a file appears whole or not at all, and says what wrote it."""

import contextlib
import hashlib
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from nightscore.common.errors import Broken

ROW_GROUP = 122_880  # as DuckDB
STAMP = b"nightscore.samples"  # key in each file's footer that says what wrote it


def read_packaged(package: str, file: str, sha256: str, missing: str, version: str) -> bytes:
    """The bytes of a file of an installed package, of which nothing is run, held to its hash.

    `missing` is what to say where the package is not installed, `version` what has a file of that hash.

    Raises:
        Broken: the package is not installed, or its file is another one.
    """
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise Broken(missing)
    path = Path(found.origin).parent / file
    data = path.read_bytes()
    if (digest := hashlib.sha256(data).hexdigest()) != sha256:
        raise Broken(f"{path}: its sha256 is {digest}, and not that of {version}, {sha256}")
    return data


def is_complete(lake: Path, stamp: bytes) -> bool:
    """Whether a lake is there as this version writes it; one that is not is marked as incomplete.

    The mark goes first, so that a rebuild that dies does not look complete.
    """
    complete = lake / "_complete"
    with contextlib.suppress(FileNotFoundError):
        if complete.read_bytes() == stamp:
            return True
        complete.unlink()
    return False


def completed(lake: Path, stamp: bytes) -> None:
    """Mark a lake as complete."""
    with whole(lake / "_complete") as temporary:
        temporary.write_bytes(stamp)


def write(path: Path, table: pa.Table, stamp: bytes) -> None:
    """Write a table as one Parquet file, unless this version wrote it before."""
    if is_written(path, stamp):
        return
    with whole(path) as temporary:
        pq.write_table(
            table.replace_schema_metadata({STAMP: stamp}),
            temporary,
            row_group_size=ROW_GROUP,
            compression="zstd",
            write_page_checksum=True,  # DuckDB reads a flipped bit without a word; these show it
        )


def is_written(path: Path, stamp: bytes) -> bool:
    """Whether a readable file of this version lies at ``path``."""
    try:
        metadata = pq.read_metadata(path).metadata
    except (OSError, pa.ArrowException):
        return False
    return metadata is not None and metadata.get(STAMP) == stamp


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A name to write to, which no ``*.parquet`` glob finds, renamed at the end: all or nothing.

    Unlike `nightscore.common.files` it waits for no disk: a lake that was lost is written again.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.writing")
    try:
        yield temporary
        temporary.rename(path)
    finally:
        temporary.unlink(missing_ok=True)
