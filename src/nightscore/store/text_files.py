"""CSV and JSON lines as SQL reads them: by the types that a job declares, and never by a guess.

Each value is read as it is written and cast by a rule of its own, since DuckDB would round 6.7 to an integer
and take true for 1 without a word (2.0). A value that is none of its type is an error.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nightscore.store.folder_columns import folder_reader
from nightscore.store.sql_text import literal, quote_identifier

CSV = (
    "header = true, auto_detect = false, nullstr = '', "
    "allow_quoted_nulls = false, strict_mode = true, null_padding = false, ignore_errors = false"
)
JSON = "format = 'newline_delimited', auto_detect = false, ignore_errors = false"
INTEGER = re.compile(r"(U?(TINY|SMALL|BIG|HUGE)?INT|U?INTEGER)", re.IGNORECASE)
DECIMAL = re.compile(r"(?:DECIMAL|NUMERIC)(?:\((\d+)(?:, ?(\d+))?\))?", re.IGNORECASE)
NUMBER = re.compile(r"(DECIMAL|NUMERIC)(\(.*\))?|FLOAT[48]?|REAL|DOUBLE", re.IGNORECASE)  # with places


@dataclass(frozen=True)
class TextColumns:
    """The columns of text files: `format` is csv or json, `types` (name -> DuckDB type) as they are declared.

    `headers` are the names of a CSV file's columns in its own order. The rest is how CSV files are written.
    """

    format: str
    types: Mapping[str, str]
    headers: Mapping[Path, tuple[str, ...]]
    delimiter: str = ","
    quote: str = '"'
    decimal: str = "."
    encoding: str = "utf-8"

    @property
    def reader(self) -> tuple[str, str, str]:
        """DuckDB's function, the type in which it gives values as they are written, and its options."""
        if self.format != "csv":
            return "read_json", "JSON", JSON
        quote = literal(self.quote)
        marks = f"delim = {literal(self.delimiter)}, quote = {quote}, escape = {quote}"
        return "read_csv", "VARCHAR", f"{CSV}, {marks}, encoding = {literal(self.encoding)}"


def text_source(
    files: Sequence[Path], text: TextColumns, folder_types: Mapping[str, str], folder_sql: Mapping[str, str]
) -> str:
    """All rows of some text files, each value of its type, for a FROM."""
    terms = [f"{typed(text, name, kind)} AS {quote_identifier(name)}" for name, kind in text.types.items()]
    terms += [quote_identifier(key) for key in folder_types]
    select = f"SELECT {', '.join(terms)} FROM "
    readers = raw_sources(files, text, folder_types, folder_sql)
    return f"({' UNION ALL '.join(select + reader for reader in readers)})"


def raw_sources(
    files: Sequence[Path], text: TextColumns, folder_types: Mapping[str, str], folder_sql: Mapping[str, str]
) -> list[str]:
    """The readers of some text files, each value as it is written: of CSV one for each order of columns."""
    groups: dict[tuple[str, ...], list[Path]] = {}
    for file in files:
        groups.setdefault(text.headers.get(file) or tuple(text.types), []).append(file)
    function, kind, options = text.reader
    found = []
    for names, group in groups.items():
        columns = ", ".join(f"{literal(name)}: '{kind}'" for name in names)
        listed = f"[{', '.join(map(literal, group))}]"
        more = f", columns = {{{columns}}}, {options}"
        found.append(folder_reader(listed, folder_types, folder_sql, more, function))
    return found


def written(text: TextColumns, name: str) -> str:
    """SQL for a value as its file has it, as text; null where it has none."""
    column = quote_identifier(name)
    return column if text.format == "csv" else f"({column} ->> '$')"


def typed(text: TextColumns, name: str, kind: str) -> str:
    """SQL for a value of its type; an error where it is none."""
    value = _plain(text, name, kind)
    if _is_list(text, kind):
        return f"CAST({quote_identifier(name)} AS {kind})"
    said = literal(f"no {kind}: ")
    fitting = f"CASE WHEN {_fits(text, name, kind)} THEN {value} ELSE {said} || {value} END"
    return f"CAST({fitting} AS {kind})" if _pattern(kind) else f"CAST({value} AS {kind})"


def is_wrong(text: TextColumns, name: str, kind: str) -> str:
    """SQL for whether a value is there and is none of its type."""
    value = _plain(text, name, kind)
    cast = f"TRY_CAST({quote_identifier(name) if _is_list(text, kind) else value} AS {kind})"
    return f"({value} IS NOT NULL AND ({cast} IS NULL OR NOT ({_fits(text, name, kind)})))"


def _plain(text: TextColumns, name: str, kind: str) -> str:
    """SQL for a value as DuckDB casts it: a number with a point, whatever its file has instead."""
    value = written(text, name)
    if text.decimal == "." or not NUMBER.fullmatch(kind):
        return value
    return f"CASE WHEN contains({value}, '.') THEN 'a point: ' || {value} ELSE replace({value}, ',', '.') END"


def _is_list(text: TextColumns, kind: str) -> bool:
    return kind.endswith("]") and text.format == "json"


def _fits(text: TextColumns, name: str, kind: str) -> str:
    """SQL for whether a value is written so that its cast loses nothing."""
    value, pattern = _plain(text, name, kind), _pattern(kind)
    if pattern is None:
        return "true"
    fits = f"regexp_full_match({value}, {literal(pattern)})"
    if text.format == "json" and DECIMAL.fullmatch(kind):  # a number of JSON is a double, of 15 digits
        is_double = f"json_type({quote_identifier(name)}) = 'DOUBLE'"
        fits += f" AND NOT ({is_double} AND length(regexp_replace({value}, '[^0-9]', '', 'g')) > 15)"
    return fits


def _pattern(kind: str) -> str | None:
    """What a value has to look like where DuckDB would cast others, with a loss; None where it would not."""
    if INTEGER.fullmatch(kind):
        return "[+-]?[0-9]+"
    if kind.upper() == "DATE":
        return "[0-9]{4}-[0-9]{2}-[0-9]{2}"
    if kind.upper() in ("BOOLEAN", "BOOL"):
        return "(?i)true|false|t|f|1|0"
    if found := DECIMAL.fullmatch(kind):
        places = int(found[2] or (0 if found[1] else 3))
        return rf"[+-]?[0-9]*([.][0-9]{{0,{places}}}0*)?"
    return None
