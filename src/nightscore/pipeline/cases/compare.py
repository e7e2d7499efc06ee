"""What a case has made beside what is expected: rows that are missing, or too many, and values that differ.

Rows are paired by the job's key, as far as the expected rows name it, and among those of one key with the row
that is most alike. So no key has to be said of a decision table.
"""

import datetime as dt
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pyarrow as pa

from nightscore.common import key_text
from nightscore.job import Case, Job, Wanted, expected_tables
from nightscore.pipeline.cases.night import NOT_ASKED, Made
from nightscore.pipeline.cases.rows import CaseRows, csv_rows, yaml_rows
from nightscore.store import AuditResult

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Difference:
    """One thing that is not as expected. `row` is a key, or what tells a row; `place` is file and line."""

    place: str
    table: str
    row: str
    column: str
    expected: str
    actual: str


def find_differences(job: Job, case: Case, made: Made) -> list[Difference]:
    """All that is not as a case expects it.

    Raises:
        Broken: the case expects a column that a table has not, or two rows that are alike.
    """
    named = expected_tables(job)
    found = [
        difference
        for table, wanted in case.spec.expect.items()
        for difference in _of_table(job, case, table, wanted, made.tables[named[table] or table])
    ]
    return [*found, *_of_audits(case, made.audits)]


def _of_table(job: Job, case: Case, table: str, wanted: Wanted, actual: pa.Table) -> Iterator[Difference]:
    at = ("expect", table)
    if wanted.count is not None and wanted.count != actual.num_rows:
        count, place = f"{wanted.count:,} rows", case.place((*at, "count"))
        yield Difference(place, table, "", "", count, f"{actual.num_rows:,} rows")
    rows = _expected(case, at, wanted)
    if rows is None:
        return
    for name in rows.columns:
        if name not in actual.column_names:
            case.raise_broken(at, f"has no column {name!r}; its columns: {', '.join(actual.column_names)}")
    yield from _of_rows(_Comparison(job, case, table, rows, actual.to_pylist(), wanted.some is None))


def _expected(case: Case, at: tuple[str, str], wanted: Wanted) -> CaseRows | None:
    if wanted.csv:
        return csv_rows(case, at, wanted.csv)
    if wanted.some is not None:
        return yaml_rows(case, (*at, "some"), wanted.some)
    return None if wanted.rows is None else yaml_rows(case, at, wanted.rows)


@dataclass(frozen=True)
class _Comparison:
    """Expected rows beside the rows of a table; `exactly` these, or these among others."""

    job: Job
    case: Case
    table: str
    wanted: CaseRows
    actual: Sequence[Row]
    exactly: bool

    @property
    def key(self) -> list[str]:
        """The columns of the job's key that each expected row names."""
        return [name for name in self.job.spec.key if all(name in row for row in self.wanted.rows)]

    def differing(self, number: int, row: Row) -> list[str]:
        """The columns in which a row is not the expected one; those that it does not name do not count."""
        wanted, tolerance = self.wanted.rows[number], self.case.spec.tolerance
        return [name for name, value in wanted.items() if not is_alike(value, row[name], tolerance)]

    def shown(self, row: Row) -> str:
        """A row as it is told from others: by the key, or by the columns that are expected."""
        names = [name for name in self.job.spec.key if name in row] or [
            name for name in self.wanted.columns or row if name in row
        ]
        return key_text(names, [shown(row[name]) for name in names])


def _of_rows(one: _Comparison) -> Iterator[Difference]:
    pairs, missing, extra = _paired(one)
    for number, row in pairs:
        for name in one.differing(number, row):
            value = one.wanted.rows[number][name]
            place = one.wanted.places[number]
            yield Difference(place, one.table, one.shown(row), name, shown(value), shown(row[name]))
    for number in missing:
        row = one.wanted.rows[number]
        place = one.wanted.places[number]
        yield Difference(place, one.table, one.shown(row), "", _all_values(row), "no such row")
    for row in extra if one.exactly else ():
        seen = {name: row[name] for name in one.wanted.columns or row}
        place = one.case.place(("expect", one.table))
        yield Difference(place, one.table, one.shown(row), "", "no such row", _all_values(seen))


