"""What a user may see: the jobs whose DAGs Airflow lets them read, and what those jobs published.

Nothing else in this package asks for a job or a table by name: every page, list and query goes through a
`Sight`, which holds only what its user may see.
"""

import dataclasses
from functools import cached_property
from typing import Annotated
from urllib.parse import urlsplit

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.base_auth_manager import ResourceMethod
from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import GetUserDep
from airflow.configuration import conf
from airflow.models.dag import DagModel
from fastapi import Depends, HTTPException, Request

from nightscore.airflow.dag import stub
from nightscore.airflow.day import open_dags_workspace
from nightscore.airflow.form import build_form
from nightscore.airflow.timetable import timetable_of
from nightscore.common import Broken, Workspace
from nightscore.job import Job, load_all
from nightscore.store import CatalogEntry, Pinned, catalog


@dataclasses.dataclass(frozen=True)
class Sight:
    """One user's view of the workspace, at one moment. `readable` are ids of DAGs: names of jobs."""

    workspace: Workspace
    readable: frozenset[str]
    user: BaseUser | None = None

    @cached_property
    def state(self) -> Pinned:
        """All that is published by jobs that the user may read; the table `receipts` has no other rows."""
        return catalog.read_catalog(self.workspace).readable(self.readable)

    @cached_property
    def jobs(self) -> dict[str, Job | Broken]:
        """Every job of the workspace that the user may read, or what is wrong with it, by name."""
        jobs, broken = load_all(self.workspace)
        every: dict[str, Job | Broken] = {job.name: _job_or_mistake(job) for job in jobs}
        every |= {str(stub(self.workspace, str(error)).dag_id): error for error in broken}
        return {name: every[name] for name in sorted(every) if name in self.readable}

    def may_decide(self, job: str) -> bool:
        """Whether the user may release and discard held days of a job, which edits its DAG's runs."""
        return self._may("PUT", job, DagAccessEntity.RUN) and self._may(
            "PUT", job, DagAccessEntity.HITL_DETAIL
        )

    def may_run(self, job: str) -> bool:
        """Whether the user may run missing days of a job."""
        return self._may("PUT", job, DagAccessEntity.RUN) and self._may("POST", job, DagAccessEntity.RUN)

    def _may(self, method: ResourceMethod, job: str, entity: DagAccessEntity) -> bool:
        if self.user is None:
            return False
        details = DagDetails(id=job, team_name=DagModel.get_team_name(job))
        return get_auth_manager().is_authorized_dag(
            method=method, access_entity=entity, details=details, user=self.user
        )

    def history(self, job: str) -> list[CatalogEntry]:
        """The receipts of a job, the newest first.

        Raises:
            HTTPException: 404, whether there is no such job or the user may not read it.
        """
        entries = [entry for entry in reversed(self.state.history) if entry.job == job]
        if not entries and job not in self.jobs:
            raise HTTPException(404, f"There is no job {job!r} in this workspace that you may read.")
        return entries


def _job_or_mistake(job: Job) -> Job | Broken:
    """The job, or what keeps it from being a DAG."""
    try:
        build_form(job)
        timetable_of(job)
    except Broken as error:
        return error
    return job


def sight(user: GetUserDep) -> Sight:
    """The view of the user whom Airflow has authenticated.

    Raises:
        HTTPException: 401 or 403 without such a user; by GetUserDep.
    """
    readable = get_auth_manager().get_authorized_dag_ids(user=user, method="GET")
    return Sight(open_dags_workspace(), frozenset(readable), user)


SightDep = Annotated[Sight, Depends(sight)]


def check_same_origin(request: Request) -> None:
    """Refuse a form that was not sent from a page of this Airflow.

    Airflow's cookie is `SameSite=Lax`, so a browser doesn't send it with another site's form; but a sister
    host is of the same site, and an Airflow that makes everyone an admin asks for no cookie at all. Browsers
    say where a form comes from: in `Sec-Fetch-Site` (https and localhost), and in `Origin`.

    Raises:
        HTTPException: 403, where it comes from elsewhere, or nothing says where from.
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin", "")
    own = {request.headers.get("host"), urlsplit(conf.get("api", "base_url", fallback="")).netloc}
    same = site == "same-origin" if site else bool(urlsplit(origin).netloc in own - {None, ""})
    if not same:
        raise HTTPException(403, "Queries and decisions are taken from the forms of this page alone.")
