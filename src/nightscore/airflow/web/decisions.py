"""What a person does on the page: release or discard a held day, run the days that are missing."""

from dataclasses import dataclass
from typing import Annotated, Literal
from urllib.parse import urlencode

from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.datamodels.hitl import UpdateHITLDetailPayload
from airflow.api_fastapi.core_api.routes.public.hitl import update_hitl_detail
from airflow.api_fastapi.core_api.security import GetUserDep, get_user, requires_access_dag
from fastapi import APIRouter, Depends, Form, HTTPException, Request
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, Field

from nightscore.airflow.held import BECAUSE, DISCARD
from nightscore.airflow.web import dag_runs
from nightscore.airflow.web.access import Sight, SightDep, check_same_origin
from nightscore.airflow.web.html import root_of
from nightscore.airflow.web.overview import DAYS, book_of
from nightscore.common import Broken, as_day
from nightscore.job import load
from nightscore.pipeline import hold, send_on

SEE_OTHER = 303


@dataclass(frozen=True)
class Person:
    """Who is logged in, and what they may see."""

    sight: Sight
    user: BaseUser

    @property
    def name(self) -> str:
        """As receipts name them."""
        return self.user.get_name()


def person(sight: SightDep, user: GetUserDep) -> Person:
    """The user whom Airflow has authenticated."""
    return Person(sight, user)


PersonDep = Annotated[Person, Depends(person)]


class Decision(BaseModel):
    """What a person has decided of a held day."""

    day: str
    run: str = ""  # the held run that the person looked at
    choice: Literal["Release", "Discard"]
    because: str = Field("", max_length=2_000)


router = APIRouter(
    dependencies=[
        Depends(get_user),
        Depends(check_same_origin),
        Depends(requires_access_dag("PUT", DagAccessEntity.RUN)),
    ]
)


@router.post("/decide", dependencies=[Depends(requires_access_dag("PUT", DagAccessEntity.HITL_DETAIL))])
def decide(
    request: Request, session: SessionDep, person: PersonDep, dag_id: str,
    decision: Annotated[Decision, Form()],
) -> RedirectResponse:  # fmt: skip
    """Release or discard a held day, with a reason, in the name of the user who is logged in.

    Where a task of Airflow waits for it, that carries it out, and its run turns green; else it is done here,
    and a failed run of the day goes on from its publish task, so that what comes after it hears of the day.
    """
    job, workspace = person.sight.job_of(dag_id), person.sight.workspace
    person.sight.history(job)
    day, because = decision.day, decision.because.strip()
    if not because:
        raise Broken("a reason is missing: it goes into the receipt, for whoever asks later")
    held = [one.receipt.run_id for one in hold.read_held_days(workspace, job) if one.receipt.day == day]
    if not held:
        raise Broken(f"job {job}: {day} is not held; somebody may have decided meanwhile")
    if decision.run not in {"", *held}:
        raise Broken(f"job {job}: {day} was run again meanwhile, and is held anew; look at it once more")
    run_id = dag_runs.find_asking(dag_id, day)
    if run_id:
        payload = UpdateHITLDetailPayload(chosen_options=[decision.choice], params_input={BECAUSE: because})
        update_hitl_detail(dag_id, run_id, dag_runs.PUBLISH, payload, person.user, session)
    elif decision.choice == DISCARD:
        hold.discard_day(workspace, job, as_day(day), by=person.name, because=because)
    else:
        receipt = hold.release_day(workspace, job, as_day(day), by=person.name, because=because)
        run_id = dag_runs.publish_again(dag_id, day)
        if not run_id:  # a run of the command line: nobody else sends it onward
            send_on(load(job, workspace), receipt)
    return _back(request, job, dag_id, run_id)


@router.post("/run-missing", dependencies=[Depends(requires_access_dag("POST", DagAccessEntity.RUN))])
def run_missing(request: Request, person: PersonDep, dag_id: str) -> RedirectResponse:
    """Run the days of a job that are due, not published and not held, as runs of its DAG, oldest first."""
    book, job = book_of(person.sight), person.sight.job_of(dag_id)
    if job not in book.jobs:
        raise HTTPException(404, f"There is no job {job!r} in this workspace that you may read.")
    for state in book.missing(job, DAYS):
        if state.state != "held":
            dag_runs.trigger_day(dag_id, state.day, person.name)
    return _back(request, job, dag_id, "")


def _back(request: Request, job: str, dag_id: str, run_id: str) -> RedirectResponse:
    """The page of the run, or of the job."""
    root = root_of(request)
    if run_id:
        return RedirectResponse(f"{root}/report?{urlencode({'dag_id': dag_id, 'run_id': run_id})}", SEE_OTHER)
    return RedirectResponse(f"{root}/jobs/{job}", SEE_OTHER)
