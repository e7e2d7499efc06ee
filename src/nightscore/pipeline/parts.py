"""The features SQL in parts: each a task of its own, and one snapshot.

With `split_by` a part has the rows whose column, as text, has an md5 in the part's range. That stands round
the job's SELECT and never inside it, so that what is counted over all keys stays what it is. DuckDB takes
such a range down to where the column comes from, through joins, groups and windows by it; what arithmetic
says of the md5, such as `% parts = part`, it takes nowhere, because a division can fail (DuckDB 2.0). Without
`split_by` the SQL takes the rows of a part itself, by getvariable('part') and getvariable('parts').

A part is held to its range by reading its snapshot again: so parts are disjoint. That together they are
complete, and each what the whole query gives, is `nightscore.pipeline.publish.whole_query`.
"""

import time
from dataclasses import dataclass

from nightscore.common import Broken, thread_seconds
from nightscore.job import Job
from nightscore.pipeline import binding
from nightscore.pipeline.context import Day
from nightscore.scorers import read_hardware
from nightscore.store import (
    FEATURE_GROUP_ROWS,
    Engine,
    FeatureParts,
    Place,
    Plan,
    SqlMistakes,
    StagedFile,
    View,
    json_digest,
    quote_identifier,
    read_staged,
    sound_file,
    stage_batches,
    with_timings,
)

WHOLE = "all features"  # names that no job's SQL can have
PART = "the part"
HASHES = 1 << 128
LEAST = 512_000_000  # bytes of DuckDB's for a part, as far as one alone has them


@dataclass(frozen=True)
class Room:
    """What the SQL of one part may use: threads, and bytes before it spills. None: all that the job may."""

    threads: int | None = None
    memory: int | None = None


ALL_ROOM = Room()


def plan_parts(job: Job, plan: Plan) -> FeatureParts | None:
    """The parts of a run, and which of them is held to the whole query: by a hash, so that nobody chooses."""
    features = job.spec.features
    if features.parts is None:
        return None
    chosen = int(json_digest(plan.run_id, plan.day), 16) % features.parts
    return FeatureParts(features.parts, chosen, features.split_by or "")


def parts_at_once(job: Job) -> int:
    """How many parts this machine makes together: as many as its cores and the job's memory have room for."""
    threads, cores = job.spec.scoring.sql_threads, read_hardware().cores
    if threads == "auto":
        return 1  # which has all cores
    return max(1, min(cores // threads, Day(job, Plan(job.name, "", "score")).budget.sql // LEAST))


def room_for(job: Job, at_once: int, *, cores: int | None = None) -> Room:
    """The room of each of some parts that one machine makes at once; `cores` are those of one of them."""
    threads = job.spec.scoring.sql_threads
    memory = Day(job, Plan(job.name, "", "score")).budget.sql // at_once
    return Room(cores if threads == "auto" else threads, memory)


def stage_part(job: Job, plan: Plan, number: int, room: Room = ALL_ROOM) -> StagedFile:
    """Stage the snapshot of one part, sorted by key. One that is staged is left as it is.

    Raises:
        Broken: the SQL fails; a row has no value by which it could belong to a part.
        NotYet: the job or an input has changed since the plan was made, a library is of another version
            here, or it was decided meanwhile that the run is not published.
    """
    day = Day(job, plan, part=number)
    day.refuse_changed_job()
    day.refuse_other_versions()
    day.run.refuse_ended()
    path = day.run.part(number)
    if path.exists():
        _hold_to_range(day, path)
        return read_staged(path)
    with day.run.in_use(), day.steady_inputs():
        started, cpu = time.time(), thread_seconds()
        select = binding.features_select(job)
        with day.engine(
            threads=room.threads or day.sql_threads, memory=room.memory, asked=[select]
        ) as engine, SqlMistakes(binding.features_place(job)):  # fmt: skip
            rows = rows_of_part(day, engine)
            batches = engine.stream(rows, order=binding.key_order(job))
            stage_batches(path, batches, engine.schema(rows), FEATURE_GROUP_ROWS)
        _hold_to_range(day, path)
    return with_timings(read_staged(path), started, cpu)


def rows_of_part(day: Day, engine: Engine) -> str:
    """A SELECT of the rows of the day's part; the first one has those without a value, and refuses them."""
    engine.define(WHOLE, binding.features_select(day.job))
    where = within(day.plan.parts, day.part)
    return f"FROM {quote_identifier(WHOLE)}" + (f" WHERE {where}" if where else "")


def within(parts: FeatureParts | None, number: int | None) -> str:
    """The condition, as SQL, with which a row is of a part; "" where all are."""
    if parts is None or number is None or not parts.split_by or parts.parts == 1:
        return ""
    column = quote_identifier(parts.split_by)
    md5, terms = f"md5_number(CAST({column} AS VARCHAR))", []
    low, high = (HASHES * end // parts.parts for end in (number, number + 1))
    if number:
        terms.append(f"{md5} >= CAST('{low}' AS UHUGEINT)")
    if number + 1 < parts.parts:
        terms.append(f"{md5} < CAST('{high}' AS UHUGEINT)")
    condition = " AND ".join(terms)
    return condition if number else f"({condition} OR {column} IS NULL)"


def _hold_to_range(day: Day, path: Place) -> None:
    """Hold the rows of a snapshot, read again, to the range of its part.

    Raises:
        Broken: it is damaged, or a row is of another part or of none.
    """
    local, _ = sound_file(path)
    parts = day.plan.parts
    if parts is None or not parts.split_by:
        return
    column, where = quote_identifier(parts.split_by), within(parts, day.part) or "true"
    views = [View(PART, (local,), stored=True)]
    with Engine(views, day.resources(threads=1)) as engine:
        [(nulls, strays)] = engine.rows(
            f"SELECT count(*) FILTER ({column} IS NULL), count(*) FILTER (NOT coalesce({where}, false)) "
            f"FROM {quote_identifier(PART)}"
        )
    if nulls:
        path.remove()
        day.job.raise_broken(
            ("features", "split_by"),
            f"{nulls:,} rows of {day.plan.day} have no {parts.split_by}, so no part is theirs; give it a "
            "value in SQL (coalesce), or split by a column that always has one",
        )
    if strays:
        raise Broken(f"{path}: {strays:,} rows are not of part {day.part}; remove it and run the day again")
