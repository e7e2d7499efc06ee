"""Inputs of images: PNG and JPEG files in folders, fingerprinted as other inputs are, each a row for SQL.

What a picture shows, and whether it can be read, is asked by the scorer, row by row.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

from nightscore.common import PLACE, Broken
from nightscore.job import OF_IMAGES, Job, PathInput
from nightscore.pipeline.read.text.inputs import inspect_ends
from nightscore.store import FolderColumns, ImageFiles, InputFile

TAKEN = (*OF_IMAGES, "filename", "size", "last_modified")  # columns of DuckDB's read_blob, and ours


def inspect_images(
    job: Job, name: str, source: PathInput, listed: Iterable[tuple[str, Path]], folders: FolderColumns
) -> tuple[InputFile, ...]:
    """The images of an input as they are now.

    Raises:
        Broken: a file can't be read, or `path` is one; folders give columns that are not alike, or are taken.
        NotYet: a file has gone.
    """
    found = tuple(dataclasses.replace(inspect_ends(job, path, day), groups=(1,)) for day, path in listed)
    if any(file.path == source.address for file in found):
        job.raise_broken(("inputs", name, "path"), f"{source.address} is a file; images lie in a folder")
    keys = [folders.types(file.path).keys() for file in found]
    for file, own in zip(found, keys, strict=True):
        _refuse_taken(name, file.path)
        if own != keys[0]:
            raise Broken(
                f"input {name}: {file.path}: its folders give the columns {', '.join(own) or 'none'}, and "
                f"those of {found[0].path} {', '.join(keys[0]) or 'none'}; lay them alike"
            )
    return found


def image_files(
    source: PathInput, folders: FolderColumns, files: Sequence[tuple[Path, InputFile]]
) -> ImageFiles | None:
    """How the files of an input are read; None of those that are no images. `files` as `text_columns`'s."""
    if source.format != "image":
        return None
    given = {path: folders.values(file.path) for path, file in files}
    return ImageFiles(folders.at, given)


def _refuse_taken(name: str, shown: str) -> None:
    """Refuse a folder, below the input's or above, that gives what the images themselves do."""
    place = PLACE.fullmatch(shown)  # lake:content=5/a.png
    for folder in (place[2] if place else shown).split("/")[:-1]:
        key, mark, _ = folder.partition("=")
        if mark and key.lower() in TAKEN:
            raise Broken(
                f"input {name}: {shown}: the folder {folder!r} gives a column {key!r}, as images themselves "
                "do; rename it"
            )
