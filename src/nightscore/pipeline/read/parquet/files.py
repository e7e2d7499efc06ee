"""Parquet files as a run finds them: fingerprinted by their footers, and held to one schema."""

import hashlib
from collections.abc import Collection, Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from nightscore.common import Broken, NotYet, Workspace, first_line
from nightscore.pipeline.read.parquet.twofold import refuse_twofold
from nightscore.pipeline.read.parquet.types import Inspected, ParquetColumns
from nightscore.store import FolderColumns, InputFile, holds, object_mark, shown_kind, storage

WIDTHS = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, "INT64": 8, "DOUBLE": 8, "INT96": 12}  # bytes in Arrow


def inspect_immutable(workspace: Workspace, path: Path, day: str) -> tuple[InputFile, ParquetColumns]:
    """One file of a table that changes none of its files, with its columns: its time of change says nothing.

    Errors as `inspect_parquet`'s.
    """
    return _inspect(workspace, path, day, timed=False)


def inspect_parquet(workspace: Workspace, path: Path, day: str = "") -> InputFile:
    """One Parquet file as it is now.

    Raises:
        Broken: it is no Parquet file that can be read.
        NotYet: it is gone.
    """
    return _inspect(workspace, path, day)[0]


def decoded_bytes(path: Path) -> int:
    """The bytes of a file's values: numbers as wide as they are, and texts as they are encoded."""
    footer = pq.read_metadata(path)
    columns = [footer.schema.column(i) for i in range(footer.num_columns)]
    widths = [WIDTHS.get(column.physical_type, column.length) for column in columns]
    total = 0
    for group in (footer.row_group(i) for i in range(footer.num_row_groups)):
        encoded = [group.column(i).total_uncompressed_size for i in range(group.num_columns)]
        total += sum(max(e, w * group.num_rows) for e, w in zip(encoded, widths, strict=True))
    return total


def inspect_files(
    workspace: Workspace, name: str, pairs: Iterable[tuple[str, Path]], folders: FolderColumns
) -> Inspected:
    """The files as they are now, each with its columns.

    Raises:
        Broken: their folders don't give the same columns, or other values than a file has of them.
    """
    inspected = [_inspect(workspace, path, day) for day, path in pairs]
    if folders.layout is not None:
        _refuse_other_folders(workspace, name, inspected, folders)
    return inspected


def refuse_other_columns(name: str, inspected: Inspected, may_lack: Collection[str]) -> tuple[InputFile, ...]:
    """Hold files of a table to the columns of the newest, by exact name and type.

    Raises:
        Broken: one has others, but those that it may lack.
    """
    inspected = [(file, {c: k for c, k in types.items() if c not in may_lack}) for file, types in inspected]
    for file, columns in inspected:
        newest, newest_columns = inspected[-1]
        for column in sorted(columns.keys() ^ newest_columns.keys()):
            have, lack = (file, newest) if column in columns else (newest, file)
            raise Broken(f"input {name}: {have.path} has a column {column!r}, {lack.path} has not")
        for column, kind in columns.items():
            if kind != newest_columns[column]:
                raise Broken(
                    f"input {name}: column {column!r} is {_shown(kind)} in {file.path} "
                    f"and {_shown(newest_columns[column])} in {newest.path}"
                )
    return tuple(file for file, _ in inspected)


def _refuse_other_folders(
    workspace: Workspace, name: str, inspected: Inspected, folders: FolderColumns
) -> None:
    for file, columns in inspected:
        newest, types = inspected[-1][0], folders.types(file.path)
        for key in sorted(types.keys() ^ folders.types(newest.path).keys()):
            have, lack = (file, newest) if key in types else (newest, file)
            raise Broken(f"input {name}: {have.path} lies in a folder {key}=…, {lack.path} does not")
        refuse_lossy_folders(name, file.path, folders)
        if not folders.of_folder:
            inside = {path.partition(".")[0] for path in columns}
            refuse_twofold(storage.locate(workspace, file.path), file.path, inside, folders)


def refuse_lossy_folders(name: str, path: str, folders: FolderColumns) -> None:
    """Hold what the folders of a file say to the types that the input gives their keys.

    Raises:
        Broken: a value is written as its type does not hold it, such as 1.7 of an INTEGER.
    """
    values = folders.values(path)
    for key, kind in folders.types(path).items():
        value = values[key]
        if value is not None and not holds(kind, value):
            what = shown_kind(kind, value)
            raise Broken(
                f"input {name}: {path}: its folder says {key} = {value!r}, which is no {what}; let the "
                f"input's columns say another type of {key!r}, such as VARCHAR"
            )


def _shown(kind: tuple[str, str]) -> str:
    return kind[0] if kind[1] == "None" else f"{kind[0]} {kind[1]}"


def _inspect(
    workspace: Workspace, path: Path, day: str, timed: bool = True
) -> tuple[InputFile, ParquetColumns]:
    shown = shown_path(workspace, path)
    try:
        with path.open("rb") as file:
            stat = file_stat(workspace, path)
            meta = pq.read_metadata(file)
            footer = _footer(file, path.stat().st_size)
    except FileNotFoundError:
        raise NotYet(f"{shown}: has gone since it was listed") from None
    except (OSError, pa.ArrowException) as error:
        raise Broken(f"{shown}: no Parquet file that can be read: {first_line(error)}") from error
    _, size, changed = stat.split(":")
    mark = hashlib.sha256(f"{size}:{changed if timed else ''}:".encode() + footer).hexdigest()
    groups = tuple(meta.row_group(i).num_rows for i in range(meta.num_row_groups))
    listed = [meta.schema.column(i) for i in range(len(meta.schema))]
    columns = {c.path: (c.physical_type, str(c.logical_type)) for c in listed}
    if len(columns) < len(listed):
        twice = next(c.path for i, c in enumerate(listed) if c.path in [other.path for other in listed[:i]])
        raise Broken(f"{shown}: ambiguous: two columns are called {twice!r}; rename one")
    return InputFile(shown, int(size), stat, mark, day, groups), columns


def _footer(file: "object", size: int) -> bytes:
    read, seek = file.read, file.seek  # type: ignore[attr-defined]
    seek(size - 8)
    length = int.from_bytes(read(4), "little")
    seek(size - 8 - length)
    return bytes(read(length))


def shown_path(workspace: Workspace, path: Path) -> str:
    """A listed file's path, as plans and receipts write it.

    Raises:
        Broken: DuckDB would take it for a pattern, or it is a link that leads out of all roots.
    """
    shown = workspace.relative(path)
    if set(shown) & set("*?["):
        raise Broken(f"{shown}: DuckDB takes * ? [ in a path for a pattern; rename it")
    workspace.follow(path)  # a file of a folder inside may be a link to elsewhere
    return shown


def file_stat(workspace: Workspace, path: Path) -> str:
    """A file as plans hold it: inode (of a bucket its object):bytes:time of change, in ns."""
    stat = path.stat()
    return f"{object_mark(workspace, path) or stat.st_ino}:{stat.st_size}:{stat.st_mtime_ns}"
