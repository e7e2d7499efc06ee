"""What a command prints undoes nothing of what was done; data steers neither terminal nor spreadsheet."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightscore import query
from nightscore.cli.main import call
from tests.faults.marks import named
from tests.support.workspace import DAYS, JOB, make_workspace

MAIN = "from nightscore.cli.main import main; main()"
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
HOSTILE = [
    "\x1b[2J\x1b]0;pwned\x07", "\x9b31m", "a\rb", "\u202egnp.exe", "\u2066x", "[/bold]", "[red]x", "two\nlines",  # noqa: E501
    "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"), "\x00", "\x7f",
]  # fmt: skip
STEERS = "\x1b\x9b\x07\r\u202e\u2066\x00\x7f"
FORMULAS = ["=1+1", '=HYPERLINK("http://x")', "+cmd|' /C calc'!A0", "-1+1", "@SUM(1)", "\t=1", "\r=1"]
PLAIN = ["-5", "+49", "-1.5e3", "a=1", "", " x", "'=1"]


def ended(root: Path, *arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    """A real process of the command, in its own environment."""
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    env = {**os.environ, "NIGHTSCORE_WORKSPACE": str(root), **given.pop("env", {})}  # type: ignore[dict-item]
    return subprocess.run(
        [sys.executable, "-c", MAIN, *arguments], text=True, timeout=120, check=False, env=env, **given,
    )  # type: ignore[call-overload,no-any-return] # fmt: skip


def published(root: Path) -> bool:
    return query("SELECT count(*) AS n FROM mini_scores", root).to_pylist() == [{"n": 20}]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A workspace whose receipts name an audit outside ASCII and Latin 1."""
    job = JOB.replace("name: as many", "name: genau so viele… wie 😀, as many")
    return make_workspace(tmp_path / "w", rows=20, job=job)


NARROW = {
    "C": ASCII,
    "ascii": {"PYTHONIOENCODING": "ascii:strict"},
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
}
TERMINALS = {  # what is printed, and where
    **{f"text-{name}": ((), env) for name, env in NARROW.items()},
    **{f"json-{name}": (("--json",), env) for name, env in NARROW.items()},
}


@pytest.mark.parametrize(("form", "env"), named(TERMINALS, [*list(TERMINALS)[:3], "json-C"]))
@pytest.mark.sample(1)
def test_a_terminal_without_the_letters_does_not_make_a_night_fail(root, form, env):
    """Exit code 0, the letters as escapes, and JSON that says the same as in UTF-8."""
    found = ended(root, "run", "mini", "--day", DAYS[0], *form, env=env)
    assert (found.returncode, published(root)) == (0, True), found.stderr
    assert "Traceback" not in found.stderr and "Error" not in found.stderr
    if form:
        [audit] = json.loads(found.stdout)["audits"]
        assert audit["name"] == "genau so viele… wie 😀, as many as asked for"
    else:
        assert "\\u2026" in found.stdout


@pytest.mark.parametrize("form", [(), ("--json",)], ids=["text", "json"])
@pytest.mark.sample(1)
def test_a_reader_that_is_gone_does_not_make_a_night_fail(root, form):
    """Standard output is a pipe that nobody reads any more."""
    reads, writes = os.pipe()
    os.close(reads)
    found = ended(root, "run", "mini", "--day", DAYS[0], *form, stdout=writes)
    os.close(writes)
    assert (found.returncode, published(root)) == (0, True)
    assert "rror" not in found.stderr


@pytest.mark.slow
def test_a_backfill_goes_on_when_its_reader_is_gone(root):
    """Every day is published, as if somebody looked on."""
    reads, writes = os.pipe()
    os.close(reads)
    found = ended(root, "backfill", "mini", "--from", DAYS[0], "--to", DAYS[2], stdout=writes)
    os.close(writes)
    assert found.returncode == 0
    assert query("SELECT DISTINCT day::VARCHAR AS day FROM mini_scores ORDER BY day", root)[
        "day"
    ].to_pylist() == [*DAYS]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_below_the_output_is_said_and_is_not_the_nights_failure(root):
    """Of a run it is a warning; of a query, whose output is all there is, an error."""
    with Path("/dev/full").open("w") as full:
        found = ended(root, "run", "mini", "--day", DAYS[0], "--json", stdout=full)
        assert (found.returncode, published(root)) == (0, True)
        assert "No space left on device" in found.stderr and "what was done is done" in found.stderr
        for form in ("table", "csv", "json", "parquet"):
            found = ended(root, "query", "SELECT * FROM mini_scores", "--format", form, stdout=full)
            assert found.returncode == 75 and "No space left" in found.stderr
            assert "Traceback" not in found.stderr
        found = ended(root, "run", "mini", "--day", DAYS[1], stderr=full)
        assert found.returncode == 0


