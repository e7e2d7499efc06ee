"""When a night is late: which rung of the job's `overdue` it goes on with, and which rungs there are.

What is looked at is the clock, where a piece begins and where a day can't be planned: a statement that is at
work is not ended by it. A night that is expected to be in time goes on as every night.
"""

import dataclasses
import datetime as dt
import json
from collections.abc import Sequence

from nightscore.common import Broken, NotYet, as_day
from nightscore.job import (
    FULL,
    After,
    Job,
    calendar_of,
    deadline_among,
    load_all,
    read_workspace_overrides,
)
from nightscore.pipeline.eta import expected_end
from nightscore.pipeline.request import RunRequest
from nightscore.store import (
    CatalogEntry,
    Ladder,
    Pinned,
    Plan,
    RunFolder,
    list_attempts,
    read_paces,
    run_folder,
)

VARIANT, CARRIED = "variant ", "carried from "  # how what stands in the column `made_by` begins
AFTER = dt.timedelta(days=1)  # so long after the deadline there are rungs: a backfill has none
REACHES = (dt.timedelta(days=40), dt.timedelta(days=400))  # in which the day before is looked for


def clock() -> dt.datetime:
    """What the clock shows, in UTC."""
    return dt.datetime.now(dt.UTC)


def deadline_moment(job: Job, day: str) -> dt.datetime | None:
    """By when (UTC) a day of a job is to be published; None where nothing says it."""
    if job.spec.deadline is None:
        return None
    jobs = {job.name: job}
    try:
        if isinstance(job.spec.schedule, After):
            jobs |= {one.name: one for one in load_all(job.workspace)[0]}
        return deadline_among(jobs, job.name, as_day(day), read_workspace_overrides(job.workspace.root))
    except Broken:  # an exchange's calendar is unknown: `check` says so
        return None


def has_rung(job: Job, kind: str) -> bool:
    """Whether a job's `overdue` has a rung of a kind: variant or carry_forward."""
    return any(rung.kind == kind for rung in job.spec.overdue)


def find_ladder(job: Job, day: str, request: RunRequest, state: Pinned) -> Ladder | None:
    """What a run of a day goes on with when it is late.

    None where the job asks for nothing, where the day is published already (what comes now makes it whole),
    where the run is asked for something of its own, and a day after the deadline.
    """
    if not job.spec.overdue or not _is_usual(request) or (job.name, day) in state.in_force:
        return None
    due = deadline_moment(job, day)
    if due is None or clock() > due + AFTER:
        return None
    ladder = Ladder(deadline=due.isoformat())
    for rung in job.spec.overdue:
        moment = (due - dt.timedelta(seconds=rung.seconds)).isoformat()
        if rung.variant:
            ladder = dataclasses.replace(ladder, variant_from=moment)
        elif why := why_not_carried(job, day, state):
            ladder = dataclasses.replace(ladder, missing=(f"carry_forward: {why}",))
        else:
            ladder = dataclasses.replace(ladder, carry_from=moment)
    return ladder


def _is_usual(request: RunRequest) -> bool:
    asked = (request.limit, request.model, request.device, request.known_at, request.restate)
    return not request.force and all(value is None for value in asked)


def day_before(job: Job, day: str) -> dt.date | None:
    """The day of the job's schedule before a day; None where none is known.

    Raises:
        Broken: calendars.yaml can't be read, or an exchange's calendar is unknown.
    """
    calendar = calendar_of(job, read_workspace_overrides(job.workspace.root))
    last = as_day(day) - dt.timedelta(days=1)
    return next((days[-1] for reach in REACHES if (days := calendar.days(last - reach, last))), None)


def why_not_carried(job: Job, day: str, state: Pinned) -> str:
    """Why no day can be carried forward into this one; "" where one can."""
    try:
        find_carried(job, day, state)
    except (NotYet, Broken) as error:
        return str(error)
    return ""


def find_carried(job: Job, day: str, state: Pinned) -> CatalogEntry:
    """What is published of the day before, which may be published again as this day.

    Raises:
        NotYet: nothing is published of it, or not of each table of the job.
        Broken: as `day_before`.
    """
    before = day_before(job, day)
    if before is None:
        raise NotYet(f"the schedule ({job.spec.schedule}) has no day before {day}")
    entry = state.in_force.get((job.name, before.isoformat()))
    if entry is None:
        raise NotYet(
            f"{before}, the day before by the schedule, is not published (`nightscore missing {job.name}`)"
        )
    held = state.holds(entry)
    lacking = [table for table in (job.spec.scores_table, *job.spec.decide) if table not in held]
    if lacking:
        raise NotYet(f"run {entry.run_id} of {before} has not published {', '.join(lacking)}")
    return entry


