"""The features that were made in parts, held to the whole query: that nothing is lost, doubled or another.

Parts are asked of DuckDB with a condition, which it takes into the job's SQL as far as it can; so parts are
as right as that is. Here the whole query is run once, without any condition: whether a row is of the part
that is compared is a column of its result, and what is filtered is filtered outside of SQL. Rows and key hash
of the whole query have to be those of all parts together, and the rows of one part its rows, value by value.
So have the values of all: by the sum of a hash of each row, and where that differs, row by row.

That costs the whole query once a night, on one machine, sorted and written not at all but for the one part.
It may be done while the pieces are scored; what publishes does it where nobody has.
"""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from nightscore.common import Broken, key_text
from nightscore.job import Job
from nightscore.pipeline import binding
from nightscore.pipeline.context import Day
from nightscore.pipeline.parts import ALL_ROOM, PART, WHOLE, Room, within
from nightscore.pipeline.publish.reconcile import EXAMPLES, HALVES, ControlTotals, key_hash_text, key_md5
from nightscore.store import (
    Engine,
    PartsResult,
    Plan,
    SpillFolder,
    SqlMistakes,
    View,
    quote_identifier,
    sound_file,
    spill,
)

MINE, LOWER, UPPER = "is of the part", "lower half", "upper half"  # columns that no job's SQL gives
VALUES = "hash of the row"
PARTS = "all parts"  # a name that no job's SQL can have


@dataclass(frozen=True)
class Compared:
    """Rows and key hash of the whole query, and the `compared` rows of the one part."""

    rows: int
    key_hash: str
    compared: int
    cpu_seconds: float


@dataclass
class _Totals:
    """Rows of the whole query; the sums of the halves of their keys' hashes, and of the rows' own hashes.

    Sums are modulo 2**64. `of_parts` is that of the rows of all parts' snapshots.
    """

    rows: int = 0
    halves: list[int] = field(default_factory=lambda: [0, 0])
    values: int = 0
    of_parts: int = 0

    def add(self, batch: pa.RecordBatch) -> None:
        self.rows += batch.num_rows
        for i, name in enumerate((LOWER, UPPER)):
            self.halves[i] += _sum(batch, name)
        self.values = (self.values + _sum(batch, VALUES)) % 2**64


def _sum(batch: pa.RecordBatch, name: str) -> int:
    return int(np.sum(batch.column(name).to_numpy(), dtype=np.uint64))


def compare_part(job: Job, plan: Plan, room: Room = ALL_ROOM) -> Compared:
    """Hold one part of a run's features to the whole query; what came of it is kept in the run's folder.

    Raises:
        Broken: a row is in one of them only, or another; the SQL fails.
        NotYet: the job or an input has changed since the plan was made, or a library is of another version.
    """
    day = Day(job, plan)
    day.refuse_changed_job()
    day.refuse_other_versions()
    if day.run.compared.exists():
        return Compared(**json.loads(day.run.compared.read_text()))
    with day.run.in_use(), day.steady_inputs():
        cpu, totals, folder = time.process_time(), _Totals(), SpillFolder(day.temp)
        try:
            file = folder.path / "of the whole query" / "rows.parquet"
            _keep_part(day, totals, file, room)
            rows = _compare(day, file, room)
            _hold_values(day, totals, room)
        finally:
            folder.close()
        found = Compared(
            totals.rows, key_hash_text(*totals.halves), rows, round(time.process_time() - cpu, 3)
        )
        kept = day.run.compared.create_text(json.dumps(found.__dict__))
    return Compared(**json.loads(kept))


def prove_parts(day: Day, proof: ControlTotals) -> PartsResult | None:
    """Hold the parts to the whole query. None where the features were not made in parts.

    Raises:
        Broken: a row of the whole query is in no part, or one is in two, or a row is another.
    """
    parts = day.plan.parts
    if parts is None:
        return None
    found = compare_part(day.job, day.plan)
    if (found.rows, found.key_hash) != (proof.read, proof.in_):
        raise Broken(
            f"{binding.features_place(day.job)}: the whole query gives {found.rows:,} rows on "
            f"{day.plan.day}, its {parts.parts:,} parts {proof.read:,} (key hashes {found.key_hash}, "
            f"{proof.in_}): {_why(day)}; nothing is published"
        )
    return PartsResult(
        parts=parts.parts, split_by=parts.split_by, compared=parts.compared, rows=found.compared,
        cpu_seconds=found.cpu_seconds,
    )  # fmt: skip


def _why(day: Day) -> str:
    if day.job.spec.features.asks_part:
        return (
            "with getvariable('part') from 0 to getvariable('parts') - 1 each row has to come once, and with "
            "0 of 1 all have to"
        )
    return "rows were lost, doubled or changed"


def _keep_part(day: Day, totals: _Totals, file: Path, room: Room) -> None:
    """Run the whole query; write those of its rows that are of the part, and add up all."""
    with _whole(day, room, _snapshot(day), _all_parts(day)) as engine:
        schema = engine.schema(f"FROM {quote_identifier(WHOLE)}")
        values = _row_hash(_as_stored(engine))
        spill(file, _mine(engine.stream(_marked(day, values)), totals, schema), schema)
        [(found,)] = engine.rows(
            f"SELECT coalesce(sum({values}), 0) % {2**64} FROM {quote_identifier(PARTS)}"
        )
    totals.of_parts = int(found)


