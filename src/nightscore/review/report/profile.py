"""What the tables of a published day hold, beside those of the day before: shapes, counts, first rows."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nightscore.common import natural_key
from nightscore.store import Engine, EngineResources, View, is_number, quote_identifier

BINS = 50  # of a histogram, at most
LISTED_VALUES = 12  # of a column whose rows are counted by value, at most
SAMPLE, WHOLE = 10, 30  # rows of each table; one that has no more than WHOLE is shown whole
MEASURES = 3  # columns of numbers that are added up by value, of each table
NAMING = re.compile(r"(^|_)(id|key|no|code|number|rank|step)$")  # how an integer is called that is no amount
COUNTED = {"VARCHAR", "BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT"}
BEFORE = " of the day before"  # behind a table's name


@dataclass(frozen=True)
class Shape:
    """The values of one column on one day.

    `counts` are rows by bin; `quantiles` are minimum, 1 %, 50 %, 99 %, maximum and mean, None where no
    value is finite; `other` are the rows without a finite value.
    """

    rows: int
    counts: tuple[int, ...]
    quantiles: tuple[float, ...] | None
    other: int


@dataclass(frozen=True)
class Distribution:
    """A column's values on a day and on the day before, in the same bins.

    Bin i holds the values from `edges[i]` to below `edges[i + 1]`, the last one its upper edge too.
    There are no edges where both days together hold fewer than two different values.
    """

    column: str
    edges: tuple[float, ...]
    now: Shape
    before: Shape | None


@dataclass(frozen=True)
class Measure:
    """A column of numbers by the values of another: the sum of amounts, the mean of floats."""

    column: str
    how: str  # sum or mean
    format: str


@dataclass(frozen=True)
class Count:
    """The rows that have one value, and the measures of these; `before` is None without a day before."""

    value: str
    now: int
    before: int | None
    measured: tuple[Any, ...] = ()
    measured_before: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Breakdown:
    """A column's rows by value; `counts` is None where there are more than LISTED_VALUES values."""

    column: str
    counts: tuple[Count, ...] | None
    measures: tuple[Measure, ...] = ()


