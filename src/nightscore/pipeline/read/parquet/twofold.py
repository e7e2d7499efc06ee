"""Columns that a file and its folders both give: the same value, or an error that names both.

SQL would see the folder's and a reader of the file the file's, without a word.
"""

import datetime as dt
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nightscore.common import Broken
from nightscore.store import FolderColumns

ROWS = 65_536
SHOWN = 3  # values in a message


def refuse_twofold(path: Path, shown: str, columns: Collection[str], folders: FolderColumns) -> None:
    """Hold a file to the columns that its folders give, where it has some of the same name.

    Raises:
        Broken: a row has another value, or none; names both, and the key that says which counts.
    """
    values, types = folders.values(shown), folders.types(shown)
    inside = {name.lower(): name for name in columns}
    for key in types:
        if key.lower() in inside:
            column = inside[key.lower()]
            if column != key:
                raise Broken(
                    f"{shown}: has a column {column!r}, and its folder gives {key!r}, one name to SQL; "
                    "rename one, or let the input say that the file's counts: partition_column: file"
                )
            others = _other_values(path, column, _as_typed(values[key], types[key]))
            if others:
                found = ", ".join("null" if v is None else str(v)[:60] for v in others)
                raise Broken(
                    f"{shown}: column {column!r} has {found} in the file and "
                    f"{values[key] or 'null'} by its folder; they have to be the same, or the input says "
                    "which counts: partition_column: folder, or partition_column: file"
                )


def _as_typed(value: str | None, kind: str) -> str | None:
    """A folder's text as a column of its type says it: 007 is the integer 7."""
    whole = value is not None and kind.upper().endswith(("INT", "INTEGER")) and value.lstrip("+-").isdigit()
    return str(int(value or "")) if whole else value


def _other_values(path: Path, column: str, value: str | None) -> list[Any]:
    """Some values of a column that are not the folder's."""
    with pq.ParquetFile(path) as file:
        if _footer_agrees(file.metadata, column, value):
            return []
        others: dict[str, Any] = {}
        for batch in file.iter_batches(ROWS, columns=[column], use_threads=False):
            found = batch.column(0)
            plain = found.dictionary_decode() if pa.types.is_dictionary(found.type) else found
            for other in (pc.unique(plain) if not pa.types.is_nested(plain.type) else plain).to_pylist():
                if _text(other) != value:
                    others.setdefault(str(other), other)
            if len(others) >= SHOWN:
                break
    return list(others.values())[:SHOWN]


def _footer_agrees(footer: pq.FileMetaData, column: str, value: str | None) -> bool:
    """Whether the footer says by itself that each row has this value: of days, integers and texts it can."""
    for group in (footer.row_group(i) for i in range(footer.num_row_groups)):
        chunks = (group.column(i) for i in range(group.num_columns))
        found = next((c for c in chunks if c.path_in_schema == column), None)
        stats = found.statistics if found is not None and found.is_stats_set else None
        if stats is None or not (stats.has_min_max and stats.has_null_count) or stats.null_count:
            return False
        if isinstance(stats.min, float) or not (_text(stats.min) == _text(stats.max) == value):
            return False
    return True


def _text(value: Any) -> str | None:
    """A value as a folder's name says it; of a moment only midnight is a day."""
    if isinstance(value, dt.datetime):
        midnight = value.tzinfo is None and value.time() == dt.time(0)
        return value.date().isoformat() if midnight else value.isoformat(" ")
    if isinstance(value, bool):
        return str(value).lower()
    return (
        value.decode(errors="replace") if isinstance(value, bytes) else None if value is None else str(value)
    )
