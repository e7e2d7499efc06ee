"""Late data: published days whose inputs have changed since, and how much of them would move.

Nothing is published. How much would move is found by doing what a restatement does up to its audits, in a run
folder that is removed: with the job, its model and all rows as they are now, and the day's own parameters.
"""

import datetime as dt
from collections.abc import Iterator, Mapping

from pydantic import BaseModel

from nightscore.common.errors import NightError
from nightscore.common.progress import Report, silent
from nightscore.job.loader import Job
from nightscore.pipeline.context import Day
from nightscore.pipeline.executors import HERE
from nightscore.pipeline.prepare import begin, trial
from nightscore.pipeline.publish.closing import Causes, changes, differences, resources, sides
from nightscore.pipeline.publish.finalize import would_publish
from nightscore.pipeline.request import RunRequest
from nightscore.pipeline.steps import outlook
from nightscore.store import catalog
from nightscore.store.catalog import Entry, Pinned
from nightscore.store.plan import Plan, Restate
from nightscore.store.receipt import TableChange, TableResult

ASKED = Restate("how much late data would move", "nightscore late")


class Late(BaseModel):
    """A published day whose inputs have changed since.

    `tables` says how each would differ from what is published; None where it was not asked, or where
    `problem` says why a run of the day would publish nothing.
    """

    job: str
    day: str
    run_id: str
    closed: bool
    causes: Causes
    tables: Mapping[str, TableChange] | None = None
    problem: str = ""


def late(job: Job, since: dt.date, *, list_only: bool = False, report: Report = silent) -> Iterator[Late]:
    """The published days of a job, from `since` on, whose inputs have changed since they were published.

    With `list_only` it is not computed how much would move. A day is compared with what is published now, its
    newest restatement.
    """
    state = catalog.pinned(job.workspace)
    for (name, day), entry in sorted(state.in_force.items()):
        if name == job.name and day >= since.isoformat():
            found = _late(job, state, entry, list_only, report)
            if found.causes.inputs or found.problem:
                yield found


def _late(job: Job, state: Pinned, entry: Entry, list_only: bool, report: Report) -> Late:
    receipt = entry.receipt()
    found = Late(
        job=job.name, day=entry.day, run_id=entry.run_id, closed=job.spec.close or receipt.closed,
        causes=Causes(),
    )  # fmt: skip
    try:
        request = RunRequest(params=job.own_params(receipt.params), force=True, restate=ASKED)
        plan = outlook(job, dt.date.fromisoformat(entry.day), request)
        if plan.status == "skipped":
            return found.model_copy(update={"problem": plan.reason})
        causes = differences(plan, receipt)
        if not causes.inputs or list_only:
            return found.model_copy(update={"causes": causes})
        found = found.model_copy(update={"causes": causes})
        return found.model_copy(update={"tables": _moves(job, state, entry, plan, report)})
    except NightError as error:
        return found.model_copy(update={"problem": str(error)})


def _moves(job: Job, state: Pinned, entry: Entry, plan: Plan, report: Report) -> dict[str, TableChange]:
    """How each table would differ from what the run of `entry` published."""
    with trial(job, plan, "late") as marked:
        plan = begin(job, marked, report=report)
        day = Day(job, plan)
        with day.run.in_use():
            ready = would_publish(day, HERE.map(job, plan, plan.pieces, report))
            proofs = {table: day.read_back(some) for table, some in ready.items()}
            counted = {
                table: TableResult(rows=one.rows, files=0, bytes=0, columns=one.columns)
                for table, one in proofs.items()
            }
            after = {table: [day.root / file.path for file in some] for table, some in ready.items()}
            return changes(sides(state, entry, after), entry.receipt(), counted, resources(day))
