"""The page inside Airflow, served by Airflow's own API server: who sees what, and what a query may do."""

import datetime as dt
import subprocess
import sys
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("airflow")

from nightscore.airflow.web import HEADERS, live, process, queries, query, views
from nightscore.common.errors import Broken, NotYet
from nightscore.store.sql.query import QueryLimits
from tests.airflow.test_nights import known
from tests.airflow.web.server import Client, api_server, browsers
from tests.support.workspace import DAYS, JOB, make_workspace, rows_of

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

pytestmark = pytest.mark.filterwarnings("ignore")

ROWS = 3_000
HOSTILE = "<script>alert(1)</script>"
JOB_A = JOB.replace("job: mini", "job: open_job").replace("mini_top", "open_top").replace(
    "Rows scored by a linear model", f"'{HOSTILE}'"
)  # fmt: skip
JOB_A += "deliver:\n  - {name: mail, files: {root: crm, path: '{day}.csv', format: csv}}\n"
JOB_B = JOB.replace("job: mini", "job: closed_job").replace("mini_top", "closed_top")
USERS = {"root": "admin", "ana": "viewer", "tess": "viewer:keepers", "none": ""}
HEAVY = "SELECT count(*) FROM range(1000000000) a, range(1000000000) b WHERE a.range * b.range = 7"
DEAF = "SELECT levenshtein(repeat('ab', 200000), repeat('ba', 200000))"  # one call of minutes
MAIN = "import sys; from nightscore.cli.main import main; sys.exit(main())"
SAME = {"sec-fetch-site": "same-origin"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace: a job that every user may read, one for the team `keepers`, a broken one for each."""
    made = tmp_path_factory.mktemp("page")
    make_workspace(made, ROWS, JOB_A)
    (made / "workspace.yaml").write_text("roots: {crm: {at: crm, write: true}}\n")
    for name, text in (("b", JOB_B), ("c", "job: open_broken\nabout: [\n"), ("d", "job: closed_broken\n")):
        folder = made / "jobs" / name
        folder.mkdir()
        (folder / "job.yaml").write_text(text)
        (folder / "top.sql").write_text((made / "jobs/mini/top.sql").read_text())
    return made


@pytest.fixture(scope="module")
def nights(root: Path, metadata: None) -> dict[str, Any]:
    """Runs of both jobs by `dag.test()`; those of closed_job are of a bundle that a team has for itself."""
    done = {
        "published": ran(root, "open_job", day=DAYS[0]),
        "unchanged": ran(root, "open_job", day=DAYS[0]),
        "failed": ran(root, "open_job", day="2021-01-01"),
        "without a day": ran(root, "open_job"),
        "preview": ran(root, "open_job", day=DAYS[1], limit=5),
        "second": ran(root, "open_job", day=DAYS[1]),
        "closed": ran(root, "closed_job", day=DAYS[0]),
    }
    kept = {path.parts[-4] + path.parts[-3] for path in root.glob("data/runs/*/*/*/report.html")}
    closed_to_others(root)
    return {**restored(done), "kept": kept}


def ran(root: Path, job: str, **conf: Any) -> Any:
    """A finished run of a job's DAG, which has the job's own name."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session

    done = known(root, job, job).test(run_conf=conf, logical_date=None)
    with create_session() as session:  # the next `dag.test()` removes a run of its own logical date, none
        kept = session.get(DagRun, done.id)
        kept.logical_date = kept.queued_at = dt.datetime.now(dt.UTC)
    return done, {(task.task_id, task.map_index): task.state for task in done.get_task_instances()}


def restored(runs: dict[str, tuple[Any, dict[tuple[str, int], Any]]]) -> dict[str, Any]:
    """The runs, with their tasks' states as they ended: each `dag.test()` clears those of all runs before."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session

    with create_session() as session:
        for run, states in runs.values():
            for task in session.get(DagRun, run.id).task_instances:
                task.state = states.get((task.task_id, task.map_index))
    return {name: run for name, (run, _) in runs.items()}


def closed_to_others(root: Path) -> None:
    """Give closed_job and closed_broken to a team, and make the stubs of broken jobs known."""
    from airflow.models.dag import DagModel
    from airflow.models.dagbundle import DagBundleModel
    from airflow.models.team import Team
    from airflow.utils.session import create_session

    with create_session() as session:
        kept = DagBundleModel(name="kept")
        kept.teams.append(Team(name="keepers"))
        session.add(kept)
        session.flush()
        for name, bundle in (("open_broken", "testing"), ("closed_broken", "kept")):
            session.merge(DagModel(dag_id=name, bundle_name=bundle, fileloc="x", relative_fileloc="x"))
        session.get(DagModel, "closed_job").bundle_name = "kept"


@pytest.fixture(scope="module")
def client(root: Path, nights: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A browser of some user of Airflow's API server; None is nobody."""
    passwords = tmp_path_factory.mktemp("passwords") / "passwords.json"
    with api_server(root, USERS, passwords, multi_team=True) as app, pytest.MonkeyPatch.context() as patch:
        patch.setattr(live, "QUICK_SECONDS", 60.0)  # on a busy machine an answer would have begun, as a 200
        yield browsers(app)


def ask(client: "TestClient", sql: str, form: str = "page", **headers: str) -> Any:
    """The answer to the query form."""
    return client.post("/nightscore/query", data={"sql": sql, "as": form}, headers=headers or SAME)


def routes() -> list[tuple[str, str]]:
    """Every method and address that the page's application knows, with some value for each parameter."""
    from nightscore.airflow.web.app import make_app

    values = {"workspace": "none", "job": "open_job", "day": DAYS[0], "table": "open_top", "asked": "0" * 16}
    return [
        (method, "/nightscore" + one.path.format(**values))
        for one in make_app().routes
        for method in sorted(one.methods)
    ]


def test_nobody_sees_anything(client: Client) -> None:
    """Each route answers 401 to a request without a log-in, 403 to a forged one; with our headers on it."""
    found = routes()
    assert len(found) >= 8 and ("POST", "/nightscore/query") in found
    for method, address in found:
        for token, status in ((None, 401), ("forged", 403)):
            nobody = client(None)
            if token:
                nobody.cookies.set("_token", token)
            answer = nobody.request(method, address, headers=SAME)
            assert (answer.status_code, address) == (status, address)
            assert "open_job" not in answer.text and answer.headers.items() >= HEADERS.items()


def test_no_other_application_answers(client: Client) -> None:
    """FastAPI's own pages, which would ask nobody who he is, are not there."""
    for address in ("/docs", "/redoc", "/openapi.json"):
        assert client("root").get(f"/nightscore{address}").status_code == 404


@pytest.mark.parametrize("user", ["root", "ana", "tess"])
@pytest.mark.sample(1)
def test_a_user_sees_the_pages_of_what_he_may_read(client: Client, user: str) -> None:
    """Whoever may read a job's DAG sees the job, its days, its tables and their rows."""
    browser = client(user)
    start = browser.get("/nightscore/")
    assert start.status_code == 200 and "open_job" in start.text and DAYS[1] in start.text
    assert "open_broken is broken" in start.text and "jobs/c/job.yaml:" in start.text
    days = browser.get("/nightscore/jobs/open_job").text
    assert f"/nightscore/jobs/open_job/{DAYS[0]}" in days and "1 passed" in days
    assert "open_job_scores" in browser.get("/nightscore/tables").text
    table = browser.get("/nightscore/tables/open_top").text
    assert "<code>rank</code>" in table and "BIGINT" in table and 'id="first-rows"' in table
    answer = ask(browser, "SELECT count(*) AS n FROM open_top")
    assert answer.status_code == 200 and '<td class="number">20</td>' in answer.text
    assert answer.headers.items() >= HEADERS.items()


def test_what_of_a_day_went_where_is_shown_beside_it(client: Client, root: Path) -> None:
    """On the page of the job and in the day's report; and that it did not, which no record says."""
    records, aside = root / "data/deliveries/open_job" / DAYS[1], root / "aside"
    shown = client("ana").get("/nightscore/jobs/open_job").text
    assert shown.count("mail: delivered") == 2
    page = ready(client("ana"), f"/nightscore/jobs/open_job/{DAYS[1]}/report").text
    assert "crm:{day}.csv" in page and '<td class="n">10</td>' in page
    records.rename(aside)  # as after a kill between the file and its record
    try:
        shown = client("ana").get("/nightscore/jobs/open_job").text
        assert (shown.count("mail: delivered"), shown.count("mail: not delivered")) == (1, 1)
        assert (
            "nightscore redeliver open_job"
            in ready(client("ana"), f"/nightscore/jobs/open_job/{DAYS[1]}/report").text
        )
    finally:
        aside.rename(records)


def test_a_user_sees_nothing_of_what_he_may_not_read(client: Client) -> None:
    """No page names it, no address leads to it, no query reads it, `receipts` has no row of it."""
    ana, tess = client("ana"), client("tess")
    for address in ("/", "/tables", "/query"):
        assert "closed_" not in ana.get(f"/nightscore{address}").text
        assert "closed_" in tess.get(f"/nightscore{address}").text
    for address in (
        "jobs/closed_job",
        f"jobs/closed_job/{DAYS[0]}",
        "tables/closed_top",
        "jobs/closed_broken",
    ):
        assert ana.get(f"/nightscore/{address}").status_code == 404
        assert ana.get(f"/nightscore/{address}").text.replace("closed", "absent") == (
            ana.get(f"/nightscore/{address.replace('closed', 'absent')}").text
        )
    for sql in ("SELECT * FROM closed_top", "SELECT * FROM closed_job_scores"):
        answer = ask(ana, sql)
        assert answer.status_code == 400 and "tables: open_job_scores, open_top, receipts" in answer.text
        assert ask(tess, sql).status_code == 200
    receipts = "SELECT DISTINCT job FROM receipts ORDER BY job"
    assert ask(ana, receipts, "csv").text == '"job"\n"open_job"\n'
    assert ask(tess, receipts, "csv").text == '"job"\n"closed_job"\n"open_job"\n'


def test_no_file_of_a_closed_table_can_be_read(client: Client, root: Path) -> None:
    """SQL reads views by their names, whoever asks."""
    [file] = (root / "data/tables/closed_top").glob("day=*/*.parquet")
    for who in ("ana", "tess"):
        answer = ask(client(who), f"SELECT * FROM read_parquet('{file}')")
        assert answer.status_code == 400 and "views by their names" in answer.text


def test_a_user_without_a_role_sees_no_job(client: Client, nights: dict[str, Any]) -> None:
    """He is logged in, so the pages are there; they are empty."""
    browser = client("none")
    assert "no job that you may read" in browser.get("/nightscore/").text
    assert "open_" not in browser.get("/nightscore/tables").text
    assert ask(browser, "SELECT * FROM open_top").status_code == 400
    assert report(browser, "open_job", nights["published"]).status_code in (403, 404)


def report(client: "TestClient", dag_id: str, run: Any) -> Any:
    """The tab of a DAG run."""
    return ready(client, "/nightscore/report", dag_id=dag_id, run_id=run.run_id)


def ready(client: "TestClient", address: str, **params: Any) -> Any:
    """What an address answers once its report is made: it says so meanwhile, and asks again by itself."""
    end = time.monotonic() + 60
    while (found := client.get(address, params=params)).status_code == 202:
        assert 'id="making"' in found.text and found.headers["refresh"] == "2"
        assert time.monotonic() < end, "it is never ready"
        time.sleep(0.2)
    return found


def test_a_publish_task_keeps_the_report(
    root: Path, nights: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """It is there before anybody asks; one that can't be made is a line in the log."""
    pytest.importorskip("vl_convert")
    from nightscore.airflow.kept_report import keep_report_of_day
    from nightscore.common import open_workspace
    from nightscore.store import catalog

    entry = catalog.read_catalog(open_workspace(root)).in_force["open_job", DAYS[1]]
    assert nights["kept"] == {f"open_job{DAYS[0]}", f"open_job{DAYS[1]}", f"closed_job{DAYS[0]}"}
    task = types.SimpleNamespace(told=entry.read_receipt(), workspace=str(root / "gone"))
    keep_report_of_day({"task": task})
    assert "made when somebody asks" in caplog.text


@pytest.mark.parametrize("name", ["published", pytest.param("unchanged", marks=pytest.mark.slow)])
def test_a_run_that_published_has_its_report(client: Client, nights: dict[str, Any], name: str) -> None:
    """A run that changed nothing shows the receipt that is in force."""
    pytest.importorskip("vl_convert")
    found = report(client("ana"), "open_job", nights[name])
    assert found.status_code == 200 and DAYS[0] in found.text and 'id="state"' not in found.text
    address = f"/nightscore/jobs/open_job/{DAYS[0]}"
    assert found.text == ready(client("ana"), f"{address}/report").text
    started = time.monotonic()
    assert client("ana").get(f"{address}/report").status_code == 200, "kept"
    assert time.monotonic() - started < 5, "and so at once; it is far below a second on an idle machine"
    assert f'src="{address}/report"' in client("ana").get(address).text


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("failed", ["2021-01-01", "This run failed", "log of the task <b>plan</b>", "upstream failed"]),
        ("without a day", ["This run failed", "log of the task <b>plan</b>"]),
        ("preview", [DAYS[1], "This run was a preview", 'id="preview"', f"In force for {DAYS[1]}"]),
    ],
)
def test_a_run_without_a_report_says_where_it_stands(
    client: Client, nights: dict[str, Any], name: str, says: list[str]
) -> None:
    """Its day, its tasks' states, and where the message is; no error page."""
    found = report(client("ana"), "open_job", nights[name])
    assert found.status_code == 200
    assert [text for text in says if text not in found.text] == []


