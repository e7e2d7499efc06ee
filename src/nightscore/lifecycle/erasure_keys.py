"""The keys of whoever is to be erased: as they are typed, as a table's columns hold them, and in texts."""

import csv
import datetime as dt
import html
import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from nightscore.common import Broken, first_line

Texts = tuple[str, ...]  # the values of one key, in the order of its columns
Mask = Callable[[pa.RecordBatch], pa.Array]  # rows -> which of them are to go [rows], bool
ALLOWED = "a key has whole numbers, DECIMAL, DATE, text or bool"
EXACT = {pa.float32(): 1 << 24, pa.float64(): 1 << 53}  # the whole numbers that each holds, up to that
SHOWN = {
    pa.int8(): "TINYINT", pa.int16(): "SMALLINT", pa.int32(): "INTEGER", pa.int64(): "BIGINT",
    pa.string(): "VARCHAR", pa.bool_(): "BOOLEAN", pa.date32(): "DATE", pa.float64(): "DOUBLE",
}  # fmt: skip
INTEGER = re.compile(r"[+-]?[0-9]+")
WORD = re.compile(r"\w+")


class NotOfType(Broken):
    """What was typed is no value of a column's type, or no key has that type."""


@dataclass(frozen=True)
class ErasureKeys:
    """Some keys: their columns by name, in order, and of each key the values as they were typed.

    `called` says what a table calls a column otherwise: table -> key column -> its own.
    """

    columns: tuple[str, ...]
    typed: tuple[Texts, ...] = field(repr=False)
    called: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def names_in(self, table: str) -> Texts:
        """The columns of a table that are the key."""
        return tuple(self.called.get(table, {}).get(column, column) for column in self.columns)

    def matcher(self, table: str, schema: pa.Schema) -> "Matcher":
        """What finds the keys in rows of a table.

        Raises:
            NotOfType: (Broken) a value is none of its column's type, or no key is of that type.
        """
        names = self.names_in(table)
        types = [plain_type(schema.field(name).type) for name in names]
        values = []
        for at, (column, name, kind) in enumerate(zip(self.columns, names, types, strict=True)):
            values.append([_value(table, column, name, texts[at], kind) for texts in self.typed])
        arrays = tuple(pa.array(v, kind) for v, kind in zip(values, types, strict=True))
        stored = zip(*(array.to_pylist() for array in arrays), strict=True)  # 1.5 is 1.50 in DECIMAL(9, 2)
        return Matcher(names, arrays, [tuple(map(_text, key)) for key in stored])


@dataclass(frozen=True)
class Matcher:
    """The keys in the types of some columns. `texts` are the values as DuckDB writes them, a tuple a key."""

    names: Texts
    arrays: tuple[pa.Array, ...]
    texts: Sequence[Texts]

    @cached_property
    def _keys(self) -> set[tuple[Any, ...]]:
        return set(zip(*(array.to_pylist() for array in self.arrays), strict=True))

    def mask(self, rows: pa.RecordBatch) -> pa.Array:
        """Which rows have one of the keys [rows]; a null is nobody's."""
        found = None
        for name, array in zip(self.names, self.arrays, strict=True):
            same = pc.is_in(rows.column(name).cast(array.type), value_set=array)
            found = same if found is None else pc.and_(found, same)
        if len(self.names) == 1 or not pc.any(found).as_py():
            return found
        of_each = zip(*(rows.column(name).to_pylist() for name in self.names), strict=True)
        return pa.array([key in self._keys for key in of_each], pa.bool_())


@dataclass(frozen=True)
class InTexts:
    """The keys as words of texts: a key is in a text where each of its values is a word of it."""

    keys: Collection[Texts]

    @cached_property
    def _forms(self) -> list[list[tuple[str, ...]]]:
        return [[_written(value) for value in key] for key in self.keys]

    def are_in(self, text: str) -> bool:
        """Whether one of the keys is in a text."""
        words = set(WORD.findall(text))
        return any(all(_is_in(forms, text, words) for forms in key) for key in self._forms)

    def mask(self, columns: Sequence[str]) -> Mask:
        """Which rows have a key in one of some columns of texts."""

        def found(rows: pa.RecordBatch) -> pa.Array:
            lines = zip(*(rows.column(name).to_pylist() for name in columns), strict=True)
            return pa.array([self.are_in("\n".join(t or "" for t in line)) for line in lines], pa.bool_())

        return found


