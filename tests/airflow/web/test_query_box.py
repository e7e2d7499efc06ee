"""The query box while a query runs, and after it: cancelled, counted, turned over, shared; a job's files."""

import difflib
import html
import json
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("airflow")

import nightscore
from nightscore.airflow.web import kept, live, queries
from nightscore.airflow.web.job_files import compare_texts
from tests.airflow.web.server import Client, api_server, browsers
from tests.support.workspace import DAYS, JOB, make_workspace

pytestmark = pytest.mark.filterwarnings("ignore")

ROWS = 700
USERS = {"ana": "viewer", "bob": "viewer"}
HEAVY = "SELECT count(*) FROM range(1000000000) a, range(1000000000) b WHERE a.range * b.range = 7"
SAME = {"sec-fetch-site": "same-origin"}
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, metadata: None) -> Path:
    """A workspace with one published day of a job that Airflow knows as a DAG."""
    from airflow.models.dag import DagModel
    from airflow.models.dagbundle import DagBundleModel
    from airflow.utils.session import create_session

    made = tmp_path_factory.mktemp("box")
    make_workspace(made, ROWS, JOB.replace("job: mini", "job: boxed").replace("mini_top", "boxed_top"))
    nightscore.run(nightscore.load("boxed", made), DAYS[0])
    with create_session() as session:
        session.merge(DagBundleModel(name="box"))
        session.flush()
        session.merge(DagModel(dag_id="boxed", bundle_name="box", fileloc="x", relative_fileloc="x"))
    return made


@pytest.fixture(scope="module")
def app(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Airflow's API server, as an application."""
    with api_server(root, USERS, tmp_path_factory.mktemp("passwords") / "passwords.json") as made:
        yield made


@pytest.fixture(scope="module")
def client(app: Any) -> Client:
    """A browser of some user; None is nobody."""
    return browsers(app)


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Results lie in a folder of the test's own, and answers wait for their own status."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(live, "QUICK_SECONDS", 60)
    return tmp_path


@pytest.fixture
def port(app: Any) -> Iterator[int]:
    """A port at which the server answers for real: with connections that can be closed."""
    import uvicorn

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = free.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app, port=number, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started)
    yield number
    server.should_exit = server.force_exit = True
    thread.join(10)


def until(true: Callable[[], object], seconds: float = 20) -> float:
    """Wait until something is so; gives for how long."""
    begun = time.monotonic()
    while not true():
        assert time.monotonic() - begun < seconds, "it did not become so"
        time.sleep(0.05)
    return time.monotonic() - begun


def ask(client: Any, sql: str, form: str = "page", **headers: str) -> Any:
    """The answer to the query form."""
    return client.post("/nightscore/query", data={"sql": sql, "as": form}, headers=headers or SAME)