def test_a_run_is_of_its_dag(client: Client, nights: dict[str, Any]) -> None:
    """The id of a run that the user may not read is of no use with the name of a job that he may."""
    assert report(client("ana"), "open_job", nights["closed"]).status_code == 404
    assert report(client("ana"), "closed_job", nights["closed"]).status_code in (403, 404)
    assert report(client("ana"), "closed_job", nights["published"]).status_code in (403, 404)
    assert client("ana").get("/nightscore/report").status_code == 422


HOSTILE_NAMES = [
    "../../etc/passwd",
    "open_top'; DROP TABLE x; --",
    'open_top"',
    "a/b",
    "receipts",
    "%00",
    "…",
]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_names_in_addresses_are_only_compared(client: Client, name: str) -> None:
    """A job, a day, a table or a run that is not exactly one of the user's: not found, and nothing else."""
    from urllib.parse import quote

    ana = client("ana")
    part = quote(name, safe="")
    for address in (f"tables/{part}", f"jobs/{part}", f"jobs/open_job/{part}", f"jobs/{part}/{DAYS[0]}"):
        assert ana.get(f"/nightscore/{address}").status_code == 404, address
    for address in (f"jobs/open_job/{DAYS[0]}", f"jobs/open_job/{DAYS[0]}/report"):
        assert ana.get(f"/nightscore/{address}", params={"run": name}).status_code == 404


