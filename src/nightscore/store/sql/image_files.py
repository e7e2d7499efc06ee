"""PNG and JPEG files as SQL reads them: each is a row, of its path and its bytes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nightscore.store.documents.sql_text import literal, quote_identifier


@dataclass(frozen=True)
class ImageFiles:
    """How the images of an input are read.

    `above` is the folder below which `file` is a path; `folders` are the values of the columns that a file's
    folders give, by where the file lies. A null is None.
    """

    above: str
    folders: Mapping[Path, Mapping[str, str | None]]


def image_source(files: Sequence[Path], images: ImageFiles, folder_types: Mapping[str, str]) -> str:
    """All images of some files, for a FROM.

    What folders give stands there as constants: DuckDB opens no file of a day that is not asked for. It
    takes `key=value` in a path for columns in any case, and wants them alike in one reader.
    """
    groups: dict[tuple[object, ...], list[Path]] = {}
    for path in files:
        hive = (folder for folder in path.parent.parts if "=" in folder)
        groups.setdefault((*hive, *images.folders[path].items()), []).append(path)
    readers = (_reader(group, images, images.folders[group[0]], folder_types) for group in groups.values())
    return f"({' UNION ALL '.join(readers)})"


def _reader(
    files: Sequence[Path], images: ImageFiles, given: Mapping[str, str | None], types: Mapping[str, str]
) -> str:
    listed = ", ".join(map(literal, files))
    terms = ", ".join(_terms(images, given, types))
    return f"SELECT {terms} FROM read_blob([{listed}])"


def _terms(images: ImageFiles, given: Mapping[str, str | None], types: Mapping[str, str]) -> Iterator[str]:
    yield f"substr(filename, {len(images.above) + 2}) AS file"
    yield "content"
    for key, kind in types.items():
        value = given[key]
        constant = "NULL" if value is None else literal(value)
        yield f"CAST({constant} AS {kind}) AS {quote_identifier(key)}"
