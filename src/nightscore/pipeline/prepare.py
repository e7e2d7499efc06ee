"""What a day's run scores: the rows of its features SQL, or of an input as they are; cut in pieces."""

import dataclasses
from collections.abc import Sequence

from nightscore.common.errors import Broken
from nightscore.common.progress import Report
from nightscore.job.loader import Job
from nightscore.pipeline import binding
from nightscore.pipeline.context import Day
from nightscore.pipeline.preflight import refuse_no_room_for_features
from nightscore.pipeline.read import inputs
from nightscore.store.engine import SqlMistakes
from nightscore.store.pieces import SMALLEST_PIECE, SMALLEST_PIECE_OF_TEXTS, cut
from nightscore.store.plan import InputFile, Plan, digest
from nightscore.store.run_folder import RunFolder
from nightscore.store.staging import FEATURE_GROUP_ROWS, stage


def source(job: Job, plan: Plan, run: RunFolder, report: Report) -> Sequence[InputFile]:
    """The files whose rows are scored: the input's own partition, or the snapshot of the SQL's rows."""
    if job.features_sql is None:
        return streamed(job, plan)
    report("features", 0, 0)
    refuse_no_room_for_features(job, plan)
    day = Day(job, plan)
    with day.steady_inputs(), day.engine(threads=day.sql_threads) as engine:
        with SqlMistakes(binding.features_place(job)):
            batches = engine.stream(job.features_sql, order=binding.key_order(job))
            stage(run.features, batches, engine.schema(job.features_sql), FEATURE_GROUP_ROWS)
    report("features", 1, 1)
    return [inputs.look(job.workspace, run.features)]


def streamed(job: Job, plan: Plan) -> list[InputFile]:
    """The scored day's own files of the input that a job streams as it is."""
    return [f for f in plan.inputs[job.spec.features] if f.day == plan.day]


def in_pieces(job: Job, plan: Plan, source: Sequence[InputFile]) -> Plan:
    """The plan with the pieces of the files whose rows are scored.

    Raises:
        Broken: they have no rows, and the policy for an empty day is `fail`.
    """
    rows = sum(f.rows for f in source)
    if rows == 0 and job.spec.policy.empty == "fail":
        raise Broken(f"job {job.name}: no rows to score on {plan.day}; the policy for an empty day is fail")
    tuned = [plan.tuned.sha256] if plan.tuned else []
    maker = digest(plan.fingerprint, plan.versions, plan.chunk_rows, dataclasses.asdict(plan.variant), *tuned)
    smallest = SMALLEST_PIECE_OF_TEXTS if plan.variant.kind == "text" else SMALLEST_PIECE
    return dataclasses.replace(plan, pieces=cut(source, maker, plan.limit, smallest))