def test_what_people_write_is_escaped(client: Client) -> None:
    """Texts of a job, values of a table, names of columns, a query and its error message."""
    ana = client("ana")
    answers = [
        ana.get("/nightscore/"),
        ana.get("/nightscore/jobs/open_job"),
        ana.get("/nightscore/query", params={"sql": f"</textarea>{HOSTILE}"}),
        ask(ana, f"SELECT '{HOSTILE}' AS \"{HOSTILE}\""),
        ask(ana, f'SELECT "{HOSTILE}" FROM open_top'),
        ana.get(f"/nightscore/jobs/{HOSTILE.replace('/', '')}"),
    ]
    for answer in answers:
        assert "<script>alert" not in answer.text and "&lt;script&gt;" in answer.text


def test_a_link_runs_no_query(client: Client) -> None:
    """By an address the query box is filled, and no more."""
    answer = client("ana").get("/nightscore/query", params={"sql": "SELECT 42 AS n FROM open_top"})
    assert "SELECT 42 AS n" in answer.text and 'id="result"' not in answer.text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"origin": "http://testserver"}, 200),
        ({"sec-fetch-site": "cross-site", "origin": "http://testserver"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"origin": "http://elsewhere.example"}, 403),
        ({"origin": "null"}, 403),
        ({"accept": "*/*"}, 403),
    ],
    ids=str,
)
@pytest.mark.sample(3)
def test_a_query_comes_from_our_form(client: Client, headers: dict[str, str], status: int) -> None:
    """A form of another site, or of nobody knows where, is refused, whoever is logged in."""
    assert ask(client("ana"), "SELECT 1", **headers).status_code == status


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("SELECT nope FROM open_top", "nope"),
        ("SELEC 1", "syntax error"),
        ("", "0 statements; allowed: exactly one SELECT"),
        ("SELECT 1; SELECT 2", "2 statements"),
        ("DROP VIEW open_top", "a DROP statement; allowed: exactly one SELECT"),
        ("SELECT * FROM read_csv('/etc/passwd')", "views by their names"),
        ("SELECT getenv('HOME')", "getenv"),
    ],
)
@pytest.mark.sample(2)
def test_a_wrong_query_is_answered_with_its_mistake(client: Client, sql: str, says: str) -> None:
    """Status 400, the command line's message, and the query still in its box."""
    from html import escape, unescape

    answer = ask(client("ana"), sql)
    assert answer.status_code == 400 and says in unescape(answer.text)
    assert f">{escape(sql)}</textarea>" in answer.text.replace("&#34;", "&quot;").replace("&#39;", "&#x27;")


