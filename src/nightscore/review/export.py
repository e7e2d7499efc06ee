"""A query's result for other programs: CSV, JSON, Parquet."""

import json
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from nightscore.common import Broken
from nightscore.store import sound_statistics

FORMULA = "^[=+\\-@\\t\\r]"  # how a cell begins that a spreadsheet computes instead of showing it
NUMBER = "^[+-]?[0-9]+([.][0-9]+)?([eE][+-]?[0-9]+)?$"  # which is the same, computed or shown


def write_rows(table: pa.Table, form: str, out: IO[bytes], *, raw: bool = False) -> None:
    """Write a query's result as csv, json (an array of objects) or parquet.

    Texts of a CSV, and names of its columns, that a spreadsheet would take for a formula get an apostrophe
    before them, unless they are wanted `raw`. Lists, structs, maps and intervals are texts of JSON there.

    Raises:
        Broken: two columns of a json or parquet have one name.
    """
    twice = sorted({name for name in table.schema.names if table.schema.names.count(name) > 1})
    if twice and form != "csv":
        raise Broken(f"two columns are called {twice[0]!r}; name them apart with AS, or write --format csv")
    if form == "csv":
        flat = pa.Table.from_arrays([_flat(column) for column in table.columns], table.schema.names)
        pa_csv.write_csv(flat if raw else _defused(flat), out)
    elif form == "parquet":
        statistics = sound_statistics(table.schema)
        pq.write_table(table, out, compression="zstd", write_page_checksum=True, write_statistics=statistics)
    else:
        out.write(json.dumps(table.to_pylist(), default=str, ensure_ascii=False).encode() + b"\n")
    out.flush()


def _flat(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column that a cell can hold: what has parts, as JSON."""
    if not (pa.types.is_nested(column.type) or pa.types.is_interval(column.type)):
        return column
    texts = (
        None if value is None else json.dumps(value, default=str, ensure_ascii=False)
        for value in column.to_pylist()
    )
    return pa.chunked_array([pa.array(texts, pa.string())])


def _defused(table: pa.Table) -> pa.Table:
    """The table with nothing in it that a spreadsheet computes."""
    names = _defused_texts(pa.chunked_array([table.schema.names], pa.string())).to_pylist()
    return pa.Table.from_arrays([_defused_texts(column) for column in table.columns], names)


def _defused_texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return column
    formula = pc.and_not(pc.match_substring_regex(column, FORMULA), pc.match_substring_regex(column, NUMBER))
    return pc.if_else(formula, pc.binary_join_element_wise("'", column, ""), column)
