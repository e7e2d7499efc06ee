"""The night as a plain loop: the definition of correct. Other executors string the same verbs together."""

import datetime as dt
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import pyarrow as pa

from nightscore.common.errors import Broken, NightError
from nightscore.common.progress import Count, Report, silent
from nightscore.common.units import as_day
from nightscore.job.loader import Job
from nightscore.pipeline.steps import plan_day, publish_day, score_piece
from nightscore.scorers.hardware import hardware
from nightscore.store.memory_budget import budget
from nightscore.store.plan import Plan, Restate
from nightscore.store.receipt import Receipt
from nightscore.store.staging import StagedFile


def run(
    job: Job, day: dt.date | str, *, params: Mapping[str, Any] | None = None, force: bool = False,
    limit: int | None = None, model: str | None = None, device: str | None = None,
    known_at: dt.datetime | str | None = None, restate: Restate | None = None, report: Report = silent,
) -> Receipt:  # fmt: skip
    """Score one day of a job and publish it. Safe to call again at any time, from anywhere.

    Args:
        job: as `load` gives it.
        day: the business date to score, a date or YYYY-MM-DD.
        params: values of the job's parameters, instead of their defaults.
        force: run although nothing has changed.
        limit: score only the first so many rows and publish nothing: a preview.
        model: another model file of the workspace (a path relative to it).
        device: another device than the job's, such as cpu or cuda.
        known_at: leave out rows that became known later, by the `known_at` of the job's inputs; a time
            without a zone is UTC.
        restate: publish a day anew that is published, closed or not; says why, and who does it.
        report: told how far each stage is.

    Returns:
        The receipt: status `published`, or `unchanged` (published before, same causes), `skipped`
        (the job's policy for a missing day), `preview`.

    Raises:
        Broken: trying again won't help. Nothing is published. `Closed`: the day is closed, and its causes are
            others now.
        NotYet: try again later. Nothing is published.
    """
    moment = as_day(day)
    plan = plan_day(
        job, moment, params=params, force=force, limit=limit, model=model, device=device, known_at=known_at,
        restate=restate, report=report,
    )  # fmt: skip
    return publish_day(job, plan, score_pieces(job, plan, report), report)


def score_pieces(job: Job, plan: Plan, report: Report = silent) -> list[StagedFile]:
    """Score every piece of a plan, as many at once as cores and memory allow; in the plan's order."""
    count = Count("score", plan.rows, report)
    at_once = min(plan.variant.at_once(hardware().cores), budget(job).at_once)
    with ThreadPoolExecutor(at_once) as pool:
        futures = [pool.submit(score_piece, job, plan, piece, count) for piece in plan.pieces]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    pa.default_memory_pool().release_unused()  # a hundred megabytes, which DuckDB is about to need
    return [future.result() for future in futures]


def backfill(
    job: Job, first: dt.date | str, last: dt.date | str, report: Report = silent, **options: Any
) -> Iterator[tuple[dt.date, Receipt | NightError]]:
    """Run every day from `first` to `last`, the newest first, and give each day's receipt or error.

    A day that fails does not keep the others from running. `options` are those of `run`.

    Raises:
        Broken: `first` is after `last`.
    """
    start, end = as_day(first), as_day(last)
    if start > end:
        raise Broken(f"the first day, {start}, is after the last, {end}")
    for back in range((end - start).days + 1):
        day = end - dt.timedelta(days=back)
        try:
            yield day, run(job, day, report=report, **options)
        except NightError as error:
            yield day, error
