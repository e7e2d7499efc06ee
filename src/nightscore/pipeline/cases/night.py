"""A case through the steps of a night, in a workspace of its own that is gone afterwards.

The rows stand for the inputs; SQL, model, rejects, decisions and audits are those of a night, on the same
connections. Left out is what has no meaning for a few rows: parts, variants, the share of rows that may be
rejected, and what compares with other days.
"""

import dataclasses
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from nightscore.common import Broken, Root, Workspace
from nightscore.job import Case, Job, ParityAudit
from nightscore.pipeline import binding
from nightscore.pipeline.audits.accounts import read_accounts
from nightscore.pipeline.audits.run import audited, run_audits
from nightscore.pipeline.cases.inputs import case_views, missing_column, partition_of
from nightscore.pipeline.context import Day
from nightscore.pipeline.publish.finalize import stage_decisions
from nightscore.pipeline.publish.reconcile import refuse_bad_keys
from nightscore.pipeline.score.batches import RowScorer, needed_columns, scores_batch
from nightscore.pipeline.score.challengers import Challengers, add_challengers
from nightscore.pipeline.score.open_model import OpenModel
from nightscore.pipeline.score.rejects import RejectWriter
from nightscore.scorers import Scorer
from nightscore.store import (
    FEATURE_GROUP_ROWS,
    AuditResult,
    Plan,
    SqlMistakes,
    StagedFile,
    View,
    quote_identifier,
    read_staged,
    stage_batches,
)

PIECE = "case"
CHUNK = 16_384  # rows
NOT_ASKED = "not asked of a case"


class MistakenCase(Broken):
    """A mistake of the case itself, which is never the error that it expects."""


class Scratch(Workspace):
    """A workspace whose data lie in it, whatever roots this machine has."""

    @cached_property
    def roots(self) -> Mapping[str, Root]:
        """None."""
        return {}


@dataclass(frozen=True)
class CaseDay(Day):
    """The day of a case, whose inputs are its rows."""

    given: tuple[View, ...] = ()

    def _inputs(self) -> list[View]:
        return list(self.given)


@dataclass(frozen=True)
class Made:
    """What a case has made: `features`, and each table by its name; and what the audits said."""

    tables: Mapping[str, pa.Table]
    audits: tuple[AuditResult, ...]


def make_case(job: Job, case: Case, opened: OpenModel) -> Made:
    """Run a case. Nothing is written below the job's `data/`.

    Raises:
        Broken: as of a night: the SQL fails, a row can't be scored, a key is there twice.
        MistakenCase: the case's rows are none of the inputs.
    """
    with tempfile.TemporaryDirectory(prefix="nightscore-") as folder:
        root = Path(folder).resolve()
        policy = job.spec.policy.model_copy(update={"max_rejected": "100%"})  # a share of a few rows is none
        spec = job.spec.model_copy(update={"policy": policy})
        own = dataclasses.replace(job, spec=spec, workspace=Scratch(root), file=root / job.shown)
        plan = Plan(
            job.name, case.spec.day.isoformat(), "score", run_id=PIECE, key=tuple(job.spec.key),
            device=opened.device, code=opened.code, params=dict(case.spec.params),
            inputs=dict.fromkeys(job.spec.inputs, ()),
        )  # fmt: skip
        try:
            views = case_views(Day(own, plan), case, _asked(own))
        except Broken as error:
            raise MistakenCase(str(error)) from error
        try:
            return _run(CaseDay(own, plan, given=tuple(views)), job, opened.scorer)
        except Broken as error:
            if missing := missing_column(own, case, views, str(error)):
                raise MistakenCase(f"{missing} ({error})") from error
            raise


def _asked(job: Job) -> list[str]:
    """All SQL of a job, and what makes its features where that is an input."""
    texts = [binding.features_select(job), *job.decide_sql.values(), *job.audit_sql.values()]
    return [*texts, *audited(job), *job.highlight_sql]


