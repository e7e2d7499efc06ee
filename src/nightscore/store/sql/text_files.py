"""CSV and JSON lines as SQL reads them: by the types that a job declares, and never by a guess.

Each value is read as it is written and cast by a rule of its own (`text_values`), since DuckDB would round
6.7 to an integer and take true for 1 without a word (2.0). A value that is none of its type is an error.
"""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from nightscore.store.documents.folder_columns import folder_reader
from nightscore.store.documents.sql_text import literal, quote_identifier
from nightscore.store.sql.text_values import DECIMAL, ENDLESS, FLOATS, pattern_of, whole

CSV = (
    "header = true, auto_detect = false, nullstr = '', "
    "allow_quoted_nulls = false, strict_mode = true, null_padding = false"
)
# In DuckDB 2.0.1, `ignore_errors` alone ends a file without a word at a quote that closes too early, and
# without `parallel = false` it loses lines where the file's next 32 MB begin.
SKIPPING = "ignore_errors = true, store_rejects = true, rejects_limit = 0, parallel = false"
JSON = "format = 'newline_delimited', auto_detect = false"
JSON_LINES = "format = 'newline_delimited', ignore_errors = true"  # a line that is no JSON is a null
NUMBER = re.compile(r"DECIMAL(\(.*\))?|FLOAT|DOUBLE")  # with places


@dataclass(frozen=True)
class TextColumns:
    """The columns of text files: `format` is csv or json, `types` (name -> DuckDB's own name of a type).

    `headers` are the names of a CSV file's columns in its own order. With `sound_only`, lines that can't be
    read, or hold a value that is none of its type, are no rows, and no errors. The rest is how CSV files are
    written.
    """

    format: str
    types: Mapping[str, str]
    headers: Mapping[Path, tuple[str, ...]]
    delimiter: str = ","
    quote: str = '"'
    decimal: str = "."
    encoding: str = "utf-8"
    sound_only: bool = False

    @property
    def reader(self) -> tuple[str, str, str]:
        """DuckDB's function, the type in which it gives values as they are written, and its options."""
        if self.format != "csv":
            return "read_json", "JSON", f"{JSON}, ignore_errors = false"
        errors = SKIPPING if self.sound_only else "ignore_errors = false"
        quote = literal(self.quote)
        marks = f"delim = {literal(self.delimiter)}, quote = {quote}, escape = {quote}"
        return "read_csv", "VARCHAR", f"{CSV}, {errors}, {marks}, encoding = {literal(self.encoding)}"


def text_source(
    files: Sequence[Path], text: TextColumns, folder_types: Mapping[str, str], folder_sql: Mapping[str, str]
) -> str:
    """All rows of some text files, each value of its type, for a FROM."""
    terms = [f"{typed(text, name, kind)} AS {quote_identifier(name)}" for name, kind in text.types.items()]
    terms += [quote_identifier(key) for key in folder_types]
    select = f"SELECT {', '.join(terms)} FROM "
    sound = f" WHERE NOT {has_wrong(text)}" if text.sound_only else ""
    readers = raw_sources(files, text, folder_types, folder_sql)
    return f"({' UNION ALL '.join(select + reader + sound for reader in readers)})"


def raw_sources(
    files: Sequence[Path], text: TextColumns, folder_types: Mapping[str, str], folder_sql: Mapping[str, str]
) -> list[str]:
    """The readers of some text files, each value as it is written: of CSV one for each order of columns."""
    if text.sound_only and text.format == "json":
        return [_sound_objects(files, text, folder_types, folder_sql)]
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


def _sound_objects(
    files: Sequence[Path], text: TextColumns, folder_types: Mapping[str, str], folder_sql: Mapping[str, str]
) -> str:
    """The reader of lines that are JSON objects: `read_json` gives a line that is none as a row of nulls."""
    listed = f"[{', '.join(map(literal, files))}]"
    reader = folder_reader(listed, folder_types, folder_sql, f", {JSON_LINES}", "read_json_objects")
    terms = [*object_terms(text), *map(quote_identifier, folder_types)]
    return f"(SELECT {', '.join(terms)} FROM {reader} WHERE {is_object('json')})"


def is_object(line: str) -> str:
    """SQL for whether a line of JSON is an object without a key that stands twice, of which none is meant."""
    return f"coalesce(json_type({line}) = 'OBJECT' AND NOT {has_key_twice(line)}, false)"


def has_key_twice(line: str) -> str:
    """SQL for whether a line of JSON is an object with a key that stands in it twice."""
    return f"coalesce(len(json_keys({line})) > list_unique(json_keys({line})), false)"


def object_terms(text: TextColumns, line: str = "json") -> list[str]:
    """SQL for the columns of a line of JSON, each by a JSON pointer (RFC 6901) that no key can escape."""
    pointers = {name: "/" + name.replace("~", "~0").replace("/", "~1") for name in text.types}
    return [
        f"json_extract({line}, {literal(pointer)}) AS {quote_identifier(name)}"
        for name, pointer in pointers.items()
    ]


def has_wrong(text: TextColumns) -> str:
    """SQL for whether a row has a value that is there and is none of its type.

    It asks for every value: DuckDB looks for bytes that are no UTF-8 only in those that it is asked for.
    """
    wrong = " OR ".join(is_wrong(text, name, kind) for name, kind in text.types.items())
    values = ", ".join(quote_identifier(name) for name in text.types)
    return f"({wrong} OR hash({values}) IS NULL)"


