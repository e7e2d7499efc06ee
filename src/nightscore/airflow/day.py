"""Which day a run scores: decided here, and nowhere else."""

import contextlib
import datetime as dt

from nightscore.common import Broken, NightscoreError, as_day
from nightscore.job import Job, calendar_of, latest_day, read_workspace_overrides

LOOK_BACK = dt.timedelta(days=30)


def day_of_run(job: Job, partition_key: str | None, form_day: str | None) -> dt.date:
    """The partition key of the run, else the form's `day`; never today.

    The key comes first: the form of a backfill has a field `day`, too, and a day in it would stand for
    every one of the backfill's.

    Raises:
        Broken: the run has neither, or it is no day.
    """
    text = partition_key or form_day
    if text:
        return as_day(text)
    raise Broken(
        f"job {job.name}: this run has no day to score; trigger it with a day in the form "
        f'(or {{"day": "YYYY-MM-DD"}} as its conf), or with a partition key{_hint(job)}'
    )


def latest_day_of(job: Job) -> dt.date:
    """The job's latest complete day at this moment. Broken where its exchange's calendar is unknown."""
    overrides = read_workspace_overrides(job.workspace.root)
    return latest_day(calendar_of(job, overrides), dt.datetime.now(dt.UTC))


def open_day_of(job: Job) -> dt.date:
    """The last complete day of a month that has data and is not published; without one the latest complete.

    Raises:
        Broken: the job's exchange is unknown.
    """
    from nightscore.pipeline import find_open_day  # not at parse time

    calendar = calendar_of(job, read_workspace_overrides(job.workspace.root))
    latest = latest_day(calendar, dt.datetime.now(dt.UTC))
    with contextlib.suppress(NightscoreError, OSError, ValueError):  # the run of the day says what is wrong
        return find_open_day(job, calendar.days(latest - LOOK_BACK, latest)) or latest
    return latest


def _hint(job: Job) -> str:
    try:
        latest = latest_day_of(job)
    except Broken:  # an exchange without a calendar; the message before it is the one that matters
        return ""
    return f"; the latest complete day is {latest}"
