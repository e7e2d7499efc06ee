"""The facts of a day's report: from receipts, and the tables' versions that they name, or as it is staged."""

import dataclasses
import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nightscore.common import Broken, as_day
from nightscore.delivery import Standing, delivery_standings, run_deliveries
from nightscore.job import Job
from nightscore.pipeline import HeldDay
from nightscore.review.report.profile import Breakdown, DayProfiler, Distribution, TableSample
from nightscore.store import (
    RECEIPTS,
    AsOf,
    CatalogEntry,
    Engine,
    Pinned,
    Receipt,
    SqlMistakes,
    View,
    catalog,
    storage,
)

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
    """What is known of one run that is published, or held.

    `replaced_by` is the run in force where it is another one. `before` is the receipt of the job's last
    published day before this one, None on the first. `as_of` is the state of the tables that was read.
    `more_outputs` are the model outputs whose distribution is not among `distributions`, each with its type.
    `onward` says
    what of the day stands where now; of a run that was replaced, what had become of it.
    `state` is that of now.
    """

    job: Job
    receipt: Receipt
    before: Receipt | None
    tables: tuple[TableFacts, ...]
    distributions: tuple[Distribution, ...]
    more_outputs: tuple[str, ...]
    past: tuple[Past, ...]
    as_of: AsOf
    state: Pinned
    replaced_by: CatalogEntry | None = None
    onward: tuple[Standing, ...] = ()

    @property
    def is_held(self) -> bool:
        """Whether it waits for a person, and nobody reads it yet."""
        return self.receipt.status == "held"


def gather_facts(job: Job, day: dt.date, run_id: str | None = None) -> Facts:
    """The facts of a day's run in force, or of the run called `run_id` as it was when it was in force.

    Raises:
        Broken: the day, or that run of it, is not published; says which are. Or a file of it can't be read.
    """
    return gather_run(job, day, run_id)[0]


def gather_run(job: Job, day: dt.date, run_id: str | None = None) -> tuple[Facts, CatalogEntry]:
    """The same, and the run in the catalogue of now."""
    now = catalog.read_catalog(job.workspace)
    entry = _entry(now, job.name, day, run_id)
    newest = now.replaced_by(entry)
    replaced = newest is not None
    as_of: AsOf = entry.published_at if replaced else now.version
    state = catalog.read_catalog(job.workspace, as_of) if replaced else now
    facts = _profile(job, state, entry.read_receipt(), state.paths_of(entry), list(entry.versions))
    onward = onward_of(now, job, entry, replaced=replaced)
    return dataclasses.replace(facts, as_of=as_of, state=now, replaced_by=newest, onward=onward), entry


def gather_held_facts(job: Job, held: HeldDay) -> Facts:
    """The facts of a held day, from what was staged of it.

    Raises:
        Broken: a file of it can't be read.
    """
    if held.receipt.status != "held":
        raise Broken(held.receipt.reason)
    state, space = catalog.read_catalog(job.workspace), job.workspace
    places = {table: [storage.place_of(space, path) for path in paths] for table, paths in held.files.items()}
    files = {table: list(storage.local_files(found)) for table, found in places.items() if found}
    return _profile(job, state, held.receipt, files, list(files))


def _profile(
    job: Job, state: Pinned, receipt: Receipt, files: Mapping[str, Sequence[Path]], tables: Sequence[str]
) -> Facts:
    """The facts of the run of a receipt, whose tables have these files."""
    before = state.previous(job.name, as_day(receipt.day))
    older = state.paths_of(before) if before else None
    resources = catalog.query_resources(job.workspace)
    with SqlMistakes(f"run {receipt.run_id}"), DayProfiler(files, older, resources) as days:
        scores = job.spec.scores_table
        outputs = list(job.spec.model.outputs)
        shapes = [days.distribution(scores, column) for column in outputs[:OUTPUTS]]
        return Facts(
            job=job,
            receipt=receipt,
            before=_readable(before),
            tables=tuple(_tables(days, job, tables)),
            distributions=tuple(shape for shape in shapes if shape),
            more_outputs=tuple(
                f"{c} ({days.kind(scores, c)})"
                for i, c in enumerate(outputs)
                if i >= OUTPUTS or not shapes[i]
            ),
            past=_past(state, job.name, receipt.run_number),
            as_of=state.version,
            state=state,
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


def _tables(days: DayProfiler, job: Job, names: Sequence[str]) -> Iterator[TableFacts]:
    for name in names:
        columns = days.columns(name)
        if name == job.spec.scores_table:  # its numbers are distributions; a model may also give names
            counted = [c for c in columns if c in job.spec.model.outputs and not days.is_number(name, c)]
        else:
            counted = [c for c in columns if c not in job.spec.key]
        yield TableFacts(
            name, days.rows(name), days.sample(name, job.spec.key), tuple(days.breakdowns(name, counted))
        )


def _past(state: Pinned, job: str, number: int) -> tuple[Past, ...]:
    """The last runs of a job up to the one of a number, in the order in which they ran."""
    runs = [one for one in state.history if one.job == job and one.run_number <= number]
    if not runs:
        return ()
    files = list(dict.fromkeys(entry.file.local() for entry in runs[-PAST_RUNS:]))
    with Engine([View(RECEIPTS, tuple(files), "day")], catalog.query_resources(state.workspace)) as engine:
        rows = engine.rows(
            f"SELECT CAST(day AS VARCHAR), run_id, rows_published, rows_per_second FROM {RECEIPTS} "
            "ORDER BY run_number, run_id"
        )
    return tuple(Past(*row) for row in rows)
