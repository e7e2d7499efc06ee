"""The features that were made in parts, held to the whole query: that nothing is lost, doubled or another.

Parts are asked of DuckDB with a condition, which it takes into the job's SQL as far as it can; so parts are
as right as that is. Here the whole query is run once, without any condition: whether a row is of the part
that is compared is a column of its result, and what is filtered is filtered outside of SQL. Rows and key hash
of the whole query have to be those of all parts together, and the rows of one part its rows, value by value.

That costs the whole query once a night, on one machine, sorted and written not at all but for the one part.
It may be done while the pieces are scored; what publishes does it where nobody has.
"""

import json
import time
from collections.abc import Iterator
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


@dataclass(frozen=True)
class Compared:
    """Rows and key hash of the whole query, and the `compared` rows of the one part."""

    rows: int
    key_hash: str
    compared: int
    cpu_seconds: float


@dataclass
class _Totals:
    """Rows of the whole query, and the sums of the halves of their keys' hashes, modulo 2**64."""

    rows: int = 0
    halves: list[int] = field(default_factory=lambda: [0, 0])

    def add(self, batch: pa.RecordBatch) -> None:
        self.rows += batch.num_rows
        for i, name in enumerate((LOWER, UPPER)):
            self.halves[i] += int(np.sum(batch.column(name).to_numpy(), dtype=np.uint64))


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
    select = binding.features_select(day.job)
    snapshot = _snapshot(day)
    with day.engine(
        threads=room.threads or day.sql_threads, memory=room.memory, asked=[select], views=[snapshot]
    ) as engine, SqlMistakes(binding.features_place(day.job)):  # fmt: skip
        engine.define(WHOLE, select)
        schema = engine.schema(f"FROM {quote_identifier(WHOLE)}")
        spill(file, _mine(engine.stream(_marked(day)), totals, schema), schema)


def _snapshot(day: Day) -> View:
    """The part that is compared, by what was written when it was staged."""
    path = day.run.part(_compared(day))
    return View(PART, (sound_file(path)[0],), stored=True)


def _compared(day: Day) -> int:
    return day.plan.parts.compared if day.plan.parts else 0


def _marked(day: Day) -> str:
    """The whole query, with whether a row is of the part, and both halves of its key's hash, as columns."""
    key, mine = day.job.spec.key, within(day.plan.parts, _compared(day))
    if day.job.spec.features.asks_part:
        mine = f"h IN (SELECT {key_md5(key)} FROM {quote_identifier(PART)})"
    halves = (f"{sql} AS {quote_identifier(name)}" for sql, name in zip(HALVES, (LOWER, UPPER), strict=True))
    return (
        f"SELECT * EXCLUDE (h), coalesce({mine or 'true'}, false) AS {quote_identifier(MINE)}, "
        f"{', '.join(halves)} FROM (SELECT *, {key_md5(key)} AS h FROM {quote_identifier(WHOLE)})"
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