@pytest.mark.slow
def test_a_csv_file_is_the_command_lines(client: Client, root: Path) -> None:
    """Every row, byte for byte what `nightscore query --format csv` prints, as a file to save."""
    sql = "SELECT *, NULL AS nothing, 'a,\"b' AS text FROM open_job_scores ORDER BY day, id"
    answer = ask(client("ana"), sql, "csv")
    expected = subprocess.run(
        [sys.executable, "-P", "-c", MAIN, "query", sql, "--format", "csv", "--workspace", str(root)],
        capture_output=True, check=True,
        env={"PYTHONPATH": str(Path(__file__).parents[3]), "PATH": ""},
    )  # fmt: skip
    assert answer.status_code == 200 and answer.content == expected.stdout
    assert answer.content.count(b"\n") == 2 * ROWS + 1
    assert answer.headers["content-disposition"] == 'attachment; filename="nightscore-query.csv"'
    assert answer.headers["content-type"].startswith("text/csv")


@pytest.mark.slow
def test_a_csv_file_is_whole_or_refused(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """One row beyond the limit: an error page, no file. At the limit: the file."""
    ana, sql = client("ana"), "SELECT id FROM open_job_scores"
    monkeypatch.setattr(queries, "DOWNLOADED", QueryLimits(2 * ROWS, 10**8, 30.0))
    assert ask(ana, sql, "csv").headers["content-type"].startswith("text/csv")
    monkeypatch.setattr(queries, "DOWNLOADED", QueryLimits(2 * ROWS - 1, 10**8, 30.0))
    answer = ask(ana, sql, "csv")
    assert answer.status_code == 400 and "more than 5,999 rows" in answer.text
    assert "content-disposition" not in answer.headers
    assert "[1, 2]" in ask(ana, "SELECT [1, 2] AS pair", "csv").text


def test_a_long_query_is_stopped() -> None:
    """By an interrupt where DuckDB looks up; and its process is killed where it doesn't."""
    for sql, grace in ((HEAVY, 60.0), (DEAF, 0.5)):
        query_grace, query.GRACE = query.GRACE, grace
        try:
            with pytest.raises(Broken, match=r"stopped after 0\.5 seconds, the limit"):
                query.query_first_rows(sql, [], QueryLimits(10, 10**6, 0.5))
        finally:
            query.GRACE = query_grace


def test_a_query_beyond_its_memory_is_refused() -> None:
    """Also where DuckDB's own limit doesn't see it; the server lives on."""
    with pytest.raises((NotYet, Broken), match=r"memory|needed more than"):
        query.query_first_rows(
            "SELECT len(range(2000000000 + 0 * len(version())))", [], QueryLimits(10, 10**6, 30.0)
        )


def test_a_large_result_is_refused() -> None:
    """A result of few rows and many bytes doesn't fill the server's memory."""
    with pytest.raises(Broken, match="larger than 1 MB"):
        query.query_first_rows(
            "SELECT repeat('x', 100000) FROM range(100)", [], QueryLimits(1_000, 10**6, 30.0)
        )


def test_a_query_has_no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its process inherits none of the API server's secrets, and leaves no file."""
    seen: dict[str, Any] = {}
    original = subprocess.Popen

    def spy(*args: Any, **options: Any) -> Any:
        seen.update(options["env"])
        return original(*args, **options)

    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "secret")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr(process.subprocess, "Popen", spy)
    found, more = query.query_first_rows("SELECT 1 AS x", [])
    assert (found.to_pylist(), more) == ([{"x": 1}], False)
    assert seen.keys() <= {*process.ENVIRONMENT, "PYTHONPATH"} and list(tmp_path.iterdir()) == []


