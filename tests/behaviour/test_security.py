"""What an attacker, or an accident, could try: SECURITY.md says who is trusted with what; this tries it.

What is tried elsewhere is not tried again here: the locked connection (test_engine), paths of a job.yaml
(test_workspace), YAML (test_yamlfile), models with data in other files (scorers/test_onnx), hostile texts in
reports (test_report), users of the page inside Airflow (airflow/test_page).
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightscore import load, query, run
from nightscore.cli.main import call
from nightscore.common.errors import Broken, NotYet
from nightscore.common.workspace import open_workspace
from nightscore.job.days.closures import read_workspace_overrides
from nightscore.store.documents.sql_text import quote_identifier
from nightscore.store.published.gc import collect_garbage
from nightscore.store.sql.engine import Engine, EngineResources
from tests.behaviour.conftest import copied
from tests.support.workspace import FEATURES, JOB, TOP, linear_model, make_workspace, rows_of

DAY = "2020-01-02"
CANARY = "canary-7c1f0b6e"
MAIN = "import sys; from nightscore.cli.main import main; main()"
SQL_FEATURES = JOB.replace("features: rows", "features: features.sql")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish(tmp_path_factory.mktemp("security") / "w")


def publish(root: Path) -> Path:
    assert run(load("mini", make_workspace(root, 100)), DAY).status == "published"
    return root


@pytest.fixture
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A workspace with one published day, and a secret beside it."""
    (tmp_path / "secret.csv").write_text(f"a,b\n{CANARY},1\n")
    return copied(request, "template", publish)


def kept(root: Path) -> dict[str, bytes]:
    """What no failed call may change: all files but those of runs, which nobody reads, and what they tell."""
    own = {root / "data/runs", root / "data/attempts"}
    files = (p for p in root.parent.rglob("*") if p.is_file() and not own & set(p.parents))
    return {p.relative_to(root.parent).as_posix(): p.read_bytes() for p in files}


# --- SQL of a job, and of a person ---


def in_features(root: Path, sql: str) -> None:
    (root / "jobs/mini/features.sql").write_text(sql)
    (root / "jobs/mini/job.yaml").write_text(SQL_FEATURES)
    run(load("mini", root), DAY)


def in_decide(root: Path, sql: str) -> None:
    (root / "jobs/mini/top.sql").write_text(sql)
    run(load("mini", root), DAY)


def in_audit(root: Path, sql: str) -> None:
    text = JOB.partition("audit:")[0] + f"audit:\n  - name: evil\n    sql: {json.dumps(sql)}\n"
    (root / "jobs/mini/job.yaml").write_text(text)
    run(load("mini", root), DAY)


def in_query(root: Path, sql: str) -> None:
    query(sql, root)


