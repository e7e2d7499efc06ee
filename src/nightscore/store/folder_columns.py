"""The columns that hive folders give: `day=2026-01-05/store=12/` is a day, and a store, of each row below it.

A partition's key is a DATE, any other text unless its type is said: a type that is guessed from a day's
values is another one the next day.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from nightscore.common import Broken
from nightscore.job import Layout

NOTHING = "__HIVE_DEFAULT_PARTITION__"  # what writers call a null
DAY, TEXT = "DATE", "VARCHAR"


def folder_values(path: str) -> dict[str, str | None]:
    """Key -> value of the folders in a relative path, in order; a null is None.

    Raises:
        Broken: a folder gives a key that one above it gives too, or its value has a further `=` or a
            backslash.
    """
    found: dict[str, str | None] = {}
    for folder in path.split("/")[:-1]:
        key, mark, value = folder.partition("=")
        if not (mark and key):
            continue
        if "\\" in folder:
            raise Broken(f"{path}: the folder {folder!r} has a \\, which DuckDB takes for a /; rename it")
        if "=" in value:
            raise Broken(f"{path}: the folder {folder!r} has more than one =; a value's own is written %3D")
        if key.lower() in (name.lower() for name in found):
            raise Broken(f"{path}: two folders give a value of {key!r}; rename one")
        found[unquote(key)] = None if value == NOTHING else unquote(value)
    return found


@dataclass(frozen=True)
class FolderColumns:
    """Which columns the folders of an input's files give: none without a `layout`.

    `declared` are DuckDB types by name, for those that are to be no text. With `of_folder` a column of a file
    that has the name of one of them does not count.
    """

    layout: Layout | None = None
    declared: Mapping[str, str] = field(default_factory=dict)
    of_folder: bool = False

    def types(self, path: str) -> dict[str, str]:
        """Key -> DuckDB type, for a file's path relative to the workspace. Errors as `folder_values`'s."""
        if self.layout is None:
            return {}
        keys = folder_values(path)
        return {key: DAY if key == self.layout.column else self.declared.get(key, TEXT) for key in keys}


NO_FOLDERS = FolderColumns()


def hive_options(types: Mapping[str, str]) -> str:
    """What `read_parquet` is told so that folders give columns of these types, and no others."""
    if not types:
        return "hive_partitioning = false"
    listed = ", ".join('"' + key.replace('"', '""') + f'": {kind}' for key, kind in types.items())
    return f"hive_partitioning = true, hive_types_autocast = false, hive_types = {{{listed}}}"
