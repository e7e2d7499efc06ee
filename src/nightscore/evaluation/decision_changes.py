"""Decision flips: which rows of a job's decisions would be others, had another model given the scores.

The job's decide SQL runs over the published scores of a day as they are, and again with a challenger's
columns in their place. Rows are matched by the job's key where the decision table has it, else as a multiset.
A row that only one side has, or that differs in any column but floating-point ones and those the job ignores,
is a flip; of rows that came and rows that went, one for one, each pair counts once: a top ten in which one
product was replaced has one flip in ten rows.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nightscore.common.disk import SpillFolder
from nightscore.common.errors import Broken
from nightscore.job.loader import sql_file
from nightscore.job.model import CHALLENGERS
from nightscore.pipeline.context import Day
from nightscore.store.engine import Engine, Resources, SqlMistakes, View, literal, quoted
from nightscore.store.table_diff import is_key

PUBLISHED, BEFORE, AFTER = "published scores", "as published", "as the challenger decides"
FLOATS = {"FLOAT", "DOUBLE"}
VALUES = 50  # of a segment, at most


class Flips(NamedTuple):
    """Rows of a decision table, and those that flip: where `segment`, a column, is `value`, or all."""

    table: str
    segment: str
    value: str
    rows: int
    flips: int


def flips(day: Day, scores: Sequence[Path], challenger: str) -> list[Flips]:
    """The flips of a challenger on a published day, with the job's SQL and inputs as they are now.

    Raises:
        Broken: a decision can't be made any more, or a segment has too many values.
    """
    if not day.job.decide_sql:
        return []
    columns = {o: c for c, (n, o) in day.job.spec.model.challenger_columns.items() if n == challenger}
    with contextlib.closing(SpillFolder(day.temp)) as folder:
        ours = _decided(day, scores, {}, folder.path / "ours")
        theirs = _decided(day, scores, columns, folder.path / "theirs")
        pairs = {table: (ours[table], theirs[table]) for table in ours}
        return [one for table, pair in pairs.items() for one in _compared(day, scores, table, pair)]


def _decided(day: Day, scores: Sequence[Path], columns: Mapping[str, str], folder: Path) -> dict[str, Path]:
    """The decisions of a day as files; `columns` are those that stand in for some outputs."""
    folder.mkdir()
    job, found = day.job, {}
    kept = ", ".join(map(quoted, (*job.spec.key, *job.spec.keep)))
    outputs = ", ".join(f"{quoted(columns.get(o, o))} AS {quoted(o)}" for o in job.spec.model.outputs)
    with day.engine(views=[View(PUBLISHED, tuple(scores))], threads=day.sql_threads) as engine:
        engine.define("scores", f"SELECT {kept}, {outputs} FROM {quoted(PUBLISHED)}")
        engine.define(CHALLENGERS, f"SELECT * EXCLUDE (run_id) FROM {quoted(PUBLISHED)}")
        for table, sql in job.decide_sql.items():
            with SqlMistakes(sql_file(job, job.spec.decide[table])):
                found[table] = folder / f"{table}.parquet"
                with pq.ParquetWriter(found[table], engine.schema(sql)) as writer:
                    for batch in engine.stream(sql):
                        writer.write_batch(batch)
    return found


def _compared(day: Day, scores: Sequence[Path], table: str, pair: tuple[Path, Path]) -> Iterator[Flips]:
    """The flips of one table: of all of it, and of each segment's values."""
    with _beside(day, scores, pair) as engine:
        types = engine.types(f"SELECT * FROM {quoted(BEFORE)}")
        one = _Table(day, types, engine)
        yield from _counts(engine, table, "", one.select("''"))
        for segment in day.job.spec.judge.segments:
            value = one.segment(segment)
            if value is not None:
                yield from _counts(engine, table, segment, one.select(value))


@contextlib.contextmanager
def _beside(day: Day, scores: Sequence[Path], pair: tuple[Path, Path]) -> Iterator[Engine]:
    views = [View(PUBLISHED, tuple(scores)), View(BEFORE, (pair[0],)), View(AFTER, (pair[1],))]
    with day.engine(views=views) as engine:
        yield engine


def _counts(engine: Engine, table: str, segment: str, select: str) -> Iterator[Flips]:
    found = engine.rows(
        "SELECT coalesce(value, 'null'), greatest(sum(b), sum(a)), "
        "sum(changed) + greatest(sum(a) - sum(kept), sum(b) - sum(kept)) "
        f"FROM ({select}) GROUP BY value ORDER BY value"
    )
    if len(found) > VALUES:
        raise Broken(
            f"judge.segments: {segment!r} has {len(found)} values in {table}; at most {VALUES} are judged"
        )
    for value, rows, count in found or [("", 0, 0)]:
        yield Flips(table, segment, str(value) if segment else "", int(rows), int(count))