def _paired(one: _Comparison) -> tuple[list[tuple[int, Row]], list[int], list[Row]]:
    """Expected rows, by number, each with its row; those that have none; and the rows that are left."""
    found: dict[int, int] = {}
    taken: set[int] = set()
    for numbers, candidates in _grouped(one):
        apart = [(len(one.differing(n, one.actual[i])), n, i) for n in numbers for i in candidates]
        for differing, number, i in sorted(apart):
            nothing_alike = not one.key and 0 < differing == len(one.wanted.rows[number])
            if number not in found and i not in taken and not nothing_alike:
                found[number] = i
                taken.add(i)
    missing = [number for number in range(len(one.wanted.rows)) if number not in found]
    left = [row for i, row in enumerate(one.actual) if i not in taken]
    return [(number, one.actual[found[number]]) for number in sorted(found)], missing, left


def _grouped(one: _Comparison) -> list[tuple[list[int], list[int]]]:
    """The numbers of expected rows with one key, and those of the rows that have it."""
    tolerance = one.case.spec.tolerance
    found: list[tuple[Row, list[int], list[int]]] = []
    for number, row in enumerate(one.wanted.rows):
        same = next((known for key, known, _ in found if all(key[n] == row[n] for n in one.key)), None)
        if same is None:
            found.append((row, [number], []))
        else:
            same.append(number)
    for i, row in enumerate(one.actual):
        for key, _, rows in found:
            if all(is_alike(key[name], row[name], tolerance) for name in one.key):
                rows.append(i)
                break
    return [(numbers, rows) for _, numbers, rows in found]


def is_alike(expected: Any, actual: Any, tolerance: float) -> bool:
    """Whether a value of a table is the one that a person has written.

    Floats may be off by the tolerance, relative to their size above 1; whole numbers, of any width, and
    decimals are the same; null is null alone, NaN is NaN. A date or a moment (UTC where it says no
    other) may be written as a text.
    """
    if expected is None or actual is None:
        return expected is actual
    if isinstance(expected, list) and isinstance(actual, list):
        both = zip(expected, actual, strict=False)
        return len(expected) == len(actual) and all(is_alike(a, b, tolerance) for a, b in both)
    if isinstance(expected, int | float) and isinstance(actual, int | float | Decimal):
        return _is_near(expected, actual, tolerance)
    if isinstance(actual, dt.datetime):
        return _moment(expected) == _moment(actual)
    if isinstance(actual, dt.date):
        return not isinstance(expected, dt.datetime) and str(expected) == actual.isoformat()
    return type(expected) is type(actual) and bool(expected == actual)


def _is_near(expected: float, actual: float | Decimal, tolerance: float) -> bool:
    if isinstance(expected, bool) or isinstance(actual, bool):  # true is no 1
        return expected is actual
    if not isinstance(actual, float):  # a decimal, as HUGEINT is one in Arrow, or an integer
        return Decimal(str(expected)) == actual
    a, b = float(expected), actual
    if math.isnan(a) or math.isnan(b) or math.isinf(a) or math.isinf(b):
        return a == b or (math.isnan(a) and math.isnan(b))
    return abs(a - b) <= tolerance * max(1.0, abs(a))


def _moment(value: Any) -> dt.datetime | None:
    try:
        moment = value if isinstance(value, dt.datetime) else dt.datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)


def shown(value: Any) -> str:
    """A value as YAML would have it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(shown, value))}]"
    return value.isoformat() if isinstance(value, dt.date) else str(value)


def _all_values(row: Row) -> str:
    return ", ".join(f"{name}={shown(value)}" for name, value in row.items())


def _of_audits(case: Case, results: Sequence[AuditResult]) -> Iterator[Difference]:
    """Audits that do not say what they should; of those that are not named, the ones of severity `fail`."""
    for result in results:
        default = "passes" if result.severity == "fail" else "any"
        expected = case.spec.audits.get(result.name, default)
        actual = "passes" if result.passed else "fails"
        if result.detail == NOT_ASKED and result.name not in case.spec.audits:
            continue
        if expected not in ("any", actual):
            place = case.place(("audits", result.name))
            said = f"{actual}: {result.detail}" if result.detail else actual
            yield Difference(place, "audits", result.name, "", expected, said)
