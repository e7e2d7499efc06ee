"""Decision changes (flips, for short): rows of a decision table that would be others by other scores.

One definition, for the challengers that `nightscore judge` looks at and the candidates of a bake-off. Rows
are matched by the job's key where the decision table has it, else as a multiset. A row that only one side
has, or that differs in a column that counts, is a change; of rows that came and rows that went, one for one,
each pair counts once: a top ten in which one product was replaced has one change in ten rows.

The key counts, and every column but floating-point numbers and lists of such: those are measurements. A
DECIMAL is what somebody is told or charged, so it counts. A job says otherwise by `decision_columns` and
`ignore`, which mean the same in `budget` and in `judge`.
"""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nightscore.common import Broken
from nightscore.job import CHALLENGERS, DecisionColumns, sql_place
from nightscore.pipeline import Day, comparison_resources, decide_select
from nightscore.store import (
    Engine,
    EngineResources,
    SpillFolder,
    SqlMistakes,
    TableDiff,
    View,
    as_stored,
    quote_identifier,
    spill,
    table_schema,
)

PUBLISHED_SCORES = "published scores"
MAX_SEGMENT_VALUES = 50  # of a segment, at most


class DecisionChanges(NamedTuple):
    """Rows of a decision table, and those that changed: where `segment`, a column, is `value`, or all.

    Where the two sides have not as many rows, `rows` are those of the larger one.
    """

    table: str
    segment: str
    value: str
    rows: int
    changed: int


def compare_challenger_decisions(day: Day, scores: Sequence[Path], challenger: str) -> list[DecisionChanges]:
    """What a challenger would change on a published day, with the job's SQL and inputs as they are now.

    Raises:
        Broken: a decision can't be made any more, or a segment has too many values.
    """
    if not day.job.decide_sql:
        return []
    columns = {o: c for c, (n, o) in day.job.spec.model.challenger_columns.items() if n == challenger}
    judge, key = day.job.spec.judge, day.job.spec.key
    with contextlib.closing(SpillFolder(day.temp)) as folder:
        ours = _write_decisions(day, scores, {}, folder.path / "ours")
        theirs = _write_decisions(day, scores, columns, folder.path / "theirs")
        changes, resources = [], comparison_resources(day)
        for table, file in ours.items():
            pair = file, theirs[table]
            changes += compare_decisions(
                table, pair, key, judge, resources, segments=judge.segments, scores=scores
            )
        return changes


def compare_decisions(
    table: str,
    pair: tuple[Path, Path],
    key: Sequence[str],
    settings: DecisionColumns,
    resources: EngineResources,
    *,
    segments: Sequence[str] = (),
    scores: Sequence[Path] = (),
) -> list[DecisionChanges]:
    """What changed between the two files of a decision table: of all rows, and of each segment's values.

    A segment is a column of the table or, where that has the job's key, of the `scores`.

    Raises:
        Broken: the table has not the columns that are asked for, or a segment has too many values.
    """
    counted = counted_columns(table, pq.read_schema(pair[0]), settings)
    changes = []
    with TableDiff([pair[0]], [pair[1]], key, resources, compared=counted, beside=scores) as difference:
        for segment in ("", *segments):
            by_value = difference.counts_by(segment)
            if by_value is not None and len(by_value) > MAX_SEGMENT_VALUES:
                raise Broken(
                    f"judge.segments: {segment!r} has {len(by_value)} values in {table}; "
                    f"at most {MAX_SEGMENT_VALUES} are judged"
                )
            for value, (counts, same) in (by_value or {}).items():
                changed = counts.changed + max(counts.added, counts.removed)
                changes.append(DecisionChanges(table, segment, value, same + changed, changed))
    return changes or [DecisionChanges(table, "", "", 0, 0)]


def counted_columns(table: str, schema: pa.Schema, settings: DecisionColumns) -> list[str]:
    """The columns of a decision table that are the decision.

    Raises:
        Broken: `decision_columns` names one that the table has not.
    """
    named = settings.decision_columns.get(table)
    for column in named or ():
        if column not in schema.names:
            raise Broken(
                f"decision_columns: {table} has no column {column!r}; its columns: {', '.join(schema.names)}"
            )
    chosen = named or [field.name for field in schema if not _is_measurement(field.type)]
    return [column for column in chosen if column not in settings.ignore]


def _is_measurement(kind: pa.DataType) -> bool:
    """Whether a column holds floating-point numbers, or lists or structs of such alone."""
    if pa.types.is_nested(kind):
        return all(_is_measurement(kind.field(i).type) for i in range(kind.num_fields))
    return bool(pa.types.is_floating(kind))


def measure_total_move(pair: tuple[Path, Path], resources: EngineResources) -> float:
    """The largest relative move of the sum of a column of fractions, floats and decimals with a scale.

    Infinite from a sum of nothing.
    """
    columns = [field.name for field in pq.read_schema(pair[0]) if _has_fraction(field.type)]
    if not columns:
        return 0.0
    sums = ", ".join(f"coalesce(sum({quote_identifier(c)}), 0)::DOUBLE" for c in columns)
    with Engine([View("before", pair[:1]), View("after", pair[1:])], resources) as engine:
        [was], [now] = (engine.rows(f"SELECT {sums} FROM {side}") for side in ("before", "after"))
    return max(abs(b - a) / abs(a) if a else np.inf if b else 0.0 for a, b in zip(was, now, strict=True))


def _has_fraction(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or (pa.types.is_decimal(kind) and kind.scale > 0))


def _write_decisions(
    day: Day, scores: Sequence[Path], columns: Mapping[str, str], folder: Path
) -> dict[str, Path]:
    """The decisions of a day as files; `columns` are those that stand in for some outputs."""
    job, files = day.job, {}
    kept = ", ".join(map(quote_identifier, (*job.spec.key, *job.spec.keep)))
    outputs = ", ".join(
        f"{quote_identifier(columns.get(o, o))} AS {quote_identifier(o)}" for o in job.spec.model.outputs
    )
    published = View(PUBLISHED_SCORES, tuple(scores), stored=True)
    asked = list(job.decide_sql.values())
    with day.engine(views=[published], threads=day.sql_threads, asked=asked) as engine:
        engine.define("scores", f"SELECT {kept}, {outputs} FROM {quote_identifier(PUBLISHED_SCORES)}")
        engine.define(CHALLENGERS, f"SELECT * EXCLUDE (run_id) FROM {quote_identifier(PUBLISHED_SCORES)}")
        for table in job.decide_sql:
            files[table] = folder / f"{table}.parquet"
            place = sql_place(job, job.spec.decide[table])
            with SqlMistakes(place):
                sql = decide_select(job, table)
                schema = table_schema.storable_schema(engine.schema(sql), place)
                spill(files[table], (as_stored(batch, schema) for batch in engine.stream(sql)), schema)
            engine.add(View(table, (files[table],), stored=True))  # for those after it
    return files
