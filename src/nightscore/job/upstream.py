"""What of a job's days follows from other jobs and from its own: as far as job.yaml says it."""

from collections.abc import Iterator, Mapping, Sequence

from nightscore.job.calendars import Calendar, days_of_all
from nightscore.job.closures import CalendarOverride
from nightscore.job.inputs import TableInput
from nightscore.job.loader import Job, load_all
from nightscore.job.schedule import After, Cron


def reads_itself(job: Job) -> bool:
    """Whether the job reads its own tables of the days before, so that its days have an order."""
    inputs = job.spec.inputs.values()
    return any(isinstance(source, TableInput) and source.table in job.spec.tables for source in inputs)


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
    after = set(schedule.after) if isinstance(schedule, After) else set()
    before = [j for j in others if after & set(j.spec.tables) and j.name not in (*seen, job.name)]
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