def read_keys(given: Mapping[str, str], file: Path | None, called: Sequence[str]) -> ErasureKeys:
    """The keys of a call: one as column -> value, or those of a CSV file whose header names the columns.

    `called` are TABLE.COLUMN=KEYCOLUMN.

    Raises:
        Broken: there is none, a value is empty, or the file can't be read.
    """
    if bool(given) == (file is not None):
        raise Broken("give one key (--key COLUMN=VALUE, once a column) or a file of keys (--keys FILE)")
    columns, rows = (list(given), [list(given.values())]) if file is None else _rows(file)
    order = sorted(range(len(columns)), key=lambda at: columns[at])
    shown = "--key" if file is None else str(file)
    for number, row in enumerate(rows, 2):
        line = "" if file is None else f" line {number}:"
        if len(row) != len(columns) or not all(value.strip() for value in row):
            raise Broken(
                f"{shown}:{line} a key has a value in each of {', '.join(columns)}; null is nobody's"
            )
    typed = tuple(dict.fromkeys(tuple(row[at] for at in order) for row in rows))
    if not typed:
        raise Broken(f"{shown}: has no key below its header")
    return ErasureKeys(tuple(columns[at] for at in order), typed, _called(called, columns))


def _rows(file: Path) -> tuple[list[str], list[list[str]]]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as text:
            header, *rows = list(csv.reader(text)) or [[]]
    except FileNotFoundError:
        raise Broken(f"--keys {file}: there is no such file") from None
    except (OSError, ValueError, csv.Error) as error:
        raise Broken(f"{file}: can't be read as CSV in UTF-8: {first_line(error)}") from error
    if not header or not all(header) or len(set(header)) < len(header):
        raise Broken(f"{file}: its first line names the key's columns, each once, such as customer_id")
    return header, [row for row in rows if row]


def _called(texts: Sequence[str], columns: Collection[str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for text in texts:
        own, equals, column = text.partition("=")
        table, dot, name = own.partition(".")
        if not (equals and dot and table and name and column in columns):
            raise Broken(
                f"--column {text!r} is not of the form TABLE.COLUMN=KEYCOLUMN, of which KEYCOLUMN is one of "
                f"{', '.join(columns)}"
            )
        found.setdefault(table, {})[column] = name
    return found


def _value(table: str, column: str, name: str, text: str, kind: pa.DataType) -> Any:
    try:
        value = _parsed(text.strip() if not pa.types.is_string(kind) else text, kind)
        pa.array([value], kind)
    except NotImplementedError:
        raise NotOfType(f"column {name!r} of table {table} is {_shown(kind)}; {ALLOWED}") from None
    except (ValueError, InvalidOperation, OverflowError, pa.ArrowException):
        raise NotOfType(
            f"{column}={text!r} is no {_shown(kind)}, which {name!r} of table {table} is"
        ) from None
    return value


def _parsed(text: str, kind: pa.DataType) -> Any:
    """`ValueError` and its like where a text is no value of a type; NotImplementedError of no key's type."""
    if pa.types.is_string(kind):
        return text
    if pa.types.is_integer(kind):
        return int(_whole(text))
    if kind in EXACT and INTEGER.fullmatch(text) and abs(int(text)) <= EXACT[kind]:
        return float(text)  # of numbers some of which are missing, as pandas has them
    if pa.types.is_decimal(kind):
        return Decimal(text)
    if pa.types.is_date32(kind):
        return dt.date.fromisoformat(text)
    if pa.types.is_boolean(kind):
        return ("false", "true").index(text.lower()) == 1
    raise NotImplementedError(kind)


def plain_type(kind: pa.DataType) -> pa.DataType:
    """A column's type as ours are: other engines have texts as views, or with a dictionary."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    return pa.binary() if pa.types.is_binary_view(kind) else kind


def _whole(text: str) -> str:
    if not INTEGER.fullmatch(text):
        raise ValueError(text)  # Python takes 1_000 and other digits, too
    return text


def _text(value: Any) -> str:
    """A value as DuckDB writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    return format(value, "f") if isinstance(value, Decimal) else str(value)


def _shown(kind: pa.DataType) -> str:
    return SHOWN.get(kind, str(kind).upper())


def _written(value: str) -> tuple[str, ...]:
    """A value as texts, SQL, JSON and pages write it."""
    texts = [value, value.replace("'", "''"), value.replace("'", r"\'")]
    as_json = [
        json.dumps(text, ensure_ascii=ascii_only)[1:-1] for text in texts for ascii_only in (True, False)
    ]
    return tuple(dict.fromkeys([*texts, *as_json, html.escape(value)]))


def _is_in(forms: Sequence[str], text: str, words: Collection[str]) -> bool:
    return any(
        form in words if WORD.fullmatch(form) else re.search(rf"(?<!\w){re.escape(form)}(?!\w)", text)
        for form in forms
    )
