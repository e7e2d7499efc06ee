"""The pieces of a day, scored by a job of a Ray cluster: what its task has to know before and after.

Nothing but names passes between Airflow and the cluster: the job reads the run's plan where the data is,
and what it staged is read there. Light to import: what is heavy is imported where it is used.
"""

import datetime as dt
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from nightscore.airflow.on_ray.jobs import RayJobs, call
from nightscore.common import NotYet, ProgressCallback
from nightscore.job import Job
from nightscore.pipeline import RunRequest
from nightscore.store import Plan

if TYPE_CHECKING:
    from nightscore.store import Receipt, StagedFile


def find_unstaged(job: Job, plan: Plan, share: Sequence[int]) -> list[int]:
    """The numbers of those pieces of a share that are still to be scored."""
    from nightscore.store import run_folder

    folder = run_folder.folder_of_plan(job.workspace, plan)
    names = {number: folder.scores(plan.pieces[number].fingerprint) for number in share}
    there = {path.name for path in next(iter(names.values())).parent.glob("*.parquet")}
    return [number for number, path in names.items() if path.name not in there]


def read_scored(job: Job, plan: Plan, share: Sequence[int], report: ProgressCallback) -> "list[StagedFile]":
    """What a job that has ended well has staged of a share, as it noted it; else as the files say.

    Raises:
        NotYet: some of its pieces are not there.
    """
    from nightscore.pipeline import LOCAL_THREADS
    from nightscore.store import run_folder

    if missing := find_unstaged(job, plan, share):
        raise NotYet(
            f"job {plan.job}, day {plan.day}: the Ray job has ended, and piece {missing[0]} is not staged as "
            "seen from here; the nodes and this machine must reach the same data/: NIGHTSCORE_ROOT_DATA"
        )
    folder, pieces = run_folder.folder_of_plan(job.workspace, plan), [plan.pieces[i] for i in share]
    told = folder.read_scored()
    paths = [folder.scores(piece.fingerprint).key for piece in pieces]
    if told.keys() >= set(paths):
        return [told[path] for path in paths]
    return LOCAL_THREADS.map(job, plan, pieces, report)


def plan_holds(job: Job, plan: Plan) -> bool:
    """Whether a plan may still be scored: not where the job, a library or an input is another."""
    from nightscore.pipeline import Day

    day = Day(job, plan)
    try:
        day.refuse_changed_job()
        day.refuse_other_versions()
        day.run.refuse_ended()
        with day.steady_inputs():
            return True
    except NotYet:
        return False


def run_on(
    jobs: RayJobs, job: Job, day: dt.date, request: RunRequest,
    *, report: ProgressCallback, begun: Callable[[str], object],
) -> "Receipt":  # fmt: skip
    """A day from plan to receipt, its pieces scored by a job of the cluster; waits for that.

    `begun` is told the job's name, by which it can be stopped.

    Raises:
        Broken: as `run`; the cluster refuses the job.
        NotYet: as `run`; the cluster does not answer, or the job was stopped or lost.
    """
    from nightscore.pipeline import LOCAL_THREADS, plan_carried, plan_day, publish_day

    plan = plan_day(job, day, request, report, map_parts=LOCAL_THREADS.map_parts)
    share = range(len(plan.pieces) if plan.status == "score" else 0)
    try:
        if share and find_unstaged(job, plan, share):
            name = call(jobs.start(job, plan))
            begun(name)
            call(jobs.follow(name, print)).refuse_failure(name)
        staged = read_scored(job, plan, share, report) if share else []
    except NotYet as error:
        carried = plan_carried(job, day, request, error)
        if carried is None:
            raise
        plan, staged = carried, []
    return publish_day(job, plan, staged, report)
