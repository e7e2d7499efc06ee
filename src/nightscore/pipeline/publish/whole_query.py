"""The features that were made in parts, held to the whole query: that nothing is lost, doubled or another.

Parts are asked of DuckDB with a condition, which it takes into the job's SQL as far as it can; so parts are
as right as that is. Here the whole query is run once, without any condition: whether a row is of the part
that is compared is a column of its result, and what is filtered is filtered outside of SQL. Rows and key hash
of the whole query have to be those of all parts together, the sum of a hash of each row's values too, and the
rows of one part its rows, value by value.

That costs the whole query once a night, on one machine, sorted and written not at all but for the one part.
It may be done while the pieces are scored; what publishes does it where nobody has.
"""

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
    sealed,
    sound_file,
    spill,
    unsealed,
)

# Columns that no job's SQL gives.
MINE, LOWER, UPPER, VALUES = "is of the part", "lower half", "upper half", "hash of all values"


@dataclass(frozen=True)
class Compared:
    """Rows and key hash of the whole query, and the `compared` rows of the one part."""

    rows: int
    key_hash: str
    compared: int
    cpu_seconds: float


@dataclass
class _Totals:
    """Rows of the whole query, and the sums of the halves of their keys' hashes, and of their values' hashes.

    Sums are modulo 2**64. `hashed` are the columns whose values are.
    """

    rows: int = 0
    halves: list[int] = field(default_factory=lambda: [0, 0])
    values: int = 0
    hashed: list[str] = field(default_factory=list)

    def add(self, batch: pa.RecordBatch) -> None:
        self.rows += batch.num_rows
        for i, name in enumerate((LOWER, UPPER)):
            self.halves[i] += _sum(batch.column(name))
        self.values = (self.values + _sum(batch.column(VALUES))) % 2**64


def _sum(hashes: pa.Array) -> int:
    return int(np.sum(hashes.to_numpy(), dtype=np.uint64))


def compare_part(job: Job, plan: Plan, room: Room = ALL_ROOM) -> Compared:
    """Hold the parts of a run's features to the whole query; what came of it is kept in the run's folder.

    Raises:
        Broken: a row is in one of them only, or another; the SQL fails.
        NotYet: the job or an input has changed since the plan was made, or a library is of another version.
    """
    day = Day(job, plan)
    day.refuse_changed_job()
    day.refuse_other_versions()
    if found := _read_compared(day):
        return found
    with day.run.in_use(), day.steady_inputs():
        cpu, totals, folder = time.process_time(), _Totals(), SpillFolder(day.temp)
        try:
            file = folder.path / "of the whole query" / "rows.parquet"
            one = [_compared(day)]
            _keep(day, totals, file, room, _mine(day))
            rows = _compare(day, file, room, one)
            _refuse_other_values(day, totals, folder, room)
        finally:
            folder.close()
        found = Compared(
            totals.rows, key_hash_text(*totals.halves), rows, round(time.process_time() - cpu, 3)
        )
        # Not created once: one that can't be read is made again, and two say the same but for the seconds.
        day.run.compared.replace_text(sealed(found.__dict__, plan.run_id))
    return found


def _read_compared(day: Day) -> Compared | None:
    """What came of an earlier comparison; None where there was none, or its record is damaged."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        return Compared(**unsealed(day.run.compared.read_text(), day.plan.run_id))
    return None


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


def _keep(day: Day, totals: _Totals, file: Path, room: Room, mine: str) -> None:
    """Run the whole query; write those of its rows for which `mine` is true, and add up all."""
    select = binding.features_select(day.job)
    snapshot = _snapshots(day, [_compared(day)])
    with day.engine(
        threads=room.threads or day.sql_threads, memory=room.memory, asked=[select], views=[snapshot]
    ) as engine, SqlMistakes(binding.features_place(day.job)):  # fmt: skip
        engine.define(WHOLE, select)
        whole = f"FROM {quote_identifier(WHOLE)}"
        values = _values(engine.types(whole), engine.types(f"FROM {quote_identifier(PART)}"))
        totals.hashed, schema = list(values), engine.schema(whole)
        marked = _marked(day, mine, _hash(values.values()))
        spill(file, _kept(engine.stream(marked), totals, schema), schema)


def _snapshots(day: Day, numbers: Sequence[int]) -> View:
    """Some parts, by what was written when they were staged."""
    return View(PART, tuple(sound_file(day.run.part(number))[0] for number in numbers), stored=True)


def _compared(day: Day) -> int:
    return day.plan.parts.compared if day.plan.parts else 0


def _values(whole: Mapping[str, str], stored: Mapping[str, str]) -> dict[str, str]:
    """SQL for the columns of the whole query whose values hash to what they hash to as they are stored.

    One that is stored as another type is none of them, but for an enumeration, which is stored as text.
    """
    alike = {name: quote_identifier(name) for name, kind in whole.items() if kind == stored.get(name)}
    texts = {
        name: f"CAST({quote_identifier(name)} AS VARCHAR)"
        for name, kind in whole.items() if kind.startswith("ENUM") and stored.get(name) == "VARCHAR"
    }  # fmt: skip
    return alike | texts


def _hash(values: Iterable[str]) -> str:
    return f"hash({', '.join(['0', *values])})"


def _mine(day: Day) -> str:
    """SQL for whether a row of the whole query, whose key's md5 is h, is of the part that is compared."""
    if day.job.spec.features.asks_part:
        return f"h IN (SELECT {key_md5(day.job.spec.key)} FROM {quote_identifier(PART)})"
    return within(day.plan.parts, _compared(day)) or "true"


