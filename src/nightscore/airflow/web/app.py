"""The page's routes. All of them are on one router, which asks Airflow who the user is."""

import datetime as dt
from typing import Annotated, Any

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import get_user, requires_access_dag
from fastapi import APIRouter, Depends, FastAPI, Form, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from starlette.exceptions import HTTPException as StarletteHTTPException

from nightscore.airflow.web import dag_runs, query, reports
from nightscore.airflow.web.access import Sight, SightDep, check_same_origin
from nightscore.airflow.web.html import page
from nightscore.common import Broken, NightscoreError, NotYet
from nightscore.delivery import delivery_standings
from nightscore.job import Job
from nightscore.store import CatalogEntry, LiveFile, compare_heads, quote_identifier

DAYS = 60  # of a job, on its page
FIRST_ROWS = 10  # of a table, on its page
SQL = "SELECT *\nFROM {table}\nWHERE day = DATE '{day}'\nLIMIT 100"
SQL_LENGTH = 100_000  # characters of a query
MANY_REQUESTS = 429
EXPLAINED = (StarletteHTTPException, RequestValidationError, NightscoreError)

router = APIRouter(dependencies=[Depends(get_user)], default_response_class=HTMLResponse)


def make_app() -> FastAPI:
    """The application; Airflow mounts it. Without FastAPI's own pages, which ask nobody who he is."""
    app = FastAPI(title="Nightscore", openapi_url=None, docs_url=None, redoc_url=None)
    app.include_router(router)
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
        receipts=receipts,
        has_onward=bool(onward),
        more=len(history) > len(receipts),
    )


@router.get("/jobs/{job}/{day}")
def day_page(request: Request, sight: SightDep, job: str, day: str, run: str | None = None) -> Response:
    """The report of a day, in a frame, with the way to the other pages above it."""
    _published(sight, job, day, run)
    return page(request, "report", job=job, day=day, run=run)


@router.get("/jobs/{job}/{day}/report")
def day_report(request: Request, sight: SightDep, job: str, day: str, run: str | None = None) -> Response:
    """The report of a day by itself: of the run in force, or of one that it replaced."""
    return _report(request, sight, job, _published(sight, job, day, run))


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
    for entry in entries:
        if run.published and run.published == entry.run_id:
            return _report(request, sight, dag_id, entry)
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
    [view] = [view for view in sight.state.views() if view.name == table]
    files = sight.state.files(table)
    day = files[-1].day if files else dt.date.today().isoformat()
    columns, _ = query.query_first_rows(
        f"SELECT column_name, column_type FROM (DESCRIBE {quote_identifier(table)})", [view]
    )
    rows, _ = query.query_first_rows(f"SELECT * FROM {quote_identifier(table)} LIMIT {FIRST_ROWS}", [view])
    sql = SQL.format(table=quote_identifier(table) if not table.isidentifier() else table, day=day)
    return page(
        request, "table", title=table, files=files, columns=columns.to_pylist(), rows=rows, sql=sql,
    )  # fmt: skip


@router.get("/query")
def query_box(request: Request, sight: SightDep, sql: str = "") -> Response:
    """The query box. What an address puts into it is not run: the address may be another site's link."""
    return _box(request, sight, sql=sql[:SQL_LENGTH])


@router.post("/query", dependencies=[Depends(check_same_origin)])
def run_query(
    request: Request, sight: SightDep,
    sql: Annotated[str, Form(max_length=SQL_LENGTH)] = "", form: Annotated[str, Form(alias="as")] = "page",
) -> Response:  # fmt: skip
    """The result of a query over the tables that the user may read: as a page, or as a CSV file."""
    views = sight.state.views()
    try:
        if form == "csv":
            name = {"content-disposition": 'attachment; filename="nightscore-query.csv"'}
            return Response(
                query.query_as_csv(sql, views), media_type="text/csv; charset=utf-8", headers=name
            )
        rows, more = query.query_first_rows(sql, views)
    except NightscoreError as error:
        return _box(request, sight, _status(error), sql=sql, message=str(error))
    return _box(request, sight, sql=sql, result=rows, more=more)


def _box(request: Request, sight: Sight, status: int = 200, **values: Any) -> HTMLResponse:
    views = [(view.name, view.name in sight.state.tables()) for view in sight.state.views()]
    limits = {"shown": query.SHOWN, "downloaded": query.DOWNLOADED}
    empty = {"message": "", "result": None, "more": False}
    return page(request, "query", status, **(empty | limits | values), views=views)


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
    if found := reports.find_report(sight.state, job, entry):
        return HTMLResponse(found)
    waiting = page(request, "making", 202, job=name, day=entry.day)
    waiting.headers["refresh"] = "2"
    return waiting


def _status(error: NightscoreError) -> int:
    if isinstance(error, query.Busy):
        return MANY_REQUESTS
    return 503 if isinstance(error, NotYet) else 400


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
            status, text = _status(error), str(error)
    return page(request, "message", status, text=text)
