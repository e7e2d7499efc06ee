"""The columns of an input whose files are not alike: each file's own, cast to one type by name.

DuckDB would take the first file's types and convert the others silently, 1.7 to 2. So files that have the
same columns are read together, and each group says what becomes of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from nightscore.store.documents.folder_columns import NO_FOLDERS, FolderColumns, folder_reader
from nightscore.store.documents.sql_text import literal, quote_identifier


@dataclass(frozen=True)
class FileColumn:
    """A column of an input, and what a file gives for it.

    `kind` is its DuckDB type as SQL sees it, `own` that of the file's column `inside`. Without `inside` each
    row of the file has `value`, cast to the type; None is a null. With `of_folder` the names of its folders
    say the same, key=value, and files with other values are read together.
    """

    name: str
    kind: str
    inside: str = ""
    own: str = ""
    value: str | None = None
    of_folder: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether the file has the column as SQL sees it."""
        return (self.name, self.kind) == (self.inside, self.own)

    @property
    def sql(self) -> str:
        """The column as a term of a SELECT over the file, without its name."""
        if self.of_folder:
            return quote_identifier(self.name)
        if not self.inside:
            return f"CAST({'NULL' if self.value is None else literal(self.value)} AS {self.kind})"
        name = quote_identifier(self.inside)
        return name if self.own == self.kind else f"CAST({name} AS {self.kind})"


FileColumns = tuple[FileColumn, ...]


@dataclass(frozen=True)
class SourceColumns:
    """How the columns of the files of one input are read: by their folders, and file by file.

    `by_file` has the columns of files (paths relative to the workspace) that are not read as they are.
    """

    folders: FolderColumns = NO_FOLDERS
    by_file: Mapping[str, FileColumns] = field(default_factory=dict)

    def is_plain(self, path: str, name: str) -> bool:
        """Whether a column of a file is read as it stands there."""
        if name.lower() in {key.lower() for key in self.folders.types(path)}:
            return False
        found = next((column for column in self.by_file.get(path, ()) if column.name == name), None)
        return found.is_plain if found else path not in self.by_file

    def folder_types(self, path: str) -> dict[str, str]:
        """The columns that the folders of a file give, with their DuckDB types."""
        return {**self.folders.types(path), **_of_folders(self.by_file.get(path, ()))}

    def reader(self, files: str, path: str, options: str) -> str:
        """SQL that reads a file at a path, with the columns that its folders give; for a FROM."""
        return folder_reader(files, self.folder_types(path), self.folders.sql(path), options)

    def terms(self, path: str, names: Sequence[str]) -> str:
        """The named columns as terms of a SELECT over a file."""
        columns = {column.name: column.sql for column in self.by_file.get(path, ())}
        quoted = ((columns.get(name), quote_identifier(name)) for name in names)
        return ", ".join(f"{sql} AS {name}" if sql and sql != name else name for sql, name in quoted)


AS_THEY_ARE = SourceColumns()


@dataclass(frozen=True)
class FolderGiven:
    """The columns that folders give: name -> DuckDB type, and -> SQL for it where no hive reader gives it."""

    types: Mapping[str, str] = field(default_factory=dict)
    sql: Mapping[str, str] = field(default_factory=dict)


def parquet_source(
    files: Sequence[Path], by_file: Mapping[Path, FileColumns], given: FolderGiven, by_name: bool
) -> str:
    """All rows of some files, for a FROM; those with the same columns, of the same types, by one reader."""
    groups: dict[FileColumns, list[Path]] = {}
    for file in files:
        columns = by_file.get(file, ())
        groups.setdefault(tuple(replace(c, value=None) if c.of_folder else c for c in columns), []).append(
            file
        )
    union = ", union_by_name = true" if by_name else ""
    readers = {
        columns: folder_reader(
            f"[{', '.join(map(literal, group))}]", {**given.types, **_of_folders(columns)}, given.sql, union
        )
        for columns, group in groups.items()
    }
    if not any(groups):
        return readers[()]
    selects = (f"SELECT {_terms(columns, given.types)} FROM {reader}" for columns, reader in readers.items())
    return f"({' UNION ALL BY NAME '.join(selects)})"


def _of_folders(columns: FileColumns) -> dict[str, str]:
    return {column.name: column.kind for column in columns if column.of_folder}


def _terms(columns: FileColumns, folder_types: Mapping[str, str]) -> str:
    if not columns:
        return "*"
    own = [f"{column.sql} AS {quote_identifier(column.name)}" for column in columns]
    given = {column.name.lower() for column in columns}
    return ", ".join([*own, *(quote_identifier(key) for key in folder_types if key.lower() not in given)])
