"""Days that versions before have published, looked at for what made days quietly wrong."""

import datetime as dt
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa
from pydantic import BaseModel

from nightscore.common import Broken, NightscoreError, ProgressCallback, Workspace, silent
from nightscore.job import Job, load_all
from nightscore.pipeline import RunRequest, causes_hash, draft_plan, open_job_model
from nightscore.review.late_data import moves
from nightscore.review.recheck.absence import absences
from nightscore.review.recheck.believed import believed_footers, rounded_sums
from nightscore.review.recheck.published_day import Finding, Inspected, PublishedDay
from nightscore.review.recheck.scored import rounded_decimals, scored_otherwise
from nightscore.scorers import ModelError, read_model
from nightscore.store import CatalogEntry, ModelResult, Pinned, Plan, Restate, TableChange, catalog, one_look

ASKED = Restate("what a restatement would move", "nightscore recheck")
HELD_SINCE = 2  # the format of receipts from which on a run holds its day to all that is looked for here
REFUSED, MODEL, UNKNOWN = "refused now", "model refused", "rows that move"


class RecheckedDay(BaseModel):
    """A published day in force, and whether it may be wrong.

    `findings` are causes that may have made it wrong, `doubts` what can't be rechecked and why, `notes` what
    touches last bits at most. `tables` says what a restatement would move; None where it was not asked for,
    or where `problem` says why a run of the day would publish nothing. `held` is whether the version that
    published it held it to all this, so that nothing was looked at. `seconds` are wall-clock.
    """

    job: str
    day: str
    run_id: str
    closed: bool = False
    held: bool = False
    findings: list[Finding] = []
    doubts: list[str] = []
    notes: list[str] = []
    tables: Mapping[str, TableChange] | None = None
    problem: str = ""
    seconds: float = 0.0

    @property
    def touched(self) -> bool:
        """Whether it may be wrong, or can't be shown not to be."""
        return bool(self.findings or self.doubts)


@dataclass(frozen=True)
class _Asked:
    """What is the same for all days."""

    state: Pinned
    inspected: Inspected
    list_only: bool
    report: ProgressCallback


def recheck_days(
    workspace: Workspace, since: dt.date, job: str | None = None,
    *, list_only: bool = False, report: ProgressCallback = silent,
) -> Iterator[RecheckedDay]:  # fmt: skip
    """Each published day in force from `since` on, of a job or of all, those that nothing touches included.

    With `list_only`, what a restatement would move is not computed.

    Raises:
        Broken: the job has published nothing, on no day.
    """
    state = catalog.read_catalog(workspace)
    if job is not None and not any(entry.job == job for entry in state.history):
        raise Broken(f"{job} has published nothing; `nightscore receipts` lists what is")
    jobs, broken = load_all(workspace)
    known, asked = {one.name: one for one in jobs}, _Asked(state, Inspected(workspace), list_only, report)
    chosen = [
        e for e in state.history if job in (None, e.job) and e.day >= since.isoformat() and state.holds(e)
    ]
    chosen.sort(key=lambda e: (e.job, e.day))
    for number, entry in enumerate(chosen):
        report("recheck", number, len(chosen))
        started = time.monotonic()
        with one_look():  # a day's inputs are hundreds of files of a bucket
            found = _recheck(known.get(entry.job), entry, asked, broken)
        yield found.model_copy(update={"seconds": round(time.monotonic() - started, 3)})


def _recheck(job: Job | None, entry: CatalogEntry, asked: _Asked, broken: Sequence[Broken]) -> RecheckedDay:
    receipt = entry.read_receipt_or_reason()
    if receipt.status == "unreadable":
        return _unknown(entry, receipt.reason)
    closed = receipt.closed or (job is not None and job.spec.close)
    if receipt.format >= HELD_SINCE:
        return _named(entry, closed=closed, held=True)
    if job is None:
        own = [str(error) for error in broken if f"jobs/{entry.job}/" in str(error)]
        why = f"can't be read: {own[0]}" if own else "is not there: no job.yaml that can be read has its name"
        return _unknown(entry, f"its job {why}")
    look = _Look(PublishedDay(job, asked.state, entry, receipt, asked.inspected), asked)
    try:
        look.look()
    except (NightscoreError, OSError, MemoryError, pa.ArrowException) as error:
        look.doubts.append(f"it can't be looked at whole: {str(error) or type(error).__name__}")
    return _named(
        entry, closed=closed, findings=look.findings, doubts=look.doubts, notes=look.notes,
        tables=look.tables, problem=look.problem,
    )  # fmt: skip


def _named(entry: CatalogEntry, **values: object) -> RecheckedDay:
    return RecheckedDay.model_validate({"job": entry.job, "day": entry.day, "run_id": entry.run_id, **values})


