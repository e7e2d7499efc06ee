"""What footers and columns of Parquet files say, for SQL that believed footers: NaN, and plain text nulls.

Footers are read first. A column is read only where its footer has statistics, which leave NaN out.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nightscore.store import EVERY


@dataclass(frozen=True)
class KnownFile:
    """A Parquet file, and what stands for its bytes: its fingerprint, or the name of a run's file."""

    path: Path
    mark: str


def nan_rows(file: KnownFile, columns: Collection[str]) -> dict[str, int]:
    """Column -> its NaN, of the float columns among some (`*`: all) of which the footer has statistics.

    NaN in lists and structs count, by the column that they lie in.
    """
    counts = {name: _nans(file, name) for name in _wanted(_float_columns(file), columns)}
    return {name: count for name, count in counts.items() if count}


def plain_null_columns(file: KnownFile, columns: Collection[str]) -> list[str]:
    """The text columns among some (`*`: all) with a row group that is plain: nulls and one other value."""
    return sorted(_wanted(_plain_columns(file), columns))


def _wanted(there: Collection[str], columns: Collection[str]) -> list[str]:
    return [name for name in there if EVERY in columns or name.lower() in columns]


@lru_cache(maxsize=8192)
def _float_columns(file: KnownFile) -> frozenset[str]:
    meta = pq.read_metadata(file.path)
    floats = {field.name for field in meta.schema.to_arrow_schema() if _has_floats(field.type)}
    return frozenset(name for name, chunk in _chunks(meta) if name in floats and chunk.is_stats_set)


@lru_cache(maxsize=8192)
def _plain_columns(file: KnownFile) -> frozenset[str]:
    chunks = _chunks(pq.read_metadata(file.path))
    return frozenset(
        name for name, c in chunks if c.physical_type == "BYTE_ARRAY" and _is_plain_with_nulls(c)
    )


def _is_plain_with_nulls(chunk: Any) -> bool:
    if chunk.has_dictionary_page or {"RLE_DICTIONARY", "PLAIN_DICTIONARY"} & set(chunk.encodings):
        return False
    if not chunk.is_stats_set or not chunk.statistics.null_count or not chunk.statistics.has_min_max:
        return False
    return bool(chunk.statistics.min_raw == chunk.statistics.max_raw)


@lru_cache(maxsize=8192)
def _nans(file: KnownFile, name: str) -> int:
    """The NaN of one column, row group by row group."""
    count = 0
    with pq.ParquetFile(file.path) as opened:
        for group in range(opened.num_row_groups):
            for column in opened.read_row_group(group, columns=[name]).itercolumns():
                count += sum(_count(leaf) for chunk in column.chunks for leaf in _leaves(chunk))
    return count


def _count(leaf: pa.Array) -> int:
    return int(np.isnan(leaf.drop_null().to_numpy(zero_copy_only=False)).sum())


def _leaves(array: pa.Array) -> Iterator[pa.Array]:
    """The float arrays within one, however deep."""
    if pa.types.is_floating(array.type):
        yield array
    elif pa.types.is_map(array.type):
        yield from _leaves(array.keys)
        yield from _leaves(array.items)
    elif pa.types.is_nested(array.type):
        parts = array.flatten()  # of a struct its columns, of lists their values
        for part in parts if isinstance(parts, list) else [parts]:
            yield from _leaves(part)


def _has_floats(kind: pa.DataType) -> bool:
    inside = [kind.field(i).type for i in range(kind.num_fields)] if pa.types.is_nested(kind) else []
    return bool(pa.types.is_floating(kind)) or any(map(_has_floats, inside))


def _chunks(meta: Any) -> Iterator[tuple[str, Any]]:
    """Each column of each row group, with the name of the table's column that it belongs to."""
    names = set(meta.schema.to_arrow_schema().names)
    for group in (meta.row_group(i) for i in range(meta.num_row_groups)):
        for chunk in (group.column(i) for i in range(group.num_columns)):
            path = str(chunk.path_in_schema)
            yield path if path in names else path.partition(".")[0], chunk
