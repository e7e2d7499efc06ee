"""Lines that are left out, by Python's csv and json: the others are scored as if these were not there."""

import csv
import gzip
import json
import random
from pathlib import Path

import pytest

from nightscore import Broken, load, query, run
from nightscore.common import open_workspace
from nightscore.review.verify import verify_days
from tests.support.workspace import DAYS, JOB, make_workspace

DAY = DAYS[0]
COLUMNS = "columns: {id: BIGINT NOT NULL, name: VARCHAR, a: FLOAT, b: FLOAT}"
BAD = "SELECT line, message, text FROM mini_bad_lines ORDER BY line"


def workspace(root: Path, content: bytes, allowed: str, form: str = "csv", ending: str | None = None) -> Path:
    """The job over one file of a day, of whose lines some may be bad."""
    more = f"bad_lines: {allowed}, " if allowed else ""
    spec = f"{{path: data/in, partition: day, format: {form}, {more}{COLUMNS}}}"
    job = JOB.replace("{path: data/lake/rows, partition: day}", spec)
    make_workspace(root, 5, job, days=())
    put(root, content, ending or form)
    return root


def put(root: Path, content: bytes, ending: str) -> None:
    """Write the day's file."""
    folder = root / f"data/in/day={DAY}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"x.{ending}").write_bytes(gzip.compress(content) if ending.endswith(".gz") else content)


def is_number(text: str) -> bool:
    """Whether a CSV value is a number or nothing."""
    try:
        float(text or 0)
    except ValueError:
        return False
    return True


def csv_file(seed: int, rows: int = 400) -> tuple[bytes, dict[int, str], list[int]]:
    """A file with bad lines, which they are (number, text), and the ids of the good ones, by Python's csv."""
    rng = random.Random(seed)  # noqa: S311
    kinds = [
        lambda i: f"{i},n{i},0.5,0.25",
        lambda i: f"{i},n{i},0.5,0.25",
        lambda i: f'{i},"n, {i}",0.5,0.125',
        lambda i: f"{i},n{i},0.5",  # one value short
        lambda i: f"{i},n{i},0.5,0.25,9",  # one too many
        lambda i: f"{i},n{i},much,0.25",
        lambda i: f"x{i},n{i},0.5,0.25",
        lambda i: f'{i},"n"{i},0.5,0.25',  # a quote that ends in the middle
    ]
    lines = [rng.choices(kinds, [60, 20, 20, 1, 1, 1, 1, 1])[0](i) for i in range(rows)]
    bad, good = {}, []
    for number, line in enumerate(lines, 2):
        try:
            [values] = csv.reader([line], strict=True)
        except csv.Error:
            values = []
        if len(values) == 4 and values[0].isdigit() and is_number(values[2]) and is_number(values[3]):
            good.append(int(values[0]))
        else:
            bad[number] = line
    return "\n".join(["id,name,a,b", *lines, ""]).encode(), bad, good


def test_bad_lines_of_utf_16_are_told_apart(tmp_path: Path) -> None:
    """Its line ends are two bytes."""
    root = workspace(tmp_path, "id,name,a,b\n1,ā,x,1\n2,ā,1,1\n3,ā,1\n".encode("utf-16"), "2")
    job = root / "jobs/mini/job.yaml"
    job.write_text(job.read_text().replace("format: csv,", "format: csv, csv: {encoding: utf-16},"))
    assert run(load("mini", root), DAY).rows.published == 1
    assert [row["line"] for row in query(BAD, root).to_pylist()] == [2, 4]


@pytest.mark.parametrize(("seed", "ending"), [(1, "csv"), (2, "csv.gz"), (3, "csv")])
@pytest.mark.sample(1)
def test_bad_lines_of_csv_are_those_of_pythons_reader(tmp_path: Path, seed: int, ending: str) -> None:
    """Each is in the table with its number; the others are scored."""
    content, bad, good = csv_file(seed)
    root = workspace(tmp_path, content, "20%", ending=ending)
    receipt = run(load("mini", root), DAY)
    assert receipt.rows.published == len(good)
    assert [row["id"] for row in query("SELECT id FROM mini_scores ORDER BY id", root).to_pylist()] == good
    found = query(BAD, root).to_pylist()
    assert [row["line"] for row in found] == list(bad)
    for row in found:
        values = json.loads(row["text"]) if row["text"].startswith("[") else None
        assert (values or row["text"]) == (
            next(csv.reader([bad[row["line"]]])) if values else bad[row["line"]]
        )
    assert receipt.tables["mini_bad_lines"].rows == len(bad)
    assert not any(one.differences for one in verify_days(open_workspace(root)))