PLACES = {"features": in_features, "decide": in_decide, "audit": in_audit, "query": in_query}
NAMED = {
    "features": "jobs/mini/features.sql: ", "decide": "jobs/mini/top.sql: ", "audit": "jobs/mini/job.yaml:",
    "query": "query: ",
}  # fmt: skip
EVIL = {
    "COPY": "COPY (SELECT 42) TO '{out}/owned.csv'",
    "COPY FROM": "COPY scores FROM '{out}/secret.csv'",
    "ATTACH": "ATTACH '{out}/owned.db' AS owned",
    "INSTALL": "INSTALL httpfs",
    "LOAD": "LOAD '{out}/owned.duckdb_extension'",
    "SET": "SET enable_external_access = true",
    "PRAGMA": "PRAGMA enable_profiling",
    "CALL": "CALL enable_logging(storage = 'file', storage_path = '{out}/logs')",
    "EXPORT": "EXPORT DATABASE '{out}/owned'",
    "CREATE MACRO": "CREATE MACRO getvariable(x) AS 1",
    "CREATE SECRET": "CREATE PERSISTENT SECRET s (TYPE s3)",
    "a second statement": "SELECT 1; COPY (SELECT 42) TO '{out}/owned.csv'",
    "logging by a function": "SELECT * FROM enable_logging(storage = 'file', storage_path = '{out}/logs')",
    "profiling by a function": "SELECT * FROM enable_profiling(save_location = '{out}/owned.json')",
    "a file by a function": "SELECT true FROM read_csv('/etc/passwd', header = false) LIMIT 1",
    "a file by its name": "SELECT true FROM '{out}/secret.csv'",
    "the environment as a file": "SELECT content LIKE '%PATH%' FROM read_text('/proc/self/environ')",
    "the environment": "SELECT getenv('HOME') IS NULL",
    "a listing": "SELECT count(*) > 0 FROM glob('/etc/*')",
    "a write in a WITH": "WITH x AS (COPY (SELECT 42) TO '{out}/owned.csv') SELECT true",
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("sql", EVIL.values(), ids=EVIL.keys())
def test_sql_reads_nothing_else_and_writes_nothing(root: Path, place: str, sql: str) -> None:
    """In features, decisions, audits and queries alike: refused by its place; no file comes or changes."""
    before = kept(root)
    with pytest.raises(Broken) as caught:
        PLACES[place](root, sql.format(out=root.parent))
    assert str(caught.value).startswith(NAMED[place])
    assert CANARY not in str(caught.value)
    after = kept(root)
    assert {name: after[name] for name in after if not name.startswith("w/jobs/")} == {
        name: before[name] for name in before if not name.startswith("w/jobs/")
    }


OVERWRITE = "COPY (SELECT 42 AS x) TO '{file}' (FORMAT parquet, USE_TMP_FILE false)"


@pytest.mark.parametrize("form", ["written out", "as a serialized tree"])
@pytest.mark.parametrize("table", ["mini_top", "receipts"])
def test_a_query_overwrites_no_published_file(root: Path, table: str, form: str) -> None:
    """Not by a COPY in a WITH, whose files the connection may open: else every reader could destroy a day."""
    [file] = sorted((root / "data/tables" / table).glob("day=*/*.parquet"))
    before, sql = file.read_bytes(), f"WITH x AS ({OVERWRITE.format(file=file)}) SELECT * FROM x"
    if form == "as a serialized tree":
        with duckdb.connect() as plain:
            tree = plain.execute("SELECT json_serialize_sql($1)", [sql]).fetchall()[0][0]
        sql = "SELECT * FROM json_execute_serialized_sql('{}')".format(tree.replace("'", "''"))
    try:
        with pytest.raises(Broken):
            query(sql, root)
    finally:
        assert file.read_bytes() == before


@pytest.mark.parametrize("place", ["features", "decide", "audit"])
def test_a_job_overwrites_no_input(root: Path, place: str) -> None:
    """A job's SQL may open its inputs; it must not write them."""
    file = root / f"data/lake/rows/day={DAY}/part-0.parquet"
    before = file.read_bytes()
    rest = {"features": "SELECT id, a, b FROM rows", "decide": TOP, "audit": "SELECT true"}[place]
    with pytest.raises((Broken, NotYet)):
        PLACES[place](root, f"WITH x AS ({OVERWRITE.format(file=file)}) {rest}")
    assert file.read_bytes() == before


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Engine]:
    """A connection that may see nothing, as every SQL of a job gets it."""
    with Engine([], EngineResources(1, 64_000_000, tmp_path / "tmp")) as engine:
        yield engine


