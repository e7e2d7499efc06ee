"""What of a job's days follows from other jobs and from its own: as far as job.yaml says it."""

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence

from nightscore.job.days.calendars import Calendar, days_of_all
from nightscore.job.days.closures import CalendarOverride
from nightscore.job.days.deadline import deadline_of
from nightscore.job.days.schedule import After, ByHand, Cron
from nightscore.job.loader import Job, load_all
from nightscore.job.sources.inputs import Input, TableInput
from nightscore.job.sources.snapshot_inputs import SnapshotInput


def own_table(job: Job, source: Input | SnapshotInput) -> bool:
    """Whether an input is an output table of the job itself."""
    return isinstance(source, TableInput) and source.table in job.spec.tables


def reads_itself(job: Job) -> bool:
    """Whether the job reads its own tables of the days before, so that its days have an order."""
    return any(own_table(job, source) for source in job.spec.inputs.values())


def makers_of(tables: Iterable[str], jobs: Iterable[Job]) -> list[Job]:
    """Those of some jobs that publish one of some tables, as job.yaml says."""
    wanted = set(tables)
    return [job for job in jobs if wanted & set(job.spec.tables)]


def first_jobs(job: Job, others: Sequence[Job] | None = None) -> list[Job]:
    """The jobs at whose schedules a job's days begin: those that it comes after, and so on up the chain.

    A job that comes after none is that itself, and so is one whose tables nobody publishes. `others` are the
    jobs of the workspace, where they have been read already.
    """
    if not isinstance(job.spec.schedule, After):
        return [job]
    jobs = load_all(job.workspace)[0] if others is None else others
    return list({found.name: found for found in _first(job, jobs, ())}.values())


def _first(job: Job, others: Sequence[Job], seen: tuple[str, ...]) -> Iterator[Job]:
    schedule = job.spec.schedule
    makers = makers_of(schedule.after, others) if isinstance(schedule, After) else []
    before = [maker for maker in makers if maker.name not in (*seen, job.name)]
    for other in before:
        yield from _first(other, others, (*seen, job.name))
    if not before:
        yield job


def calendar_of(
    job: Job, closures: Mapping[str, CalendarOverride], others: Sequence[Job] | None = None
) -> Calendar:
    """The days of a job's schedule; of one that comes after others those that all of these have."""
    return days_of_all([first.spec.schedule.calendar(closures) for first in first_jobs(job, others)])


def is_by_cron(job: Job) -> bool:
    """Whether the job's days are those of a cron expression: fewer than the days that lie in a lake."""
    return any(isinstance(first.spec.schedule, Cron) for first in first_jobs(job))


def start_of(
    jobs: Mapping[str, Job],
    name: str,
    day: dt.date,
    closures: Mapping[str, CalendarOverride] | None = None,
    _seen: frozenset[str] = frozenset(),
) -> dt.datetime | None:
    """From which moment (UTC) a day of a job may run by a clock: its own, or the last of its upstream's.

    None where no clock of these jobs says it, or the day is none of theirs.

    Raises:
        Broken: an exchange's calendar is unknown.
    """
    schedule = jobs[name].spec.schedule
    if isinstance(schedule, After):
        above = [
            one.name for one in makers_of(schedule.after, jobs.values()) if one.name not in {*_seen, name}
        ]
        moments = [start_of(jobs, one, day, closures, _seen | {name}) for one in above]
        return max((one for one in moments if one), default=None)
    try:
        return None if isinstance(schedule, ByHand) else schedule.calendar(closures).complete(day)
    except ValueError:  # no session of the exchange
        return None


def deadline_among(
    jobs: Mapping[str, Job],
    name: str,
    day: dt.date,
    closures: Mapping[str, CalendarOverride] | None = None,
) -> dt.datetime | None:
    """`deadline_of` a job among others: it begins when those that it comes after may. Errors alike."""
    if jobs[name].spec.deadline is None:
        return None
    return deadline_of(jobs[name], day, start_of(jobs, name, day, closures), closures)