def test_bad_lines_of_json_are_those_of_pythons_reader(tmp_path: Path) -> None:
    """No JSON, no object, or a value that is none of its type; empty lines are no lines."""
    lines = [b'{"id": %d, "name": "n", "a": 0.5, "b": 0.25}' % i for i in range(50)]
    bad = {
        3: b'{"id": 2, "name": "n"',
        7: b"[6]",
        12: b'{"id": 11, "name": "n", "a": "x", "b": 1}',
        20: b'{"id": 1\xff}',
        25: b'{"id": 24, "name": "n", "a": 1, "b": 1, "a": 2}',
    }
    for number, text in bad.items():
        lines[number - 1] = text
    lines[29] = b""
    root = workspace(tmp_path, b"\n".join(lines) + b"\n", "10", "json", "jsonl")
    assert run(load("mini", root), DAY).rows.published == 50 - len(bad) - 1
    found = query(BAD, root).to_pylist()
    assert {row["line"]: row["text"] for row in found} == {
        n: t.decode(errors="replace") for n, t in bad.items()
    }
    assert [row["message"] for row in found] == [
        "no JSON object", "no JSON object", "column 'a': x is no FLOAT", "no JSON object",
        "a key stands twice",
    ]  # fmt: skip
    ids = [row["id"] for row in query("SELECT id FROM mini_scores ORDER BY id", root).to_pylist()]
    assert ids == [i for i in range(50) if i + 1 not in (*bad, 30)]


def test_more_than_allowed_stop_the_run_and_nothing_is_published(tmp_path: Path) -> None:
    """Of a share its whole lines; the first is named with its line in job.yaml's rule."""
    content, bad, _ = csv_file(4)
    number, said = next(iter(bad)), rf"inputs.rows.bad_lines: {len(bad)} of 400 lines can't be read"
    for allowed in (str(len(bad) - 1), "1%"):
        root = workspace(tmp_path / allowed.strip("%"), content, allowed)
        with pytest.raises(Broken, match=said) as told:
            run(load("mini", root), DAY)
        assert f"x.csv: line {number}: " in str(told.value)
        assert not (root / "data/tables").exists()
    root = workspace(tmp_path / "all", content, str(len(bad)))
    assert run(load("mini", root), DAY).status == "published"


def test_without_the_rule_the_first_bad_line_stops_the_run(tmp_path: Path) -> None:
    """And the message names the rule."""
    root = workspace(tmp_path, b"id,name,a,b\n1,n,x,0\n", "")
    with pytest.raises(Broken, match=r"'x' is no FLOAT; .*bad_lines"):
        run(load("mini", root), DAY)


@pytest.mark.parametrize("content", [b'1,"n,1,1\n2,n,1,1\n3,n,1,1\n', b'1,"n,1,1\n2,n,1,1"\n3,n,1,1\n'])
def test_an_open_quote_that_takes_in_lines_is_never_one_bad_line(tmp_path: Path, content: bytes) -> None:
    """Nobody can count what it has taken in."""
    root = workspace(tmp_path, b"id,name,a,b\n0,n,1,1\n" + content, "50%")
    with pytest.raises(Broken, match=r"x.csv: .* open quote"):
        run(load("mini", root), DAY)
    assert not (root / "data/tables").exists()


def test_bytes_of_another_encoding_leave_their_line_out_whatever_sql_asks_for(tmp_path: Path) -> None:
    """DuckDB looks at the values alone that it is asked for: the job's SQL does not read `name`."""
    root = workspace(tmp_path, b"id,name,a,b\n1,caf\xe9,1,1\n2,n,1,1\n", "1")
    (root / "jobs/mini/features.sql").write_text("SELECT id, a, b FROM rows\n")
    job = root / "jobs/mini/job.yaml"
    job.write_text(job.read_text().replace("features: rows", "features: features.sql"))
    assert run(load("mini", root), DAY).rows.published == 1
    [row] = query(BAD, root).to_pylist()
    assert row["line"] == 2 and "utf-8" in row["message"]


