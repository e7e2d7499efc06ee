"""A day as one file: CSV, Parquet or JSON lines. The same rows are the same bytes.

CSV is UTF-8 with a header, commas, and a line feed at the end of a line. Texts stand in double quotes, with
a double quote in them twice; a null is nothing, an empty text is two quotes. Numbers are as short as reads
back the same, decimals have their digits, instants are UTC with a Z, bytes are base64, lists are JSON. Texts
are as they are: one that begins with = is a formula to a spreadsheet.

JSON has an object a line; decimals are texts, as are NaN and infinities, which JSON has not.
"""

import base64
import datetime as dt
import decimal
import gzip
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from nightscore.delivery.contract import Parcel


def write_file(parcel: Parcel, file: Path, form: str, *, zipped: bool) -> None:
    """Write a day's rows, with its column `day`, to a file."""
    if form == "parquet":
        with pq.ParquetWriter(file, schema_of(parcel), compression="zstd", write_page_checksum=True) as out:
            for batch in _batches(parcel):
                out.write_batch(batch)
        return
    with file.open("wb") as raw:
        if zipped:
            with gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=6, mtime=0) as packed:
                _write_text(parcel, packed, form)
        else:
            _write_text(parcel, raw, form)


def schema_of(parcel: Parcel) -> pa.Schema:
    """The columns of a file: those of the table, and the day."""
    return pa.schema([*parcel.schema, pa.field("day", pa.date32())])


def _batches(parcel: Parcel) -> Iterator[pa.RecordBatch]:
    schema = schema_of(parcel)
    for batch in parcel.batches():
        day = pa.array([parcel.day] * batch.num_rows, pa.date32())
        yield pa.RecordBatch.from_arrays([*batch.columns, day], schema=schema)


def _write_text(parcel: Parcel, out: Any, form: str) -> None:
    if form == "json":
        for batch in _batches(parcel):
            out.write("".join(_line(row) for row in batch.to_pylist()).encode())
        return
    _write_csv(parcel, out)


def _write_csv(parcel: Parcel, out: IO[bytes]) -> None:
    schema = pa.schema([(c.name, pa.string() if _is_written(c.type) else c.type) for c in schema_of(parcel)])
    # Not closed by Arrow: what follows in the file, and the file itself, are ours.
    with pacsv.CSVWriter(pa.PythonFile(_Kept(out)), schema) as writer:
        for batch in _batches(parcel):
            columns = [
                pa.array([None if v is None else _text(v) for v in column.to_pylist()], pa.string())
                if _is_written(column.type)
                else column
                for column in batch.columns
            ]
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))


class _Kept:
    """A file that is written to, and not closed."""

    closed = False

    def __init__(self, out: IO[bytes]) -> None:
        self.write, self.flush = out.write, out.flush

    def writable(self) -> bool:
        """It is."""
        return True

    def close(self) -> None:
        """Leave it open."""


def _is_written(kind: pa.DataType) -> bool:
    """Whether a column's values are written by us, as texts."""
    return bool(pa.types.is_list(kind) or pa.types.is_binary(kind))


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return json.dumps(_plain(value), ensure_ascii=False)


def _line(row: dict[str, Any]) -> str:
    return json.dumps({name: _plain(value) for name, value in row.items()}, ensure_ascii=False) + "\n"


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return next((shown(value) for kind, shown in SHOWN if isinstance(value, kind)), value)


def _float(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def _instant(value: dt.datetime) -> str:
    return value.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")


SHOWN: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (float, _float),
    (decimal.Decimal, lambda value: format(value, "f")),
    (dt.datetime, _instant),
    (dt.date, dt.date.isoformat),
    (bytes, lambda value: base64.b64encode(value).decode()),
)