@pytest.mark.disk_only(reason="it has no workspace")
@pytest.mark.slow
def test_no_function_of_this_duckdb_reads_a_file_or_the_environment(
    locked: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of its functions, given a path or the name of a variable: none gives what is in there.

    A DuckDB that brings a new way out makes this test fail.
    """
    monkeypatch.setenv("SECRET_NAME", CANARY)
    targets = [str(path) for path in _secrets(tmp_path)] + ["SECRET_NAME", str(tmp_path / "*")]
    kinds = {"table": "SELECT * FROM {}($1) LIMIT 20", "scalar": "SELECT {}($1)"}
    kinds |= {"table_macro": kinds["table"], "macro": kinds["scalar"]}
    found = locked.rows("SELECT DISTINCT function_name, function_type FROM duckdb_functions()")
    calls = [(name, kinds[kind]) for name, kind in sorted(found) if kind in kinds and name != "sleep_ms"]
    assert len(calls) > 500 and any(name == "read_csv" for name, _ in calls)
    for name, form in calls:
        for target in targets:
            assert not _gives(locked, form.format(quote_identifier(name)), target), (name, target)


def _gives(engine: Engine, sql: str, target: str) -> bool:
    try:
        return CANARY in repr(engine.rows(sql, [target]))
    except (duckdb.Error, pa.ArrowException, OverflowError) as error:
        return CANARY in str(error)


def _secrets(folder: Path) -> list[Path]:
    """The canary in files of every kind that DuckDB reads."""
    (folder / "s.csv").write_text(f"a,b\n{CANARY},1\n")
    (folder / "s.json").write_text(json.dumps({"a": CANARY}))
    pq.write_table(pa.table({"a": [CANARY]}), folder / "s.parquet")
    with duckdb.connect(str(folder / "s.db")) as database:
        database.execute(f"CREATE TABLE t AS SELECT '{CANARY}' AS a")
    return [folder / name for name in ("s.csv", "s.json", "s.parquet", "s.db")]


@pytest.mark.disk_only(reason="it runs no job")
def test_the_instrument_sees_what_is_read(tmp_path: Path) -> None:
    """On a connection that is not locked, the same calls find the canary."""
    csv, *_ = _secrets(tmp_path)
    with duckdb.connect() as plain:
        for name in ("read_csv", "read_text"):
            assert CANARY in repr(plain.execute(f"SELECT * FROM {name}($1)", [str(csv)]).fetchall())


# --- values from a command line or a form ---

QUOTED = "x'; COPY (SELECT 42) TO 'owned.csv'; --"


def test_a_parameter_is_a_value_whatever_it_says(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A text with quotes, semicolons and SQL reaches the tables as that text, and the receipt records it."""
    monkeypatch.chdir(tmp_path)
    params = "params:\n  note: {type: string, default: none}\n"
    root = make_workspace(tmp_path / "w", 10, JOB.partition("params:")[0] + params)
    (root / "jobs/mini/top.sql").write_text("SELECT id, getvariable('note') AS note FROM scores WHERE id = 0")
    done = call(["--workspace", str(root), "run", "mini", "--day", DAY, "--set", f"note={QUOTED}", "--json"])
    assert (done, json.loads(capfd.readouterr().out)["params"]) == (0, {"note": QUOTED})
    assert query("SELECT note FROM mini_top", root).to_pylist() == [{"note": QUOTED}]
    assert list(tmp_path.rglob("owned*")) == []


HOSTILE_CALLS = {
    "a key": ["why", "mini", "--day", DAY, "--key", "id=1' OR '1'='1"],
    "a key's column": ["why", "mini", "--day", DAY, "--key", 'id" = 1 OR "id=1'],
    "a run of the report": ["report", "mini", "--day", DAY, "--run", "../../../../secret.csv"],
    "a job": ["run", "../mini", "--day", DAY],
    "a day": ["run", "mini", "--day", "2020-01-02/../../x"],
    "a state": ["query", "SELECT 1", "--as-of", "1; DROP TABLE x"],
    "a device": ["run", "mini", "--day", DAY, "--device", "../cpu"],
    "a model": ["run", "mini", "--day", DAY, "--model", "../secret.csv"],
    "a model of the system": ["run", "mini", "--day", DAY, "--model", "/proc/self/environ"],
    "a number": ["run", "mini", "--day", DAY, "--set", "n=1 OR 1=1"],
}


@pytest.mark.disk_only(reason="some are refused before data is looked at")
@pytest.mark.parametrize("arguments", HOSTILE_CALLS.values(), ids=HOSTILE_CALLS.keys())
def test_a_hostile_argument_is_refused(
    root: Path, arguments: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    """One message that names it, no traceback, nothing read from outside, nothing changed."""
    before = kept(root)
    assert call(["--workspace", str(root), *arguments]) in (1, 2)
    said = capfd.readouterr().err
    assert said.startswith("nightscore: ") and "Traceback" not in said and CANARY not in said
    assert "unexpected" not in said
    assert kept(root) == before


# --- paths and links ---


def outside(root: Path, name: str) -> Path:
    return root.parent / name


def link_sql(root: Path) -> None:
    outside(root, "top.sql").write_text(TOP)
    (root / "jobs/mini/top.sql").unlink()
    (root / "jobs/mini/top.sql").symlink_to(outside(root, "top.sql"))


def link_features(root: Path) -> None:
    outside(root, "features.sql").write_text(FEATURES)
    (root / "jobs/mini/features.sql").unlink()
    (root / "jobs/mini/features.sql").symlink_to(outside(root, "features.sql"))
    (root / "jobs/mini/job.yaml").write_text(SQL_FEATURES)


def link_model(root: Path) -> None:
    (root / "data/models/linear.onnx").rename(outside(root, "linear.onnx"))
    (root / "data/models/linear.onnx").symlink_to(outside(root, "linear.onnx"))


def link_models_folder(root: Path) -> None:
    (root / "data/models").rename(outside(root, "models"))
    (root / "data/models").symlink_to(outside(root, "models"))


def link_input(root: Path) -> None:
    (root / "data/lake/rows").rename(outside(root, "rows"))
    (root / "data/lake/rows").symlink_to(outside(root, "rows"))


def link_partition(root: Path) -> None:
    (root / f"data/lake/rows/day={DAY}").rename(outside(root, "partition"))
    (root / f"data/lake/rows/day={DAY}").symlink_to(outside(root, "partition"))


def link_file(root: Path) -> None:
    pq.write_table(rows_of(DAY, 3), outside(root, "x.parquet"))
    (root / f"data/lake/rows/day={DAY}/x.parquet").symlink_to(outside(root, "x.parquet"))


LINKS = [
    link_sql, link_features, link_model, link_models_folder, link_input, link_partition, link_file,
]  # fmt: skip


@pytest.mark.disk_only(reason="a bucket has no links")
@pytest.mark.parametrize("link", LINKS, ids=lambda link: link.__name__)
def test_a_link_that_leads_out_of_the_workspace_is_refused(root: Path, link: Callable[[Path], None]) -> None:
    """SQL, model, input, partition, file: the same bytes behind a link to elsewhere are not read."""
    link(root)
    with pytest.raises(Broken, match="outside the workspace"):
        run(load("mini", root), DAY, force=True)


@pytest.mark.disk_only(reason="a bucket has no links")
def test_a_job_yaml_behind_a_link_is_refused(root: Path) -> None:
    """A job.yaml that is a link to elsewhere is not read, as its SQL is not."""
    (root / "jobs/mini/job.yaml").rename(outside(root, "job.yaml"))
    (root / "jobs/mini/job.yaml").symlink_to(outside(root, "job.yaml"))
    with pytest.raises(Broken, match="outside the workspace"):
        load("mini", root)


@pytest.mark.disk_only(reason="a bucket has no links")
def test_another_model_behind_a_link_is_refused(root: Path) -> None:
    """What `--model` and the form name is held to the same."""
    linear_model(outside(root, "other.onnx"), (3.0, 3.0))
    (root / "data/models/other.onnx").symlink_to(outside(root, "other.onnx"))
    with pytest.raises(Broken, match="outside the workspace"):
        run(load("mini", root), DAY, model="data/models/other.onnx")


@pytest.mark.parametrize(
    "name", ["day=2020-01-02'", "day=2020-01-02' OR '1'='1", "day=..", 'day="x"', "day=*"]
)
def test_a_partition_whose_name_is_no_day_is_refused(root: Path, name: str) -> None:
    """Quotes, dots, patterns: a partition is a day, in one spelling, or the night stops with its path."""
    (root / "data/lake/rows" / name).mkdir()
    shutil.copy(root / f"data/lake/rows/day={DAY}/part-0.parquet", root / "data/lake/rows" / name)
    with pytest.raises(Broken, match="is no day; a partition is day=YYYY-MM-DD"):
        run(load("mini", root), DAY, force=True)


FILE_NAMES = [f"{QUOTED}.parquet", 'a;b"c$1{}.parquet', "%2e%2e%2fx.parquet", "day=2020-01-01.parquet"]


@pytest.mark.parametrize("name", FILE_NAMES)
@pytest.mark.sample(1)
def test_an_input_file_is_what_it_is_called(root: Path, name: str) -> None:
    """SQL, templates, escapes and another day in the name of a file: it is read as that file, in its day."""
    part = root / f"data/lake/rows/day={DAY}/part-0.parquet"
    part.rename(part.with_name(name))
    (root / "jobs/mini/job.yaml").write_text(SQL_FEATURES)
    assert run(load("mini", root), DAY).rows.published == 50
    assert list(root.rglob("owned*")) == [] and not Path("owned.csv").exists()


SUMS = "SELECT id, sum(a)::FLOAT AS a, sum(b)::FLOAT AS b FROM rows GROUP BY id"


@pytest.mark.parametrize("name", ["part-?.parquet", "part-*.parquet", "[p]art-0.parquet"])
def test_the_name_of_an_input_file_is_no_pattern(root: Path, name: str) -> None:
    """Rows of another file are neither counted twice nor read in its place: read as named, or refused."""
    folder = root / f"data/lake/rows/day={DAY}"
    pq.write_table(rows_of(DAY, 100).slice(50), folder / name)
    pq.write_table(rows_of(DAY, 50), folder / "part-0.parquet")
    (root / "jobs/mini/features.sql").write_text(SUMS)
    (root / "jobs/mini/job.yaml").write_text(SQL_FEATURES)
    try:
        run(load("mini", root), DAY)
    except Broken as error:
        assert name in str(error)
        return
    found = query("SELECT id, a FROM mini_scores ORDER BY id", root)
    assert found.column("id").to_pylist() == list(range(100))
    assert found.column("a").to_pylist() == rows_of(DAY, 100).column("a").to_pylist()


def test_clearing_up_removes_nothing_outside(root: Path) -> None:
    """A link to elsewhere below an output table is itself all that `gc` may remove."""
    precious = outside(root, "elsewhere") / "precious"
    precious.parent.mkdir()
    precious.write_text("kept")
    os.utime(precious, (1, 1))
    (root / "data/tables/mini_scores/day=2020-09-09").symlink_to(precious.parent)
    collect_garbage(open_workspace(root), grace_hours=0)
    assert precious.exists()


@pytest.mark.disk_only(reason="a bucket has no links")
@pytest.mark.parametrize(
    "place",
    ["data/runs/mini/2020-01-02/x", "data/runs/mini/2020-09-09", "data/runs/other",
     f"data/tables/mini_scores/day={DAY}/x", "data/tables/mini_scores/day=2020-09-09"],
)  # fmt: skip
def test_clearing_up_follows_no_link(root: Path, place: str) -> None:
    """Wherever a link to a folder lies, what it leads to stays, and the rest is cleared up."""
    precious = outside(root, "elsewhere") / "2020-01-01" / "run" / "precious"
    precious.parent.mkdir(parents=True)
    precious.write_text("kept")
    for path in (precious, *precious.parents[:3]):
        os.utime(path, (1, 1))
    (root / place).symlink_to(precious.parents[2], target_is_directory=True)
    orphan = root / f"data/tables/mini_top/day={DAY}/orphan-0.parquet"
    orphan.write_text("")
    os.utime(orphan, (1, 1))
    collect_garbage(open_workspace(root), grace_hours=0)
    assert precious.exists() and not orphan.exists()


# --- limits ---


def constants(root: Path, rows: int) -> Path:
    """A bomb: many rows of constants in a small file."""
    path = root / f"data/lake/rows/day={DAY}/part-0.parquet"
    path.unlink()
    columns = {"id": np.int64, "a": np.float32, "b": np.float32}
    pq.write_table(pa.table({n: np.zeros(rows, t) for n, t in columns.items()}), path, compression="zstd")
    return path


LIMITS = {
    "{rows: 1000000}": "the input files have 2,000,000 rows, more than 1,000,000",
    "{bytes: 100kB}": "the input files have 32 MB when they are decoded, more than 100kB",
}


@pytest.mark.parametrize(("limits", "says"), LIMITS.items(), ids=LIMITS.keys())
def test_an_oversized_input_is_refused_by_its_footer(root: Path, limits: str, says: str) -> None:
    """Two million rows in a few kilobytes: named with the limit's line before a row is read."""
    assert constants(root, 2_000_000).stat().st_size < 100_000
    (root / "jobs/mini/job.yaml").write_text(JOB + f"limits: {limits}\n")
    before = sorted(root.glob("data/runs/mini/*/*"))
    with pytest.raises(Broken, match=r"^jobs/mini/job.yaml:\d+: limits\.") as caught:
        run(load("mini", root), DAY)
    assert says in str(caught.value)
    assert sorted(root.glob("data/runs/mini/*/*")) == before


def test_sql_that_takes_too_long_is_stopped(root: Path) -> None:
    """A cross join without an end: stopped at the limit, whatever DuckDB is in the middle of."""
    endless = "SELECT count(*) AS id, 1::FLOAT AS a, 1::FLOAT AS b FROM range(10000000) x, range(10000000) y"
    (root / "jobs/mini/features.sql").write_text(endless + " WHERE x.range * y.range % 7 = 3")
    (root / "jobs/mini/job.yaml").write_text(SQL_FEATURES + "limits: {time: 1s}\n")
    started = time.monotonic()
    with pytest.raises(Broken, match=r"features.sql: stopped: it took longer than limits.time in job"):
        run(load("mini", root), DAY)
    assert time.monotonic() - started < 30


# --- YAML ---

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10)
)


