"""The record of a job's nights over some days: as receipts and the records of people tell it.

Nothing is computed again here; `nightscore verify` does that.
"""

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from nightscore.common import Broken
from nightscore.job import Job
from nightscore.pipeline import read_held_days
from nightscore.store import (
    DISCARDED,
    PROMOTIONS_FILE,
    AuditResult,
    CatalogEntry,
    Pinned,
    Receipt,
    catalog,
    owners,
    read_promotions,
    renames,
    run_folder,
)


@dataclass(frozen=True)
class Night:
    """One published run of a day: its receipt, and what it read.

    `in_force`: nothing has replaced it, nor a table of it. `taken_by` is the job that has published a table
    of it again, which was handed over to it; "" where none has.
    """

    receipt: Receipt
    in_force: bool
    taken_by: str
    files: Mapping[str, str]  # path -> fingerprint


@dataclass(frozen=True)
class Change:
    """That a cause of a day is another than that of the run before it."""

    what: str
    before: str
    after: str


@dataclass(frozen=True)
class Turn:
    """A night whose causes are others than those of the night before, its inputs' rows aside."""

    day: str
    run_id: str
    changes: tuple[Change, ...]


@dataclass(frozen=True)
class Approval:
    """What a person decided: a release, a discard, a promotion, a hand-over or a rename."""

    kind: str
    at: dt.datetime | None
    by: str
    about: str
    because: str


@dataclass(frozen=True)
class Span:
    """The nights that had one version of something."""

    value: str
    first: str
    last: str
    nights: int


@dataclass(frozen=True)
class Asked:
    """One audit over the nights in force: how often it was asked, passed, and when it had not."""

    name: str
    severity: str
    asked: int
    passed: int
    failed: tuple[tuple[str, str], ...]  # (day, what was measured)