@dataclass(frozen=True)
class TableSample:
    """The first rows of a table, by key."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    numbers: frozenset[str]  # the columns that hold numbers


class DayProfiler:
    """The tables of two days, the second of which may not be there. A context; close it."""

    def __init__(
        self,
        now: Mapping[str, Sequence[Path]],
        before: Mapping[str, Sequence[Path]] | None,
        resources: EngineResources,
    ) -> None:
        views = [View(name, tuple(files)) for name, files in now.items()]
        views += [View(name + BEFORE, tuple(files)) for name, files in (before or {}).items()]
        self._before = frozenset(before or ())
        self._engine = Engine(views, resources)

    def __enter__(self) -> "DayProfiler":
        return self

    def __exit__(self, *_: object) -> None:
        self._engine.close()

    def rows(self, table: str) -> int:
        """How many rows a table holds of the day."""
        return int(self._engine.rows(f"SELECT count(*) FROM {quote_identifier(table)}")[0][0])

    def is_number(self, table: str, column: str) -> bool:
        """Whether a column holds numbers."""
        return is_number(self._types(table).get(column, ""))

    def distribution(self, table: str, column: str) -> Distribution | None:
        """The values of a column of numbers; None for a column of anything else."""
        if not self.is_number(table, column):
            return None
        now = self._moments(table, column)
        before = self._moments(table + BEFORE, column) if table in self._before else None
        ends = [m[1] for m in (now, before) if m and m[1]]
        edges = bin_edges(min(e[0] for e in ends), max(e[4] for e in ends)) if ends else ()
        return Distribution(
            column,
            edges,
            self._shape(table, column, now, edges),
            self._shape(table + BEFORE, column, before, edges) if before else None,
        )

    def breakdowns(self, table: str, columns: Sequence[str]) -> list[Breakdown]:
        """The rows by value of those of some columns that hold texts, integers or booleans.

        With the sums and means of the others: the first few that are amounts.
        """
        types = self._types(table)
        measures = _measures({c: types[c] for c in columns if c in types})
        found = []
        for column in columns:
            if types.get(column) in COUNTED:
                is_group = types[column] in ("VARCHAR", "BOOLEAN")  # a count of something is none
                beside = measures[:MEASURES] if is_group else []
                found.append(self._breakdown(table, column, types[column], beside))
        return found

    def columns(self, table: str) -> list[str]:
        """The columns of a table, without `run_id`."""
        return [c for c in self._types(table) if c != "run_id"]

    def sample(self, table: str, key: Sequence[str]) -> TableSample:
        """The first rows of a table, or all of a short one, by its key columns, then by all others."""
        types = {c: t for c, t in self._types(table).items() if c != "run_id"}
        order = [*(c for c in key if c in types), *(c for c in types if c not in key)]
        columns = ", ".join(map(quote_identifier, types))
        rows = self._engine.rows(
            f"SELECT {columns} FROM {quote_identifier(table)} "
            f"ORDER BY {', '.join(map(quote_identifier, order))} "
            f"LIMIT {WHOLE if self.rows(table) <= WHOLE else SAMPLE}"
        )
        numbers = frozenset(c for c, t in types.items() if is_number(t))
        return TableSample(tuple(types), tuple(rows), numbers)

    def _types(self, table: str) -> dict[str, str]:
        return self._engine.types(f"SELECT * FROM {quote_identifier(table)}")

    def _moments(self, table: str, column: str) -> tuple[int, tuple[float, ...] | None, int]:
        """Rows, quantiles and the number of finite values."""
        [(rows, finite, low, middle, high, mean)] = self._engine.rows(
            f"SELECT count(*), count(x), min(x), quantile_cont(x, [0.01, 0.5, 0.99]), max(x), avg(x) FROM "
            f"(SELECT CASE WHEN isfinite(v) THEN v END AS x "
            f"FROM (SELECT CAST({quote_identifier(column)} AS DOUBLE) AS v FROM {quote_identifier(table)}))"
        )
        return rows, (low, *middle, high, mean) if finite else None, finite

    def _shape(
        self,
        table: str,
        column: str,
        moments: tuple[int, tuple[float, ...] | None, int],
        edges: tuple[float, ...],
    ) -> Shape:
        rows, quantiles, finite = moments
        counts = [0] * max(len(edges) - 1, 0)
        if counts:
            # By division, then set right where an edge is not just where the division puts it.
            binned = self._engine.rows(
                "SELECT b - (x < $1[b + 1])::INTEGER + (b < $3 AND x >= $1[b + 2])::INTEGER AS bin, "
                "count(*) FROM (SELECT x, greatest(least(floor((x - $1[1]) / $2), $3), 0)::INTEGER AS b "
                f"FROM (SELECT CAST({quote_identifier(column)} AS DOUBLE) AS x "
                f"FROM {quote_identifier(table)}) "
                "WHERE isfinite(x)) GROUP BY bin",
                [list(edges), edges[1] - edges[0], len(counts) - 1],
            )
            for place, count in binned:
                counts[place] = count
        return Shape(rows, tuple(counts), quantiles, rows - finite)

    def _breakdown(self, table: str, column: str, kind: str, measures: Sequence[Measure]) -> Breakdown:
        has_before = table in self._before
        sides = [self._side(table, column, measures, 1)]
        sides += [self._side(table + BEFORE, column, measures, 0)] if has_before else []
        measured = "".join(
            f", {'sum' if one.how == 'sum' else 'avg'}(m{i}) FILTER (now = {is_now})"
            for is_now in (1, 0)
            for i, one in enumerate(measures)
        )
        rows = self._engine.rows(
            "SELECT v, CAST(sum(now) AS BIGINT) AS now, CAST(count(*) - sum(now) AS BIGINT) AS before"
            f"{measured} "
            f"FROM ({' UNION ALL '.join(sides)}) GROUP BY v "
            f"ORDER BY now DESC, before DESC, v NULLS LAST LIMIT {LISTED_VALUES + 1}"
        )
        if len(rows) > LISTED_VALUES:
            return Breakdown(column, None)
        if kind == "VARCHAR":  # grades from A to G, bands by their numbers
            rows.sort(key=lambda row: (row[0] is None, natural_key(row[0] or "")))
        else:
            rows.sort(key=lambda row: (row[0] is None, row[0] or 0))
        many = len(measures)
        counts = (
            Count(_named(v), now, before if has_before else None, tuple(m[:many]), tuple(m[many:]))
            for v, now, before, *m in rows
        )
        return Breakdown(column, tuple(counts), tuple(measures))

    def _side(self, table: str, column: str, measures: Sequence[Measure], is_now: int) -> str:
        """The rows of one day; a column that its table has not is null there."""
        there = self._types(table)
        named = [(column, "v"), *((one.column, f"m{i}") for i, one in enumerate(measures))]
        columns = ", ".join(
            f"{quote_identifier(name) if name in there else 'NULL'} AS {alias}" for name, alias in named
        )
        return f"SELECT {columns}, {is_now} AS now FROM {quote_identifier(table)}"

    def kind(self, table: str, column: str) -> str:
        """The type of a column, as DuckDB calls it; "" where there is none."""
        return self._types(table).get(column, "")


def bin_edges(low: float, high: float) -> tuple[float, ...]:
    """Round edges of at most BINS bins of one width that hold low and high; () where there is no width."""
    width = (high - low) / (BINS - 1)
    if not (width > 0 and math.isfinite(width)):
        return ()
    power = 10.0 ** math.floor(math.log10(width))
    step = next(power * m for m in (1, 2, 2.5, 5, 10, 20) if power * m >= width)
    start = math.floor(low / step) * step
    edges = tuple(start + i * step for i in range(math.ceil((high - start) / step) + 1))
    return edges if len(set(edges)) == len(edges) else ()  # too close together for their size


def _measures(types: Mapping[str, str]) -> list[Measure]:
    """What of a table is added up: decimals, which are amounts, else counts; and of floats the mean."""
    numbers = {column: kind for column, kind in types.items() if is_number(kind)}
    money = [Measure(c, "sum", "decimal") for c, kind in numbers.items() if kind.startswith("DECIMAL")]
    means = [Measure(c, "mean", "number") for c, kind in numbers.items() if kind in ("FLOAT", "DOUBLE")]
    whole = numbers.keys() - {one.column for one in (*money, *means)}
    counts = [Measure(c, "sum", "integer") for c in numbers if c in whole and not NAMING.search(c)]
    return [*(money or counts), *means]


def _named(value: object) -> str:
    if value is None:
        return "(empty)"
    return str(value).lower() if isinstance(value, bool) else str(value) or '""'
