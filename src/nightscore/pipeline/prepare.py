"""What a day's run scores: the rows of its features SQL, or of an input as they are; cut in pieces.

Free space on disk is checked before anything is written.
"""

import contextlib
import dataclasses
import datetime as dt
import functools
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow.parquet as pq

from nightscore.common import (
    Broken,
    NotYet,
    ProgressCallback,
    RowCounter,
    Stopwatch,
    Workspace,
    as_day,
    byte_size,
    silent,
)
from nightscore.job import Job
from nightscore.pipeline import binding
from nightscore.pipeline.context import Day
from nightscore.pipeline.parts import plan_parts, stage_part
from nightscore.pipeline.read import inputs
from nightscore.pipeline.read.integrity import read_text, verify_inputs
from nightscore.pipeline.read.text.bad_lines import BadLine, bad_lines_batch
from nightscore.pipeline.score.canary import choose_here
from nightscore.store import (
    FEATURE_GROUP_ROWS,
    SMALLEST_PIECE,
    SMALLEST_PIECE_OF_TEXTS,
    InputFile,
    Plan,
    Receipt,
    RunFolder,
    SqlMistakes,
    StagedFile,
    catalog,
    cut_pieces,
    free_bytes,
    job_memory_budget,
    json_digest,
    peak_memory,
    renames,
    run_folder,
    stage_batches,
    stamped,
    storage,
)

MakeRows = Callable[[Job, Plan, RunFolder, ProgressCallback], Sequence[InputFile]]
MapParts = Callable[[Job, Plan, Sequence[int], ProgressCallback], Sequence[StagedFile]]
Choose = Callable[[Job, Plan, Sequence[InputFile]], Plan]
DOUBT = 2  # a run is refused where less than 1/DOUBT of the estimated disk space is free
ALIKE = 10  # the last day's bytes per row count up to this many times its rows: else they are mostly footers
OUTPUT_BYTES = 4  # of one output of one row, until a run has shown it
Needs = dict[str, int]


def begin(
    job: Job, draft: Plan, make_rows: MakeRows | None = None, choose: Choose = choose_here,
    *, map_parts: MapParts | None = None, watch: Stopwatch | None = None, report: ProgressCallback = silent,
) -> Plan:  # fmt: skip
    """Begin a run: verify inputs, make rows, check the disk, choose a variant, cut pieces, save the plan.

    Runs, replays of rejects, trials of late data and of bake-offs all begin here.

    Args:
        job: the job.
        draft: the plan as far as it is known before a row is read; its run id is kept, if it has one.
        make_rows: gives the files whose rows are scored; default: `stage_features`.
        choose: holds the model to those files' rows, and gives the plan with its variant and the rows of a
            chunk.
        map_parts: stages the parts of features that are made in parts; default: here, one after the other.
        watch: started with the planning; default: now.
        report: told how far it is.

    Raises:
        Broken: the SQL fails, an input is not what it has to be, or there is no row to score.
        NotYet: an input is changing; the disk has no room.
    """
    watch = watch or Stopwatch()
    run_id = draft.run_id or run_folder.new_run_id(draft.fingerprint, draft.started)
    plan = dataclasses.replace(draft, run_id=run_id)
    if make_rows is None:
        plan = dataclasses.replace(plan, parts=plan_parts(job, plan))
        make_rows = functools.partial(stage_features, map_parts=map_parts or parts_in_order)
    run = run_folder.folder_of_plan(job.workspace, plan)
    with run.in_use():
        with Day(job, plan).steady_inputs():
            plan = dataclasses.replace(plan, sha256=verify_inputs(job, plan.inputs))
            stage_bad_lines(job, run, read_text(job, plan.inputs))
        watch.lap("plan")
        rows = make_rows(job, plan, run, report)
        refuse_full_disk(job, plan, run, rows)
        watch.lap("features")
        plan = choose(job, plan, rows)
        watch.lap("choose")
        plan = dataclasses.replace(
            plan, seconds=watch.seconds, cpu_seconds=watch.cpu_seconds, peak_memory=peak_memory()
        )
        plan = with_pieces(job, plan, rows)
        return run_folder.save_plan(run, plan)


@contextlib.contextmanager
def trial_plan(job: Job, draft: Plan, purpose: str) -> Iterator[Plan]:
    """A plan whose runs are thrown away at the end, however that comes: no other run takes one of them up."""
    mark = json_digest(purpose, draft.fingerprint, secrets.token_hex(8))
    try:
        yield dataclasses.replace(draft, fingerprint=mark)
    finally:
        run_folder.remove_trials(job.workspace, job.name, dt.date.fromisoformat(draft.day), mark)