def test_a_mended_file_is_a_new_cause_and_lines_are_in_no_other_day(tmp_path: Path) -> None:
    """The table has what the night in force left out."""
    root = workspace(tmp_path, b"id,name,a,b\n1,n,x,1\n2,n,1,1\n", "1")
    job = load("mini", root)
    run(job, DAY)
    assert query(BAD, root).num_rows == 1
    put(root, b"id,name,a,b\n1,n,1,1\n2,n,1,1\n", "csv")
    assert run(job, DAY).rows.published == 2
    assert query(BAD, root).num_rows == 0


def test_a_null_that_may_not_be_is_no_bad_line(tmp_path: Path) -> None:
    """A contract is about the file."""
    root = workspace(tmp_path, b"id,name,a,b\n,n,1,1\n2,n,1,1\n", "1")
    with pytest.raises(Broken, match="NOT NULL"):
        run(load("mini", root), DAY)


def test_parquet_has_no_lines(tmp_path: Path) -> None:
    """And a job that says so is told."""
    root = workspace(tmp_path, b"", "1", "parquet")
    with pytest.raises(Broken, match="bad_lines: are of csv and json"):
        load("mini", root)


@pytest.mark.slow
def test_no_line_is_lost_where_a_reader_goes_on_with_the_next_part_of_a_file(tmp_path: Path) -> None:
    """DuckDB reads 32 MB at a time, and loses lines there unless it is told not to read parts at once."""
    content, bad, good = csv_file(5, 400_000)
    content = content.replace(b",n", b"," + b"text " * 20).replace(b"," + b"text " * 20 + b"ame", b",name")
    assert len(content) > 40_000_000
    root = workspace(tmp_path, content, "20%")
    receipt = run(load("mini", root), DAY)
    assert (receipt.rows.published, receipt.tables["mini_bad_lines"].rows) == (len(good), len(bad))
    [row] = query("SELECT sum(id) AS ids FROM mini_scores", root).to_pylist()
    assert row["ids"] == sum(good)


def test_lines_that_end_in_two_bytes_are_told_apart(tmp_path: Path) -> None:
    """Lines of too few and too many values, and of a quote that ends early, by Python's csv; CR LF ends."""
    content, bad, good = csv_file(3)
    root = workspace(tmp_path, content.replace(b"\n", b"\r\n"), "100%")
    assert run(load("mini", root), DAY).rows.published == len(good)
    found = {row["line"]: row["text"] for row in query(BAD, root).to_pylist()}
    assert found.keys() == bad.keys()
    assert all(text in (bad[line], json.dumps(bad[line].split(","), separators=(",", ":")))
               for line, text in found.items())  # fmt: skip


def test_an_object_with_a_key_twice_is_a_bad_line(tmp_path: Path) -> None:
    """Nobody can say which value counts, Python's json takes the last: it is no row."""
    sound = {"id": 1, "name": "n", "a": 1, "b": 1}
    twice = ['{"id":2,"id":3,"name":"n","a":1,"b":1}', '{"\\u0069d":4,"id":5,"name":"n","a":1,"b":1}']
    content = "\n".join([json.dumps(sound), *twice, ""]).encode()
    root = workspace(tmp_path, content, "2", "json")
    assert run(load("mini", root), DAY).rows.published == 1
    assert query(BAD, root).to_pylist() == [
        {"line": line, "message": "a key stands twice", "text": text} for line, text in enumerate(twice, 2)
    ]


@pytest.mark.parametrize("rule", ["0", "100%"])
def test_a_file_without_a_line_is_named(tmp_path: Path, rule: str) -> None:
    """It has no header: nobody can say that it has no rows."""
    root = workspace(tmp_path, b"", rule)
    with pytest.raises(Broken, match=r"rows.*\.csv: has no line; a CSV file has a header at least"):
        run(load("mini", root), DAY)
