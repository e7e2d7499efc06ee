"""The page's routes. All of them are on one router, which asks Airflow who the user is."""

import datetime as dt

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import get_user, requires_access_dag
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.exceptions import HTTPException as StarletteHTTPException

from nightscore.airflow.web import dag_runs, decisions, job_files, query_box, reports
from nightscore.airflow.web.access import Sight, SightDep
from nightscore.airflow.web.checks import check_results
from nightscore.airflow.web.html import base_of, page
from nightscore.airflow.web.overview import LOOKS, book_of, days_of, is_shown, list_rows, run_standing
from nightscore.airflow.web.query import query_first_rows
from nightscore.airflow.web.query_box import status_of
from nightscore.airflow.web.table_guide import guide_to
from nightscore.common import Broken, NightscoreError, read_day
from nightscore.delivery import delivery_standings
from nightscore.job import Job
from nightscore.pipeline import HeldDay, find_held_day
from nightscore.store import CatalogEntry, LiveFile, Receipt, compare_heads, quote_identifier

DAYS = 60  # of a job, on its page
FIRST_ROWS = 10  # of a table, on its page
EXPLAINED = (StarletteHTTPException, RequestValidationError, NightscoreError)

router = APIRouter(dependencies=[Depends(get_user)], default_response_class=HTMLResponse)
by_dag = APIRouter(dependencies=[Depends(get_user)])


def make_app() -> FastAPI:
    """The application; Airflow mounts it. Without FastAPI's own pages, which ask nobody who he is."""
    app = FastAPI(title="Nightscore", openapi_url=None, docs_url=None, redoc_url=None)
    app.include_router(by_dag)
    for prefix in ("", "/w/{workspace}"):
        for each in (job_files.router, router, query_box.router, decisions.router):
            app.include_router(each, prefix=prefix)
    for kind in EXPLAINED:
        app.add_exception_handler(kind, _explained)
    return app


@by_dag.get("/jobs/{workspace}.{job}")
def job_of_dag(request: Request, workspace: str, job: str) -> Response:
    """To the job of a DAG, whose id Airflow's link gives."""
    return RedirectResponse(f"{base_of(request)}/w/{workspace}/jobs/{job}")


@router.get("/")
def overview(
    request: Request, sight: SightDep, owner: str = "", look: str = LOOKS[0], words: str = ""
) -> Response:
    """Every job, with the day that it should have now and how that stands; broken ones with what is wrong."""
    rows = list_rows(sight, book_of(sight))
    broken = [(name, job) for name, job in sight.jobs.items() if isinstance(job, Broken)]
    return page(
        request, "overview", rows=[row for row in rows if is_shown(row, owner, look, words)], total=len(rows),
        owners=sorted({row.owner for row in rows if row.owner}), looks=LOOKS, owner=owner, look=look,
        words=words, checks=check_results(sight), now=dt.datetime.now(dt.UTC),
        filtered=bool(owner or words or look != LOOKS[0]),
        broken=[(name, error, _last_receipt(sight, name)) for name, error in broken],
        workspace=str(sight.workspace.root),
    )  # fmt: skip


def _last_receipt(sight: Sight, job: str) -> Receipt | None:
    days = [day for name, day in sight.state.in_force if name == job]
    return sight.state.in_force[job, max(days)].read_receipt_or_reason() if days else None


@router.get("/jobs/{job}")
def job_days(request: Request, sight: SightDep, job: str) -> Response:
    """A job's last receipts, the newest first."""
    history = sight.history(job)
    calendar, missing = days_of(sight, job)
    onward = delivery_standings(
        sight.state, [one for one in [sight.jobs.get(job)] if isinstance(one, Job)], job
    )
    receipts = [
        (e.read_receipt_or_reason(), bool(sight.state.holds(e)), onward.get((job, e.day), ()))
        for e in history[:DAYS]
    ]
    return page(
        request,
        "job",
        title=job,
        job=sight.jobs.get(job),
        calendar=calendar,
        missing=missing,
        checks=check_results(sight, job) if isinstance(sight.jobs.get(job), Job) else {job: None},
        receipts=receipts,
        tables=set(sight.state.tables()),
        zone=_zone(sight.jobs.get(job)),
        has_onward=bool(onward),
        may_decide=sight.may_decide(job),
        may_run=sight.may_run(job),
        more=len(history) > len(receipts),
    )


def _zone(job: Job | Broken | None) -> str:
    """The time zone of a job's nights, as its schedule says it."""
    return str(getattr(job.spec.schedule, "timezone", "UTC")) if isinstance(job, Job) else "UTC"


@router.get("/jobs/{job}/{day}")
def day_page(request: Request, sight: SightDep, job: str, day: str, run: str | None = None) -> Response:
    """The report of a day, in a frame, with the way to the other pages above it."""
    _published(sight, job, day, run)
    return page(request, "report", job=job, day=day, run=run, form="report")


@router.get("/jobs/{job}/{day}/report")
def day_report(request: Request, sight: SightDep, job: str, day: str, run: str | None = None) -> Response:
    """The report of a day by itself: of the run in force, or of one that it replaced."""
    return _report(request, sight, job, _published(sight, job, day, run))