def stage_features(
    job: Job, plan: Plan, run: RunFolder, report: ProgressCallback, *, map_parts: MapParts
) -> Sequence[InputFile]:
    """The files whose rows are scored: the input's own partition, or the snapshot of the SQL's rows.

    Of SQL that is run in parts there is a snapshot each. A run that is stopped among them is taken up.
    """
    if job.features_sql is None:
        return streamed_files(job, plan)
    report("features", 0, 0)
    refuse_no_room_for_features(job, plan)
    if plan.parts is not None:
        run_folder.record(run.begun, plan.to_json())
        map_parts(job, plan, range(plan.parts.parts), report)
        run.refuse_ended()  # it may have been collected as one that nobody would take up
        snapshots = [run.part(number) for number in range(plan.parts.parts)]
        return [inputs.inspect_parquet(job.workspace, path.local()) for path in snapshots]
    day = Day(job, plan)
    select = binding.features_select(job)
    with day.steady_inputs(), day.engine(threads=day.sql_threads, asked=[select]) as engine:
        with SqlMistakes(binding.features_place(job)):
            batches = engine.stream(select, order=binding.key_order(job))
            stage_batches(run.features, batches, engine.schema(select), FEATURE_GROUP_ROWS)
    report("features", 1, 1)
    return [inputs.inspect_parquet(job.workspace, run.features.local())]


def stage_bad_lines(job: Job, run: RunFolder, lines: Sequence[BadLine]) -> None:
    """Keep the lines that the job's inputs leave out, where any may."""
    if job.spec.leaves_lines_out:
        schema = binding.bad_lines_schema(job)
        stage_batches(run.bad_lines, [stamped(bad_lines_batch(lines), run.run_id, schema)], schema)


def parts_in_order(
    job: Job, plan: Plan, numbers: Sequence[int], report: ProgressCallback = silent
) -> list[StagedFile]:
    """The snapshots of some parts of the features, made one after the other, in this thread."""
    count = RowCounter("features", len(numbers), report)
    staged = []
    for number in numbers:
        staged.append(stage_part(job, plan, number))
        count(1)
    return staged


def streamed_files(job: Job, plan: Plan) -> list[InputFile]:
    """The scored day's own files of the input that a job streams as it is."""
    return [f for f in plan.inputs[job.spec.source] if f.day == plan.day]


def with_pieces(job: Job, plan: Plan, source: Sequence[InputFile]) -> Plan:
    """The plan with the pieces of the files whose rows are scored.

    Raises:
        Broken: they have no rows, and the policy for an empty day is `fail`.
    """
    rows = sum(f.rows for f in source)
    if rows == 0 and job.spec.policy.empty == "fail":
        raise Broken(f"job {job.name}: no rows to score on {plan.day}; the policy for an empty day is fail")
    tuned = [plan.tuned.sha256] if plan.tuned else []
    maker = json_digest(
        plan.fingerprint, plan.versions, plan.chunk_rows, dataclasses.asdict(plan.variant), *tuned
    )
    smallest = SMALLEST_PIECE_OF_TEXTS if plan.variant.kind in ("text", "image") else SMALLEST_PIECE
    asked = job.spec.scoring.piece_rows
    pieces = cut_pieces(source, maker, plan.limit, smallest, None if asked == "auto" else asked)
    return dataclasses.replace(plan, pieces=pieces)


def refuse_full_disk(job: Job, plan: Plan, run: RunFolder, source: Sequence[InputFile]) -> None:
    """Raise `NotYet` unless there is disk space for the scores and the decision tables of a run.

    Raises:
        NotYet: less than half of it is free; says what is needed, what is free and where. The feature
            run's folder is removed, so that trying again does not fill the disk with snapshots.
    """
    last = _last(job, plan)
    alike = last is not None and last.rows.published * ALIKE >= _rows(plan, source)
    staged = _by_rows(last, plan, source) if last and alike else _by_footers(job, plan, source)
    try:
        _refuse(job, plan, job.workspace, staged)
    except NotYet:
        run.remove()
        raise


