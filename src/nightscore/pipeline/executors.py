"""A day of a job from plan to receipt, and who scores its pieces.

Pieces are independent, idempotent and staged by themselves, so an executor only has to call `score_piece` for
each of them, anywhere and in any order. `InOrder` is the definition of correct; others give the same files.
"""

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable

import pyarrow as pa

from nightscore.common import Broken, NightscoreError, NotYet, ProgressCallback, RowCounter, as_day, silent
from nightscore.job import Job, is_by_cron, reads_itself
from nightscore.pipeline.attempts import recorded
from nightscore.pipeline.context import read_others_plan
from nightscore.pipeline.onward import send_on
from nightscore.pipeline.parts import parts_at_once, room_for, stage_part
from nightscore.pipeline.prepare import Choose, parts_in_order
from nightscore.pipeline.publish.carry import plan_carried
from nightscore.pipeline.publish.receipt_builder import skipped_receipt
from nightscore.pipeline.read.absent import rest_days
from nightscore.pipeline.request import DEFAULT_REQUEST, RunRequest
from nightscore.pipeline.steps import plan_day, publish_day, score_piece
from nightscore.scorers import read_hardware
from nightscore.store import (
    InputFile,
    Piece,
    Plan,
    Receipt,
    StagedFile,
    job_memory_budget,
    run_folder,
)


class Executor(Protocol):
    """Has the pieces of a plan scored. `nightscore.pipeline.testing.check_executor` tests an executor."""

    def map(
        self, job: Job, plan: Plan, pieces: Sequence[Piece], report: ProgressCallback = silent
    ) -> list[StagedFile]:
        """The staged files of some pieces of a plan, in the order of `pieces`.

        A piece that is staged already is left as it is. `report` is told of the stage `score`: rows done, and
        rows of all these pieces.

        Raises:
            Broken: (permanent) a row can't be scored.
            NotYet: (retryable) the job, its model, an input or a library differs from the plan's.
        """
        ...


@runtime_checkable
class ChoosingExecutor(Executor, Protocol):
    """An executor that has the variant chosen where the pieces will be scored, on hardware like theirs.

    Of one that has not, it is chosen where the day is planned.
    """

    def choose(
        self, job: Job, plan: Plan, source: Sequence[InputFile], report: ProgressCallback = silent
    ) -> Plan:
        """The plan with its variant, for the files whose rows are scored: what `choose_here` gives there.

        Errors as those of `choose_here`.
        """
        ...


@runtime_checkable
class PartsExecutor(Executor, Protocol):
    """An executor that has the parts of a job's features made, too, where its job.yaml says `parts`.

    Of one that has not, the parts are made where the day is planned, one after the other.
    """

    def map_parts(
        self, job: Job, plan: Plan, numbers: Sequence[int], report: ProgressCallback = silent
    ) -> list[StagedFile]:
        """The snapshots of some parts, in the order of `numbers`: `stage_part` of each, anywhere.

        A part that is staged already is left as it is. `report` is told of the stage `features`: parts done,
        and parts. Errors as those of `map`.
        """
        ...


@dataclass(frozen=True)
class InOrder:
    """One piece after the other, in this thread."""

    def map(
        self, job: Job, plan: Plan, pieces: Sequence[Piece], report: ProgressCallback = silent
    ) -> list[StagedFile]:
        """The staged files, in order."""
        count = RowCounter("score", sum(piece.rows for piece in pieces), report)
        return [score_piece(job, plan, piece, count) for piece in pieces]

    def map_parts(
        self, job: Job, plan: Plan, numbers: Sequence[int], report: ProgressCallback = silent
    ) -> list[StagedFile]:
        """The snapshots of the parts, in order."""
        return parts_in_order(job, plan, numbers, report)


@dataclass(frozen=True)
class Threads:
    """Threads of this process: as many pieces at once as cores and memory allow."""

    def map(
        self, job: Job, plan: Plan, pieces: Sequence[Piece], report: ProgressCallback = silent
    ) -> list[StagedFile]:
        """The staged files, in order. The first error ends the pieces that have not begun."""
        count = RowCounter("score", sum(piece.rows for piece in pieces), report)
        at_once = min(plan.variant.at_once(read_hardware().cores), job_memory_budget(job).at_once)
        staged = _together(at_once, [partial(score_piece, job, plan, piece, count) for piece in pieces])
        pa.default_memory_pool().release_unused()  # about 100 MB, which DuckDB needs next
        return staged

    def map_parts(
        self, job: Job, plan: Plan, numbers: Sequence[int], report: ProgressCallback = silent
    ) -> list[StagedFile]:
        """The snapshots of the parts, in order: as many at once as there are cores for their threads."""
        count, at_once = RowCounter("features", len(numbers), report), parts_at_once(job)
        room = room_for(job, at_once)

        def make(number: int) -> StagedFile:
            staged = stage_part(job, plan, number, room)
            count(1)
            return staged

        return _together(at_once, [partial(make, number) for number in numbers])


def _together(at_once: int, calls: Sequence[Callable[[], StagedFile]]) -> list[StagedFile]:
    """What some calls give, in order. The first error ends those that have not begun."""
    with ThreadPoolExecutor(at_once) as pool:
        futures = [pool.submit(call) for call in calls]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return [future.result() for future in futures]


LOCAL_THREADS = Threads()


