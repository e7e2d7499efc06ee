"""The executor contract as one function that every executor, ours or a plug-in's, is tested with."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from nightscore.common import NightscoreError, NotYet, Workspace
from nightscore.job import Job
from nightscore.pipeline.executors import Executor, InOrder, PartsExecutor
from nightscore.pipeline.prepare import parts_in_order
from nightscore.store import Place, Plan, StagedFile, run_folder, storage


def check_executor(make: Callable[[], Executor], job: Job, plan: Plan) -> None:
    """Hold an executor to its contract on a plan of at least three pieces, none of which is staged yet.

    Checked: the files of `InOrder`, byte for byte and in the order that was asked for; of some pieces those
    alone; of no piece none; staged pieces are left as they are; progress ends at all rows; a plan that no
    longer holds is `NotYet` and stages nothing.

    Args:
        make: gives the executor; called once for each use, so that one with a cluster may start and stop it.
        job: the job, as `load` gives it.
        plan: as `plan_day` gives it. What is staged of it is removed on the way.

    Raises:
        AssertionError: with what does not hold.
    """
    space, pieces = job.workspace, plan.pieces
    assert len(pieces) >= 3, f"{len(pieces)} pieces are too few to tell an order"
    expected = _contents(space, InOrder().map(job, plan, pieces))
    run_folder.folder_of_plan(job.workspace, plan).remove_scored()
    assert make().map(job, plan, ()) == [], "of no piece there is a file"
    unasked = run_folder.folder_of_plan(job.workspace, plan).scores(pieces[1].fingerprint)
    rows = sum(piece.rows for piece in pieces)
    _check_map(
        space, lambda *asked: make().map(job, plan, *asked), pieces, unasked, expected,
        done=("score", rows, rows), what="piece",
    )  # fmt: skip
    run_folder.folder_of_plan(job.workspace, plan).remove_scored()
    assert isinstance(_error(make(), job, plan), NotYet), "a plan of another job is not refused"
    assert not any(_scores(job, plan).glob("*.parquet")), "it was refused, and files were staged"


def check_parts_executor(make: Callable[[], PartsExecutor], job: Job, plan: Plan) -> None:
    """Hold an executor to its contract on the parts of features, of which there are three or more.

    Checked: the snapshots of one part after the other, byte for byte and in the order that was asked for; of
    some parts those alone; what is staged is left as it is; progress ends at all parts; a plan that no longer
    holds is `NotYet`.

    Args:
        make: gives the executor; called once for each use.
        job: the job, as `load` gives it.
        plan: as `plan_day` gives it. The snapshots of its parts are removed on the way, and made again.

    Raises:
        AssertionError: with what does not hold.
    """
    space, run = job.workspace, run_folder.folder_of_plan(job.workspace, plan)
    assert plan.parts is not None and plan.parts.parts >= 3, "too few parts to tell an order"
    numbers = range(plan.parts.parts)
    expected = _contents(space, parts_in_order(job, plan, numbers))
    for number in numbers:
        run.part(number).remove()
    _check_map(
        space, lambda *asked: make().map_parts(job, plan, *asked), numbers, run.part(1), expected,
        done=("features", len(numbers), len(numbers)), what="part",
    )  # fmt: skip
    try:
        make().map_parts(job, dataclasses.replace(plan, job_hash="0" * 64), numbers)
    except NotYet:
        return
    raise AssertionError("a plan of another job is not refused")


def _check_map(
    space: Workspace, call: Callable[..., list[StagedFile]], tasks: Sequence[Any],
    unasked: Place, expected: Sequence[tuple[str, bytes]], *, done: tuple[str, int, int], what: str,
) -> None:  # fmt: skip
    """Check a call that stages tasks, `what` by name, none of which is: the third and the first, then all.

    `unasked` is where the second lies, `expected` are the files of all, `done` is how progress ends.
    """
    staged = call([tasks[2], tasks[0]])
    assert _contents(space, staged) == [expected[2], expected[0]], f"some {what}s, in the order asked for"
    assert not unasked.exists(), f"a {what} that was not asked for"
    before = {file.path: _stat(space, file) for file in staged}
    reports: list[tuple[str, int, int]] = []
    every = call(tasks, lambda *progress: reports.append(progress))
    assert _contents(space, every) == expected, (
        f"other bytes than one {what} after the other, or another order"
    )
    kept = {file.path: _stat(space, file) for file in every if file.path in before}
    assert kept == before, f"staged {what}s are written again"
    assert reports[-1:] == [done], f"progress ends at {reports[-1:]}, not at {done}"


def _error(executor: Executor, job: Job, plan: Plan) -> NightscoreError | None:
    try:
        executor.map(job, dataclasses.replace(plan, job_hash="0" * 64), plan.pieces)
    except NightscoreError as error:
        return error
    return None


def _contents(workspace: Workspace, staged: list[StagedFile]) -> list[tuple[str, bytes]]:
    return [(file.path, storage.locate(workspace, file.path).read_bytes()) for file in staged]


def _stat(workspace: Workspace, file: StagedFile) -> tuple[int, int]:
    stat = storage.locate(workspace, file.path).stat()
    return stat.st_ino, stat.st_mtime_ns


def _scores(job: Job, plan: Plan) -> Place:
    return run_folder.folder_of_plan(job.workspace, plan).scores("any").parent