def _marked(day: Day, mine: str, values: str) -> str:
    """The whole query; beside its columns whether a row is to be kept, and hashes of its key and values."""
    halves = (f"{sql} AS {quote_identifier(name)}" for sql, name in zip(HALVES, (LOWER, UPPER), strict=True))
    return (
        f"SELECT * EXCLUDE (h), coalesce({mine}, false) AS {quote_identifier(MINE)}, {', '.join(halves)}, "
        f"{values} AS {quote_identifier(VALUES)} "
        f"FROM (SELECT *, {key_md5(day.job.spec.key)} AS h FROM {quote_identifier(WHOLE)})"
    )


def _kept(batches: Iterator[pa.RecordBatch], totals: _Totals, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        totals.add(batch)
        kept = batch.filter(batch.column(MINE))
        if kept.num_rows:
            yield pa.RecordBatch.from_arrays([kept.column(i) for i in range(len(schema))], schema=schema)


def _refuse_other_values(day: Day, totals: _Totals, folder: SpillFolder, room: Room) -> None:
    """Hold the values of all parts together to those of the whole query, by the sum of a hash of each row.

    That there are as many rows is told by `prove_parts`.
    """
    every = range(day.plan.parts.parts if day.plan.parts else 0)
    with Engine([_snapshots(day, every)], day.resources(room.memory, room.threads)) as engine:
        hashed = _hash(map(quote_identifier, totals.hashed))
        [(rows, values)] = engine.rows(
            f"SELECT count(*), coalesce(sum({hashed}), 0) FROM {quote_identifier(PART)}"
        )
    if rows == totals.rows and int(values) % 2**64 != totals.values:
        file = folder.path / "all of the whole query" / "rows.parquet"
        _keep(day, _Totals(), file, room, "true")
        _compare(day, file, room, every)


def _compare(day: Day, file: Path, room: Room, numbers: Sequence[int]) -> int:
    """The rows of some parts, each of which the whole query gives, too, and no other."""
    views = [_snapshots(day, numbers), View(WHOLE, (file,), stored=True)]
    part, whole = quote_identifier(PART), quote_identifier(WHOLE)
    with Engine(views, day.resources(room.memory, room.threads)) as engine:
        only = {
            "only in the part": _examples(engine, day.job, f"FROM {part} EXCEPT ALL FROM {whole}"),
            "only in the whole query": _examples(engine, day.job, f"FROM {whole} EXCEPT ALL FROM {part}"),
        }
        [(rows,)] = engine.rows(f"SELECT count(*) FROM {part}")
    if any(only.values()):
        found = "; ".join(f"{where}: {', '.join(keys)}" for where, keys in only.items() if keys)
        which = f"part {numbers[0]}" if len(numbers) == 1 else "a part"
        raise Broken(
            f"{binding.features_place(day.job)}: {which} of the features of {day.plan.day} has "
            f"other rows than the whole query has of it: {found}; {_why(day)}; nothing is published"
        )
    return int(rows)


def _examples(engine: Engine, job: Job, select: str) -> list[str]:
    """The keys of some of the rows of a SELECT."""
    names = ", ".join(map(quote_identifier, job.spec.key))
    rows = engine.rows(f"SELECT {names} FROM ({select}) ORDER BY {names} LIMIT {EXAMPLES}")
    return [key_text(job.spec.key, row) for row in rows]