@contextmanager
def _whole(day: Day, room: Room, *views: View) -> Iterator[Engine]:
    """An engine that has the whole query as a view, beside the day's inputs and `views`."""
    select, threads = binding.features_select(day.job), room.threads or day.sql_threads
    with day.engine(threads=threads, memory=room.memory, asked=[select], views=views) as engine:
        with SqlMistakes(binding.features_place(day.job)):
            engine.define(WHOLE, select)
            yield engine


def _hold_values(day: Day, totals: _Totals, room: Room) -> None:
    """Hold the rows of all parts to those of the whole query, where their hashes say that some are others.

    Rows whose key is in one of them alone are told by the key hash (`prove_parts`).

    Raises:
        Broken: a row has another value in its part; names some of them.
    """
    if totals.values == totals.of_parts:
        return
    with _whole(day, room, _all_parts(day)) as engine:
        columns = ", ".join(f"{sql} AS {quote_identifier(name)}" for name, sql in _as_stored(engine).items())
        parts, whole = (f"SELECT {columns} FROM {quote_identifier(name)}" for name in (PARTS, WHOLE))
        keys = _examples(engine, day.job, f"FROM ({parts} EXCEPT ALL {whole}) {_known_keys(day)}")
    if keys:
        raise Broken(
            f"{binding.features_place(day.job)}: rows of the features of {day.plan.day} have other values in "
            f"their parts than in the whole query: {', '.join(keys)}; {_why(day)}, with the same values; "
            "nothing is published"
        )


def _known_keys(day: Day) -> str:
    """A condition, as SQL: that the key is one of the whole query. The others are told by the key hash."""
    key = ", ".join(map(quote_identifier, day.job.spec.key))
    return f"SEMI JOIN (SELECT {key} FROM {quote_identifier(WHOLE)}) USING ({key})"


def _as_stored(engine: Engine) -> dict[str, str]:
    """SQL for each column of the features in the type in which snapshots have it, for either side."""
    types = engine.types(f"FROM {quote_identifier(PARTS)}")
    return {name: f"CAST({quote_identifier(name)} AS {kind})" for name, kind in types.items()}


def _row_hash(stored: Mapping[str, str]) -> str:
    """SQL for a hash of a row's values, the same for equal ones; it is compared in one process alone."""
    return f"hash({', '.join(stored.values())})"


def _all_parts(day: Day) -> View:
    """The snapshots of all parts, by what was written when they were staged."""
    paths = [day.run.part(number) for number in range(day.plan.parts.parts if day.plan.parts else 0)]
    return View(PARTS, tuple(sound_file(path)[0] for path in paths), stored=True)


def _snapshot(day: Day) -> View:
    """The part that is compared, by what was written when it was staged."""
    path = day.run.part(_compared(day))
    return View(PART, (sound_file(path)[0],), stored=True)


def _compared(day: Day) -> int:
    return day.plan.parts.compared if day.plan.parts else 0


def _marked(day: Day, values: str) -> str:
    """The whole query, with whether a row is of the part, both halves of its key's hash, and its own hash."""
    key, mine = day.job.spec.key, within(day.plan.parts, _compared(day))
    if day.job.spec.features.asks_part:
        mine = f"h IN (SELECT {key_md5(key)} FROM {quote_identifier(PART)})"
    halves = (f"{sql} AS {quote_identifier(name)}" for sql, name in zip(HALVES, (LOWER, UPPER), strict=True))
    return (
        f"SELECT * EXCLUDE (h), coalesce({mine or 'true'}, false) AS {quote_identifier(MINE)}, "
        f"{', '.join(halves)}, {values} AS {quote_identifier(VALUES)} "
        f"FROM (SELECT *, {key_md5(key)} AS h FROM {quote_identifier(WHOLE)})"
    )


def _mine(batches: Iterator[pa.RecordBatch], totals: _Totals, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        totals.add(batch)
        kept = batch.filter(batch.column(MINE))
        if kept.num_rows:
            yield pa.RecordBatch.from_arrays([kept.column(i) for i in range(len(schema))], schema=schema)


def _compare(day: Day, file: Path, room: Room) -> int:
    """The rows of the part, each of which the whole query gives, too, and no other."""
    views = [_snapshot(day), View(WHOLE, (file,), stored=True)]
    part, whole = quote_identifier(PART), quote_identifier(WHOLE)
    with Engine(views, day.resources(room.memory, room.threads)) as engine:
        only = {
            "only in the part": _examples(engine, day.job, f"FROM {part} EXCEPT ALL FROM {whole}"),
            "only in the whole query": _examples(engine, day.job, f"FROM {whole} EXCEPT ALL FROM {part}"),
        }
        [(rows,)] = engine.rows(f"SELECT count(*) FROM {part}")
    if any(only.values()):
        found = "; ".join(f"{where}: {', '.join(keys)}" for where, keys in only.items() if keys)
        raise Broken(
            f"{binding.features_place(day.job)}: part {_compared(day)} of the features of {day.plan.day} has "
            f"other rows than the whole query has of it: {found}; {_why(day)}; nothing is published"
        )
    return int(rows)


def _examples(engine: Engine, job: Job, select: str) -> list[str]:
    """The keys of some of the rows of a SELECT."""
    names = ", ".join(map(quote_identifier, job.spec.key))
    rows = engine.rows(f"SELECT {names} FROM ({select}) ORDER BY {names} LIMIT {EXAMPLES}")
    return [key_text(job.spec.key, row) for row in rows]
