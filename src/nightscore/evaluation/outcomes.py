"""What came true of a published day's rows (ground truth): the job's labels SQL, which alone sees later days.

It sees the job's inputs with `after_days` more days, `scores` (key and kept columns of the published rows),
`params` and getvariable('day'), and gives the key and `label`: 0 or 1, or a number. Rows without one are left
out.
"""

import dataclasses
import datetime as dt
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nightscore.common import Broken, as_day
from nightscore.evaluation.decision_changes import MAX_SEGMENT_VALUES, PUBLISHED_SCORES
from nightscore.evaluation.intervals import SQUARED_ERROR, DayMetric, LabelledScores, day_metric
from nightscore.job import Job, Labels, read_sql
from nightscore.pipeline import Day, inputs
from nightscore.store import Engine, Receipt, SqlMistakes, View, quote_identifier, repeatable_select

LABELS = "labels"  # the view of what the SQL gives


class LabelsError(Broken):
    """The labels can't be made: there is no verdict."""


def scored_output(job: Job) -> str:
    """The output that is held to labels, and whose ranks are compared."""
    labels = job.spec.judge.labels
    return (labels.output if labels else None) or next(iter(job.spec.model.outputs))


def find_last_labelled_day(job: Job) -> dt.date | None:
    """The last day whose labels are complete, by the newest partition of all inputs; None without labels.

    Of a job without partitions it is counted from today.
    """
    labels = job.spec.judge.labels
    if labels is None:
        return None
    days = inputs.list_input_days(job)
    return (days[-1] if days else dt.date.today()) - dt.timedelta(days=labels.after_days)


def measure_outcomes(
    job: Job, name: str, receipt: Receipt, files: Sequence[Path]
) -> Iterator[tuple[tuple[str, str], DayMetric]]:
    """The metric of a challenger on a day: of all rows, and of each value of each segment.

    Raises:
        LabelsError: the SQL fails, gives a key twice, or labels that the metric does not take.
    """
    labels = job.spec.judge.labels
    if labels is None:
        return
    try:
        rows = _rows(job, labels, name, receipt, files)
    except Broken as error:
        raise LabelsError(str(error)) from error
    ours, theirs, label = (_numbers(rows, column) for column in ("ours", "theirs", "label"))
    clusters = _integers(rows)
    for where, chosen in _parts(job, rows):
        labelled = LabelledScores(ours[chosen], theirs[chosen], label[chosen], clusters[chosen])
        metric = day_metric(labels.metric, labelled)
        if metric is not None:
            yield where, metric


def _parts(job: Job, rows: pa.Table) -> Iterator[tuple[tuple[str, str], npt.NDArray[np.bool_]]]:
    """All rows, then those of each value of each segment."""
    yield ("", ""), np.ones(rows.num_rows, np.bool_)
    for i, segment in enumerate(job.spec.judge.segments):
        column = rows.column(f"segment {i}").combine_chunks().dictionary_encode()
        if len(column.dictionary) > MAX_SEGMENT_VALUES:
            raise LabelsError(
                f"judge.segments: {segment!r} has {len(column.dictionary)} values; "
                f"at most {MAX_SEGMENT_VALUES} are judged"
            )
        codes = column.indices.to_numpy()
        for code, value in enumerate(column.dictionary.to_pylist()):
            yield (segment, value), codes == code


def _rows(job: Job, labels: Labels, name: str, receipt: Receipt, files: Sequence[Path]) -> pa.Table:
    """Rows that have both scores and a label: ours, theirs, label, cluster (a hash), and their segments."""
    spec, output = job.spec, scored_output(job)
    sql = read_sql(job, ("judge", "labels", "sql"), labels.sql)
    where = job.workspace.relative(job.file.parent / labels.sql)
    repeatable_select(sql, where, spec.variables)
    columns = {"ours": output, "theirs": f"{name}__{output}", "label": "label"}
    expressions = [f"CAST({quote_identifier(c)} AS DOUBLE) AS {n}" for n, c in columns.items()]
    expressions += [f"(hash({quote_identifier(labels.cluster or spec.key[0])}) >> 1)::BIGINT AS cluster"]
    expressions += [
        f"coalesce(CAST({quote_identifier(c)} AS VARCHAR), 'null') AS {quote_identifier(f'segment {i}')}"
        for i, c in enumerate(spec.judge.segments)
    ]
    is_complete = " AND ".join(f"{n} IS NOT NULL" for n in columns)
    key = ", ".join(map(quote_identifier, spec.key))
    day = _later(job, receipt, labels.after_days)
    with day.engine(views=[View(PUBLISHED_SCORES, tuple(files))]) as engine, SqlMistakes(where):
        engine.define(
            "scores",
            f"SELECT {', '.join(map(quote_identifier, (*spec.key, *spec.keep)))} "
            f"FROM {quote_identifier(PUBLISHED_SCORES)}",
        )
        engine.define(LABELS, f"SELECT {key}, label FROM ({sql.strip().rstrip(';')}\n)")
        _refuse_twice(engine, key, where)
        published = quote_identifier(PUBLISHED_SCORES)
        both = f"SELECT {', '.join(expressions)} FROM {published} JOIN {LABELS} USING ({key})"
        batches = engine.stream(f"SELECT * FROM ({both}) WHERE {is_complete}")
        rows = pa.Table.from_batches(batches, engine.schema(both))
    _refuse_labels(labels, rows, where)
    return rows


def _later(job: Job, receipt: Receipt, after: int) -> Day:
    """The day with inputs that reach `after` days past it."""
    files = inputs.resolve_later_inputs(job, as_day(receipt.day), after)
    return dataclasses.replace(Day.of(job, receipt, files), after_days=after)


def _refuse_twice(engine: Engine, key: str, where: str) -> None:
    if engine.rows(f"SELECT 1 FROM {LABELS} GROUP BY {key} HAVING count(*) > 1 LIMIT 1"):
        raise Broken(f"{where}: gives a key twice; a row has one label")


def _refuse_labels(labels: Labels, rows: pa.Table, where: str) -> None:
    values = _numbers(rows, "label")
    allowed = np.isfinite(values) if labels.metric == SQUARED_ERROR else np.isin(values, (0.0, 1.0))
    if not allowed.all():
        takes = "numbers" if labels.metric == SQUARED_ERROR else "0 and 1"
        raise Broken(f"{where}: gives a label {values[~allowed][0]:g}; {labels.metric} takes {takes}")


def _numbers(rows: pa.Table, column: str) -> npt.NDArray[np.float64]:
    return np.asarray(rows.column(column).to_numpy(), np.float64)


def _integers(rows: pa.Table) -> npt.NDArray[np.int64]:
    return np.asarray(rows.column("cluster").to_numpy(), np.int64)
