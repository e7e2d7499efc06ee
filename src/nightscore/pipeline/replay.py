"""Replay of rejected rows: scored again after a fix, and published with the rest of their day.

A replay is a run of its own. It reads the features of the rejected rows as they are now, scores them,
carries the day's other scores over as they were published, and decides, audits and publishes all of them
together. Its proof is held to that of the run before: the same rows and the same key hash.
"""

import dataclasses
import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from nightscore.common import Broken, ProgressCallback, as_day, file_sha256, silent
from nightscore.job import MADE_BY, Job
from nightscore.pipeline import binding
from nightscore.pipeline.context import Day
from nightscore.pipeline.executors import LOCAL_THREADS, Executor, chooser
from nightscore.pipeline.onward import send_on
from nightscore.pipeline.prepare import Choose, begin, streamed_files
from nightscore.pipeline.publish.foreign_head import see_foreign
from nightscore.pipeline.publish.ownership import refuse_former_names
from nightscore.pipeline.read import inputs
from nightscore.pipeline.request import RunRequest
from nightscore.pipeline.score.canary import choose_here
from nightscore.pipeline.score.challengers import conformed
from nightscore.pipeline.steps import draft_plan, publish_day
from nightscore.store import (
    FEATURE_GROUP_ROWS,
    CatalogEntry,
    Engine,
    InputFile,
    LiveFile,
    Pinned,
    Plan,
    Receipt,
    RunFolder,
    SqlMistakes,
    StagedFile,
    View,
    catalog,
    json_digest,
    open_staged,
    quote_identifier,
    read_staged,
    run_folder,
    stage_batches,
    stamped,
    table_schema,
)

REJECTS, FEATURES = "the rejects", "the features"  # names that no job's SQL can have
CARRIED = "carried"  # names of staged files


def replay_rejects(
    job: Job, day: dt.date | str, report: ProgressCallback = silent, *, executor: Executor = LOCAL_THREADS
) -> Receipt:
    """Score the rejected rows of a published day again, and publish the day again.

    Rows that are no longer among the features, or have no key, stay rejected.

    Raises:
        Broken: the day is not published, has no rejects, or its files are not what its receipt says; another
            engine has changed it (`ForeignHead`); and whatever keeps a run from publishing.
        NotYet: as for a run.
    """
    moment = as_day(day)
    refuse_former_names(job)
    state = catalog.read_catalog(job.workspace)
    entry = state.in_force.get((job.name, moment.isoformat()))
    before = entry.read_receipt() if entry else None
    if entry is None or before is None:
        raise Broken(f"job {job.name}: {moment} is not published, so there is nothing to replay")
    if not before.rows.rejected:
        raise Broken(f"job {job.name}: {moment} was published without a reject; there is nothing to replay")
    receipt = _Replay(job, state, entry, before, chooser(executor, report)).publish(executor, report)
    send_on(job, receipt, report)
    return receipt