@pytest.mark.parametrize("command", [["check"], ["run", "mini", "--day", DAY], ["jobs"]], ids=lambda c: c[0])
def test_a_yaml_bomb_does_not_go_off(
    root: Path, command: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    """Ten lines that would be three billion values: refused at the first alias, by every command."""
    (root / "jobs/mini/job.yaml").write_text(JOB + BOMB)
    assert call(["--workspace", str(root), *command]) == 1
    line = JOB.count("\n") + 2
    assert f"jobs/mini/job.yaml:{line}: alias *a0; aliases are not allowed" in capfd.readouterr().err


def test_a_yaml_bomb_in_the_calendars_does_not_go_off(root: Path) -> None:
    """calendars.yaml is read as strictly."""
    (root / "calendars.yaml").write_text(BOMB)
    with pytest.raises(Broken, match=r"calendars.yaml:2: alias \*a0"):
        read_workspace_overrides(root)


# --- a canary in every place where a secret can be ---


@dataclass
class Birdcage:
    """A workspace, a home and an environment with secrets; `said` is all that commands printed."""

    root: Path
    home: Path
    said: str = ""

    def nightscore(self, *arguments: str) -> int:
        """Run a command as a scheduler does, in a process of its own."""
        env = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ} | {
            "HOME": str(self.home),
            "PGPASSWORD": CANARY,
            "AWS_SECRET_ACCESS_KEY": CANARY,
            "AIRFLOW_CONN_WAREHOUSE": f"postgresql://night:{CANARY}@db.example/lake",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"postgresql://airflow:{CANARY}@db.example/airflow",
            "PYTHONPATH": str(Path(__file__).parents[3]),
            "NIGHTSCORE_DEBUG": "1",
        }
        done = subprocess.run(
            [sys.executable, "-c", MAIN, "--workspace", str(self.root), *arguments],
            env=env, cwd=self.root, capture_output=True, text=True, check=False,
        )  # fmt: skip
        self.said += done.stdout + done.stderr
        return done.returncode

    def written(self) -> dict[str, bytes]:
        """Every file of the workspace."""
        return {str(p): p.read_bytes() for p in self.root.rglob("*") if p.is_file()}