def written(text: TextColumns, name: str) -> str:
    """SQL for a value as its file has it, as text; null where it has none."""
    return _as_text(text, quote_identifier(name))


def typed(text: TextColumns, name: str, kind: str) -> str:
    """SQL for a value of its type; an error where it is none, or null where such rows are left out.

    An error would be one whenever DuckDB asks for the value before it leaves the row out.
    """
    if text.sound_only:
        return f"TRY_CAST({_castable(text, name, kind)} AS {kind})"
    value, fits, said = (
        _as_text(text, _item(text, name, kind)),
        _fits(text, _item(text, name, kind), kind),
        literal(f"no {kind}: "),
    )
    if fits is None:
        return f"CAST({_castable(text, name, kind)} AS {kind})"
    if kind.endswith("[]"):
        cast = f"CAST({_castable(text, name, kind)} AS {kind})"
        return f"CASE WHEN {value} IS NULL OR {fits} THEN {cast} ELSE error({said} || {value}) END"
    wrong = f"error({said} || {value})" if kind == "VARCHAR" else f"{said} || {value}"
    return f"CAST(CASE WHEN {value} IS NULL OR {fits} THEN {value} ELSE {wrong} END AS {kind})"


def is_wrong(text: TextColumns, name: str, kind: str) -> str:
    """SQL for whether a value is there and is none of its type."""
    item = _item(text, name, kind)
    value, fits = written(text, name), _fits(text, item, kind) or "true"
    cast = f"TRY_CAST({_castable(text, name, kind)} AS {kind})"
    return f"({value} IS NOT NULL AND ({cast} IS NULL OR NOT ({fits})))"


def unpacked(path: Path) -> pa.NativeFile:
    """The bytes of a text file, uncompressed by its name. Raises `OSError`, or pyarrow's errors."""
    packed = {".gz": "gzip", ".zst": "zstd"}.get(path.suffix.lower())
    return pa.input_stream(str(path), compression=packed)


def text_lines(path: Path, text: TextColumns, newline: str = "\n") -> Iterator[str]:
    """The lines of a file with their ends, what is none of its encoding replaced; `newline` is `open`'s."""
    with unpacked(path) as file:
        yield from io.TextIOWrapper(
            io.BufferedReader(file), encoding=text.encoding, errors="replace", newline=newline
        )


def filled_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines that are not empty, which DuckDB numbers, each with its number in the file, from 1."""
    with unpacked(path) as file:
        for number, line in enumerate(io.BufferedReader(file), 1):
            if line.strip():
                yield number, line


def _as_text(text: TextColumns, item: str) -> str:
    return item if text.format == "csv" else f"({item} ->> '$')"


def _castable(text: TextColumns, name: str, kind: str) -> str:
    """What is cast: of JSON a list as it is, all else its text."""
    is_list = kind.endswith("]") and text.format == "json"
    return quote_identifier(name) if is_list else _as_text(text, _item(text, name, kind))


def _item(text: TextColumns, name: str, kind: str) -> str:
    """SQL for a value as DuckDB casts it: a number of CSV with a point, whatever its file has instead."""
    item = quote_identifier(name)
    if text.decimal == "." or not NUMBER.fullmatch(kind):
        return item
    return f"(CASE WHEN contains({item}, '.') THEN 'a point: ' || {item} ELSE replace({item}, ',', '.') END)"


def _fits(text: TextColumns, item: str, kind: str) -> str | None:
    """SQL for whether a value, or each of a list, is written so that its cast loses nothing; None: any is."""
    if kind.endswith("[]"):
        one = f"e{kind.count('[')}"
        fits = _fits(text, one, kind[:-2])
        items = f"TRY_CAST({item} AS {'VARCHAR' if text.format == 'csv' else 'JSON'}[])"
        return fits and f"len(list_filter({items}, lambda {one}: NOT ({fits}))) = 0"
    value, pattern = _as_text(text, item), pattern_of(kind)
    terms = [f"regexp_full_match({value}, {literal(pattern)})"] if pattern else []
    if kind in FLOATS:
        finite = f"NOT isinf(TRY_CAST({value} AS {kind}))"
        terms.append(f"({finite} OR regexp_full_match({value}, {literal(ENDLESS)}))")
        is_long = f"regexp_full_match({value}, {literal(whole(kind))})"
        terms.append(f"CASE WHEN {is_long} THEN {_is_whole(value, kind)} ELSE true END")
    if text.format == "json" and kind == "VARCHAR":  # DuckDB writes 1.10 as 1.1, and 1e2 as 100.0
        terms.append(f"json_type({item}) <> 'DOUBLE'")
    if text.format == "json" and DECIMAL.fullmatch(kind):  # a number of JSON is a double, of 15 digits
        long = f"length(regexp_replace({value}, '[^0-9]', '', 'g')) > 15"
        terms.append(f"NOT (json_type({item}) = 'DOUBLE' AND {long})")
    return " AND ".join(terms) or None


def _is_whole(value: str, kind: str) -> str:
    """SQL for whether a whole number is one of a floating-point type: by its value or its shortest digits."""
    nearest = f"TRY_CAST({value} AS {kind})"
    same = f"TRY_CAST({nearest} AS HUGEINT) = TRY_CAST({value} AS HUGEINT)"
    return f"coalesce({same}, true) OR {_digits(value)} = {_digits(f'CAST({nearest} AS VARCHAR)')}"


def _digits(number: str) -> str:
    return f"trim(regexp_replace({number}, 'e.*|[^0-9]', '', 'g'), '0')"
