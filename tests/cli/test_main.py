"""The command line: what a person and a scheduler get back."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from nightscore.cli.main import call
from tests.support.workspace import make_workspace, rows_of, write_day

DAY = "2020-01-02"


@pytest.fixture
def space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = make_workspace(tmp_path / "ws")
    monkeypatch.setenv("NIGHTSCORE_WORKSPACE", str(root))
    return root


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with two published days, only read by the tests that use it."""
    root = make_workspace(tmp_path_factory.mktemp("published") / "ws")
    for day in ("2020-01-01", DAY):
        assert call(["--workspace", str(root), "run", "mini", "--day", day]) == 0
    return root


def output(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = call(list(arguments))
    done = capsys.readouterr()
    return code, done.out, done.err


def command(*arguments: str, cwd: Path | None = None, **options: object) -> subprocess.Popen[str]:
    """A real process of `nightscore`, with pipes."""
    return subprocess.Popen(
        [sys.executable, "-c", "from nightscore.cli.main import main; main()", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd, **options,  # type: ignore[call-overload]
    )  # fmt: skip


def test_run_json_is_one_document_with_the_receipt(space: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`run --json` prints the receipt and nothing else on stdout, with all that the format promises."""
    code, out, _ = output(capsys, "run", "mini", "--day", DAY, "--json")
    receipt = json.loads(out)
    assert code == 0
    assert receipt["status"] == "published"
    promised = "job day run_id status rows tables key_hash model inputs seconds rows_per_second device audits"
    promised += " variant tried cost"
    assert set(promised.split()) <= set(receipt)
    assert receipt["rows"] == {"read": 5000, "scored": 5000, "rejected": 0, "published": 5000}
    assert receipt["key_hash"]["in"] == receipt["key_hash"]["out"] != ""
    top = receipt["tables"]["mini_top"]
    assert (top["rows"], top["files"], top["version"], len(top["sha256"])) == (10, 1, 1, 1)
    assert set(top["columns"]) == {"id", "score", "rank"} and top["columns"]["rank"]["sum"] == "55"
    assert [i["path"] for i in receipt["inputs"]] == [f"data/lake/rows/day={DAY}/part-0.parquet"]
    audit = {"name": "as many as asked for", "passed": True, "severity": "fail", "detail": ""}
    assert receipt["audits"] == [audit]


def test_the_same_receipt_lies_beside_the_run(space: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """receipt.json of the run, `run --json` and `receipts --json` say the same."""
    printed = json.loads(output(capsys, "run", "mini", "--day", DAY, "--json")[1])
    beside = json.loads((space / f"data/runs/mini/{DAY}/{printed['run_id']}/receipt.json").read_text())
    listed = json.loads(output(capsys, "receipts", "mini", "--day", DAY, "--json")[1])
    assert printed == beside == listed[0]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["run", "mini", "--day", "2020-01-09"], 1, "no partition of 2020-01-09"),
        (["run", "mini", "--day", "tonight"], 2, "'tonight' is no day"),
        (["run", "mini", "--day", "2020-13-01"], 2, "'2020-13-01' is no day"),
        (["run", "mini"], 2, "--day"),
        (["run", "mini", "--day", DAY, "--set", "n"], 2, "NAME=VALUE"),
        (["run", "mini", "--day", DAY, "--set", "n=0"], 2, ">= 1 and <= 100"),
        (["run", "mini", "--day", DAY, "--set", "m=1"], 2, "no parameter 'm'"),
        (["run", "mini", "--day", DAY, "--limit", "0"], 1, "at least one row"),
        (["run", "mini", "--day", DAY, "--limit", "1.5"], 2, "no whole number"),
        (["run", "mini", "--day", DAY, "--limit", "1e3"], 2, "no whole number"),
        (["run", "mini", "--day", DAY, "--model", "data/nothing.onnx"], 1, "data/nothing.onnx"),
        (["run", "mini", "--day", DAY, "--model", "/etc/passwd"], 1, "outside the workspace"),
        (["run", "minni", "--day", DAY], 1, "did you mean mini?"),
        (
            ["backfill", "mini", "--from", DAY, "--to", "2020-01-01"],
            2,
            f"usage: --from {DAY} is after --to 2020-01-01",
        ),
        (["run", "mini", "--day", "01.02.2020"], 2, "usage: '01.02.2020' is no day; a day is YYYY-MM-DD"),
        (["why", "mini", "--day", DAY, "--key", "id=1"], 1, "is not published"),
        (["why", "mini", "--day", DAY, "--key", "x=1"], 1, "the key of job mini is id"),
        (["query", "SELECT 1 FROM nothing"], 1, "nothing"),
        (["query", "SELECT 1", "--as-of", "yesterday"], 2, "neither a version"),
        (["query", "SELECT 1", "--format", "xml"], 2, "xml"),
        (["launch"], 2, "launch"),
        (["--workspace", "/nowhere", "jobs"], 1, "/nowhere is no workspace"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_input_is_one_message_and_an_exit_code(
    space: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, says: str
) -> None:
    """Bad input names the value and what is allowed, on stderr, and publishes nothing."""
    found, out, err = output(capsys, *arguments)
    assert (found, out) == (code, "")
    assert says in err
    assert "Traceback" not in err
    assert not (space / "data/tables").exists()


def test_a_failed_run_with_json_is_one_document(space: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --json, a failure is a document on stdout too."""
    code, out, _ = output(capsys, "run", "mini", "--day", "2020-01-09", "--json")
    assert code == 1
    assert json.loads(out)["status"] == "broken"


def test_not_yet_is_75(space: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A missing day under `missing: wait` ends with 75, and publishes when it has landed."""
    job = space / "jobs/mini/job.yaml"
    job.write_text(job.read_text() + "policy: {missing: wait}\n")
    assert output(capsys, "run", "mini", "--day", "2020-01-09")[0] == 75
    write_day(space, "2020-01-09", 10)
    assert output(capsys, "run", "mini", "--day", "2020-01-09")[0] == 0


def test_workspace_by_option_variable_and_folder(
    space: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The workspace is --workspace (before or after the command), else the variable, else the folder."""
    monkeypatch.setenv("NIGHTSCORE_WORKSPACE", "/nowhere")
    for arguments in (["--workspace", str(space), "jobs"], ["jobs", "--workspace", str(space)]):
        assert "mini" in output(capsys, *arguments)[1]
    monkeypatch.delenv("NIGHTSCORE_WORKSPACE")
    monkeypatch.chdir(space)
    assert "mini" in output(capsys, "jobs")[1]


def test_jobs_shows_the_good_and_the_broken(space: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A broken job.yaml is named with its line and does not hide the others; the exit code is 1."""
    (space / "jobs/other").mkdir()
    (space / "jobs/other/job.yaml").write_text("job: other\nabot: x\n")
    code, out, err = output(capsys, "jobs")
    assert code == 1
    assert "mini" in out
    assert "jobs/other/job.yaml:2: abot: unknown key; did you mean about?" in err


def test_a_run_of_a_job_that_cannot_be_read_says_what_is_wrong_with_it(
    space: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its folder has another name, and a key stands twice: file and line, and no other job is suggested."""
    (space / "jobs/held").mkdir()
    (space / "jobs/held/job.yaml").write_text("job: held_out\nowner: a\nowner: b\n")
    code, _, err = output(capsys, "run", "held_out", "--day", DAY)
    assert (code, err) == (
        1, "nightscore: broken: jobs/held/job.yaml:3: the key 'owner' stands twice (first in line 2)\n"
    )  # fmt: skip


def test_check_says_what_is_published_or_wrong(space: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`check` passes on a good job and names the tables; a typo in its SQL is named with its file."""
    assert output(capsys, "check")[:2] == (
        0,
        "mini: ok: 4 feature columns; publishes mini_scores, mini_top\n",
    )
    top = space / "jobs/mini/top.sql"
    top.write_text(top.read_text().replace("score DESC", "scroe DESC"))
    code, _, err = output(capsys, "check", "mini")
    assert code == 1
    assert "jobs/mini/top.sql" in err
    assert "scroe" in err


def test_plan_writes_nothing_and_tells_what_is_done(space: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`plan` shows pieces and rows before, `unchanged` after, and leaves no table and no run."""
    code, out, _ = output(capsys, "plan", "mini", "--day", DAY)
    assert code == 0
    assert "would run" in out
    assert "5,000 rows; 0 scored already" in out
    assert not (space / "data/tables").exists()
    assert list((space / "data/runs").glob("mini/*")) == []
    call(["run", "mini", "--day", DAY])
    capsys.readouterr()
    assert "unchanged" in output(capsys, "plan", "mini", "--day", DAY)[1]


def test_backfill_runs_newest_first_and_goes_on_after_a_failure(
    space: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Days run from the last to the first; a missing one is reported and makes the exit code 1."""
    code, out, _ = output(capsys, "backfill", "mini", "--from", "2020-01-02", "--to", "2020-01-04", "--json")
    found = json.loads(out)
    assert code == 1
    assert [(f["day"], f["status"]) for f in found] == [
        ("2020-01-04", "broken"), ("2020-01-03", "published"), ("2020-01-02", "published"),
    ]  # fmt: skip
    code, out, _ = output(capsys, "backfill", "mini", "--from", "2020-01-02", "--to", "2020-01-03")
    assert code == 0
    assert out.count("unchanged") == 2


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
def test_query_formats_hold_the_same_rows(
    published: Path, form: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """Each format of `query` gives every row of the result, in order, on stdout alone."""
    sql = "SELECT id, rank FROM mini_top WHERE day = '2020-01-02' ORDER BY rank"
    assert call(["--workspace", str(published), "query", sql, "--format", form]) == 0
    out = capfdbinary.readouterr().out
    if form == "parquet":
        rows = pq.read_table(io.BytesIO(out)).to_pylist()
    elif form == "json":
        rows = json.loads(out)
    else:
        lines = out.decode().splitlines()[1:]
        rows = [dict(zip(("id", "rank"), map(int, line.split(",")), strict=True)) for line in lines]
    table = rows_of(DAY, 5000)
    scores = table["a"].to_numpy() + 2 * table["b"].to_numpy()
    assert [r["rank"] for r in rows] == list(range(1, 11))
    assert {r["id"] for r in rows} == set(scores.argsort()[-10:].tolist())


def test_tables_and_as_of(published: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`tables` counts days and rows; `--as-of` a version of receipts shows what was there then."""
    listed = json.loads(output(capsys, "--workspace", str(published), "tables", "--json")[1])
    assert {t["table"]: (t["days"], t["rows"]) for t in listed["tables"]} == {
        "mini_scores": (2, 10_000), "mini_top": (2, 20),
    }  # fmt: skip
    sql = "SELECT count(*) AS n FROM mini_scores"
    then = output(capsys, "query", sql, "--as-of", "1", "--format", "json", "--workspace", str(published))
    assert json.loads(then[1]) == [{"n": 5000}]


def test_why_shows_features_score_and_rank(published: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`why` gives the features that were scored, the score that follows from them, and the decision."""
    at = ("--workspace", str(published))
    sql = "SELECT * FROM mini_top WHERE rank = 1 AND day = '2020-01-02'"
    [best] = json.loads(output(capsys, "query", sql, "--format", "json", *at)[1])
    code, out, _ = output(capsys, "why", "mini", "--day", DAY, "--key", f"id={best['id']}", "--json", *at)
    found = json.loads(out)
    features = found["features"]
    assert code == 0
    assert found["scores"]["score"] == pytest.approx(features["a"] + 2 * features["b"])
    assert [row["rank"] for row in found["decisions"]["mini_top"]] == [1]
    other = output(capsys, "why", "mini", "--day", DAY, "--key", "id=999999", *at)
    assert other[0] == 1
    assert "no row with id=999999" in other[2]


def test_help_teaches() -> None:
    """`--help` says what a workspace is and what the exit codes mean; each command has its own."""
    done = command("--help")
    out, _ = done.communicate(timeout=60)
    assert done.returncode == 0
    for words in ("jobs/**/job.yaml", "75", "backfill", "why", "--workspace"):
        assert words in out
    out, _ = command("run", "--help").communicate(timeout=60)
    assert "--limit" in out
    assert "preview" in out


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.sample(1)
def test_a_signal_stops_a_run_at_once_and_the_next_completes(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    """A run deep in DuckDB's work stops within two seconds with 130 or 143; the next publishes."""
    root = make_workspace(tmp_path / "ws", rows=100)
    slow = root / "jobs/mini/features.sql"
    slow.write_text(
        "SELECT id, a, b + "
        "(SELECT count(*) FROM range(100000000000) x WHERE x.range % 7 = 3) AS b FROM rows\n"
    )
    job = root / "jobs/mini/job.yaml"
    job.write_text(job.read_text().replace("features: rows", "features: features.sql"))
    process = command("run", "mini", "--day", DAY, cwd=root)
    deadline = time.monotonic() + 30
    while not list(root.glob(f"data/runs/mini/{DAY}/*/lock")) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1.0)
    assert process.poll() is None
    sent = time.monotonic()
    os.kill(process.pid, number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == code
    assert time.monotonic() - sent < 2
    assert number.name in err
    slow.write_text("SELECT id, a, b FROM rows\n")
    again = command("run", "mini", "--day", DAY, cwd=root)
    again.communicate(timeout=60)
    assert again.returncode == 0


def test_a_closed_pipe_is_no_error(published: Path) -> None:
    """`nightscore query … | head -1` ends quietly."""
    process = command("query", "SELECT * FROM mini_scores", "--format", "csv", cwd=published)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(30) == 0


def test_a_bake_off_is_of_one_machine(space: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--on ray is refused, before anything is looked at, with the way on: to run it on a node."""
    code, _, err = output(capsys, "bakeoff", "mini", "--day", DAY, "--on", "ray")
    assert (
        code == 2 and "one machine" in err and f"nightscore --workspace PATH bakeoff mini --day {DAY}" in err
    )
    assert not (space / "data/bakeoffs").exists()
