"""The inputs of a case as SQL sees them: in the types of the job's contract, cut as a night cuts them."""

import datetime as dt
import difflib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from nightscore.common import Broken, clipped
from nightscore.job import Case, Input, Job, PathInput, SnapshotInput, TableInput, own_table
from nightscore.pipeline.cases.rows import CaseRows, csv_rows, infer_type, yaml_rows
from nightscore.pipeline.context import Day
from nightscore.pipeline.read.known.since import held_by
from nightscore.pipeline.read.listing import window
from nightscore.pipeline.read.parquet.types import known_types
from nightscore.store import (
    Engine,
    TextColumns,
    View,
    Within,
    is_wrong,
    quote_identifier,
    raw_sources,
    storage,
)

DAYS = ("DATE", "TIMESTAMP", "TIMESTAMP_NS", "TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ_NS")
NO_ROWS = CaseRows((), ())
UNKNOWN_COLUMN = re.compile(
    r'Binder Error.*?(?:[Cc]olumn|column named) "([^"]+)"', re.DOTALL
)  # DuckDB's words


@dataclass(frozen=True)
class CaseInput:
    """One input of a case: its rows as they are written, the types of its columns, and what SQL sees."""

    name: str
    rows: CaseRows
    view: View

    def refuse(self, number: int, column: str, message: str) -> NoReturn:
        """Raise `Broken` about the value of a column in a row."""
        raise Broken(f"{self.rows.places[number]}: inputs.{self.name}.{column}: {message}")


def case_views(day: Day, case: Case, sql: Sequence[str]) -> list[View]:
    """The inputs that the job's `sql` names, as files of its workspace, which is one for this case.

    Raises:
        Broken: a row has a column that the contract has not, or a value that is none of its type; or an input
            has no rows and no types. Names file and line.
    """
    text = "\n".join(sql)
    made = [
        _input(day.job, case, name, source)
        for name, source in day.job.spec.inputs.items()
        if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text, re.IGNORECASE)
    ]
    for one in made:
        _refuse_other_kinds(one)
    views = [one.view for one in made]
    with day.engine_of(views) as engine:
        for one in made:
            _refuse_wrong(engine, one)
    return views


def missing_column(job: Job, case: Case, views: Sequence[View], error: str) -> str:
    """What is said where DuckDB does not know a column that no row of a case names; else empty.

    `views` are the inputs that the SQL reads, `error` is the message. An input with a contract has no others.
    """
    named = UNKNOWN_COLUMN.search(error)
    columns = {
        view.name: list(view.text.types if view.text else view.columns or ())
        for view in views
        if isinstance(source := job.spec.inputs[view.name], TableInput) or not source.types
    }
    names = [name for listed in columns.values() for name in listed]
    if named is None or not columns or named[1].lower() in map(str.lower, names):
        return ""
    near = difflib.get_close_matches(named[1], names, 1, cutoff=0.75)
    likely = next((view for view in columns if near and near[0] in columns[view]), next(iter(columns)))
    place = f"{case.place(('inputs', likely))}: inputs.{likely}" if near else case.place(("inputs",))
    hint = f"; did you mean {named[1]} by {near[0]}?" if near else "."
    shown = "; ".join(f"{view}: {', '.join(listed) or 'none'}" for view, listed in columns.items())
    return (
        f"{place}: the SQL reads a column {named[1]!r}, which no row names{hint} Columns here: {shown}. Name "
        f"it in a row, or, where all are null, say its type: types: {{{likely}: {{{named[1]}: TYPE}}}}"
    )


def _input(job: Job, case: Case, name: str, source: Input | SnapshotInput) -> CaseInput:
    rows = _with_days(job, case, name, source, _rows(case, name))
    types = known_types(job.workspace, _types(case, name, source, rows))
    _refuse_nulls(name, source, rows)
    if not rows.rows:
        return CaseInput(name, rows, View(name, (), columns=types))
    place = storage.place_of(job.workspace, f"data/cases/{name}.json")
    place.replace_text("".join(_line(row, types) for row in rows.rows))
    held = held_by(source, case.spec.day) if isinstance(source, PathInput) else None
    view = View(
        name, (place.local(),), text=TextColumns("json", types, {}), up_to=(held,) if held else (),
        within=_within(job, case, name, source, types),
    )  # fmt: skip
    return CaseInput(name, rows, view)


def _within(
    job: Job, case: Case, name: str, source: Input | SnapshotInput, types: Mapping[str, str]
) -> Within | None:
    """The days of which a run sees rows; None where an input has none."""
    column = partition_of(source) or getattr(source, "day_column", None)
    if column is None:
        return None
    if types.get(column) not in DAYS:
        case.raise_broken(
            ("inputs", name),
            f"column {column!r} says of which day a row is, and is {types.get(column, 'not there')}; "
            "allowed: a DATE or a timestamp",
        )
    first, last = window(job, source, case.spec.day)
    return Within(column, types[column], first, last)


def _rows(case: Case, name: str) -> CaseRows:
    given = case.spec.inputs.get(name)
    if given is None:
        return NO_ROWS
    at = ("inputs", name)
    return csv_rows(case, at, given.csv) if given.csv else yaml_rows(case, at, given.rows)


