"""What a day lacks: inputs without a partition of it, and tables that no job publishes."""

import contextlib
import datetime as dt
import difflib
from collections.abc import Iterator

from nightscore.common import Broken, NightscoreError, NotYet, clipped
from nightscore.job import Input, Job, TableInput, is_by_cron, load_all, makers_of, own_table
from nightscore.pipeline.read.days_seen import scheduled_days, see_ignored
from nightscore.pipeline.read.inputs import Files, days_of, every_day, has_days
from nightscore.store import NOTHING, catalog


def why_skipped(job: Job, files: Files, day: dt.date) -> str:
    """Why a day is skipped, by the job's policy; "" where nothing of it is missing.

    Raises:
        Broken: the policy for a missing day is fail; or it is missing for another reason, which is named.
        NotYet: it is wait.
    """
    names = missing(job, files, day)
    if not names:
        return ""
    text = f"job {job.name}: no partition of {day} in {', '.join(names)}"
    if left := {name: found for name, found in see_ignored(job, day, NOTHING).items() if name in names}:
        listed = "; ".join(f"{name}: {', '.join(found)}" for name, found in left.items())
        raise Broken(f"{text}, without what its ignore leaves out ({listed})")
    if job.spec.missing == "wait":
        raise NotYet("\n".join((f"{text} yet", *_ways_on(job, names, day))))
    if job.spec.missing == "fail":
        fails = f"{text}; the policy for a missing day is fail (or wait, or skip)"
        raise Broken("\n".join((fails, *_ways_on(job, names, day))))
    return text


def missing(job: Job, files: Files, day: dt.date) -> list[str]:
    """The inputs without a partition of the day; a job's own tables can't have it yet, and are left out.

    Raises:
        Broken: one is a table that there is not; or it has no partition of any day, and days without one are
            skipped: so looks a disk that is not mounted.
    """
    expected = [n for n, source in job.spec.inputs.items() if has_days(source) and not own_table(job, source)]
    names = [name for name in expected if day.isoformat() not in days_of(job, name, files, day)]
    refuse_unknown_tables(job, names)
    for name in names if job.spec.missing == "skip" else ():
        source = job.spec.inputs[name]
        if not isinstance(source, TableInput) and not every_day(job, name, source):
            job.raise_broken(
                ("inputs", name), f"{source.address} has no partition of any day: is it mounted? A day "
                "is skipped only where others are there"
            )  # fmt: skip
    return names


def refuse_unknown_tables(job: Job, names: list[str] | None = None) -> None:
    """Raise `Broken` where an input (default: any) is a table that nobody has published, and no job will.

    A name that is misspelt looks like a table without the day: where a missing day is skipped, every night
    would be. Where a job of the workspace can't be read it is not known what it publishes: none is refused.
    """
    sources = {name: job.spec.inputs[name] for name in (job.spec.inputs if names is None else names)}
    tables = {name: source.table for name, source in sources.items() if isinstance(source, TableInput)}
    published = catalog.read_catalog(job.workspace).published if tables else {}
    unknown = {name: table for name, table in tables.items() if table not in published}
    jobs, broken = load_all(job.workspace) if unknown else ([], [])
    there = sorted({*published, *job.spec.tables, *(table for other in jobs for table in other.spec.tables)})
    for name, table in unknown.items() if not broken else ():
        if table not in there:
            near = difflib.get_close_matches(table, there, 1)
            hint = f"did you mean {near[0]}?" if near else f"their tables: {', '.join(there)}"
            job.raise_broken(("inputs", name, "table"), f"no job publishes {clipped(table)}; {hint}")


def rest_days(job: Job, first: dt.date, last: dt.date) -> set[dt.date]:
    """Days that a job's schedule has not, and of which no input has anything: weekends of an exchange.

    Of a job by cron those that it has not are enough: a weekly one reads a lake of every day.
    None where the schedule's days or an input's can't be told: then the run of each day says why.
    """
    days = {first + dt.timedelta(days=i) for i in range((last - first).days + 1)}
    with contextlib.suppress(NightscoreError):
        days -= set(scheduled_days(job, first, last))
        if is_by_cron(job):
            return days
        return days - {day for name, source in job.spec.inputs.items() for day in _days(job, name, source)}
    return set()


def _days(job: Job, name: str, source: Input) -> Iterator[dt.date]:
    if not isinstance(source, TableInput):
        yield from every_day(job, name, source)
    elif not own_table(job, source):
        published = catalog.read_catalog(job.workspace).published.get(source.table, {})
        yield from map(dt.date.fromisoformat, published)


def _ways_on(job: Job, names: list[str], day: dt.date) -> Iterator[str]:
    """Of each table without the day a line: what publishes it. Of a lake the way on is not ours to know."""
    for name in names:
        source = job.spec.inputs[name]
        if isinstance(source, TableInput) and (publisher := _publisher(job, source)):
            yield (
                f"  {name} is table {source.table}: `nightscore run {publisher} --day {day}` publishes it; "
                f"{_published(job, source)}"
            )


def _publisher(job: Job, source: TableInput) -> str:
    makers = makers_of([source.table], load_all(job.workspace)[0])
    return makers[0].name if makers else ""


def _published(job: Job, source: TableInput) -> str:
    days = sorted(catalog.read_catalog(job.workspace).published.get(source.table, {}))
    return f"published so far: {days[0]} to {days[-1]}" if days else "no day of it is published yet"
