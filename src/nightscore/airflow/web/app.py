"""The page's routes. All of them are on one router, which asks Airflow who the user is."""

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import get_user, requires_access_dag
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from starlette.exceptions import HTTPException as StarletteHTTPException

from nightscore.airflow.web import dag_runs, job_files, query_box, reports
from nightscore.airflow.web.access import Sight, SightDep
from nightscore.airflow.web.checks import check_results
from nightscore.airflow.web.html import page
from nightscore.airflow.web.query import query_first_rows
from nightscore.airflow.web.query_box import status_of
from nightscore.airflow.web.table_guide import guide_to
from nightscore.common import Broken, NightscoreError
from nightscore.delivery import delivery_standings
from nightscore.job import Job
from nightscore.store import CatalogEntry, LiveFile, compare_heads, quote_identifier

DAYS = 60  # of a job, on its page
FIRST_ROWS = 10  # of a table, on its page
EXPLAINED = (StarletteHTTPException, RequestValidationError, NightscoreError)

router = APIRouter(dependencies=[Depends(get_user)], default_response_class=HTMLResponse)


def make_app() -> FastAPI:
    """The application; Airflow mounts it. Without FastAPI's own pages, which ask nobody who he is."""
    app = FastAPI(title="Nightscore", openapi_url=None, docs_url=None, redoc_url=None)
    for each in (job_files.router, router, query_box.router):
        app.include_router(each)
    for kind in EXPLAINED:
        app.add_exception_handler(kind, _explained)
    return app


@router.get("/")
def overview(request: Request, sight: SightDep) -> Response:
    """Every job, with its last published day; broken ones with what is wrong."""
    last: dict[str, CatalogEntry] = {}
    for entry in sorted(sight.state.in_force.values(), key=lambda e: e.day):
        last[entry.job] = entry
    names = [*sight.jobs, *sorted(last.keys() - sight.jobs.keys())]
    rows = [
        (name, sight.jobs.get(name), last[name].read_receipt_or_reason() if name in last else None)
        for name in names
    ]
    return page(
        request, "overview", jobs=[row for row in rows if not isinstance(row[1], Broken)],
        broken=[(name, job, receipt) for name, job, receipt in rows if isinstance(job, Broken)],
        next_runs=dag_runs.next_runs(names), workspace=str(sight.workspace.root),
    )  # fmt: skip


@router.get("/jobs/{job}")
def job_days(request: Request, sight: SightDep, job: str) -> Response:
    """A job's last receipts, the newest first."""
    history = sight.history(job)
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
        checks=check_results(sight, job) if isinstance(sight.jobs.get(job), Job) else {job: None},
        receipts=receipts,
        tables=set(sight.state.tables()),
        zone=_zone(sight.jobs.get(job)),
        has_onward=bool(onward),
        more=len(history) > len(receipts),
    )


def _zone(job: Job | Broken | None) -> str:
    """The time zone of a job's nights, as its schedule says it."""
    return str(getattr(job.spec.schedule, "timezone", "UTC")) if isinstance(job, Job) else "UTC"


@router.get("/jobs/{job}/{day}")
def day_page(request: Request, sight: SightDep, job: str, day: str, run: str | None = None) -> Response:
    """The report of a day, in a frame, with the way to the other pages above it."""
    _check_published(sight, job, day, run)
    return page(request, "report", job=job, day=day, run=run)


@router.get("/jobs/{job}/{day}/report")
def day_report(sight: SightDep, job: str, day: str, run: str | None = None) -> Response:
    """The report of a day by itself: of the run in force, or of one that it replaced."""
    _check_published(sight, job, day, run)
    return _report(sight, job, day, run)


@router.get("/report", dependencies=[Depends(requires_access_dag("GET", DagAccessEntity.RUN))])
def run_report(request: Request, sight: SightDep, dag_id: str, run_id: str) -> Response:
    """The report of what a DAG run published, or where that run stands."""
    history = sight.history(dag_id)
    run = dag_runs.find_run(dag_id, run_id)
    if run is None:
        raise HTTPException(404, f"DAG {dag_id} has no run {run_id!r}.")
    job = sight.jobs.get(dag_id)
    day = run.day(job)
    entries = [e for e in history if day and e.day == day.isoformat()]
    if run.published and run.published in {e.run_id for e in entries}:
        return _report(sight, dag_id, str(day), run.published)
    in_force = entries[0] if entries else None
    return page(request, "run", run=run, day=day, job=job, in_force=in_force)


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


def _check_published(sight: Sight, job: str, day: str, run: str | None) -> None:
    runs_of_day = {entry.run_id for entry in sight.history(job) if entry.day == day}
    if not runs_of_day or run not in {None, *runs_of_day}:
        raise HTTPException(404, f"Job {job} has published no such day or run.")


def _report(sight: Sight, job: str, day: str, run_id: str | None) -> HTMLResponse:
    if isinstance(broken := sight.jobs.get(job), Broken):
        raise broken
    return HTMLResponse(reports.make_report(job, day, sight.workspace.root, run_id))


def _explained(request: Request, error: Exception) -> HTMLResponse:
    """A page that says what is wrong, for each of EXPLAINED."""
    match error:
        case RequestValidationError():
            status, text = 422, "; ".join(f"{e['loc'][-1]}: {e['msg']}" for e in error.errors())
        case StarletteHTTPException(status_code=401):
            status, text = 401, "Log in to Airflow to see this page."
        case StarletteHTTPException():
            status, text = error.status_code, str(error.detail)
        case NightscoreError():
            status, text = status_of(error), str(error)
    return page(request, "message", status, text=text)