def refuse_no_room_for_features(job: Job, plan: Plan) -> None:
    """The same for the feature snapshot, by that of the last published day, if there is one.

    Raises:
        NotYet: as above.
    """
    last = _last(job, plan)
    if last is None:
        return
    snapshots = RunFolder(renames.runs_home(job.workspace, job.name) / last.day / last.run_id).snapshots
    if not snapshots:
        return
    share = min(1.0, _bytes(plan.inputs) / max(1, sum(f.bytes for f in last.inputs)))
    plain = sum(sum(_groups(path.local(), None)) for path in snapshots) // (job.spec.features.parts or 1)
    sorting = max(0, int(plain * share) - job_memory_budget(job).sql)
    written = sum(path.local().stat().st_size for path in snapshots)
    needs = {"the feature snapshot": int(written * share), "sorting it": sorting}
    _refuse(job, plan, job.workspace, needs, tables=False)


def _refuse(job: Job, plan: Plan, workspace: Workspace, needs: Needs, tables: bool = True) -> None:
    for folder in _places(workspace) if tables else [workspace.runs]:
        total, left = sum(needs.values()), free_bytes(folder)
        if left * DOUBT < total:
            parts = ", ".join(f"{name} {byte_size(size)}" for name, size in needs.items() if size)
            raise NotYet(
                f"job {job.name}, day {plan.day}: needs about {byte_size(total)} of disk in {folder} "
                f"({parts}) and has {byte_size(left)} free; nothing was scored. Free some there (`nightscore "
                "gc` removes what nobody needs), or put data/ on a larger disk. The need is an estimate: a "
                "run is refused where less than half of it is free"
            )


def _places(workspace: Workspace) -> list[Path]:
    """The folders that are written, one per device; a table's files are links there, or copies."""
    nearest = {
        path: next(p for p in (path, *path.parents) if p.exists())
        for path in (workspace.runs, workspace.tables)
    }
    devices = {existing.stat().st_dev: path for path, existing in reversed(nearest.items())}
    return list(devices.values())


def _last(job: Job, plan: Plan) -> Receipt | None:
    """The receipt of the job's last published day, up to this one."""
    entry = catalog.read_catalog(job.workspace).previous(job.name, as_day(plan.day) + dt.timedelta(days=1))
    if entry is None:
        return None
    last = entry.read_receipt_or_reason()  # for an estimate: one that can't be read is as if there were none
    return None if last.status == "unreadable" else last


def _by_rows(last: Receipt, plan: Plan, source: Sequence[InputFile]) -> Needs:
    """What each table took on the last day, scaled to today's rows; decision tables never scaled up."""
    share = _rows(plan, source) / max(1, last.rows.published)
    scores, *decided = last.tables.items()
    needs = {scores[0]: int(scores[1].bytes * share)}
    return needs | {name: int(table.bytes * min(1.0, share)) for name, table in decided}


def _by_footers(job: Job, plan: Plan, source: Sequence[InputFile]) -> Needs:
    """Key and kept columns as large as they are, OUTPUT_BYTES per output; decision tables are left out."""
    columns = {*job.spec.key, *job.spec.keep}
    paths = [storage.locate(job.workspace, file.path) for file in source]
    kept = sum(size for path in paths for size in _groups(path, columns))
    share = _rows(plan, source) / max(1, sum(f.rows for f in source))
    models = 1 + len(job.spec.model.rivals)
    outputs = models * len(job.spec.model.outputs) * OUTPUT_BYTES * _rows(plan, source)
    return {job.spec.scores_table: int(kept * share) + outputs}


def _rows(plan: Plan, source: Sequence[InputFile]) -> int:
    """Rows that the run stages: those to score, and those that a replay carries over."""
    rows = sum(file.rows for file in source)
    return (rows if plan.limit is None else min(rows, plan.limit)) + plan.carried


def _bytes(inputs: Mapping[str, Sequence[InputFile]]) -> int:
    return sum({file.path: file.bytes for files in inputs.values() for file in files}.values())


def _groups(path: Path, columns: set[str] | None) -> list[int]:
    """The bytes of some columns on disk, row group by row group; of all columns before compression."""
    footer = pq.read_metadata(path)
    sizes = []
    for group in (footer.row_group(i) for i in range(footer.num_row_groups)):
        for column in (group.column(i) for i in range(group.num_columns)):
            if columns is None:
                sizes.append(column.total_uncompressed_size)
            elif column.path_in_schema.partition(".")[0] in columns:
                sizes.append(column.total_compressed_size)
    return sizes
