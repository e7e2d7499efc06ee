"""Days that follow from days: is a day of a job that reads its own tables published in its turn?

`policy.gaps` sees what a day has not seen when it is planned. Two things it can't see: before a table's first
day there is no gap, so that a day may be published behind days that would have read it; and a day before it
may be published while it runs. Both are said by the receipt, with what is to be run again.
"""

import datetime as dt
from collections.abc import Iterator

from nightscore.common import Broken, NotYet, Workspace
from nightscore.job import Job, TableInput, own_table
from nightscore.pipeline.read.days_seen import spans
from nightscore.store import OutOfOrder, OwnPast, Pinned, Plan, Receipt, catalog


def find_own_past(job: Job, day: str, state: Pinned) -> dict[str, OwnPast]:
    """Of each input that is an own table of a job: which, and how many days after a day still read it.

    None of those that are read as first reported, if the day has been: whatever comes now is not read.
    """
    found = {}
    for name, source in job.spec.inputs.items():
        if isinstance(source, TableInput) and own_table(job, source) and source.lookback > 1:
            again = source.as_reported and day in state.as_reported.published.get(source.table, {})
            if not again:
                found[name] = OwnPast(source.table, source.lookback - 1)
    return found


def see_order(workspace: Workspace, plan: Plan) -> OutOfOrder | None:
    """What a plan's day were out of order with, if it were published now; None where it is in its turn."""
    if not plan.own_past:
        return None
    state, day = catalog.read_catalog(workspace), dt.date.fromisoformat(plan.day)
    there = sorted({d for past in plan.own_past.values() for d in _days(state, past.table)})
    reach = max(past.days for past in plan.own_past.values())
    later = {one for one in there if 0 < (one - day).days <= reach}
    unseen = set(_unseen(state, plan, day))
    if not later and not unseen:
        return None
    lacking = [day]
    for one in there:  # what has read a day that lacks one lacks it, too
        if day < one and (one - lacking[-1]).days <= reach:
            lacking.append(one)
    again = lacking if unseen else lacking[1:]
    return OutOfOrder(_spans(there, later), _spans(there, unseen), _mend(plan, again[0], again[-1]))


def _days(state: Pinned, table: str) -> list[dt.date]:
    return [dt.date.fromisoformat(day) for day in state.published.get(table, {})]


def _unseen(state: Pinned, plan: Plan, day: dt.date) -> Iterator[dt.date]:
    """The days before it that its tables have now, and that are none of those that the plan reads."""
    for name, past in plan.own_past.items() if plan.status != "carry" else ():  # that one reads none
        read = {file.day for file in plan.inputs.get(name, ())}
        for one in _days(state, past.table):
            is_new = 0 < (day - one).days <= past.days and one.isoformat() not in read
            if is_new and _has_files(state, past.table, one.isoformat()):
                yield one


def _has_files(state: Pinned, table: str, day: str) -> bool:
    """Whether a published day of a table is one: not what ended there when a job published it no more."""
    try:
        return bool(state.files(table, day, day))
    except Broken:  # they are gone: that is for who reads them to say
        return True


def _spans(there: list[dt.date], wanted: set[dt.date]) -> tuple[str, ...]:
    return spans(there, [day in wanted for day in there])


def _mend(plan: Plan, first: dt.date, last: dt.date) -> str:
    if plan.closes:
        days = f"each day from {first} to {last}, the oldest first" if first < last else str(first)
        return f"nightscore run {plan.job} --day DAY --restate --because TEXT, of {days}"
    return f"nightscore backfill {plan.job} --from {first} --to {last}"


def with_order(workspace: Workspace, plan: Plan, receipt: Receipt) -> Receipt:
    """The receipt of a day about to be published, with what it is out of order with."""
    return receipt.model_copy(update={"out_of_order": see_order(workspace, plan)})


def refuse_unseen(job: Job, plan: Plan) -> None:
    """Hold a job that allows no gaps to it at its end, too.

    Raises:
        NotYet: a day that it would have read was published while it ran.
    """
    if job.spec.policy.gaps == "fail" and (found := see_order(job.workspace, plan)) and found.unseen:
        days = ", ".join(span.replace("/", " to ") for span in found.unseen)
        raise NotYet(
            f"job {job.name}, day {plan.day}: {days} of its own past was published while it ran; it is run "
            "again, to see it: the policy for gaps is fail"
        )