def _unknown(entry: CatalogEntry, why: str) -> RecheckedDay:
    return _named(entry, doubts=[why])


class _Look:
    """One day, looked at: what was found so far."""

    def __init__(self, published: PublishedDay, asked: _Asked) -> None:
        self.published, self.list_only, self.report = published, asked.list_only, asked.report
        self.findings: list[Finding] = []
        self.doubts: list[str] = []
        self.notes: list[str] = []
        self.tables: dict[str, TableChange] | None = None
        self.problem = ""

    def look(self) -> None:
        """Footers first, then the day's plan as it would be now, then its rows, then a trial of it."""
        published = self.published
        self.doubts += _differences(published)
        if self.other_model:
            self.doubts.append(_other_model(self.other_model))
        self.findings += believed_footers(published)
        self.notes += rounded_sums(published)
        self.findings += absences(published, self.doubts)
        plan = self._plan()
        if plan is None:
            return
        self.notes += rounded_decimals(published, plan)
        self.findings += scored_otherwise(published, plan, self.doubts)
        gone = published.scored() is None
        if gone and self.list_only:
            self.doubts.append(
                "its feature snapshot is gone: without --list-only its model and values are seen"
            )
        if not self.list_only and not self.doubts and (self.findings or gone):
            self._try(plan)

    @cached_property
    def other_model(self) -> ModelResult | None:
        """The model file that scored the day, where it is another one now, or gone."""
        then = self.published.receipt.model
        if then is None or self.published.job.spec.model.file is None:
            return None
        return None if _is_there(self.published, then.path, then.sha256) else then

    def _plan(self) -> Plan | None:
        """The day as it would be run now; None where it would not."""
        job, kind, request = self.published.job, MODEL, _request(self.published)
        try:
            open_job_model(job, request.model, request.device)
            kind = REFUSED
            plan = draft_plan(job, self.published.day, request)
        except NightscoreError as error:
            self._refused(kind, str(error))
            return None
        then = self.published.receipt.model
        if then and plan.status == "score" and plan.model_sha256 != then.sha256 and not self.other_model:
            self.doubts.append(_other_model(then))
        if plan.status == "skipped":
            self.doubts.append(f"a run of it would publish nothing: {plan.reason}")
            return None
        return plan

    def _refused(self, kind: str, reason: str) -> None:
        """Keep why a run would publish nothing: a finding where nothing else says why."""
        self.problem = reason
        sure = not self.doubts or (kind == MODEL and not self.other_model)
        if sure and not any(reason in finding.evidence for finding in self.findings):
            self.findings.append(Finding(kind=kind, evidence=reason))

    def _try(self, plan: Plan) -> None:
        published = self.published
        try:
            self.tables = moves(published.job, published.state, plan, "recheck", self.report)
        except NightscoreError as error:
            self.problem = str(error)
        if not self.findings and self.problem:
            self.findings.append(Finding(kind=REFUSED, evidence=self.problem))
        elif not self.findings and any(
            c.changed or c.added or c.removed for c in (self.tables or {}).values()
        ):
            self.findings.append(Finding(kind=UNKNOWN, evidence="a run of the day gives other rows now"))


def _request(published: PublishedDay) -> RunRequest:
    """The day as it was asked for: its parameters, its cut-off, and its model where that is another file."""
    job, receipt = published.job, published.receipt
    params = job.own_params(receipt.params)
    then, model = receipt.model, None
    if then and job.spec.model.file is not None and then.path != job.spec.model.name:
        model = then.path if _is_there(published, then.path, then.sha256) else None
    return RunRequest(
        params=params, force=True, restate=ASKED, known_at=receipt.known_at or None, model=model
    )


def _differences(published: PublishedDay) -> Iterator[str]:
    """What is not as it was when the day was published, so that it can't be rechecked."""
    job, receipt = published.job, published.receipt
    if receipt.job_hash != causes_hash(job):
        yield "the job (its SQL or job.yaml) has changed since: what it is now was looked at"
    if published.changed:
        first, more = published.changed[0], len(published.changed) - 1
        yield f"input files have changed since or are gone: {first}" + (f" and {more} more" if more else "")
    if published.unplaced:
        yield f"it read files that are of no input now: {published.unplaced[0]}"
    if receipt.replayed:
        yield "rejects were scored again in it, and the other rows carried over: of which run can't be told"


def _other_model(then: ModelResult) -> str:
    return f"the model {then.path} {then.sha256[:16]} has changed since or is gone: another one scores now"


def _is_there(published: PublishedDay, path: str, sha256: str) -> bool:
    """Whether a model is there with the bytes that a receipt names."""
    try:
        return read_model(published.locate(path), path, published.fetch).sha256 == sha256
    except (OSError, ModelError):
        return False
