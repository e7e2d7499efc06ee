"""Lines of CSV and JSON that a night leaves out, where a job allows that: each is kept, and they are counted.

Left out is what can't be read as a row of the input's columns, and what holds a value that is none of its
column's type. SQL sees the rows of the other lines, whoever asks (`TextColumns.sound_only`).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import pyarrow as pa

from nightscore.common import Broken, kept_text, value_text
from nightscore.job import Job, PathInput, rows_allowed
from nightscore.store import (
    JSON_LINES,
    Engine,
    TextColumns,
    filled_lines,
    has_key_twice,
    has_wrong,
    is_object,
    is_wrong,
    literal,
    object_terms,
    quote_identifier,
    raw_sources,
    text_lines,
    written,
)

COLUMNS = pa.schema(
    {
        "input": pa.string(),
        "file": pa.string(),
        "line": pa.int64(),
        "message": pa.string(),
        "text": pa.string(),
    }
)
TOO_LONG = "LINE SIZE OVER MAXIMUM"  # DuckDB's kind of a line that it does not read to its end


@dataclass(frozen=True)
class BadLine:
    """A line that is left out: of which input and file (as plans name it), its number, why, and its text.

    The first line is 1. Where values of a CSV file have line breaks, a line of a wrong value lies below it.
    """

    input: str
    file: str
    line: int
    message: str
    text: str


@dataclass(frozen=True)
class ReadLines:
    """A file's lines: how many there are beside a header, which are left out, and nulls of the others."""

    lines: int = 0
    bad: tuple[BadLine, ...] = ()
    nulls: Mapping[str, int] | None = None


def bad_lines_batch(lines: Sequence[BadLine]) -> pa.RecordBatch:
    """Lines as rows of COLUMNS."""
    columns = zip(*map(astuple, lines), strict=True) if lines else [()] * len(COLUMNS)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, COLUMNS, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=COLUMNS)


def refuse_too_many(job: Job, name: str, source: PathInput, read: Sequence[ReadLines]) -> None:
    """Hold the lines of an input that are left out to what the job allows.

    Raises:
        Broken: they are more; names the first.
    """
    lines, bad = sum(file.lines for file in read), [line for file in read for line in file.bad]
    allowed = int(rows_allowed(source.bad_lines or 0, lines) + 1e-9)
    if len(bad) > allowed:
        first = bad[0]
        job.raise_broken(
            ("inputs", name, "bad_lines"),
            f"{len(bad):,} of {lines:,} lines can't be read, and {source.bad_lines} allows {allowed:,}; the "
            f"first: {first.file}: line {first.line}: {first.message}: {value_text(first.text)}; nothing is "
            "published",
        )


def read_lines(engine: Engine, name: str, shown: str, path: Path, text: TextColumns) -> ReadLines:
    """The lines of a file. Ask it of an engine without other readers.

    Raises:
        Broken: an open quote takes in other lines, of which nobody knows how many they are; or the reader has
            lost lines.
    """
    [reader] = raw_sources([path], text, {}, {})
    terms = [
        "count(*)",
        _sum(f"length({value}) - length(replace({value}, chr(10), ''))" for value in _values(text)),
        f"count(*) FILTER ({has_wrong(text)})",
        *(f"count(*) FILTER ({value} IS NULL AND NOT {has_wrong(text)})" for value in _values(text)),
    ]
    [(rows, breaks, wrong, *nulls)] = engine.rows(f"SELECT {', '.join(terms)} FROM {reader}")
    found = _of_csv(engine, shown, path, text) if text.format == "csv" else _of_json(engine, path, text)
    bad = tuple(BadLine(name, shown, line, why, kept_text(said)) for line, why, said in sorted(found))
    sound = rows - wrong
    _refuse_lost(shown, path, text, sound + len(bad), int(breaks or 0))
    return ReadLines(sound + len(bad), bad, dict(zip(text.types, nulls, strict=True)))


def _values(text: TextColumns) -> list[str]:
    return [written(text, name) for name in text.types]


def _sum(terms: Iterable[str]) -> str:
    return f"sum({' + '.join(f'coalesce({term}, 0)' for term in terms)})"


