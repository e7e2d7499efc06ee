"""The facts of a published day's report: from receipts, and from the tables' versions that they name."""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

from nightscore.common import Broken
from nightscore.delivery import Standing, delivery_standings, run_deliveries
from nightscore.job import Job
from nightscore.review.report.profile import Breakdown, DayProfiler, Distribution, TableSample
from nightscore.store import RECEIPTS, AsOf, CatalogEntry, Engine, Pinned, Receipt, SqlMistakes, View, catalog

PAST_RUNS = 30  # of the job, whose speed is shown
OUTPUTS = 4  # of the model, whose distribution is shown
NAMED_DAYS = 5  # in a message


@dataclass(frozen=True)
class TableFacts:
    """One output table of the day. `rows` are counted now, in the files that the receipt names."""

    name: str
    rows: int
    sample: TableSample
    breakdowns: tuple[Breakdown, ...]


@dataclass(frozen=True)
class Past:
    """One earlier run of the job, or this one."""

    day: str
    run_id: str
    rows: int
    rows_per_second: int


@dataclass(frozen=True)
class Facts:
    """What is known of one published run.

    `replaced_by` is the run in force where it is another one. `before` is the receipt of the job's last
    published day before this one, None on the first. `as_of` is the state of the tables that was read.
    `more_outputs` are the model outputs whose distribution is not among `distributions`, each with its type.
    `onward` says
    what of the day stands where now; of a run that was replaced, what had become of it.
    `state` is that of now, and `entry` the run in it.
    """

    job: Job
    receipt: Receipt
    replaced_by: CatalogEntry | None
    before: Receipt | None
    tables: tuple[TableFacts, ...]
    distributions: tuple[Distribution, ...]
    more_outputs: tuple[str, ...]
    past: tuple[Past, ...]
    onward: tuple[Standing, ...]
    as_of: AsOf
    state: Pinned
    entry: CatalogEntry


def gather_facts(job: Job, day: dt.date, run_id: str | None = None) -> Facts:
    """The facts of a day's run in force, or of the run called `run_id` as it was when it was in force.

    Raises:
        Broken: the day, or that run of it, is not published; says which are. Or a file of it can't be read.
    """
    now = catalog.read_catalog(job.workspace)
    entry = _entry(now, job.name, day, run_id)
    newest = now.replaced_by(entry)
    replaced = newest is not None
    as_of: AsOf = entry.published_at if replaced else now.version
    state = catalog.read_catalog(job.workspace, as_of) if replaced else now
    before = state.previous(job.name, day)
    older = state.paths_of(before) if before else None
    resources = catalog.query_resources(job.workspace)
    with SqlMistakes(f"run {entry.run_id}"), DayProfiler(state.paths_of(entry), older, resources) as days:
        scores = job.spec.scores_table
        outputs = list(job.spec.model.outputs)
        shapes = [days.distribution(scores, column) for column in outputs[:OUTPUTS]]
        return Facts(
            job=job,
            receipt=entry.read_receipt(),
            replaced_by=newest,
            before=_readable(before),
            tables=tuple(_tables(days, job, entry)),
            distributions=tuple(shape for shape in shapes if shape),
            more_outputs=tuple(
                f"{c} ({days.kind(scores, c)})"
                for i, c in enumerate(outputs)
                if i >= OUTPUTS or not shapes[i]
            ),
            past=_past(state, entry),
            onward=onward_of(now, job, entry, replaced=replaced),
            as_of=as_of,
            state=now,
            entry=entry,
        )


def onward_of(now: Pinned, job: Job, entry: CatalogEntry, *, replaced: bool) -> tuple[Standing, ...]:
    """Where a run stands at its targets; of one that was replaced, what had become of it."""
    if replaced:
        return tuple(run_deliveries(now, job.name, entry.day, entry.run_id))
    return tuple(delivery_standings(now, [job], job.name, entry.day).get((job.name, entry.day), ()))


def _readable(entry: CatalogEntry | None) -> Receipt | None:
    """The receipt of a day that this one is compared with; None where there is none that can be read."""
    receipt = entry.read_receipt_or_reason() if entry else None
    return None if receipt and receipt.status == "unreadable" else receipt


def _entry(state: Pinned, job: str, day: dt.date, run_id: str | None) -> CatalogEntry:
    """The catalog entry of the day's run in force, or of the run `run_id`."""
    of_job = [entry for entry in state.history if entry.job == job]
    if not of_job:
        raise Broken(f"job {job}: nothing is published yet; `nightscore run {job} --day {day}` does")
    runs = [entry for entry in of_job if entry.day == day.isoformat()]
    if not runs:
        raise Broken(f"job {job}: {day} is not published; published: {_listed({e.day for e in of_job})}")
    matching = [entry for entry in runs if run_id in (None, entry.run_id)]
    if not matching:
        raise Broken(
            f"job {job}, day {day}: no run {run_id!r} is published; "
            f"published: {', '.join(entry.run_id for entry in runs)}"
        )
    return matching[-1]


def _listed(days: set[str]) -> str:
    newest = sorted(days)[-NAMED_DAYS:]
    earlier = len(days) - len(newest)
    return ", ".join(newest) + (f" and {earlier} earlier" if earlier else "")


def _tables(days: DayProfiler, job: Job, entry: CatalogEntry) -> Iterator[TableFacts]:
    for name in entry.versions:
        columns = days.columns(name)
        if name == job.spec.scores_table:  # its numbers are distributions; a model may also give names
            counted = [c for c in columns if c in job.spec.model.outputs and not days.is_number(name, c)]
        else:
            counted = [c for c in columns if c not in job.spec.key]
        yield TableFacts(
            name, days.rows(name), days.sample(name, job.spec.key), tuple(days.breakdowns(name, counted))
        )


def _past(state: Pinned, last: CatalogEntry) -> tuple[Past, ...]:
    """The last runs of a job up to this one, in the order in which they ran."""
    runs = [one for one in state.history if one.job == last.job and one.run_number <= last.run_number]
    files = list(dict.fromkeys(entry.file.local() for entry in runs[-PAST_RUNS:]))
    with Engine([View(RECEIPTS, tuple(files), "day")], catalog.query_resources(state.workspace)) as engine:
        rows = engine.rows(
            f"SELECT CAST(day AS VARCHAR), run_id, rows_published, rows_per_second FROM {RECEIPTS} "
            "ORDER BY run_number, run_id"
        )
    return tuple(Past(*row) for row in rows)
