"""Which columns of a job's inputs the columns of its tables come from, through features, model and decisions.

The columns are those that the day's files have; no row is read. What can't be followed is left out
(`nightscore.store.sql.lineage`), and then so is all that comes of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from nightscore.job import SCORES, Job
from nightscore.pipeline import binding
from nightscore.pipeline.context import Day
from nightscore.pipeline.score.open_model import open_planned_scorer
from nightscore.scorers import Signature
from nightscore.store import How, Plan, Sources, column_sources, quote_identifier


@dataclass(frozen=True)
class Lineage:
    """The DuckDB types of each input's columns, each table's columns, and where those come from.

    `sources`: table -> column -> the (input, column) that it comes from. A column that is not there could not
    be followed.
    """

    inputs: Mapping[str, Mapping[str, str]]
    tables: Mapping[str, pa.Schema]
    sources: Mapping[str, Mapping[str, Sources]]


def read_lineage(job: Job, plan: Plan) -> Lineage:
    """The lineage of a planned day.

    Raises:
        Broken, NotYet: as publishing the day does: the job or its model has changed since.
    """
    day, scorer = Day(job, plan), open_planned_scorer(job, plan)
    bound = binding.bind_columns(day, scorer)
    with day.binding_engine() as engine:
        inputs = {name: engine.types(f"SELECT * FROM {quote_identifier(name)}") for name in job.spec.inputs}
    return Lineage(inputs, bound.stored, _sources(job, inputs, bound.stored, scorer.signature))


def _sources(
    job: Job, inputs: Mapping[str, Mapping[str, str]], stored: Mapping[str, pa.Schema], signature: Signature
) -> dict[str, Mapping[str, Sources]]:
    views = {name: list(types) for name, types in inputs.items()}
    features = column_sources(job.features_sql or binding.features_select(job), job.shown, views)
    known = {SCORES: _of_scores(job, features, signature)}
    for table, sql in job.decide_sql.items():
        asked = views | {name: _seen(job, stored[_table(job, name)]) for name in known}
        known[table] = _through(column_sources(sql, job.shown, asked), known)
    return {
        _table(job, name): _as_stored(sources, stored[_table(job, name)]) for name, sources in known.items()
    }


def _seen(job: Job, stored: pa.Schema) -> list[str]:
    """The columns of a table of the day as SQL sees them."""
    left_out = {"run_id", *job.spec.model.challenger_columns}
    return [name for name in stored.names if name not in left_out]


def _table(job: Job, view: str) -> str:
    return job.spec.scores_table if view == SCORES else view


def _of_scores(job: Job, features: Mapping[str, Sources], signature: Signature) -> dict[str, Sources]:
    """Key and kept columns as the features have them; what the model gives comes from all that it takes."""
    kept = {name.lower(): features.get(name.lower()) for name in (*job.spec.key, *job.spec.keep)}
    taken = [features.get(name.lower()) for name in signature.inputs.names]
    made = None if None in taken else _computed([one for one in taken if one is not None])
    every = kept | dict.fromkeys((name.lower() for name in signature.outputs.names), made)
    return {name: sources for name, sources in every.items() if sources is not None}


def _through(
    columns: Mapping[str, Sources], known: Mapping[str, Mapping[str, Sources]]
) -> dict[str, Sources]:
    """Columns of a decision, with those of inputs in the place of scores and of decisions before."""
    through: dict[str, Sources] = {}
    for name, sources in columns.items():
        parts = [_origins(view, column, how, known) for (view, column), how in sources.items()]
        if None not in parts:
            through[name] = _nearest([part for part in parts if part is not None])
    return through


def _origins(view: str, column: str, how: How, known: Mapping[str, Mapping[str, Sources]]) -> Sources | None:
    if view not in known:
        return {(view, column): how}
    before = known[view].get(column.lower())
    return None if before is None else {origin: max(at, how) for origin, at in before.items()}


def _computed(sources: list[Sources]) -> Sources:
    return {origin: max(how, How.TRANSFORMATION) for origin, how in _nearest(sources).items()}


def _nearest(sources: list[Sources]) -> Sources:
    every: dict[tuple[str, str], How] = {}
    for one in sources:
        for origin, how in one.items():
            every[origin] = min(how, every.get(origin, how))
    return every


def _as_stored(sources: Mapping[str, Sources], schema: pa.Schema) -> dict[str, Sources]:
    """By the names of the table's columns; what another engine sees beside them is the framework's."""
    return {name: sources[name.lower()] for name in schema.names if name.lower() in sources}
