"""What is to be run: the days that are due and not published, each after those that it needs."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from nightscore.common import Broken, as_day
from nightscore.job import After, ByHand, Job, TableInput, makers_of, parse_catchup, reads_itself
from nightscore.review.days.logbook import Logbook
from nightscore.store import job_memory_budget, usual_memory

ROOM = 2  # times what its last nights took: a day may be larger than those before
CATCHUP = "7 days"  # of a job that comes after others, whose schedule has none of its own


@dataclass(eq=False)
class DueNight:
    """One day of one job that is to be run, after `needs`: its upstream's, and its own if it reads those.

    `memory` are the bytes that are set aside for it: the job's `memory`; where that is auto, what it may have
    of the machine, or less, if its last nights have told what they took.
    """

    job: Job
    day: str
    needs: list["DueNight"] = field(default_factory=list)
    memory: int = 0

    def __str__(self) -> str:
        return f"{self.job.name} {self.day}"


def list_due_nights(book: Logbook, day: str | None = None) -> list[DueNight]:
    """The nights that are due and not published, or those of one day, each after those that it needs.

    None is of a job that is run by hand, and none is a day that is held: that waits for a person.

    Raises:
        Broken: an exchange's calendar is unknown.
    """
    found: dict[tuple[str, str], DueNight] = {}
    for name in _in_order(book.jobs):
        for when in _days(book, name, day, found):
            if _is_due(book, name, when):
                found[name, when] = _after_its_needs(book, name, when, found)
    return list(found.values())


def _days(book: Logbook, name: str, day: str | None, found: Mapping[tuple[str, str], DueNight]) -> list[str]:
    """The days of a job that are due; of one that comes after others, with those that they get tonight."""
    schedule = book.jobs[name].spec.schedule
    days = {day} if day else _missed(book, name)
    if not day and (latest := book.due.latest(name)):
        days.add(latest.isoformat())
    if isinstance(schedule, After):
        makers = {book.due.maker(table) for table in schedule.after}
        days |= {d for maker, d in found if maker in makers and not day}
        days = {day for day in days if all(day in _had_by(book, maker, found) for maker in makers)}
    return sorted(days)


def _missed(book: Logbook, name: str) -> set[str]:
    """The days that were missed and are made up for, as `catchup` of the schedule says; a week by default."""
    missing = [state.day for state in book.missing(name)]
    if not missing:
        return set()
    reach = parse_catchup(getattr(book.jobs[name].spec.schedule, "catchup", CATCHUP))
    due = [day.isoformat() for day in book.due.days(name, as_day(missing[0]))]
    return set(missing) & set(due[-reach:] if reach else due)


def _had_by(book: Logbook, maker: str | None, found: Mapping[tuple[str, str], DueNight]) -> set[str]:
    """The days that a job has published, or gets tonight."""
    return {d for m, d in book.state.in_force if m == maker} | {d for m, d in found if m == maker}


def _is_due(book: Logbook, name: str, day: str) -> bool:
    if isinstance(book.jobs[name].spec.schedule, ByHand):
        return False
    done = (name, day) in book.state.in_force or (name, day) in book.held
    return not done and book.due.has(name, as_day(day))


def _after_its_needs(
    book: Logbook, name: str, day: str, found: Mapping[tuple[str, str], DueNight]
) -> DueNight:
    upstream = [found[maker, day] for maker in _makers(book.jobs, name) if (maker, day) in found]
    earlier = (
        [one for (made, _), one in found.items() if made == name] if reads_itself(book.jobs[name]) else []
    )
    return DueNight(book.jobs[name], day, [*upstream, *earlier], _memory(book, name))


def _memory(book: Logbook, name: str) -> int:
    try:
        most = job_memory_budget(book.jobs[name]).memory
    except Broken:  # its own run says what is wrong
        return 0
    took = usual_memory(book.paces(name)) if book.jobs[name].spec.memory == "auto" else 0
    return min(most, ROOM * took) if took else most


def _makers(jobs: Mapping[str, Job], name: str) -> list[str]:
    """The jobs whose tables a job comes after, or reads."""
    spec = jobs[name].spec
    tables = {one.table for one in spec.inputs.values() if isinstance(one, TableInput)}
    tables |= set(spec.schedule.after) if isinstance(spec.schedule, After) else set()
    return sorted(maker.name for maker in makers_of(tables, jobs.values()) if maker.name != name)


def _in_order(jobs: Mapping[str, Job]) -> list[str]:
    """The names of the jobs, each after those whose tables it needs; those of a circle in any order."""
    ordered: dict[str, None] = {}

    def visit(name: str, above: frozenset[str]) -> None:
        for maker in _makers(jobs, name):
            if maker not in above:
                visit(maker, above | {maker})
        ordered.setdefault(name)

    for name in sorted(jobs):
        visit(name, frozenset({name}))
    return list(ordered)