@router.get("/jobs/{job}/{day}/held")
def held_page(request: Request, sight: SightDep, job: str, day: str) -> Response:
    """The report of a held day, in a frame."""
    _held(sight, job, day)
    return page(request, "report", job=job, day=day, run=None, form="held-report")


@router.get("/jobs/{job}/{day}/held-report")
def held_day_report(request: Request, sight: SightDep, job: str, day: str) -> Response:
    """The report of a held day by itself, as it is staged; once somebody has decided, it is not there."""
    found, held = _held(sight, job, day)
    return _page_or_making(request, job, day, reports.find_held_report(sight.workspace, found, held))


@router.get("/report", dependencies=[Depends(requires_access_dag("GET", DagAccessEntity.RUN))])
def run_report(request: Request, sight: SightDep, dag_id: str, run_id: str) -> Response:
    """The report of what a DAG run published, or where that run stands."""
    history = sight.history(sight.job_of(dag_id))
    run = dag_runs.find_run(dag_id, run_id)
    if run is None:
        raise HTTPException(404, f"DAG {dag_id} has no run {run_id!r}.")
    job = sight.jobs.get(run.job)
    day = run.day(job)
    entries = [e for e in history if day and e.day == day.isoformat()]
    for entry in entries:
        if run.published and run.published == entry.run_id:
            return _report(request, sight, run.job, entry)
    told = run_standing(sight, run, day)
    return page(
        request, "run", run=run, day=day, job=job, in_force=entries[0] if entries else None,
        may_decide=sight.may_decide(run.job), **told,
    )  # fmt: skip


@router.get("/tables")
def tables(request: Request, sight: SightDep) -> Response:
    """Every published table that the user may read."""
    state = sight.state
    published = [(name, state.publisher(name), *_files(sight, name)) for name in state.tables()]
    foreign = [str(one) for one in compare_heads(state, state.tables()) if not one.gone]
    return page(request, "tables", tables=published, foreign=foreign)


def _files(sight: Sight, table: str) -> tuple[list[LiveFile], str]:
    """The files of a table, and what is wrong with them, if anything is: others are shown all the same."""
    try:
        return sight.state.files(table), ""
    except Broken as error:
        return [], str(error)


@router.get("/tables/{table}")
def one_table(request: Request, sight: SightDep, table: str) -> Response:
    """A table: its columns, its first rows, a query to start from."""
    if table not in sight.state.tables():
        raise HTTPException(404, f"There is no table {table!r} that you may read.")
    views = sight.state.views()
    [view] = [view for view in views if view.name == table]
    rows, _ = query_first_rows(f"SELECT * FROM {quote_identifier(table)} LIMIT {FIRST_ROWS}", [view])
    [guide] = [one for one in guide_to(views) if one.name == table]
    return page(
        request, "table", title=table, files=sight.state.files(table), guide=guide, rows=rows,
        job=sight.state.publisher(table),
    )  # fmt: skip


def _published(sight: Sight, job: str, day: str, run: str | None) -> CatalogEntry:
    """A run of a day: the one that is called so, or the newest. 404 where there is none."""
    of_day = [one for one in sight.history(job) if one.day == day and run in (None, one.run_id)]
    if not of_day:
        raise HTTPException(404, f"Job {job} has published no such day or run.")
    return of_day[0]


def _report(request: Request, sight: Sight, name: str, entry: CatalogEntry) -> HTMLResponse:
    """The report of a run; while it is made, a page that asks again."""
    job = sight.jobs.get(name)
    if not isinstance(job, Job):
        raise job or HTTPException(404, f"There is no job {name!r} in this workspace any more.")
    return _page_or_making(request, name, entry.day, reports.find_report(sight.state, job, entry))


def _held(sight: Sight, name: str, day: str) -> tuple[Job, HeldDay]:
    """A job that the user may read, and its held day. 404 where there is none."""
    job, when = sight.jobs.get(name), read_day(day)
    held = find_held_day(sight.workspace, name, when) if isinstance(job, Job) and when else None
    if not isinstance(job, Job) or held is None:
        raise HTTPException(404, f"Job {name} has no such day that is held.")
    return job, held


def _page_or_making(request: Request, job: str, day: str, found: str | None) -> HTMLResponse:
    if found is not None:
        return HTMLResponse(found)
    waiting = page(request, "making", 202, job=job, day=day)
    waiting.headers["refresh"] = "2"
    return waiting


def _explained(request: Request, error: Exception) -> Response:
    """A page that says what is wrong, for each of EXPLAINED; or the way to the right address."""
    match error:
        case StarletteHTTPException(status_code=307, headers=dict() as headers):
            return RedirectResponse(headers["location"])
        case RequestValidationError():
            status, text = 422, "; ".join(f"{e['loc'][-1]}: {e['msg']}" for e in error.errors())
        case StarletteHTTPException(status_code=401):
            status, text = 401, "Log in to Airflow to see this page."
        case StarletteHTTPException():
            status, text = error.status_code, str(error.detail)
        case NightscoreError():
            status, text = status_of(error), str(error)
    return page(request, "message", status, text=text)
