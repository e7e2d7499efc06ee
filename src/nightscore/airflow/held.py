"""A held day in Airflow: the publish task asks a person, among Required Actions and on its own page.

While it asks it holds no worker. An answer comes from Airflow's form or from our page, which write the same
record; or the day was released or discarded elsewhere, by the command line, and the trigger sees that.
"""

import asyncio
import datetime as dt
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from nightscore.common import Broken, NightscoreError, as_day, open_workspace
from nightscore.job import Job

if TYPE_CHECKING:
    from nightscore.store import Receipt

RELEASE, DISCARD = "Release", "Discard"
BECAUSE = "because"  # the field of the form
WAIT = dt.timedelta(days=30)  # for a person; then the run fails, and the day stays held
SECONDS = 60.0  # between two looks whether somebody has decided elsewhere


class HeldTrigger(BaseTrigger):
    """Fires when a day is held no more: the event is {}; {"late": True} at `deadline` (epoch seconds)."""

    def __init__(
        self, *, workspace: str, job: str, day: str, deadline: float, seconds: float = SECONDS
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.workspace, self.job, self.day = workspace, job, day
        self.deadline, self.seconds = deadline, seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """What the triggerer makes it from."""
        names = ("workspace", "job", "day", "deadline", "seconds")
        return f"{__name__}.{type(self).__name__}", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look again and again."""
        while await asyncio.to_thread(self._waits):
            if time.time() >= self.deadline:
                yield TriggerEvent({"late": True})  # type: ignore[no-untyped-call]
                return
            await asyncio.sleep(self.seconds)
        yield TriggerEvent({})  # type: ignore[no-untyped-call]

    def _waits(self) -> bool:
        from nightscore.pipeline import is_held

        try:
            return is_held(open_workspace(Path(self.workspace)), self.job, as_day(self.day))
        except NightscoreError:  # a storage that does not answer
            return True


@dataclass(frozen=True)
class Answer:
    """What a person has decided: `option` is RELEASE or DISCARD, "" where it was decided elsewhere."""

    option: str = ""
    by: str = ""
    because: str = ""
    late: bool = False

    @classmethod
    def read(cls, event: Mapping[str, Any]) -> "Answer":
        """The answer in what Airflow resumes a task with."""
        if not event.get("chosen_options"):
            return cls(late=bool(event.get("late")))
        said = event.get("params_input") or {}
        user = event.get("responded_by_user") or {}
        because = str(said.get(BECAUSE) or "").strip()
        return cls(str(event["chosen_options"][0]), str(user.get("name") or user.get("id") or ""), because)


def ask(context: Mapping[str, Any], job: Job, day: str, message: str) -> HeldTrigger:
    """Put the question among Required Actions; gives the trigger to wait by."""
    from airflow.sdk import Param
    from airflow.sdk.execution_time.hitl import upsert_hitl_detail

    reason = Param("", "Why; it goes into the receipt.", type="string", minLength=1, title="Because")
    upsert_hitl_detail(
        ti_id=context["ti"].id,
        options=[RELEASE, DISCARD],
        subject=f"{job.name} {day} is held: release or discard it?",
        body=f"{message}\n\nWhat was staged, beside the day before, is on the run's tab Report.",
        params={BECAUSE: reason.serialize()},
    )
    deadline = time.time() + WAIT.total_seconds()
    return HeldTrigger(workspace=str(job.workspace.root), job=job.name, day=day, deadline=deadline)


def carry_out(job: Job, day: str, answer: Answer) -> "Receipt":
    """The receipt of the released day.

    Raises:
        Broken: the day was discarded, here or elsewhere, or nobody has answered; says who and why.
    """
    from nightscore.pipeline import hold
    from nightscore.store import catalog

    moment = as_day(day)
    if answer.option == RELEASE:
        return hold.release_day(job.workspace, job.name, moment, by=answer.by, because=answer.because)
    if answer.option == DISCARD:
        hold.discard_day(job.workspace, job.name, moment, by=answer.by, because=answer.because)
        raise Broken(f"job {job.name}: {day} was discarded by {answer.by}: {answer.because}")
    if answer.late:
        raise Broken(f"job {job.name}: {day} is held, and nobody has answered for {WAIT.days} days")
    last = hold.last_decision(job.workspace, job.name, moment)
    receipt = catalog.read_catalog(job.workspace).read_receipt(job.name, moment)
    if receipt is None or (last and receipt.run_id != last.run_id):
        raise Broken(f"job {job.name}: {day} is held no more: {last.outcome if last else 'it is gone'}")
    return receipt