def chooser(executor: Executor, report: ProgressCallback) -> Choose | None:
    """What chooses the variant on the machines of an executor; None where this machine does."""
    return partial(executor.choose, report=report) if isinstance(executor, ChoosingExecutor) else None


def run(
    job: Job, day: dt.date | str, request: RunRequest = DEFAULT_REQUEST,
    *, executor: Executor = LOCAL_THREADS, report: ProgressCallback = silent, **options: Any,
) -> Receipt:  # fmt: skip
    """Score one day of a job and publish it. Safe to call again at any time, from anywhere (idempotent).

    Args:
        job: as `load` gives it.
        day: the business date to score, a date or YYYY-MM-DD.
        request: what the run is asked for.
        executor: who scores the pieces; default: threads of this process.
        report: told how far each stage is.
        options: fields of the request, for short: `run(job, day, force=True)`.

    Returns:
        The receipt: status `published`, or `unchanged` (published before, same causes), `skipped`
        (the job's policy for a missing day), `preview`.

    Raises:
        Broken: (permanent) trying again won't help. Nothing is published. `Closed`: the day is closed, and
            its causes differ now.
        NotYet: (retryable) try again later. Nothing is published. Of `Undelivered` and of
            `Undeliverable`, a Broken, it is published, and not delivered everywhere.
    """
    _check_arguments(job, request, executor)
    choose = chooser(executor, report)
    parts = executor.map_parts if isinstance(executor, PartsExecutor) else None
    asked, moment = request.but(**options), as_day(day)
    with recorded(job, moment, report, is_preview=asked.limit is not None) as (told, ended):
        plan = plan_day(job, moment, asked, told, choose=choose, map_parts=parts)
        try:
            staged = executor.map(job, plan, plan.pieces, told)
        except NotYet as error:
            carried = plan_carried(job, moment, asked, error)
            if carried is None:
                raise
            plan, staged = carried, []
        receipt = publish_day(job, plan, staged, told)
        send_on(job, receipt, told)
        ended(receipt)
    return receipt


def _check_arguments(job: Job, request: RunRequest, executor: Executor) -> None:
    """Raise TypeError where a notebook's slip would end in an error from deep inside."""
    if not isinstance(job, Job):
        raise TypeError(f"job is {job!r}; allowed: what load(name) gives")
    if not isinstance(request, RunRequest):
        raise TypeError(f"request is {request!r}; allowed: a RunRequest, or its fields by name: force=True")
    if isinstance(executor, type) or not hasattr(executor, "map"):
        raise TypeError(f"executor is {executor!r}; allowed: an Executor, such as InOrder()")


def score_planned(
    job: Job, day: dt.date, run_id: str, *, executor: Executor, report: ProgressCallback = silent
) -> list[StagedFile]:
    """Have the pieces of a plan scored that another process has made, and will publish.

    Args:
        job: as `load` gives it.
        day: the plan's.
        run_id: the run whose plan it is.
        executor: who scores the pieces.
        report: told how far it is.

    Raises:
        Broken: a row can't be scored, or this machine sees no such plan.
        NotYet: the job, a library or an input here is not that of the plan.
    """
    folder = run_folder.folder_of_plan(job.workspace, Plan(job.name, day.isoformat(), "score", run_id=run_id))
    if not folder.plan.exists():
        raise Broken(
            f"{folder.plan}: is not there: this machine does not see the data of the one that made the plan; "
            "put data/ where both reach it: NIGHTSCORE_ROOT_DATA is a bucket or a mount"
        )
    text = folder.plan.read_text()
    try:
        plan = read_others_plan(text)
    except (ValueError, TypeError, KeyError) as error:
        raise NotYet(f"{folder.plan}: can't be read here ({error}); run the day again") from error
    staged = executor.map(job, plan, plan.pieces, report)
    folder.note_scored(staged)
    return staged


def backfill(
    job: Job, first: dt.date | str, last: dt.date | str, request: RunRequest = DEFAULT_REQUEST,
    *, executor: Executor = LOCAL_THREADS, report: ProgressCallback = silent, **options: Any,
) -> Iterator[tuple[dt.date, Receipt | NightscoreError]]:  # fmt: skip
    """Run every day from `first` to `last`, the newest first, and give each day's receipt or error.

    Of a job that reads its own tables of the days before, the oldest comes first. A day that fails does not
    keep the others from running. A day that the schedule has not, a weekend of an exchange say, and of which
    no input has anything is `skipped`. The other arguments are those of `run`.

    Raises:
        Broken: `first` is after `last`.
    """
    start, end = as_day(first), as_day(last)
    if start > end:
        raise Broken(f"the first day, {start}, is after the last, {end}")
    days = [start + dt.timedelta(days=i) for i in range((end - start).days + 1)]
    resting = rest_days(job, start, end)
    for day in days if reads_itself(job) else reversed(days):
        if day in resting:
            yield day, _rest(job, day)
            continue
        try:
            yield day, run(job, day, request, executor=executor, report=report, **options)
        except NightscoreError as error:
            yield day, error


def _rest(job: Job, day: dt.date) -> Receipt:
    """The receipt of a day on which nothing is to be run."""
    lake = "" if is_by_cron(job) else ", and no input has anything of it"
    reason = f"no day of the schedule ({job.spec.schedule}){lake}"
    return skipped_receipt(Plan(job.name, day.isoformat(), "skipped", reason=reason))