def partition_of(source: Input | SnapshotInput) -> str | None:
    """The column in which an input has the days of its partitions."""
    if isinstance(source, TableInput):
        return "day"
    if isinstance(source, PathInput):
        return source.layout.column if source.layout else None
    return source.partition


def _with_days(job: Job, case: Case, name: str, source: Input | SnapshotInput, rows: CaseRows) -> CaseRows:
    """The rows, those without a day of a partition as rows of the case's day."""
    day = partition_of(source)
    if day is None:
        return rows
    for row, place in zip(rows.rows, rows.places, strict=True):
        if day not in row and own_table(job, source):
            raise Broken(
                f"{place}: inputs.{name}: has no day, and is a row of the job's own table, of which a run "
                f"sees the days before: say day: {case.spec.day - dt.timedelta(days=1)}"
            )
    return CaseRows([{day: case.spec.day, **row} for row in rows.rows], rows.places)


def _types(case: Case, name: str, source: Input | SnapshotInput, rows: CaseRows) -> dict[str, str]:
    """Column -> type: of the contract, of the case, or by the values."""
    is_table, day = isinstance(source, TableInput), partition_of(source)
    declared = dict(source.columns or {}) if isinstance(source, TableInput) else dict(source.types)
    said = case.spec.types.get(name, {})
    for column in said.keys() & declared.keys():
        case.raise_broken(("types", name, column), f"its type is that of job.yaml, {declared[column]}")
    types = declared | ({day: "DATE"} if day else {})
    if declared and not is_table:
        _refuse_unknown(case, name, rows, said, types)
    types |= said
    for column in rows.columns:
        if column not in types:
            types[column] = _inferred(name, column, rows)
    if not types:
        where = f"{case.place(('inputs', name))}: inputs.{name}"
        raise Broken(
            f"{where}: has no rows here and no columns in job.yaml, and the job reads it: give rows, or the "
            f"types of its columns: types: {{{name}: {{COLUMN: TYPE}}}}"
        )
    return types


def _inferred(name: str, column: str, rows: CaseRows) -> str:
    try:
        return infer_type(rows.values(column))
    except ValueError as error:
        raise Broken(
            f"{rows.places[0]}: inputs.{name}: column {column!r} {error}; say its type: "
            f"types: {{{name}: {{{column}: TYPE}}}}"
        ) from error


def _refuse_unknown(
    case: Case, name: str, rows: CaseRows, said: Mapping[str, str], types: Mapping[str, str]
) -> None:
    allowed = f"allowed by the contract in job.yaml: {', '.join(types)}"
    for column in said.keys() - types.keys():
        case.raise_broken(("types", name, column), f"is no column of the input; {allowed}")
    for row, place in zip(rows.rows, rows.places, strict=True):
        for column in row.keys() - types.keys():
            raise Broken(f"{place}: inputs.{name}: column {column!r} is none of the input; {allowed}")


def _refuse_nulls(name: str, source: Input | SnapshotInput, rows: CaseRows) -> None:
    for column in () if isinstance(source, TableInput) else source.never_null:
        for row, place in zip(rows.rows, rows.places, strict=True):
            if row.get(column) is None:
                raise Broken(f"{place}: inputs.{name}: column {column!r} has no value; it is NOT NULL")


def _line(row: Mapping[str, Any], types: Mapping[str, str]) -> str:
    return json.dumps({name: _written(row.get(name)) for name in types}) + "\n"


def _written(value: Any) -> Any:
    """A value as a text, of which DuckDB's cast loses nothing; of a list each of its items."""
    if value is None:
        return None
    if isinstance(value, list):
        return [_written(item) for item in value]
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and math.isnan(value):
        return "nan"
    return value.isoformat() if isinstance(value, dt.date) else str(value)


def _refuse_other_kinds(one: CaseInput) -> None:
    """Raise `Broken` at a value that a column can't hold, or that YAML has made of a text without quotes."""
    types = one.view.text.types if one.view.text else {}
    for number, row in enumerate(one.rows.rows):
        for column, value in row.items():
            if isinstance(value, dict):
                one.refuse(number, column, f"{clipped(value)} is no value of a column")
            if types[column] == "VARCHAR" and not isinstance(value, str | None):
                one.refuse(number, column, f"{value} is no text, and the column is VARCHAR: put it in quotes")


def _refuse_wrong(engine: Engine, one: CaseInput) -> None:
    """Raise `Broken` at the first value that is none of its column's type."""
    text = one.view.text
    if text is None:
        return
    [source] = raw_sources(one.view.files, text, {}, {})
    asked = [
        f"{is_wrong(text, column, kind)} AS {quote_identifier(column)}" for column, kind in text.types.items()
    ]
    for number, flags in enumerate(engine.rows(f"SELECT {', '.join(asked)} FROM {source}")):
        for (column, kind), is_bad in zip(text.types.items(), flags, strict=True):
            if is_bad:
                one.refuse(number, column, f"{clipped(one.rows.rows[number][column])} is no {kind}")