def _refuse_lost(shown: str, path: Path, text: TextColumns, known: int, breaks: int) -> None:
    """Hold the lines that are known, and the breaks within their values, to those that the file has."""
    is_csv = text.format == "csv"
    header = 1 + sum(name.count("\n") for name in text.headers.get(path, ())) if is_csv else 0
    lines = empty = 0
    for line in text_lines(path, text):
        lines += 1
        empty += not line.strip()
    most = header + known + (breaks if is_csv else 0)
    if not lines - empty <= most <= lines:
        raise Broken(
            f"{shown}: has {lines:,} lines, {empty:,} of them empty, and {most:,} can be told apart: an open "
            "quote may take in others; mend the file"
        )


def _of_csv(engine: Engine, shown: str, path: Path, text: TextColumns) -> list[tuple[int, str, str]]:
    """Number, fault and text of the lines of a CSV file that DuckDB has kept apart, and of wrong values."""
    kept = engine.rows("SELECT line, error_type::VARCHAR, error_message, csv_line FROM reject_errors")
    lines: dict[int, tuple[str, str]] = {}
    for line, kind, message, raw in sorted(kept, key=lambda row: row[0]):
        said = raw.strip("\r\n")  # of lines that end in CR LF it begins with the LF of the line before
        if kind == TOO_LONG or "\n" in said:
            raise Broken(
                f"{shown}: line {line}: an open quote, or a line without an end, takes in others: nobody can "
                "say how many are left out; mend the file"
            )
        lines.setdefault(line, (message.partition("\n")[0].strip(), said))
    wrong = [(_line(row, lines), why, said) for row, why, said in _wrong(engine, path, text)]
    return [*((line, *fault) for line, fault in lines.items()), *wrong]


def _line(row: int, others: Mapping[int, object]) -> int:
    """The number of a row's line: behind the header, and behind the lines before it that are no rows."""
    line = row + 1
    for other in sorted(others):
        line += other <= line
    return line


def _wrong(engine: Engine, path: Path, text: TextColumns) -> Iterator[tuple[int, str, str]]:
    """The rows of a CSV file with a value that is none of its type: number, fault, and what they hold."""
    [reader] = raw_sources([path], text, {}, {})
    values = ", ".join(map(quote_identifier, text.types))
    yield from engine.rows(
        f'SELECT "the row", {_why(text)}, [{values}]::JSON::VARCHAR FROM '
        f'(SELECT *, row_number() OVER () AS "the row" FROM {reader}) WHERE {has_wrong(text)}'
    )


def _of_json(engine: Engine, path: Path, text: TextColumns) -> list[tuple[int, str, str]]:
    """Number, fault and text of the lines that are no JSON objects, or hold a wrong value."""
    line, row = quote_identifier("the line"), quote_identifier("the row")
    sound = is_object(line)
    why = f"WHEN {has_key_twice(line)} THEN 'a key stands twice' WHEN NOT {sound} THEN 'no JSON object'"
    lines = (
        f"SELECT json AS {line}, row_number() OVER () AS {row} "
        f"FROM read_json_objects([{literal(path)}], {JSON_LINES})"
    )
    rows = engine.rows(
        f"SELECT {row}, CASE {why} ELSE {_why(text)} END "
        f"FROM (SELECT *, {', '.join(object_terms(text, line))} FROM ({lines})) "
        f"WHERE NOT {sound} OR {has_wrong(text)}"
    )
    faults = dict(rows)
    if not faults:
        return []
    return [
        (number, faults[row], line.decode(errors="replace").rstrip("\r\n"))
        for row, (number, line) in enumerate(filled_lines(path), 1)
        if row in faults
    ]


def _why(text: TextColumns) -> str:
    """SQL for what is wrong with a row: of its first value that is none of its type."""
    cases = [
        f"WHEN {is_wrong(text, name, kind)} THEN {literal(f'column {name!r}: ')} || {written(text, name)} || "
        f"{literal(f' is no {kind}')}"
        for name, kind in text.types.items()
    ]
    return f"CASE {' '.join(cases)} ELSE 'can''t be read' END"