@dataclass(frozen=True)
class Record:
    """All that is recorded of a job's days from `first` to `last`.

    `runs` are all published runs in the order in which they were published, `nights` those in force, by day.
    `unreadable` says of which receipts nothing more can be told, `held` which days wait for a person now, and
    why. Promotions, hand-overs and renames are not of a day: all there ever were are among the approvals.
    """

    job: Job
    first: dt.date
    last: dt.date
    runs: tuple[Night, ...]
    unreadable: tuple[str, ...]
    approvals: tuple[Approval, ...]
    held: tuple[str, ...] = ()

    @property
    def nights(self) -> tuple[Night, ...]:
        """Those in force, by day."""
        return tuple(sorted((run for run in self.runs if run.in_force), key=lambda run: run.receipt.day))

    @property
    def restatements(self) -> tuple[tuple[Night, tuple[Change, ...]], ...]:
        """Each restatement, with what is another than in the run that it replaced."""
        by_id = {run.receipt.run_id: run for run in self.runs}
        return tuple(
            (run, differences(by_id[was.replaces], run) if was.replaces in by_id else ())
            for run in self.runs
            if (was := run.receipt.restatement)
        )

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The nights at which the job, its model, a parameter or a library became another."""
        found = []
        for before, after in pairwise(self.nights):
            changes = tuple(one for one in differences(before, after) if one.what != "inputs")
            if changes:
                found.append(Turn(after.receipt.day, after.receipt.run_id, changes))
        return tuple(found)

    @property
    def audits(self) -> tuple[Asked, ...]:
        """Every audit that was asked, by severity and name."""
        by_name: dict[tuple[str, str], list[tuple[str, AuditResult]]] = {}
        for night in self.nights:
            for audit in night.receipt.audits:
                by_name.setdefault((audit.severity, audit.name), []).append((night.receipt.day, audit))
        return tuple(
            Asked(
                name, severity, len(answers), sum(audit.passed for _, audit in answers),
                tuple((day, audit.detail) for day, audit in answers if not audit.passed),
            )
            for (severity, name), answers in sorted(by_name.items())
        )  # fmt: skip

    def spans(self, value_of: Callable[[Receipt], str]) -> tuple[Span, ...]:
        """The values that something has had over the nights in force, each with its nights."""
        days: dict[str, list[str]] = {}
        for night in self.nights:
            days.setdefault(value_of(night.receipt), []).append(night.receipt.day)
        return tuple(Span(value, found[0], found[-1], len(found)) for value, found in days.items())

    @property
    def libraries(self) -> dict[str, tuple[Span, ...]]:
        """Each library with its versions."""
        names = sorted({name for night in self.nights for name in night.receipt.versions})
        return {name: self.spans(_version_of(name)) for name in names}


def gather_record(job: Job, first: dt.date, last: dt.date) -> Record:
    """What is recorded of a job's published days from `first` to `last`, both included.

    Raises:
        Broken: none of these days is published; says which are. Or a record of a person is damaged.
    """
    state = catalog.read_catalog(job.workspace)
    entries = [entry for entry in state.history if entry.job == job.name]
    inside = [entry for entry in entries if first.isoformat() <= entry.day <= last.isoformat()]
    if not inside:
        raise Broken(_nothing(job, first, last, {entry.day for entry in entries}))
    read = [(entry, entry.read_receipt_or_reason()) for entry in inside]
    runs = tuple(_night(state, entry, receipt) for entry, receipt in read if receipt.status != "unreadable")
    return Record(
        job=job,
        first=first,
        last=last,
        runs=runs,
        unreadable=tuple(_unreadable(read)),
        approvals=tuple(_approvals(job, first, last, runs)),
        held=tuple(_held(job, first, last)),
    )


def _night(state: Pinned, entry: CatalogEntry, receipt: Receipt) -> Night:
    later = state.replaced_by(entry)
    files = {file.path: file.fingerprint for file in receipt.inputs}
    return Night(receipt, later is None, later.job if later and later.job != entry.job else "", files)


def _held(job: Job, first: dt.date, last: dt.date) -> Iterator[str]:
    for one in read_held_days(job.workspace, job.name):
        receipt = one.receipt
        if first.isoformat() <= receipt.day <= last.isoformat():
            failed = [audit.name for audit in receipt.audits if not audit.passed]
            yield f"{receipt.day}, run {receipt.run_id}: {receipt.reason or '; '.join(failed)}"


def _unreadable(read: Iterable[tuple[CatalogEntry, Receipt]]) -> Iterator[str]:
    return (
        f"{entry.day}, run {entry.run_id}: {receipt.reason}"
        for entry, receipt in read
        if receipt.status == "unreadable"
    )


def _nothing(job: Job, first: dt.date, last: dt.date, days: set[str]) -> str:
    if not days:
        return f"job {job.name}: nothing is published yet; `nightscore run {job.name} --day {last}` does"
    return (
        f"job {job.name}: no day from {first} to {last} is published; published: {len(days):,} days from "
        f"{min(days)} to {max(days)}"
    )


def differences(before: Night, after: Night) -> tuple[Change, ...]:
    """Which causes of a run are others than those of another: inputs, job, model, parameters, libraries."""
    old, new = before.receipt, after.receipt
    changes = [_inputs(before.files, after.files)]
    changes.append(_changed("job", old.job_hash[:12], new.job_hash[:12]))
    changes.append(_changed("model", model_text(old), model_text(new)))
    changes.append(_changed("known at", old.known_at, new.known_at))
    for kind, was, is_ in (("parameter", old.params, new.params), ("library", old.versions, new.versions)):
        names = sorted({*was, *is_})
        changes += [_changed(f"{kind} {name}", _text(was, name), _text(is_, name)) for name in names]
    return tuple(change for change in changes if change)


def model_text(receipt: Receipt) -> str:
    """Which model a run had, in a line."""
    return f"{receipt.model.path} {receipt.model.sha256[:12]}".strip() if receipt.model else "none"


def _inputs(before: Mapping[str, str], after: Mapping[str, str]) -> Change | None:
    if before == after:
        return None
    changed = sum(1 for path in before.keys() & after.keys() if before[path] != after[path])
    came, went = len(after.keys() - before.keys()), len(before.keys() - after.keys())
    return Change("inputs", f"{len(before):,} files", f"{changed:,} changed, {came:,} came, {went:,} went")


def _changed(what: str, before: str, after: str) -> Change | None:
    return None if before == after else Change(what, before or "none", after or "none")


def _text(values: Mapping[str, object], name: str) -> str:
    return str(values[name]) if name in values else ""


def _version_of(name: str) -> Callable[[Receipt], str]:
    return lambda receipt: receipt.versions.get(name, "not recorded")


def _approvals(job: Job, first: dt.date, last: dt.date, runs: Iterable[Night]) -> list[Approval]:
    """All that people decided, by time."""
    found = [*_releases(runs), *_discards(job, first, last), *_promotions(job), *_hand_overs(job)]
    return sorted(found, key=lambda one: (one.at is None, one.at or dt.datetime.min.replace(tzinfo=dt.UTC)))


def _releases(runs: Iterable[Night]) -> Iterator[Approval]:
    for run in runs:
        if (note := run.receipt.released) is not None:
            failed = [audit.name for audit in run.receipt.audits if not audit.passed]
            about = f"{run.receipt.day}, run {run.receipt.run_id}: {'; '.join(failed)}"
            yield Approval("release", note.at, note.by, about, note.because)


def _discards(job: Job, first: dt.date, last: dt.date) -> Iterator[Approval]:
    for run in run_folder.list_job_runs(job.workspace, job.name):
        outcome, day = run.outcome, run.path.parent.name
        if outcome and outcome.kind == DISCARDED and first.isoformat() <= day <= last.isoformat():
            note = {name: str(outcome.content.get(name, "")) for name in ("by", "because", "at")}
            about = f"{day}, run {run.run_id}"
            yield Approval("discard", _moment(note["at"]), note["by"], about, note["because"])


def _promotions(job: Job) -> Iterator[Approval]:
    path = job.file.with_name(PROMOTIONS_FILE)
    for one in read_promotions(path, job.workspace.relative(path)) if path.exists() else ():
        about = f"{one.model} {one.sha256[:12]} instead of {one.instead_of}, verdict {one.verdict}"
        yield Approval("promotion", one.at, one.by, about, one.because)


def _hand_overs(job: Job) -> Iterator[Approval]:
    names = renames.last_names(job.workspace)
    once = names.jobs.every(job.name)
    for one in owners.list_hand_overs(job.workspace):
        if once & {one.source, one.to}:
            about = f"table {one.table} from {one.source} to {one.to}"
            yield Approval("hand-over", one.at, one.by, about, one.because)
    for rename in names.renames:
        if any(names.tables.current(table) in job.spec.tables for table in rename.tables):
            about = f"{rename.kind} {rename.old} to {rename.new}"
            yield Approval("rename", rename.at, rename.by, about, rename.because)


def _moment(text: str) -> dt.datetime | None:
    try:
        return dt.datetime.fromisoformat(text)
    except ValueError:
        return None
