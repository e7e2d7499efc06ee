"""Which rungs of the job's `overdue` made a day: counted from what is staged, and said in the receipt."""

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nightscore.job import FULL, MADE_BY
from nightscore.pipeline.context import Day
from nightscore.pipeline.overdue import VARIANT, deadline_moment, read_late
from nightscore.pipeline.publish.receipt_builder import late_variant
from nightscore.store import Degraded, RungResult, StagedFile


def count_rungs(day: Day, pieces: Sequence[StagedFile]) -> tuple[RungResult, ...]:
    """How many rows of the staged scores each rung has made, the most first; none of a job without rungs."""
    if not day.job.spec.overdue:
        return ()
    rows: Counter[str] = Counter()
    for piece in pieces:
        rows.update({piece.made_by: piece.rows} if piece.made_by else _counted(day, piece))
    return tuple(
        RungResult(made_by=one, rows=n) for one, n in sorted(rows.items(), key=lambda r: (-r[1], r[0]))
    )


def _counted(day: Day, piece: StagedFile) -> dict[str, int]:
    """The same of a file that has rows of several, or is of a day before the job had any."""
    path = day.place(piece.path).local()
    if MADE_BY not in pq.read_schema(path).names:
        return {FULL: piece.rows}
    column = pq.read_table(path, columns=[MADE_BY], partitioning=None).column(MADE_BY)
    counts = pc.value_counts(column.fill_null(FULL)).to_pylist()
    return {one["values"]: one["counts"] for one in counts}


def degraded_by(day: Day, pieces: Sequence[StagedFile]) -> dict[str, Any]:
    """What a receipt says of a day of whose rows some are not as those of every night; nothing of others.

    Such a day is not closed: a run that makes it whole is no restatement.
    """
    rungs = count_rungs(day, pieces)
    if all(rung.made_by == FULL for rung in rungs):
        return {}
    since, why = read_late(day.run) or (dt.datetime.fromtimestamp(day.plan.started, dt.UTC), _before(day))
    due = deadline_moment(day.job, day.plan.day) or since
    by = late_variant(day.plan) if any(rung.made_by.startswith(VARIANT) for rung in rungs) else None
    degraded = Degraded(rungs=rungs, since=since, deadline=due, why=why, variant=by)
    return {"degraded": degraded, "closed": False}


def _before(day: Day) -> str:
    return f"rows of run {day.plan.replay_of} are as they were" if day.plan.replay_of else "it was late"


def with_made_by(batch: pa.RecordBatch, schema: pa.Schema, made_by: str) -> pa.RecordBatch:
    """Rows of a decision with the rung that made them, where the table says it, and its SQL does not."""
    if MADE_BY not in schema.names or MADE_BY in batch.schema.names:
        return batch
    return batch.append_column(MADE_BY, pa.repeat(pa.scalar(made_by), batch.num_rows))
