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

from nightscore.airflow.dag import check_dag, stub_name
from nightscore.airflow.web.html import CHOOSER, Chooser, base_of
from nightscore.airflow.workspaces import list_workspaces, qualified, split_name, unqualified
from nightscore.common import Broken, Workspace
from nightscore.job import Job, load_all
from nightscore.store import CatalogEntry, Pinned, catalog


@dataclasses.dataclass(frozen=True)
class Sight:
    """One user's view of a workspace, at one moment. `dag_ids` are all that they may read, of any."""

    workspace: Workspace
    dag_ids: frozenset[str]
    user: BaseUser | None = None

    @cached_property
    def readable(self) -> frozenset[str]:
        """The names of the workspace's jobs that the user may read."""
        names = (unqualified(self.workspace, dag_id) for dag_id in self.dag_ids)
        return frozenset(name for name in names if name is not None)

    def dag_id(self, job: str) -> str:
        """The id of a job's DAG."""
        return qualified(self.workspace, job)

    def job_of(self, dag_id: str) -> str:
        """The job of a DAG. HTTPException 404 where it is another workspace's."""
        name = unqualified(self.workspace, dag_id)
        if name is None:
            raise HTTPException(404, f"There is no job {dag_id!r} in this workspace that you may read.")
        return name

    @cached_property
    def state(self) -> Pinned:
        """All that is published by jobs that the user may read; the table `receipts` has no other rows."""
        return catalog.read_catalog(self.workspace).readable(self.readable)

    @cached_property
    def jobs(self) -> dict[str, Job | Broken]:
        """Every job of the workspace that the user may read, or what is wrong with it, by name."""
        jobs, broken = load_all(self.workspace)
        every: dict[str, Job | Broken] = {job.name: _job_or_mistake(job) for job in jobs}
        every |= {stub_name(self.workspace, str(error)): error for error in broken}
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
        dag_id = self.dag_id(job)
        details = DagDetails(id=dag_id, team_name=DagModel.get_team_name(dag_id))
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
        check_dag(job)
    except Broken as error:
        return error
    return job


def sight(request: Request, user: GetUserDep) -> Sight:
    """The view of the user whom Airflow has authenticated, of the workspace that the address names.

    An address that names none is of the workspace without a name; where there are only others, of the first.

    Raises:
        HTTPException: 401 or 403 without such a user, by GetUserDep; 404 where there is no such workspace, or
            the user may read nothing of it; 307 to the address that names it.
    """
    dag_ids = frozenset(get_auth_manager().get_authorized_dag_ids(user=user, method="GET"))
    sights: dict[str, Sight] = {}
    for workspace in list_workspaces():  # of two that are called alike the first one counts
        sights.setdefault(workspace.name, Sight(workspace, dag_ids, user))
    names = [name for name, one in sights.items() if one.readable] or list(sights)[:1]
    asked = request.path_params.get("workspace")
    of_dag = split_name(request.query_params.get("dag_id", ""))[0]  # as Airflow's own links name a run
    usual = of_dag if of_dag in names else "" if "" in names else names[0]
    name = usual if asked is None else asked
    if name not in names:
        raise HTTPException(404, f"There is no workspace {name!r} that you may read.")
    setattr(request.state, CHOOSER, Chooser(name, tuple(names)))
    if asked is None and name and len(names) > 1:
        raise HTTPException(307, headers={"location": _named_address(request, name)})
    return sights[name]


def _named_address(request: Request, name: str) -> str:
    """The address that was asked for, of a workspace."""
    base = base_of(request)
    query = f"?{request.url.query}" if request.url.query else ""
    return f"{base}/w/{name}{request.url.path.removeprefix(base)}{query}"


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
