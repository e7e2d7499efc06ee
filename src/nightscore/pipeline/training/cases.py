"""The rows and scores of `model.expected`, row beside row; of inputs, what the features SQL makes."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from nightscore.common import first_line, key_text
from nightscore.job import Expected, Job
from nightscore.pipeline import binding
from nightscore.pipeline.context import Day
from nightscore.pipeline.highlights import read_views
from nightscore.pipeline.score.deviation import is_list
from nightscore.pipeline.training.files import ExpectedFiles
from nightscore.scorers import Signature
from nightscore.store import Plan, SqlMistakes, View, fetched, read_variables

NO_DAY = dt.date(1970, 1, 1)  # of SQL that reads none


@dataclass(frozen=True)
class Case:
    """Rows, and what training expects of them.

    `rows` [n] have the model's columns, in the order in which a file or the SQL has them; `names` [n] are how
    messages call them; `scores` [n] are the outputs, floats as float64; `features` [n] are those that
    training had, where they stand beside those that the SQL made.
    """

    rows: pa.RecordBatch
    names: Sequence[str]
    scores: pa.RecordBatch
    features: pa.RecordBatch | None = None


def read_case(job: Job, expected: Expected, files: ExpectedFiles, signature: Signature) -> Case:
    """The rows of some files, and the scores that training expects.

    Raises:
        Broken: a file, or a column of one, is not there or not what it has to be; the SQL fails.
    """
    needed = {field.name: field.type for field in signature.inputs}
    outputs = {field.name: field.type for field in signature.outputs}
    given = files.table("features", {**outputs, **needed}) if "features" in files.paths else None
    rows = _made_by_sql(job, expected, files) if given is None or expected.inputs else given
    if misfits := signature.misfits(rows.schema):
        files.refuse("features", "; ".join(misfits))
    kinds = {name: rows.schema.field(name).type for name in job.spec.key if name in rows.column_names}
    alone = given is not None and "scores" not in files.paths
    scores = given if given is not None and alone else files.table("scores", {**kinds, **outputs})
    if alone and (both := sorted(needed.keys() & outputs.keys())):
        files.refuse(
            "features", f"{both[0]!r} is a feature and an output; give the scores a file of their own"
        )
    rows, scores = _beside(job, files, rows, scores, strict=not expected.inputs)
    features = None
    if expected.inputs and given is not None:
        features = _batch(_beside(job, files, given, scores, strict=False)[0], needed)
    return Case(_batch(rows, needed), _names(job, rows), _outputs(files, scores, signature.outputs), features)


def _made_by_sql(job: Job, expected: Expected, files: ExpectedFiles) -> pa.Table:
    """What the job's features SQL makes of the files that stand for its inputs."""
    select, at = binding.features_select(job), ("model", "expected", "inputs")
    for view in expected.inputs:
        if view not in job.spec.inputs:
            job.raise_broken((*at, view), f"is no input of the job; its inputs: {', '.join(job.spec.inputs)}")
    read = read_views(select, binding.features_place(job))
    for view in job.spec.inputs.keys() - expected.inputs.keys():
        if view in read:
            job.raise_broken(at, f"has no file for {view}, which {binding.features_place(job)} reads")
    if expected.day is None and _reads_day(job, select):
        job.raise_broken(
            ("model", "expected"),
            f"has no day, which {binding.features_place(job)} reads: say day: YYYY-MM-DD",
        )
    day = Day(job, Plan(job.name, (expected.day or NO_DAY).isoformat(), "score"))
    space = job.workspace
    views = [
        View(view, (fetched(space, space.resolve(files.paths[f"inputs.{view}"])),))
        for view in expected.inputs
    ]
    with day.engine_of(views) as engine, SqlMistakes(f"{binding.features_place(job)}, on model.expected"):
        batches = list(engine.stream(select, order=binding.key_order(job)))
        return pa.Table.from_batches(batches, engine.schema(select))


def _reads_day(job: Job, select: str) -> bool:
    place = binding.features_place(job)
    return "day" in read_variables(select, place) or "params" in read_views(select, place)


def _beside(
    job: Job, files: ExpectedFiles, rows: pa.Table, scores: pa.Table, *, strict: bool
) -> tuple[pa.Table, pa.Table]:
    """Rows and scores, row beside row: by key where both have it, else as they stand.

    Where it is not `strict`, rows without a score are left out: of them nothing is expected.
    """
    keyed = all(name in table.column_names for table in (rows, scores) for name in job.spec.key)
    if not keyed:
        if not strict:
            files.refuse("scores", f"has to have the key of the job: {', '.join(job.spec.key)}")
        if rows.num_rows != scores.num_rows:
            files.refuse(
                "scores", f"has {scores.num_rows:,} rows; {files.shown('features')}: {rows.num_rows:,}"
            )
        return rows, scores
    places = _places(job, files, rows, "features")
    asked = _places(job, files, scores, "scores")
    if missing := [key for key in asked if key not in places]:
        files.refuse(
            "scores", f"{len(missing):,} of {len(asked):,} rows are not among the features, such as "
            f"{key_text(job.spec.key, missing[0])}"
        )  # fmt: skip
    if strict and len(places) > len(asked):
        one = next(key for key in places if key not in asked)
        files.refuse("scores", f"has no score of {key_text(job.spec.key, one)}, a row of the features")
    return rows.take(pa.array([places[key] for key in asked])), scores


def _places(job: Job, files: ExpectedFiles, table: pa.Table, use: str) -> dict[tuple[Any, ...], int]:
    """Key -> where its row stands."""
    keys = list(zip(*(table.column(name).to_pylist() for name in job.spec.key), strict=True))
    places = {key: i for i, key in enumerate(keys)}
    if len(places) < len(keys):
        twice = next(key for i, key in enumerate(keys) if places[key] != i)
        files.refuse(use, f"has two rows of {key_text(job.spec.key, twice)}")
    return places


def _names(job: Job, rows: pa.Table) -> list[str]:
    if not all(name in rows.column_names for name in job.spec.key):
        return [f"row {i + 1:,}" for i in range(rows.num_rows)]
    keys = zip(*(rows.column(name).to_pylist() for name in job.spec.key), strict=True)
    return [key_text(job.spec.key, list(key)) for key in keys]


def _outputs(files: ExpectedFiles, scores: pa.Table, outputs: pa.Schema) -> pa.RecordBatch:
    """The scores in the types that they are compared in."""
    columns = {}
    for output in outputs:
        if output.name not in scores.column_names:
            files.refuse(
                "scores", f"has no column {output.name!r}, an output of the job; its columns: "
                f"{', '.join(scores.column_names)}"
            )  # fmt: skip
        given = scores.column(output.name).combine_chunks()
        try:
            columns[output.name] = given.cast(_wide(output.type))
        except pa.ArrowException as error:
            files.refuse(
                "scores", f"column {output.name!r} is {given.type}; the model gives {output.type}: "
                f"{first_line(error)}"
            )  # fmt: skip
    return pa.RecordBatch.from_pydict(columns)


def _wide(kind: pa.DataType) -> pa.DataType:
    """The type in which a value of the training library is compared with one of this type."""
    if is_list(kind):
        return pa.list_(_wide(kind.value_type))
    return pa.float64() if pa.types.is_floating(kind) else kind


def _batch(table: pa.Table, needed: Mapping[str, pa.DataType]) -> pa.RecordBatch:
    """The model's columns of some rows, in the order of the table."""
    names = [name for name in table.column_names if name in needed]
    columns = [table.column(name).combine_chunks() for name in names]
    return pa.RecordBatch.from_arrays(columns, names)