def carry_moment(job: Job, ladder: Ladder) -> dt.datetime | None:
    """From when on a day is carried forward, whether one can be; None where the job does not ask for it."""
    seconds = [rung.seconds for rung in job.spec.overdue if rung.carry_forward]
    due = dt.datetime.fromisoformat(ladder.deadline)
    return due - dt.timedelta(seconds=seconds[0]) if seconds else None


def next_carry(job: Job, day: str) -> dt.datetime | None:
    """From when on (UTC) a day of a job is carried forward if it is not there; None: not asked for."""
    due = deadline_moment(job, day) if has_rung(job, "carry_forward") else None
    return carry_moment(job, Ladder(deadline=due.isoformat())) if due else None


def is_carry_due(job: Job, day: str) -> bool:
    """Whether it is time to carry a day forward that is not there."""
    moment = next_carry(job, day)
    return moment is not None and moment <= clock() < moment + AFTER


def as_made_now(job: Job, plan: Plan, run: RunFolder) -> Plan:
    """The plan of a piece that begins now: by the rung that the night is on.

    Once a piece is made by the variant, those after it are, too: the run's folder says so, to every process.

    Raises:
        NotYet: it is so late that the day before is to be carried forward.
    """
    ladder = plan.ladder
    if ladder is None:
        return plan
    if _is_past(ladder.carry_from) and (why := _why_late(job, plan, ladder)):
        raise NotYet(f"job {job.name}, day {plan.day}: {why}; scoring ends, and the day before is carried on")
    if ladder.late is None or not _is_past(ladder.variant_from):
        return plan
    if not run.late.exists():
        why = _why_late(job, plan, ladder)
        if not why:
            return plan
        run_folder.record(run.late, json.dumps({"since": clock().isoformat(), "why": why}))
    return as_late(plan)


def as_late(plan: Plan) -> Plan:
    """The plan of a piece that the variant of a late night makes; as it is, where there is none."""
    late = plan.ladder.late if plan.ladder else None
    if late is None:
        return plan
    return dataclasses.replace(
        plan, variant=late.variant, chunk_rows=late.chunk_rows, tuned=late.tuned,
        made_by=f"{VARIANT}{late.tuned.name}",
    )  # fmt: skip


def read_late(run: RunFolder) -> tuple[dt.datetime, str] | None:
    """Since when pieces of a run are made by the variant, and why; None where none is."""
    try:
        told = json.loads(run.late.read_text())
        return dt.datetime.fromisoformat(told["since"]), str(told["why"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _is_past(moment: str) -> bool:
    return bool(moment) and clock() >= dt.datetime.fromisoformat(moment)


def _why_late(job: Job, plan: Plan, ladder: Ladder) -> str:
    """Why the night will miss its deadline, as far as can be told; "" where it is expected to be in time."""
    now, due = clock(), dt.datetime.fromisoformat(ladder.deadline)
    told = list_attempts(job.workspace, job.name, plan.day, plan.day)
    at_work = told[-1] if told and not told[-1].ended else None
    ends = expected_end(at_work, read_paces(job.workspace, job.name), now) if at_work else None
    if ends is not None and ends <= due:
        return ""
    at = f", at {at_work.done:,} of {at_work.total:,} rows" if at_work and at_work.total else ""
    said = f"expected to end at {ends:%Y-%m-%d %H:%M} UTC" if ends else "nothing tells when it will end"
    return f"not scored at {now:%Y-%m-%d %H:%M} UTC{at}; {said}"


def carried_text(before: str | None, day: str) -> str:
    """What stands in `made_by` of a row that is carried forward from a day, where this stood there before."""
    if before is None or before == FULL:
        return f"{CARRIED}{day}"
    return before if before.startswith(CARRIED) else f"{CARRIED}{day}, {before}"


def lowest_rung(made_by: Sequence[str]) -> str:
    """What stands in `made_by` of rows of a decision, made of scores of these: all but `full` of them."""
    others = sorted({one for one in made_by if one and one != FULL})
    return " and ".join(others) or FULL