def _run(day: CaseDay, job: Job, scorer: Scorer) -> Made:
    """Features, scores, decisions and audits of a case; `job` is that of the workspace with the models."""
    bound = binding.bind_columns(day, scorer)
    features = _features(day)
    day = dataclasses.replace(day, plan=dataclasses.replace(day.plan, carried=features.num_rows))
    scores, rejects = _scored(day, job, scorer, features)
    own = day.job
    with day.engine({"scores": [scores]}, asked=()) as engine:
        refuse_bad_keys(engine, [day.locate(scores.path)], own.spec.key, str(day))
    decided = {table: [file] for table, file in stage_decisions(day, [scores], bound.stored).items()}
    aside = {own.spec.rejects_table: [rejects]} if own.spec.rejecting else {}
    if own.spec.leaves_lines_out:  # a case has no lines that can't be read
        stage_batches(day.run.bad_lines, (), bound.stored[own.spec.bad_lines_table])
        aside[own.spec.bad_lines_table] = [read_staged(day.run.bad_lines)]
    with day.engine({"scores": [scores], **decided, **aside}, asked=audited(own)) as engine:
        read_accounts(own, engine)
        audits = run_audits(own, engine, _unasked(own))
    files = {own.spec.scores_table: [scores], **decided, **aside}
    tables = {table: _read(day, staged[0]) for table, staged in files.items()}
    return Made({"features": features, **tables}, audits)


def _features(day: CaseDay) -> pa.Table:
    """The rows that would be scored, by key, as a snapshot has them."""
    place, select = day.run.features, _features_select(day.job)
    with day.engine(threads=1) as engine, SqlMistakes(binding.features_place(day.job)):
        batches = engine.stream(select, order=binding.key_order(day.job))
        stage_batches(place, batches, engine.schema(select), FEATURE_GROUP_ROWS)
    return pq.read_table(place.local(), partitioning=None)


def _features_select(job: Job) -> str:
    """The features SQL; of an input that is streamed the rows of the day."""
    select = binding.features_select(job)
    column = partition_of(job.spec.inputs[job.spec.source]) if job.features_sql is None else None
    return f"{select} WHERE {quote_identifier(column)} = getvariable('day')" if column else select


def _scored(day: CaseDay, job: Job, scorer: Scorer, features: pa.Table) -> tuple[StagedFile, StagedFile]:
    """The staged scores, and the staged rejects."""
    own, run = day.job, day.run
    plan = add_challengers(job, day.plan, scorer, features.schema)
    rivals = Challengers(job, plan, scorer)
    source = features.select(list(dict.fromkeys([*needed_columns(own, scorer), *rivals.inputs])))
    schema = binding.scores_schema(own, source.schema, scorer)
    aside = binding.rejects_schema(own, source.schema)
    rejects = RejectWriter(own, plan, run.rejects(PIECE), aside)
    rows = RowScorer(own, scorer, rejects)

    def scores() -> Iterator[pa.RecordBatch]:
        with rejects:
            for chunk in source.combine_chunks().to_batches(CHUNK):
                for kept, outputs in rows.score(chunk):
                    columns = [*outputs.columns, *rivals.columns(kept)]
                    yield scores_batch(plan, schema, kept, columns)

    stage_batches(run.scores(PIECE), scores(), schema)
    found = run.rejects(PIECE)
    batches = pq.read_table(found.local(), partitioning=None).to_batches() if found.exists() else []
    stage_batches(run.rejected, batches, aside)
    return read_staged(run.scores(PIECE)), read_staged(run.rejected)


def _unasked(job: Job) -> dict[int, str]:
    """The audits that hold a day to a second query over other inputs."""
    return {i: NOT_ASKED for i, audit in enumerate(job.spec.audit) if isinstance(audit, ParityAudit)}


def _read(day: CaseDay, file: StagedFile) -> pa.Table:
    table = pq.read_table(day.locate(file.path), partitioning=None)
    return table.drop_columns([name for name in ("run_id",) if name in table.column_names])