class _Replay:
    """One replay: the day as it is published, and the run that takes its place."""

    def __init__(
        self, job: Job, state: Pinned, entry: CatalogEntry, before: Receipt, choose: Choose | None
    ) -> None:
        self.job, self.before, self.choose = job, before, choose or choose_here
        day = dt.date.fromisoformat(before.day)
        request = RunRequest(params=before.params, force=True, known_at=before.known_at)
        see_foreign(job, before.day, state, may_replace=False)
        draft = draft_plan(job, day, request, scores_here=choose is None)
        # A day of the same causes is `unchanged` to the next run; one of two causes is not.
        same = draft.fingerprint == before.fingerprint
        causes = draft.fingerprint if same else json_digest("replay", before.fingerprint, draft.fingerprint)
        # How many rows are carried over is known once the rejects are read; till then, all that were scored.
        plan = dataclasses.replace(
            draft, fingerprint=causes, replay_of=before.run_id, carried=before.rows.scored
        )
        self.plan = dataclasses.replace(plan, run_id=run_folder.new_run_id(causes, plan.started))
        self.run = run_folder.folder_of_plan(job.workspace, self.plan)
        self.rows = self.run.path / "replay.parquet"
        self.key = ", ".join(map(quote_identifier, job.spec.key))
        self.scores = self.unharmed(state.files_of(entry, job.spec.scores_table), job.spec.scores_table)
        self.rejects = self.unharmed(state.files_of(entry, job.spec.rejects_table), job.spec.rejects_table)

    def publish(self, executor: Executor, report: ProgressCallback) -> Receipt:
        """The receipt of the day, merged."""
        with self.run.in_use():
            plan = begin(self.job, self.plan, self.rows_again, self.with_carried, report=report)
            carried = [self.carry_over(i, file) for i, file in enumerate(self.scores)]
            carried[0] = dataclasses.replace(carried[0], **self.stage_still_rejected())
            scored = executor.map(self.job, plan, plan.pieces, report)
            return publish_day(self.job, plan, [*carried, *scored], report)

    def rows_again(self, job: Job, plan: Plan, _run: RunFolder, report: ProgressCallback) -> list[InputFile]:
        """The file of the rows that are scored again.

        Raises:
            Broken: there is none.
        """
        report("features", 0, 0)
        self.snapshot()
        source = inputs.inspect_parquet(job.workspace, self.rows.local())
        if not source.rows:
            raise Broken(
                f"job {job.name}, day {plan.day}: none of the {self.before.rows.rejected} rejected "
                "rows is among the features now; run the day whole, with --force"
            )
        report("features", 1, 1)
        return [source]

    def with_carried(self, job: Job, plan: Plan, source: Sequence[InputFile]) -> Plan:
        """The plan with its variant, and with how many rows are carried over."""
        rows = sum(file.rows for file in source)
        plan = dataclasses.replace(plan, carried=self.before.rows.read - rows)
        return self.choose(job, plan, source)

    def snapshot(self) -> None:
        """Stage the features of the rejected rows, and for `nightscore why` those of the whole day."""
        day, job = Day(self.job, self.plan), self.job
        views = [View(REJECTS, self.rejects)]
        if job.features_sql is None:
            own = streamed_files(job, self.plan)
            views.append(inputs.view(job, job.spec.source, own, FEATURES))
        with day.steady_inputs(), day.engine(views=views, threads=day.sql_threads) as engine:
            with SqlMistakes(binding.features_place(job)):
                if job.features_sql is not None:
                    engine.define(FEATURES, binding.features_select(job))
                features, rejects = quote_identifier(FEATURES), quote_identifier(REJECTS)
                select = f"FROM {features} SEMI JOIN {rejects} USING ({self.key})"
                batches = engine.stream(select, FEATURE_GROUP_ROWS, order=binding.key_order(self.job))
                stage_batches(self.rows, batches, engine.schema(select), FEATURE_GROUP_ROWS)
        old = RunFolder(self.run.path.parent / self.before.run_id).snapshots
        if not old:
            return
        with self.looking(BEFORE=[path.local() for path in old], AGAIN=(self.rows.local(),)) as engine:
            merged = f"FROM BEFORE ANTI JOIN AGAIN USING ({self.key}) UNION ALL BY NAME FROM AGAIN"
            batches = engine.stream(merged, FEATURE_GROUP_ROWS, order=binding.key_order(self.job))
            stage_batches(self.run.features, batches, engine.schema(merged), FEATURE_GROUP_ROWS)

    def carry_over(self, number: int, path: Path) -> StagedFile:
        """A published file of scores, staged as this run's."""
        target = self.run.scores(f"{CARRIED}-{number}")
        with open_staged(path, path.name) as file:
            schema = self.stored(file.schema_arrow)
            challengers = [*self.job.spec.model.challenger_columns, MADE_BY]
            batches = (conformed(batch, schema, challengers) for batch in file.iter_batches())
            stage_batches(target, (self.renamed(batch, schema) for batch in batches), schema)
        return read_staged(target)

    def stored(self, published: pa.Schema) -> pa.Schema:
        """The columns of a published file of scores, with the challengers of now instead of those of then."""
        kept = [field for field in published if not table_schema.may_go(field) and field.name != "run_id"]
        made_by = [table_schema.optional_field(MADE_BY, pa.string())] if self.job.spec.overdue else []
        types = {field.name: field.type for field in kept}
        columns = self.job.spec.model.challenger_columns
        challengers = [
            table_schema.optional_field(column, types[output]) for column, (_, output) in columns.items()
        ]
        return pa.schema([*kept, *challengers, *made_by, published.field("run_id")])

    def stage_still_rejected(self) -> dict[str, Any]:
        """The rejects of before whose rows are not scored again: without a key, or gone from the features."""
        target = self.run.rejects(CARRIED)
        with self.looking(BEFORE=self.rejects, AGAIN=(self.rows.local(),)) as engine:
            select = f"FROM BEFORE ANTI JOIN AGAIN USING ({self.key})"
            schema = engine.schema(select)
            batches = engine.stream(select, FEATURE_GROUP_ROWS, order="ALL")
            stage_batches(target, (self.renamed(batch, schema) for batch in batches), schema)
        staged = read_staged(target)
        return {"rejects": staged.path, "rejected": staged.rows}

    def renamed(self, batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
        """A batch of the run before as this run's."""
        return stamped(batch.drop_columns(["run_id"]), self.plan.run_id, schema)

    def looking(self, **views: Sequence[Path]) -> Engine:
        """An engine over some files, by name."""
        table_views = [View(name, tuple(files)) for name, files in views.items()]
        return Engine(table_views, catalog.query_resources(self.job.workspace))

    def unharmed(self, files: Sequence[LiveFile], table: str) -> tuple[Path, ...]:
        """The published files of a table. Broken where one is not what the receipt says."""
        for file in files:
            there = file.path.exists()
            if not there or file_sha256(file.path.local()) not in self.before.tables[table].sha256:
                raise Broken(
                    f"{file.path}: not the file of which the receipt of run "
                    f"{self.before.run_id} holds the sha256; `nightscore verify` says more"
                )
        return tuple(file.path.local() for file in files)
