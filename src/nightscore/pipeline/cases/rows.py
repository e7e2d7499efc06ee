"""The rows that a case gives, or expects: from its YAML, or from a CSV file beside it."""

import csv
import datetime as dt
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nightscore.common import Broken
from nightscore.job import Case

INTEGER, NUMBER = (
    re.compile(r"-?(0|[1-9][0-9]*)"),
    re.compile(r"-?(0|[1-9][0-9]*)[.][0-9]+([eE][+-]?[0-9]+)?"),
)
DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
WORDS = {"": None, "true": True, "false": False}
SMALL = range(-(1 << 31), 1 << 31)  # INTEGER
LARGE = range(-(1 << 63), 1 << 63)  # BIGINT
MIXED = "TIMESTAMPTZ"


@dataclass(frozen=True)
class CaseRows:
    """Rows as mappings, each with its file and line. A column that a row lacks is null in it."""

    rows: Sequence[Mapping[str, Any]]
    places: Sequence[str]

    @property
    def columns(self) -> list[str]:
        """The columns that any row names, in their order."""
        return list(dict.fromkeys(name for row in self.rows for name in row))

    def values(self, column: str) -> list[Any]:
        """The values of a column [rows]."""
        return [row.get(column) for row in self.rows]


def yaml_rows(case: Case, at: tuple[str, ...], rows: Sequence[Mapping[str, Any]]) -> CaseRows:
    """Rows that stand in the case itself, at `at`; the word `rows` need not stand there."""
    where = at if (*at, 0) in case.lines else (*at, "rows")
    return CaseRows(rows, [case.place((*where, i)) for i in range(len(rows))])


def csv_rows(case: Case, at: tuple[str, ...], name: str) -> CaseRows:
    """Rows of a CSV file beside the case; an empty field is null.

    Raises:
        Broken: it can't be read, or a line has not a value for each column.
    """
    file = case.file.parent / name
    shown = f"{case.shown.rpartition('/')[0]}/{name}"
    if file.resolve().parent != case.file.parent.resolve():
        case.raise_broken((*at, "csv"), f"{name} is a link to another folder; it has to lie beside the case")
    try:
        with file.open(encoding="utf-8", newline="") as text:
            reader = csv.DictReader(text, strict=True)
            found = [(row, f"{shown}:{reader.line_num}") for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        case.raise_broken((*at, "csv"), f"{name} can't be read: {getattr(error, 'strerror', None) or error}")
    for row, place in found:
        if None in row or None in row.values():
            raise Broken(f"{place}: has not a value for each of {', '.join(reader.fieldnames or ())}")
    rows = [{name: _read_text(value) for name, value in row.items()} for row, _ in found]
    return CaseRows(rows, [place for _, place in found])


def _read_text(text: str) -> Any:
    """A field of CSV as YAML would read it: 007 is a text."""
    if text in WORDS:
        return WORDS[text]
    if INTEGER.fullmatch(text):
        return int(text)
    if NUMBER.fullmatch(text):
        return float(text)
    try:
        return dt.date.fromisoformat(text) if DAY.fullmatch(text) else text
    except ValueError:
        return text


def infer_type(values: Sequence[Any]) -> str:
    """The DuckDB type of values that nobody has given a type.

    Raises:
        ValueError: they are of no one type, or there is none; says why.
    """
    there = [value for value in values if value is not None]
    if not there:
        raise ValueError("has no value here to tell its type by")
    if all(isinstance(value, list) for value in there):
        return f"{infer_type([item for value in there for item in value])}[]"
    found = {_type_of(value) for value in there}
    if len(found) > 1:
        for wide in (("INTEGER", "BIGINT"), ("INTEGER", "BIGINT", "DOUBLE"), ("DATE", MIXED)):
            if found <= {*wide}:
                return wide[-1]
        raise ValueError(f"has values of several types here ({', '.join(sorted(found))})")
    return found.pop()


def _type_of(value: Any) -> str:
    kinds: list[tuple[type, Callable[[Any], str]]] = [
        (bool, lambda _: "BOOLEAN"),
        (int, lambda number: "INTEGER" if number in SMALL else "BIGINT" if number in LARGE else "HUGEINT"),
        (float, lambda _: "DOUBLE"),
        (str, lambda _: "VARCHAR"),
        (dt.datetime, lambda _: MIXED),
        (dt.date, lambda _: "DATE"),
    ]
    for kind, name in kinds:
        if isinstance(value, kind):
            return name(value)
    raise ValueError(f"has {value!r}, which is no value of a column")