class _Table:
    """SQL about one decision table in both versions: `b`, the champion's, and `a`, the challenger's."""

    def __init__(self, day: Day, types: Mapping[str, str], engine: Engine) -> None:
        spec = day.job.spec
        self._key, self._types = [c for c in spec.key if c in types], types
        self._compared = [
            c for c, kind in types.items() if kind not in FLOATS and c not in (*spec.judge.ignore, *self._key)
        ]
        self._matched = self._key == list(spec.key) and all(
            is_key(engine, v, self._key) for v in (BEFORE, AFTER)
        )

    def segment(self, column: str) -> str | None:
        """SQL of a segment's value: the decision's own, or its key's in the scores; or None."""
        if column in self._types:
            return self._of(column) if self._matched else f"CAST({quoted(column)} AS VARCHAR)"
        return f"CAST(s.{quoted(column)} AS VARCHAR)" if self._matched else None

    def _of(self, column: str) -> str:
        return f"CAST(coalesce(b.{quoted(column)}, a.{quoted(column)}) AS VARCHAR)"

    def select(self, value: str) -> str:
        """Rows of both versions: value, b and a (1 where a side has it), kept (both have it), changed."""
        if not self._matched:
            return self._multiset(value)
        first = quoted(self._key[0])
        differs = (
            " OR ".join(f"b.{quoted(c)} IS DISTINCT FROM a.{quoted(c)}" for c in self._compared) or "false"
        )
        on = " AND ".join(f"b.{quoted(c)} = a.{quoted(c)}" for c in self._key)
        seen = " AND ".join(f"s.{quoted(c)} = coalesce(b.{quoted(c)}, a.{quoted(c)})" for c in self._key)
        b, a = (f"({side}.{first} IS NOT NULL)" for side in ("b", "a"))
        return (
            f"SELECT {value} AS value, {b}::INT AS b, {a}::INT AS a, ({b} AND {a})::INT AS kept, "
            f"({b} AND {a} AND ({differs}))::INT AS changed FROM {quoted(BEFORE)} b "
            f"FULL OUTER JOIN {quoted(AFTER)} a ON {on} LEFT JOIN {quoted(PUBLISHED)} s ON {seen}"
        )

    def _multiset(self, value: str) -> str:
        columns = ", ".join(map(quoted, [*self._key, *self._compared])) or literal("")
        every = f"{columns}, {value} AS value"
        sides = [
            f"SELECT value, {b} AS b, {a} AS a, 0 AS kept, 0 AS changed "
            f"FROM (SELECT {every} FROM {quoted(view)})"
            for view, b, a in ((BEFORE, 1, 0), (AFTER, 0, 1))
        ]
        both = f"SELECT {every} FROM {quoted(BEFORE)} INTERSECT ALL SELECT {every} FROM {quoted(AFTER)}"
        return f"{' UNION ALL '.join(sides)} UNION ALL SELECT value, 0, 0, 1, 0 FROM ({both})"


class Decisions:
    """The decision tables of two ways to compute a model, compared. A context."""

    def __init__(self, reference: Mapping[str, Path], candidate: Mapping[str, Path], resources: Resources):
        self._names = list(reference)
        sides = (("reference", reference), ("candidate", candidate))
        views = [View(f"{side} {name}", (files[name],)) for side, files in sides for name in self._names]
        self._engine = Engine(views, resources)

    def __enter__(self) -> "Decisions":
        return self

    def __exit__(self, *_: object) -> None:
        self._engine.close()

    def flips(self, columns: Mapping[str, Sequence[str]]) -> tuple[int, int]:
        """Rows that one side has and the other has not, by the larger number; and the reference's rows.

        Of each table those columns count that `columns` names, else those that hold no fraction.
        """
        changed = rows = 0
        for name in self._names:
            counted = list(columns.get(name, ())) or self._whole(name)
            chosen = ", ".join(map(quoted, counted))
            sides = [
                f"SELECT {chosen} FROM {quoted(f'{side} {name}')}" for side in ("reference", "candidate")
            ]
            lost, new = (
                self._engine.rows(f"SELECT count(*) FROM ({a} EXCEPT ALL {b})")[0][0]
                for a, b in (sides, sides[::-1])
            )
            changed += max(lost, new)
            rows += self._engine.rows(f"SELECT count(*) FROM {quoted(f'reference {name}')}")[0][0]
        return changed, rows

    def totals(self) -> float:
        """The largest relative move of the sum of a column of fractions; infinite from a sum of nothing."""
        most = 0.0
        for name in self._names:
            for column in (c for c, whole in self._columns(name) if whole is False):
                before, after = (
                    float(
                        self._engine.rows(f"SELECT coalesce(sum({quoted(column)}), 0)::DOUBLE FROM {view}")[
                            0
                        ][0]
                    )
                    for view in (quoted(f"reference {name}"), quoted(f"candidate {name}"))
                )
                if before != after:
                    most = max(most, abs(after - before) / abs(before) if before else np.inf)
        return most

    def _whole(self, name: str) -> list[str]:
        return [column for column, whole in self._columns(name) if whole]

    def _columns(self, name: str) -> list[tuple[str, bool | None]]:
        """Each column, and whether it holds no fraction; None for a list or another compound."""
        schema = self._engine.schema(f"SELECT * FROM {quoted(f'reference {name}')}")
        return [(field.name, _is_whole(field.type)) for field in schema if field.name != "run_id"]


def _is_whole(kind: pa.DataType) -> bool | None:
    if pa.types.is_nested(kind):
        return None
    fraction = pa.types.is_floating(kind) or (pa.types.is_decimal(kind) and kind.scale > 0)
    return not fraction