def test_links_stand_behind_the_path_of_airflow(client: Client) -> None:
    """Where Airflow is served below a path, so are the page, its links and its forms."""
    from fastapi.testclient import TestClient

    below = TestClient(client(None).app, base_url="http://testserver", root_path="/air/flow")
    below.cookies = client("ana").cookies
    text = below.get("/air/flow/nightscore/query").text
    assert 'href="/air/flow/nightscore/tables"' in text and 'action="/air/flow/nightscore/query"' in text
    addresses = [one["href"] for one in views("https://host.example/air/flow/")]
    assert addresses[0] == "/air/flow/nightscore/" and all(a.startswith("/air/flow/night") for a in addresses)
    assert next(one["href"] for one in views("")) == "/nightscore/"


def test_airflow_shows_where_the_page_is(client: Client) -> None:
    """The UI's list of plug-ins has the entry of the navigation and the tabs of a DAG and of a DAG run."""
    plugins = client("root").get("/api/v2/plugins").json()["plugins"]
    [ours] = [one for one in plugins if one["name"] == "nightscore"]
    found = {(v["destination"], v["name"]) for v in ours["external_views"]}
    assert found == {("nav", "Nightscore"), ("dag", "Nightscore"), ("dag_run", "Report")}


def test_a_broken_job_is_shown_with_its_report(client: Client, root: Path) -> None:
    """A job that is broken later: its message is on its page, and its last day is still there."""
    file = root / "jobs/mini/job.yaml"
    text = file.read_text()
    file.write_text(text + "nonsense: 1\n")
    try:
        page = client("ana").get("/nightscore/jobs/open_job").text
        assert "This job is broken" in page and "nonsense: unknown key" in page and DAYS[0] in page
        assert "open_job is broken" in client("ana").get("/nightscore/").text
    finally:
        file.write_text(text)


