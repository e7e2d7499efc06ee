"""Late-arriving data: published days whose inputs have changed since, and how much of them would change.

Nothing is published. How much would change is computed as a restatement would be, up to its audits, in a run
folder that is removed: with the job, its model and all rows as they are now, and the day's own parameters.
"""

import dataclasses
import datetime as dt
from collections.abc import Iterator, Mapping

from pydantic import BaseModel

from nightscore.common import NightscoreError, ProgressCallback, silent
from nightscore.job import Job
from nightscore.pipeline import (
    LOCAL_THREADS,
    Causes,
    Day,
    Reported,
    RunRequest,
    as_recorded,
    begin,
    changed_causes,
    compare_tables,
    comparison_resources,
    draft_plan,
    prove_and_decide,
    trial_plan,
)
from nightscore.store import CatalogEntry, Pinned, Plan, Restate, TableChange, TableResult, catalog

ASKED = Restate("how much late data would move", "nightscore late")


class LateDay(BaseModel):
    """A published day whose inputs have changed since.

    `tables` says how each would differ from what is published; None where it was not asked for, or
    where `problem` says why a run of the day would publish nothing.
    """

    job: str
    day: str
    run_id: str
    closed: bool
    causes: Causes
    tables: Mapping[str, TableChange] | None = None
    problem: str = ""


def find_late_days(
    job: Job, since: dt.date, *, list_only: bool = False, report: ProgressCallback = silent
) -> Iterator[LateDay]:
    """The published days of a job's tables, from `since` on, whose inputs have changed since.

    With `list_only`, how much would change is not computed. A day is compared with what is published now, its
    newest restatement; of a table that was handed over to the job, with what the job before published.
    """
    state = catalog.read_catalog(job.workspace)
    for day in sorted({entry.day for entry in state.history if entry.day >= since.isoformat()}):
        for entry in state.day_history(job.name, job.spec.tables, day)[-1:]:
            late_day = _late_day(job, state, entry, list_only, report)
            if late_day.causes.inputs or late_day.problem:
                yield late_day


def _late_day(
    job: Job, state: Pinned, entry: CatalogEntry, list_only: bool, report: ProgressCallback
) -> LateDay:
    receipt = entry.read_receipt_or_reason()
    late_day = LateDay(
        job=job.name, day=entry.day, run_id=entry.run_id, closed=job.spec.close or receipt.closed,
        causes=Causes(),
    )  # fmt: skip
    if receipt.status == "unreadable":
        return late_day.model_copy(update={"problem": receipt.reason})
    try:
        request = RunRequest(params=job.own_params(receipt.params), force=True, restate=ASKED)
        plan = draft_plan(job, dt.date.fromisoformat(entry.day), request)
        if plan.status == "skipped":
            return late_day.model_copy(update={"problem": plan.reason})
        known = dataclasses.replace(plan, inputs=as_recorded(job, plan.inputs, receipt))
        causes = changed_causes(known, receipt)
        if not causes.inputs or list_only:
            return late_day.model_copy(update={"causes": causes})
        late_day = late_day.model_copy(update={"causes": causes})
        return late_day.model_copy(update={"tables": moves(job, state, plan, "late", report)})
    except NightscoreError as error:
        return late_day.model_copy(update={"problem": str(error)})


def moves(
    job: Job, state: Pinned, plan: Plan, purpose: str, report: ProgressCallback
) -> dict[str, TableChange]:
    """How each table would differ from what is published of it, by a run that is thrown away.

    Raises:
        NightscoreError: such a run would publish nothing; says why.
    """
    with trial_plan(job, plan, purpose) as marked:
        plan = begin(job, marked, report=report)
        day = Day(job, plan)
        with day.run.in_use():
            ready = prove_and_decide(day, LOCAL_THREADS.map(job, plan, plan.pieces, report))
            proofs = {table: day.read_back(files) for table, files in ready.items()}
            counted = {
                table: TableResult(rows=proof.rows, files=0, bytes=0, columns=proof.columns)
                for table, proof in proofs.items()
            }
            after = {table: [day.locate(file.path) for file in files] for table, files in ready.items()}
            before = Reported.of(state, day.plan.day, [*after, job.spec.rejects_table])
            return compare_tables(before.beside(after), before, counted, comparison_resources(day))