def sent(port: int, client: Any, sql: str, form: str = "page") -> socket.socket:
    """A connection over which a query was sent, as a browser does."""
    body = f"as={form}&sql={sql.replace('+', '%2B').replace(' ', '+').replace('=', '%3D')}".encode()
    token = client.cookies["_token"]
    head = (
        f"POST /nightscore/query HTTP/1.1\r\nHost: testserver\r\nCookie: _token={token}\r\n"
        "Sec-Fetch-Site: same-origin\r\nAccept-Encoding: gzip\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    made = socket.create_connection(("127.0.0.1", port), timeout=30)
    made.sendall(head.encode() + body)
    return made


def workers() -> list[str]:
    """The processes of queries that there are, by what the kernel says of their arguments."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = file.read_bytes()
            mine = f"\nPPid:\t{os.getpid()}\n" in (file.parent / "status").read_text()
        except OSError:
            continue
        if mine and b"nightscore.airflow.web.query_worker" in words:
            found.append(file.parent.name)
    return found


def running() -> int:
    """How many queries hold a slot."""
    return len(queries._running)


def test_who_goes_away_ends_his_query(client: Client, port: int) -> None:
    """A closed connection: process and slot are free within two seconds, of a page and of a CSV file."""
    ana = client("ana")
    for form in ("page", "csv"):
        connection = sent(port, ana, HEAVY, form)
        until(lambda: running() == 1 and workers())
        connection.close()
        assert until(lambda: not running() and not workers()) < 2
    assert ask(client("bob"), "SELECT 42 AS n").status_code == 200


def test_a_running_query_shows_that_it_runs_and_can_be_cancelled(
    client: Client, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page is sent while it runs, with a clock; its Cancel ends it; the page ends with that."""
    monkeypatch.setattr(live, "QUICK_SECONDS", 0.2)
    monkeypatch.setattr(live, "TICK_SECONDS", 0.2)
    ana, seen = client("ana"), b""
    with sent(port, ana, HEAVY) as connection:
        while seen.count(b" s</i>") < 4:
            seen += connection.recv(65536)
        shown = seen.decode()
        assert "<b>Running</b>" in shown and HEAVY[:40] in shown and 'id="error"' not in shown
        address = re.search(r'id="running" method="post" action="([^"]+/cancel)"', shown)
        assert address
        assert client("bob").post(address[1], headers=SAME).status_code == 404
        assert ana.post(address[1]).status_code == 403  # nothing says where it comes from
        answer = ana.post(address[1], headers=SAME, follow_redirects=False)
        assert answer.status_code == 303 and answer.headers["location"].startswith("/nightscore/query?sql=")
        while b"</html>" not in seen:
            seen += connection.recv(65536)
    assert "Cancelled." in seen.decode() and seen.count(b"<textarea") == 1
    until(lambda: not running() and not workers())


def test_a_slow_result_comes_on_the_same_page(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second half of the page has the rows; what was said of running is not shown beside them."""
    monkeypatch.setattr(live, "QUICK_SECONDS", 0.0)
    ok = ask(client("ana"), "SELECT count(*) AS n FROM boxed_scores")
    assert ok.status_code == 200 and f'<td class="number">{ROWS}</td>' in ok.text
    assert "#running { display: none; }" in ok.text and ok.text.count("</html>") == 1
    wrong = ask(client("ana"), f'SELECT "{HOSTILE}" FROM boxed_scores').text
    assert 'id="error"' in wrong and "<script" not in wrong and "&lt;script&gt;" in wrong
    forged = ask(client("ana"), "SELECT '<!-- the answer -->' AS x").text
    assert forged.count("<!-- the answer -->") == 0


def test_one_person_can_not_lock_out_others(client: Client, port: int) -> None:
    """Two of one person's, and his third gets 429 with how long; another's runs. As many as may: whose."""
    ana, bob = client("ana"), client("bob")
    mine = [sent(port, ana, HEAVY) for _ in range(queries.OF_A_USER)]
    until(lambda: running() == queries.OF_A_USER)
    third = ask(ana, "SELECT 1")
    assert third.status_code == 429
    assert re.search(r"2 queries of yours are running.*: one for \d+ s, at most \d+ s more; one", third.text)
    assert third.text.count(">Cancel it</button>") == 2 and HEAVY[:30] in third.text
    others = ask(bob, "SELECT 43 AS n")
    assert others.status_code == 200 and "43</td>" in others.text
    theirs = [sent(port, bob, HEAVY) for _ in range(queries.IN_ALL - queries.OF_A_USER)]
    until(lambda: running() == queries.IN_ALL)
    queries.OF_A_USER, before = queries.IN_ALL + 1, queries.OF_A_USER
    try:
        full = ask(bob, "SELECT 1")
    finally:
        queries.OF_A_USER = before
    assert full.status_code == 429 and re.search(r"4 queries are running.*: ana, for \d+ s; ana", full.text)
    assert "range(1000000000)" not in full.text.split('id="error"')[1].split("</pre>")[0]
    for one in (*mine, *theirs):
        one.close()
    until(lambda: not running())


def test_a_result_is_turned_over_by_its_owner(client: Client) -> None:
    """Pages of 200 rows, in the order of the result; another person's address of it is not found."""
    ana = client("ana")
    first = ask(ana, "SELECT id FROM boxed_scores ORDER BY id")
    [following] = set(re.findall(r'href="(/nightscore/query/[^"]+)">Next', first.text))
    pages = [first.text, ana.get(following).text]
    while found := re.search(r'href="(/nightscore/query/[^"]+)">Next', pages[-1]):
        pages.append(ana.get(found[1]).text)
    ids = [int(n) for text in pages for n in re.findall(r'<td class="number">(\d+)</td>', text)]
    assert ids == list(range(ROWS)) and len(pages) == 4
    assert "700 rows." in pages[2] and "Rows 401 to 600" in pages[2]
    assert "SELECT id FROM boxed_scores" in pages[3]
    for far in ("?page=99", "?page=-1"):
        assert ana.get(following.split("?")[0] + far).status_code == 200
    foreign = client("bob").get(following)
    absent = client("bob").get("/nightscore/query/" + "0" * 16)
    assert foreign.status_code == absent.status_code == 404 and foreign.text == absent.text
    assert client(None).get(following).status_code == 401
    for hostile in ("..", "%2e%2e", "..%2f..%2fetc", "asked.json"):
        assert ana.get(f"/nightscore/query/{hostile}").status_code in (404, 405) or hostile == ".."


def test_a_result_is_cut_at_its_limit(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is beyond is said; at exactly the limit there is nothing to say."""
    from nightscore.store import QueryLimits

    monkeypatch.setattr(queries, "SHOWN", QueryLimits(ROWS - 1, 10**8, 30.0))
    many = ask(client("ana"), "SELECT * FROM boxed_scores").text
    assert "The first 699 rows" in many and "there are more" in many
    monkeypatch.setattr(queries, "SHOWN", QueryLimits(ROWS, 10**8, 30.0))
    exact = ask(client("ana"), "SELECT * FROM boxed_scores").text
    assert "700 rows." in exact and "there are more" not in exact


def test_a_result_goes_with_the_right_to_read_it(client: Client, own_folder: Path) -> None:
    """Whose rights have shrunk since doesn't get it, nor anybody after some minutes."""
    ana = client("ana")
    many = ask(ana, "SELECT id FROM boxed_scores").text
    address = re.search(r'href="(/nightscore/query/[A-Za-z0-9_-]+)\?page=2"', many)
    assert address and ana.get(address[1]).status_code == 200
    [asked] = own_folder.glob("nightscore-queries-*/*/*/asked.json")
    assert asked.parents[2].stat().st_mode & 0o077 == 0
    text = asked.read_text()
    asked.write_text(text.replace("boxed", "another"))
    assert ana.get(address[1]).status_code == 404
    asked.write_text(text)
    assert ana.get(address[1]).status_code == 200
    long_ago = time.time() - kept.MINUTES * 60 - 5
    os.utime(asked.parent, (long_ago, long_ago))
    assert ana.get(address[1]).status_code == 404
    kept.prune()
    assert not asked.exists()


def test_few_results_are_kept(own_folder: Path) -> None:
    """Of a person the newest five, of all so many bytes; a folder that others may write is refused."""
    made = []
    for number in range(kept.OF_A_USER + 2):
        folder = kept.new_folder("x", str(number), ["a"])
        (folder / "rows.arrow").write_bytes(b"x" * 100)
        made.append(folder)
        os.utime(folder, (time.time() - 100 + number,) * 2)
    kept.prune()
    assert [folder.exists() for folder in made] == [False] * 2 + [True] * kept.OF_A_USER
    kept.BYTES, before = 250, kept.BYTES
    try:
        kept.prune()
    finally:
        kept.BYTES = before
    assert [folder.exists() for folder in made] == [False] * 5 + [True] * 2
    made[-1].parents[1].chmod(0o777)
    with pytest.raises(Exception, match="is not a folder of the API server's user alone"):
        kept.new_folder("x", "", [])


def test_the_box_shows_what_there_is_to_ask(client: Client, root: Path) -> None:
    """Columns with their types, and examples, each of which runs as it stands; an address runs nothing."""
    ana = client("ana")
    text = ana.get("/nightscore/query").text
    assert "<code>score</code>" in text and "FLOAT" in text and "<code>day</code>" in text and "DATE" in text
    examples = re.findall(r'href="(/nightscore/query\?sql=[^"]+)">([^<]+)</a>', text)
    names = {html.unescape(name) for _, name in examples}
    assert names >= {"rows of the last day", "rows by day", "first by score", "latest receipts"}
    done = set()
    for address, name in examples:
        opened = ana.get(html.unescape(address)).text
        assert 'id="rows"' not in opened and 'id="share"' in opened
        if name not in done:
            sql = html.unescape(re.search(r">([^<]*)</textarea>", opened)[1])  # type: ignore[index]
            assert ask(ana, sql).status_code == 200, sql
            done.add(name)


@pytest.mark.parametrize(("slip", "meant"), [("boxed_scors", "boxed_scores"), ("enum", None), ("num", None)])
def test_an_unknown_table_is_guessed_among_ours(client: Client, slip: str, meant: str | None) -> None:
    """Not among DuckDB's own, of which nobody here knows."""
    answer = ask(client("ana"), f"SELECT * FROM {slip}")
    said = html.unescape(answer.text.split('id="error"')[1].split("</pre>")[0])
    assert answer.status_code == 400 and "tables: boxed_scores" in said and "pg_" not in said
    assert re.findall(r'Did you mean "(.*?)"', said) == ([meant] if meant else [])


FILES = "/nightscore/jobs/boxed/files"


@pytest.fixture(scope="module")
def changed(root: Path) -> Iterator[tuple[str, str]]:
    """A second day, of other SQL; then a third version that nothing is made from. Gives the two runs."""
    sql = root / "jobs/mini/top.sql"
    text = sql.read_text()
    sql.write_text(text.replace("score DESC", "score ASC"))
    second = nightscore.run(nightscore.load("boxed", root), DAYS[1]).run_id
    first = nightscore.query("SELECT run_id FROM receipts WHERE day = DATE '2020-01-01'", root)
    sql.write_text(f"-- {HOSTILE}\n{text}")
    yield first.to_pylist()[0]["run_id"], second
    sql.write_text(text)


def shown_lines(text: str) -> list[str]:
    """The lines of the differences on a page."""
    found = re.findall(r'<span class="(?:added|removed|place|same)">(.*?)\n</span>', text, re.DOTALL)
    return [html.unescape(line) for line in found]


def test_files_are_shown_as_they_are(client: Client, root: Path, changed: tuple[str, str]) -> None:
    """job.yaml and the SQL that it names, line by line; nothing else of the folder, nothing unescaped."""
    page = client("ana").get(FILES).text
    lines = [html.unescape(one) for one in re.findall(r'<td class="text">(.*?)</td>', page)]
    yaml, sql = ((root / "jobs/mini" / name).read_text().splitlines() for name in ("job.yaml", "top.sql"))
    assert lines == yaml + sql
    assert "features.sql" not in page  # it lies in the folder, and no line of job.yaml names it
    assert "<script" not in page and "&lt;script&gt;" in page


def test_what_changed_is_shown(client: Client, root: Path, changed: tuple[str, str]) -> None:
    """From a published day to another, and to now, as difflib has it of the files themselves."""
    first, second = changed
    ana = client("ana")
    now = (root / "jobs/mini/top.sql").read_text()
    old = now.split("\n", 1)[1]
    new = old.replace("score DESC", "score ASC")
    for after, text in ((second, new), ("now", now)):
        page = ana.get(FILES, params={"before": first, "after": after}).text
        expected = [*difflib.unified_diff(old.splitlines(), text.splitlines(), lineterm="")][2:]
        assert shown_lines(page) == expected and "<script" not in page
    same = ana.get(FILES, params={"before": first, "after": first}).text
    assert 'id="same"' in same
    days = ana.get("/nightscore/jobs/boxed").text
    assert f"files?before={first}&amp;after={second}" in days and ">changed</a>" in days


def test_files_are_of_who_may_read_the_job(client: Client, changed: tuple[str, str]) -> None:
    """Nobody without a log-in; no other job's; no file and no run by what an address says."""
    assert client(None).get(FILES).status_code == 401
    ana = client("ana")
    assert ana.get("/nightscore/jobs/other/files").status_code == 404
    for hostile in ("../../../x", "0" * 24, f"../{DAYS[0]}/{changed[0]}", "%2e%2e"):
        assert ana.get(FILES, params={"before": hostile}).status_code == 404
        assert ana.get(FILES, params={"after": hostile}).status_code == 404


def test_a_day_of_an_earlier_version_has_no_texts(
    client: Client, root: Path, changed: tuple[str, str]
) -> None:
    """Its plan holds none: that is said, and no difference is made up."""
    [plan] = root.glob(f"data/runs/boxed/*/{changed[1]}/plan.json")
    text = plan.read_text()
    document = json.loads(text)
    assert document["job_texts"].keys() == {"job.yaml", "top.sql"}
    del document["job_texts"]
    plan.chmod(0o644)
    plan.write_text(json.dumps(document))
    try:
        page = client("ana").get(FILES, params={"before": changed[1]}).text
        assert 'id="problem"' in page and 'class="change"' not in page
    finally:
        plan.write_text(text)


def test_files_that_come_and_go() -> None:
    """Each is named, with all of its lines."""
    added, removed = compare_texts({"b.sql": "x\n"}, {"a.sql": "y\nz\n"})
    assert (added.name, added.state, [k for k, _ in added.lines]) == (
        "a.sql",
        "added",
        ["place", "added", "added"],
    )
    assert (removed.name, removed.state, removed.lines[1]) == ("b.sql", "removed", ("removed", "-x"))
    assert compare_texts({"a": "x\n"}, {"a": "x\n"}) == []