HEAVY_LIBRARIES = {"duckdb", "pyarrow", "deltalake", "numpy", "onnxruntime", "fastapi", "starlette", "jinja2"}


def test_the_plugin_is_light() -> None:
    """Every Airflow process loads it: it brings no web framework, no template engine, no database."""
    code = (
        "import sys, airflow.plugins_manager, airflow.sdk, airflow.timetables.trigger; "
        "before = set(sys.modules); import nightscore.airflow.web; page = set(sys.modules) - before; "
        "import nightscore.airflow.plugin; print(*page); print(*(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    page, plugin = ({name.split(".")[0] for name in line.split()} for line in done.stdout.splitlines()[-2:])
    assert page <= {"nightscore", "lazy_loader", *sys.stdlib_module_names}
    assert "nightscore" in plugin and plugin & HEAVY_LIBRARIES == set()


HELD_JOB = JOB.replace("job: mini", "job: held_job").replace("mini_top", "held_top") + (
    "  - {name: many, sql: SELECT count(*) > 50000 FROM scores}\n"
)


@pytest.fixture(scope="module")
def held(root: Path, nights: dict[str, Any]) -> Iterator[list[str]]:
    """A job of which an audit holds two days; every user may read it."""
    from nightscore.job.loader import load
    from nightscore.pipeline import run
    from nightscore.pipeline.publish.hold import Held

    folder = root / "jobs/held"
    folder.mkdir()
    (folder / "job.yaml").write_text(HELD_JOB)
    (folder / "top.sql").write_text((root / "jobs/mini/top.sql").read_text())
    known(root, "held_job", "held_job")
    for day in DAYS[:2]:
        with pytest.raises(Held):
            run(load("held_job", root), day)
    yield list(DAYS[:2])
    (folder / "job.yaml").unlink()


def decision(
    client: "TestClient", day: str, choice: str, because: str = "few is right", **headers: str
) -> Any:
    """The answer to a decision's form."""
    form = {"day": day, "choice": choice, "because": because}
    return client.post(
        "/nightscore/decide?dag_id=held_job", data=form, headers=headers or SAME, follow_redirects=False
    )


def test_a_held_day_is_decided_by_who_may_run_the_dag(client: Client, root: Path, held: list[str]) -> None:
    """Everybody who may read sees why it is held; a viewer, another site and nobody decide nothing."""
    from nightscore import load, run
    from nightscore.common import open_workspace
    from nightscore.store import catalog

    first, second = held
    for who in ("root", "ana"):
        page = client(who).get("/nightscore/jobs/held_job").text
        assert f'id="held-{first}"' in page and "many" in page and "Nothing of it is published" in page
        assert ('id="release"' in page, 'id="discard"' in page) == (who == "root", who == "root")
        assert ("It waits for somebody who may edit" in page) == (who == "ana")
        assert 'class="badge held"' in client(who).get("/nightscore/").text
    address = "/nightscore/jobs/held_job/{}/held-report"
    for day in held:
        report = ready(client("ana"), address.format(day)).text
        assert f"held_job {day}" in report and "Held: nobody reads this day" in report
        assert "1 of 2 audits did not pass" in report
        assert "How to query" not in report and "The proof does not hold" not in report
        rows = rows_of(day, ROWS)
        best = np.argsort(-(rows["a"].to_numpy() + 2 * rows["b"].to_numpy()), kind="stable")[:10]
        assert all(f'<td class="n">{i}</td>' in report for i in best), "the chosen, as they are staged"
    assert client("ana").get(address.format(DAYS[2])).status_code == 404
    assert client("ana").get("/nightscore/jobs/closed_job/2020-01-01/held-report").status_code == 404
    assert client(None).get(address.format(first)).status_code == 401
    assert decision(client("ana"), first, "Release").status_code == 403
    assert decision(client(None), first, "Release").status_code == 401
    boss = client("root")
    for headers in (
        {"origin": "https://elsewhere.example"},
        {"sec-fetch-site": "cross-site"},
        {"x": "no origin"},
    ):
        assert decision(boss, first, "Release", **headers).status_code == 403
    assert "a reason is missing" in decision(boss, first, "Release", "  ").text
    assert decision(boss, first, "Publish").status_code == 422
    assert "is not held" in decision(boss, DAYS[2], "Release").text
    assert not catalog.read_catalog(open_workspace(root)).in_force.get(("held_job", first))

    assert decision(boss, first, "Release").status_code == 303
    receipt = catalog.read_catalog(open_workspace(root)).read_receipt(
        "held_job", dt.date.fromisoformat(first)
    )
    assert receipt and receipt.released
    assert (receipt.released.by, receipt.released.because) == ("root", "few is right")
    assert decision(boss, second, "Discard", "wrong prices").status_code == 303
    assert "is not held" in decision(boss, second, "Release").text
    assert [boss.get(address.format(day)).status_code for day in held] == [404, 404], "decided"
    yesterday = (dt.datetime.now(dt.UTC) - dt.timedelta(days=1)).date()
    with pytest.raises(Broken):
        run(load("held_job", root), yesterday)  # is missing from now on
    for who in ("root", "ana"):
        page = client(who).get("/nightscore/jobs/held_job").text
        assert 'id="missing"' in page and ('id="run-missing"' in page) == (who == "root")
    page = boss.get("/nightscore/jobs/held_job").text
    assert f'id="held-{second}"' not in page and f"/nightscore/jobs/held_job/{first}" in page


def test_missing_days_are_run_by_who_may_run_the_dag(client: Client, root: Path, held: list[str]) -> None:
    """A viewer may not; a job that is run by hand has none; of one that may not be read nothing is known."""
    address = "/nightscore/run-missing?dag_id={}"
    go = {"headers": SAME, "follow_redirects": False}
    assert client("ana").post(address.format("open_job"), **go).status_code == 403
    assert client("root").post(address.format("open_job"), **go).status_code == 303
    assert client("root").post(address.format("absent"), **go).status_code in (403, 404)
    assert client("root").post(address.format("open_job"), follow_redirects=False).status_code == 403


def test_the_front_page_filters(client: Client) -> None:
    """By owner, state and name; what passes none says so."""
    ana = client("ana")
    assert 'id="job-open_job"' in ana.get("/nightscore/", params={"owner": "tests"}).text
    assert 'id="job-open_job"' in ana.get("/nightscore/", params={"words": "OPEN"}).text
    for asked in ({"owner": "nobody"}, {"words": "xyz"}, {"look": "running"}):
        page = ana.get("/nightscore/", params=asked).text
        assert 'id="job-open_job"' not in page and "No job passes these filters" in page