@pytest.fixture
def birds(tmp_path: Path) -> Birdcage:
    home = tmp_path / "home"
    for name in (
        ".aws/credentials",
        ".pgpass",
        ".netrc",
        ".duckdbrc",
        ".duckdb/stored_secrets/s.duckdb_secret",
    ):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(CANARY)
    return Birdcage(make_workspace(tmp_path / "w", 100), home)


PRYING = (
    "FROM read_text('/proc/self/environ')",
    "FROM duckdb_settings()",
    "SELECT getenv('PGPASSWORD')",
)


@pytest.mark.disk_only(reason="its commands know no bucket's credentials; test_bucket_secrets.py holds this")
@pytest.mark.slow
def test_no_secret_comes_out(birds: Birdcage) -> None:
    """Nights that end well and badly, reports, queries that pry: no secret of environment or home anywhere.

    Neither on stdout or stderr, tracebacks of NIGHTSCORE_DEBUG included, nor in a file of the workspace.
    """
    assert birds.nightscore("run", "mini", "--day", DAY) == 0
    for sql in PRYING:
        birds.nightscore("query", sql, "--format", "json")
    for command in (
        ["receipts", "--json"],
        ["jobs", "--json"],
        ["report", "mini", "--day", DAY],
    ):
        birds.nightscore(*command)
    folder = birds.root / "jobs/mini"
    failures = {
        "top.sql": "SELECT id, score / (SELECT 'x'::INT) AS rank FROM scores",
        "job.yaml": JOB.replace("least(", "-least("),
    }
    for name, text in failures.items():
        good = (folder / name).read_text()
        (folder / name).write_text(text)
        assert birds.nightscore("run", "mini", "--day", DAY, "--json") == 1
        (folder / name).write_text(good)
    (birds.root / "data/models/linear.onnx").write_bytes(b"no model")
    assert birds.nightscore("run", "mini", "--day", DAY, "--json") == 1
    (birds.root / f"data/lake/rows/day={DAY}/part-0.parquet").write_bytes(b"PAR1 no Parquet PAR1")
    assert birds.nightscore("run", "mini", "--day", DAY, "--json") == 1
    assert len(birds.said) > 2_000 and "published" in birds.said and "broken" in birds.said
    assert CANARY not in birds.said
    assert [name for name, found in birds.written().items() if CANARY.encode() in found] == []


@pytest.mark.disk_only(reason="its commands know no bucket's credentials; test_bucket_secrets.py holds this")
@pytest.mark.slow
def test_a_parameter_is_no_place_for_a_secret(birds: Birdcage) -> None:
    """By design its value is in the receipt, as a cause of the day: SECURITY.md says so."""
    params = "params:\n  token: {type: string, default: none}\n"
    (birds.root / "jobs/mini/job.yaml").write_text(JOB.partition("params:")[0] + params)
    (birds.root / "jobs/mini/top.sql").write_text("SELECT id, score FROM scores")
    assert birds.nightscore("run", "mini", "--day", DAY, "--set", f"token={CANARY}", "--json") == 0
    receipt, _ = json.JSONDecoder().raw_decode(birds.said)  # a slow run says on stderr how far it is
    assert receipt["params"] == {"token": CANARY}
    holding = {Path(name).name for name, found in birds.written().items() if CANARY.encode() in found}
    assert "receipt.json" in holding
