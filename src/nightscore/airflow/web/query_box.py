"""The query box: one SELECT of a person, while it runs and after it."""

from typing import Annotated, Any, Literal
from urllib.parse import quote

from airflow.api_fastapi.core_api.security import GetUserDep, get_user
from fastapi import APIRouter, Depends, Form, HTTPException, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from nightscore.airflow.web import kept, queries
from nightscore.airflow.web.access import Sight, SightDep, check_same_origin
from nightscore.airflow.web.html import page, root_of
from nightscore.airflow.web.live import LiveAnswer
from nightscore.airflow.web.process import Cancelled
from nightscore.airflow.web.queries import Busy, Person, Running
from nightscore.airflow.web.query import DOWNLOADED, SHOWN
from nightscore.airflow.web.table_guide import guide_to
from nightscore.common import NightscoreError, NotYet

SQL_LENGTH = 100_000  # characters of a query
LINK_LENGTH = 6_000  # of one that fits into an address
MANY_REQUESTS = 429
CUT = "<!-- the answer -->"  # between the halves of a page; in no text of a person, where < is escaped
REFRESH_SECONDS = 2

router = APIRouter(dependencies=[Depends(get_user)], default_response_class=HTMLResponse)


@router.get("/query")
def query_box(request: Request, sight: SightDep, user: GetUserDep, sql: str = "") -> Response:
    """The query box. What an address puts into it is not run: the address may be another site's link."""
    return _box(request, sight, person_of(user), sql=sql[:SQL_LENGTH])


@router.post("/query", dependencies=[Depends(check_same_origin)])
def run_query(
    request: Request, sight: SightDep, user: GetUserDep,
    sql: Annotated[str, Form(max_length=SQL_LENGTH)] = "", form: Annotated[str, Form(alias="as")] = "page",
) -> Response:  # fmt: skip
    """The result of a query over the tables that the user may read: as a page, or as a CSV file."""
    person = person_of(user)
    try:
        kind: Literal["csv", "kept"] = "csv" if form == "csv" else "kept"
        running = queries.start(sql, sight, person, kind)
    except NightscoreError as error:
        return _box(request, sight, person, status_of(error), sql=sql, message=str(error))

    def box(status: int = 200, **values: Any) -> HTMLResponse:
        return _box(request, sight, person, status, sql=sql, **values)

    def ended(*, shown_running: bool) -> HTMLResponse:
        return _ended(box, running, shown_running)

    if kind == "csv":
        return LiveAnswer(running, lambda: _csv_file(running) or ended(shown_running=False))
    return LiveAnswer(
        running,
        lambda: ended(shown_running=False),
        lambda: _halves(box(running=running, live=True))[0],
        lambda: _halves(ended(shown_running=True))[1],
    )


@router.get("/query/{asked}")
def kept_result(
    request: Request,
    sight: SightDep,
    user: GetUserDep,
    asked: str,
    number: Annotated[int, Query(alias="page")] = 1,
) -> Response:
    """A page of a result that is kept for its user; that it runs, as long as it does."""
    person = person_of(user)
    folder = kept.find_folder(person.id, asked, sight.dag_ids)
    if folder is None:
        raise HTTPException(404, f"There is no such result of yours. One is kept for {kept.MINUTES} minutes.")
    shown, sql = kept.read_page(folder, number), kept.read_sql(folder)
    if shown is not None:
        return _box(request, sight, person, sql=sql, result=shown, asked=asked)
    waiting = _box(request, sight, person, sql=sql)
    waiting.headers["refresh"] = str(REFRESH_SECONDS)
    return waiting


@router.post("/query/{asked}/cancel", dependencies=[Depends(check_same_origin)])
def cancel_query(request: Request, sight: SightDep, user: GetUserDep, asked: str) -> Response:
    """End a query of the user's, or give up its result; back to the box with its SQL."""
    folder = kept.find_folder(person_of(user).id, asked, sight.dag_ids)
    if folder is None:
        raise HTTPException(404, "There is no such query of yours; it has ended, or was cancelled.")
    sql = kept.read_sql(folder)
    kept.ask_to_cancel(folder)
    return RedirectResponse(root_of(request) + _link(sql), 303)


def person_of(user: Any) -> Person:
    """Who asks."""
    return Person(str(user.get_id()), str(user.get_name()))


def status_of(error: NightscoreError) -> int:
    """The HTTP status for an error of ours."""
    if isinstance(error, Busy):
        return MANY_REQUESTS
    return 503 if isinstance(error, NotYet) else 400


def _link(sql: str) -> str:
    """The address that fills the box; without the SQL where that is too long for one."""
    return f"/query?sql={quote(sql, safe='')}" if 0 < len(quote(sql)) <= LINK_LENGTH else "/query"


def _csv_file(running: Running) -> Response | None:
    if running.answer.exception() is not None:
        return None
    name = {"content-disposition": 'attachment; filename="nightscore-query.csv"'}
    return Response(running.answer.result(), media_type="text/csv; charset=utf-8", headers=name)


def _ended(box: Any, running: Running, shown_running: bool) -> HTMLResponse:
    """The page of a query that has ended: its first rows, or what is wrong with it."""
    again = {"running": running, "live": True} if shown_running else {}
    error = running.answer.exception()
    if isinstance(error, Cancelled):
        return box(message="Cancelled.", **again)
    if isinstance(error, NightscoreError):
        return box(status_of(error), message=str(error), **again)
    if error is not None:
        raise error
    return box(result=kept.read_page(running.folder, 1), asked=running.id, **again)


def _halves(whole: HTMLResponse) -> tuple[str, str]:
    head, _, tail = bytes(whole.body).decode().partition(CUT)
    return head, tail


def _box(request: Request, sight: Sight, person: Person, status: int = 200, **values: Any) -> HTMLResponse:
    """The box with `values` in it: `sql`, and a `result` (a page of rows) or a `message`.

    `running` with `live`: the page of a query that is sent while it runs.
    """
    views = sight.state.views()
    empty = {"message": "", "result": None, "asked": "", "running": None, "live": False}
    return page(
        request, "query", status, **(empty | values), guide=guide_to(views), tables=set(sight.state.tables()),
        limit=SHOWN, downloaded=DOWNLOADED, minutes=kept.MINUTES, link=_link(values["sql"]), cut=CUT,
        others=[one for one in queries.queries_of(person) if one is not values.get("running")],
    )  # fmt: skip