@pytest.mark.slow
def test_a_process_without_standard_streams_publishes_the_same(root):
    """Descriptors 0 to 2 closed, as a careless daemon starts it: no file of the night becomes its output."""
    command = f'exec "{sys.executable}" -c "{MAIN}" run mini --day {DAYS[0]} <&- >&- 2>&-'
    env = {**os.environ, "NIGHTSCORE_WORKSPACE": str(root)}
    assert subprocess.run(["/bin/sh", "-c", command], check=False, env=env, timeout=120).returncode == 0
    assert published(root)


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A published day whose key holds what would steer a terminal."""
    job = JOB.replace("key: [id]", "key: [name]").replace("id, score", "name AS id, score").replace(
        "decide:\n  mini_top: top.sql\n", ""
    ).split("audit:")[0]  # fmt: skip
    root = make_workspace(tmp_path / "w", rows=3, job=job)
    for day in DAYS:
        (root / f"data/lake/rows/day={day}/part-0.parquet").unlink()
    texts = [*HOSTILE, *FORMULAS, *PLAIN]
    ones = pa.array([1.0] * len(texts), pa.float32())
    rows = pa.table({"name": texts, "a": ones, "b": ones})
    pq.write_table(rows, root / f"data/lake/rows/day={DAYS[0]}/part-0.parquet")
    assert call(["--workspace", str(root), "run", "mini", "--day", DAYS[0]]) == 0
    return root


def test_texts_of_data_do_not_steer_a_terminal(hostile, capsys):
    """`query` shows each on one line, with escapes; brackets are no markup; `why` and errors likewise."""
    for arguments in (
        ["query", "SELECT name FROM mini_scores ORDER BY name"],
        ["query", 'SELECT 1 AS "x\x1b[31m\u202e"'],
        ["query", "SELECT error('\x1b[2J\u202e' || chr(155))"],
        ["why", "mini", "--day", DAYS[0], "--key", f"name={HOSTILE[0]}"],
        ["why", "mini", "--day", DAYS[0], "--key", "name=[/bold]"],
        ["run", "mini\x1b[2J", "--day", DAYS[0]],
        ["query", "SELECT name FROM mini_scores WHERE name > chr(127)", "--json"],
    ):
        capsys.readouterr()
        call(["--workspace", str(hostile), *arguments])
        said = capsys.readouterr()
        assert not set(STEERS) & set(said.out + said.err), arguments
        assert "unexpected" not in said.err, said.err
    call(["--workspace", str(hostile), "query", "SELECT name FROM mini_scores ORDER BY name"])
    shown = capsys.readouterr().out
    for text in (
        "\\x1b[2J\\x1b]0;pwned\\x07",
        "\\x9b31m",
        "a\\rb",
        "\\u202egnp.exe",
        "[/bold]",
        "[red]x",
        "two\\nlines",
    ):
        assert text in shown


def test_json_says_the_same_with_escapes(hostile, capsys):
    """What a JSON reader reads of `why` is the text itself."""
    call(["--workspace", str(hostile), "why", "mini", "--day", DAYS[0], "--key", "name=\x9b31m", "--json"])
    said = capsys.readouterr().out
    assert json.loads(said)["key"] == {"name": "\x9b31m"} and "\x9b" not in said


def test_a_csv_holds_no_formula_unless_it_is_asked_for_raw(hostile):
    """Texts and names alike; numbers, and texts that are numbers, stay as they are."""
    sql = 'SELECT name, -1 AS n, -1.5 AS d, 1 AS "=x" FROM mini_scores ORDER BY name'
    found = ended(hostile, "query", sql, "--format", "csv")
    rows = list(csv.reader(found.stdout.splitlines(keepends=True)))
    raw = list(
        csv.reader(ended(hostile, "query", sql, "--format", "csv", "--raw").stdout.splitlines(keepends=True))
    )
    assert rows[0] == ["name", "n", "d", "'=x"] and raw[0][3] == "=x"
    texts = {row[0] for row in rows[1:]}
    for text in FORMULAS:
        assert ("'" + text).replace("\r", "\n") in {t.replace("\r", "\n") for t in texts}
    for text in PLAIN:
        assert text in texts
    assert all(row[1:3] == ["-1", "-1.5"] for row in rows[1:])
    assert {row[0].removeprefix("'") for row in rows} >= {row[0].removeprefix("'") for row in raw}


def test_a_row_with_more_columns_than_fit_is_printed_downwards(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Side by side the names of forty columns were folded letter by letter, and no number could be read."""
    make_workspace(tmp_path, 3)

    def lines(columns: int) -> list[str]:
        sql = ", ".join(f"{i} + 0.5 AS the_column_{i:02}" for i in range(columns))
        assert call(["--workspace", str(tmp_path), "query", f"SELECT {sql} FROM range(2)"]) == 0
        return [line.rstrip() for line in capsys.readouterr().out.splitlines()]

    assert len(lines(10)) == 3  # ten names of 13 letters, and their gaps: 148 of the 160 columns of a pipe
    tall = lines(40)
    assert (tall[0], tall[1], tall[40], tall[41]) == (
        "row 1", "the_column_00  0.5", "the_column_39  39.5", "row 2",
    )  # fmt: skip
    assert len(tall) == 82
