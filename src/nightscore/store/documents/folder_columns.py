"""The columns that hive folders give: `day=2026-01-05/store=12/` is a day, and a store, of each row below it.

A partition's key is a DATE, any other text unless its type is said: a type that is guessed from a day's
values is another one the next day.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from nightscore.common import PLACE, Broken
from nightscore.job import Layout
from nightscore.store.documents.sql_text import literal, quote_identifier

NOTHING = "__HIVE_DEFAULT_PARTITION__"  # what writers call a null
DAY, TEXT = "DATE", "VARCHAR"
FILE_NAME = "the file's name"  # a column that no file has


def folder_values(path: str) -> dict[str, str | None]:
    """Key -> value of the folders in a relative path, in order; a null is None.

    Raises:
        Broken: a folder gives a key that one above it gives too, or its value has a further `=` or a
            backslash.
    """
    found: dict[str, str | None] = {}
    place = PLACE.fullmatch(path)  # of lake:day=2026-01-05/a.parquet the root is no part of the folder's name
    for folder in (place[2] if place else path).split("/")[:-1]:
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
    """Which columns the names of an input's folders and files give: none without a `layout`.

    `declared` are DuckDB types by name, for those that are to be no text. With `of_folder` a column of a file
    that has the name of one of them does not count. `home` is the input's own folder as plans write it, `at`
    where that lies; both are asked of a layout alone that is not plain hive folders.
    """

    layout: Layout | None = None
    declared: Mapping[str, str] = field(default_factory=dict)
    of_folder: bool = False
    home: str = ""
    at: str = ""

    def types(self, path: str) -> dict[str, str]:
        """Key -> DuckDB type, for a file's path as plans write it. Errors as `folder_values`'s."""
        if self.layout is None:
            return {}
        column = self.layout.column
        return {key: DAY if key == column else self.declared.get(key, TEXT) for key in self.values(path)}

    def values(self, path: str) -> dict[str, str | None]:
        """Key -> what the path says of it; a null is None. Errors as `folder_values`'s."""
        if self.layout is None or self.layout.is_plain:
            return folder_values(path)
        above, names, below = self._split(path)
        day, keys = self.layout.day_of(names), self.layout.keys_of(names)
        given = {self.layout.column: None if day is None else day.isoformat(), **_unquoted(keys)}
        others = folder_values("/".join([*above, *below]))
        for key in others:
            if key.lower() in (name.lower() for name in given):
                raise Broken(f"{path}: a folder and the partition {self.layout.template} both give {key!r}")
        return {**others, **given}

    def sql(self, path: str) -> dict[str, str]:
        """Key -> SQL that gets it from FILE_NAME, of a layout that no hive reader reads; else nothing.

        A term of constants and the file's name: DuckDB leaves out files of other days before it opens them.
        """
        if self.layout is None or self.layout.is_plain:
            return {}
        above, _, below = self._split(path)
        terms = dict(_terms(self.layout, f"^{re.escape(self.at)}/"))
        pattern = f"^{re.escape(self.at)}/{self.layout.pattern}/(?:[^/]+/)*?"
        for key, value in folder_values("/".join([*above, ""])).items():
            terms[key] = "NULL" if value is None else literal(value)
        for key in folder_values("/".join(below)):
            terms[key] = _decoded(f"{pattern}{re.escape(key)}=([^/]*)/", 1 + len(self.layout.varying))
        return {key: f"CAST({terms[key]} AS {kind})" for key, kind in self.types(path).items()}

    def reader(self, files: str, path: str, options: str) -> str:
        """SQL that reads files like that of a path, with the columns that folders give; for a FROM."""
        return folder_reader(files, self.types(path), self.sql(path), options)

    def _split(self, path: str) -> tuple[list[str], list[str], list[str]]:
        """The names of a path: of the folders above the layout's, the layout's, and those below."""
        depth = len(self.layout.segments) if self.layout else 0
        above = self.home.split("/") if self.home else []
        names = path.removeprefix(self.home).removeprefix("/").split("/")
        return above, names[:depth], names[depth:]


NO_FOLDERS = FolderColumns()


def folder_reader(
    files: str,
    types: Mapping[str, str],
    terms: Mapping[str, str],
    options: str,
    function: str = "read_parquet",
) -> str:
    """SQL that reads files with the columns that folders give: by hive folders, or by `terms`."""
    if not terms:
        return f"{function}({files}, {hive_options(types)}{options})"
    names = ", ".join(literal(name.lower()) for name in (FILE_NAME, *terms))
    given = ", ".join(f"{sql} AS {quote_identifier(key)}" for key, sql in terms.items())
    return (
        f"(SELECT COLUMNS(lambda c: lower(c) NOT IN ({names})), {given} FROM {function}({files}, "
        f"hive_partitioning = false, filename = {literal(FILE_NAME)}{options}))"
    )


def hive_options(types: Mapping[str, str]) -> str:
    """What `read_parquet` is told so that folders give columns of these types, and no others."""
    if not types:
        return "hive_partitioning = false"
    listed = ", ".join(f"{quote_identifier(key)}: {literal(kind)}" for key, kind in types.items())
    return f"hive_partitioning = true, hive_types_autocast = false, hive_types = {{{listed}}}"


def _terms(layout: Layout, before: str) -> Iterator[tuple[str, str]]:
    """The layout's own columns, each with SQL that gets it from FILE_NAME."""
    pattern = f"{before}{layout.pattern}(?:/|$)"
    found = {(part.kind.replace("-", ""), part.text): i for i, part in enumerate(layout.varying, 1)}

    def number(directive: str) -> str:
        return f"CAST({_extracted(pattern, found[directive, ''])} AS INTEGER)"

    if ("%j", "") in found:
        yield layout.column, f"make_date({number('%Y')}, 1, 1) + ({number('%j')} - 1)"
    else:
        yield layout.column, f"make_date({number('%Y')}, {number('%m')}, {number('%d')})"
    for key in layout.keys:
        yield key, _decoded(pattern, found["key", key])


def _extracted(pattern: str, group: int) -> str:
    return f"regexp_extract({quote_identifier(FILE_NAME)}, {literal(pattern)}, {group})"


def _decoded(pattern: str, group: int) -> str:
    return f"url_decode(nullif({_extracted(pattern, group)}, {literal(NOTHING)}))"


def _unquoted(keys: Mapping[str, str]) -> dict[str, str | None]:
    return {key: None if value == NOTHING else unquote(value) for key, value in keys.items()}
