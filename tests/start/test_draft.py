"""`nightscore new`: a first job of a model and an input, and what it could not match."""

# ruff: noqa: E501 - a case is one line

import datetime as dt
import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import yaml
from deltalake import write_deltalake
from onnx import TensorProto, helper

from nightscore.cli.main import call
from nightscore.store.published.catalog import query
from tests.support.workspace import linear_model

DAY = "2026-01-07"
ROWS = pa.table(
    {
        "Spend": [1.0, 2.0, 4.0],
        "order": [10.0, 20.0, 30.0],
        "group": ["a", "b", "b"],
        "customer_id": [7, 8, 9],
    }
)
SCORES = {7: 21.0, 8: 42.0, 9: 64.0}  # spend + 2 * order


@pytest.fixture
def space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace without a job, with a model of spend and order, and the lake of three customers."""
    (tmp_path / "jobs").mkdir()
    linear_model(tmp_path / "data/models/m.onnx", (1.0, 2.0), ("spend", "order"))
    monkeypatch.setenv("NIGHTSCORE_WORKSPACE", str(tmp_path))
    return tmp_path


def parquet(root: Path, name: str, table: pa.Table = ROWS) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, root / name)


def new(
    capsys: pytest.CaptureFixture[str], source: str, model: str = "data/models/m.onnx"
) -> tuple[int, str]:
    code = call(["new", "first", "--model", model, "--input", source])
    done = capsys.readouterr()
    return code, done.out + done.err


def csv(root: Path, name: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    pyarrow.csv.write_csv(ROWS, root / name)


def delta(root: Path, name: str) -> None:
    days = pa.array([dt.date(2026, 1, 7)] * 3)
    write_deltalake(str(root / name), ROWS.append_column("day", days), partition_by=["day"])


LAKES = {
    "hive": ("data/lake/c", lambda r: parquet(r, f"data/lake/c/day={DAY}/a.parquet"), "partition: day}"),
    "digits": ("data/lake/c", lambda r: parquet(r, "data/lake/c/dt=20260107/a.parquet"), '"dt={day:%Y%m%d}"'),
    "three levels": (
        "data/lake/c", lambda r: parquet(r, "data/lake/c/year=2026/month=01/day=07/a.parquet"),
        '"year={day:%Y}/month={day:%m}/day={day:%d}"',
    ),
    "below a region": (
        "data/lake/c", lambda r: parquet(r, f"data/lake/c/region=eu/day={DAY}/a.parquet"), '"region=*/day={day}"',
    ),
    "a file a day": ("data/lake/c", lambda r: parquet(r, "data/lake/c/c_20260107.parquet"), "c_{day:%Y%m%d}.parquet"),
    "one file": ("data/lake/c.parquet", lambda r: parquet(r, "data/lake/c.parquet"), "path: data/lake/c.parquet}"),
    "a column of days": (
        "data/lake/c.parquet",
        lambda r: parquet(r, "data/lake/c.parquet", ROWS.append_column("ds", pa.array([dt.date(2026, 1, 7)] * 3))),
        "day_column: ds",
    ),
    "csv": ("data/lake/c", lambda r: csv(r, f"data/lake/c/day={DAY}/a.csv"), "format: csv"),
    "delta": ("data/lake/c", lambda r: delta(r, "data/lake/c"), "{delta: data/lake/c, partition: day}"),
}  # fmt: skip


@pytest.mark.runs
@pytest.mark.parametrize("lake", LAKES)
@pytest.mark.sample(3)
def test_what_it_writes_runs(lake: str, space: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where all columns match, the draft is checked, run and published as it is, and says how the days lie."""
    path, write, says = LAKES[lake]
    write(space)
    code, said = new(capsys, path)
    assert (code, "matched   2 of 2 columns" in said) == (0, True), said
    assert says in (space / "jobs/first/job.yaml").read_text()
    assert call(["check", "first"]) == 0 and call(["run", "first", "--day", DAY]) == 0
    rows = query("SELECT customer_id, score FROM first_scores", space).to_pylist()
    assert {row["customer_id"]: row["score"] for row in rows} == SCORES


@pytest.mark.parametrize("end", ["\n", "\r", "\x85", "\u2028"])
def test_what_a_model_is_called_is_no_line_of_yours(
    end: str, space: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Names of columns and outputs are words of whoever wrote the file: no key of job.yaml, no line of SQL."""
    column, output = f"spend{end}FROM c --", f"y{end}policy: {{max_rejected: 100%}}"
    x = helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 2])
    y = helper.make_tensor_value_info(output, TensorProto.FLOAT, [None, 2])
    graph = helper.make_graph([helper.make_node("Identity", ["X"], [output])], "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, {"columns": json.dumps([column, "order"])})
    (space / "data/models/m.onnx").write_bytes(model.SerializeToString())
    parquet(space, f"data/lake/c/day={DAY}/a.parquet")
    new(capsys, "data/lake/c")
    read = yaml.safe_load((space / "jobs/first/job.yaml").read_text())
    assert set(read) == {"job", "inputs", "features", "key", "model"}
    sql = (space / "jobs/first/features.sql").read_text()
    assert [line.strip() for line in sql.splitlines() if "spend" in line] == [
        line.strip() for line in sql.splitlines() if line.strip().startswith("-- ") and "spend" in line
    ]
    assert not any(line.startswith("FROM c --") for line in sql.splitlines())


def test_what_it_cannot_match_is_said(space: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By command and in features.sql, with near names; a column of a wrong type is none; `check` names them."""
    table = pa.table({"customer_id": [1, 2], "spending": [1.0, 2.0], "order": ["x", "y"]})
    parquet(space, f"data/lake/c/day={DAY}/a.parquet", table)
    code, said = new(capsys, "data/lake/c")
    assert code == 0 and "matched   0 of 2 columns" in said
    assert "missing   spend (float): the input has no such column; near: spending" in said
    assert "missing   order: the input's column order is string, and the model takes float" in said
    sql = (space / "jobs/first/features.sql").read_text()
    assert re.findall(r"^    (.*)", sql, re.MULTILINE)[0] == "customer_id"
    assert "    -- spend (float): the input has no such column; near: spending\n" in sql
    assert call(["check", "first"]) == 1
    assert "the model needs column 'spend'" in capsys.readouterr().err


def test_columns_that_nothing_names_are_never_guessed(
    space: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A matrix of two numbers, and a lake with two numbers: which is which is left to the person."""
    x = helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 2])
    y = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2])
    graph = helper.make_graph([helper.make_node("Identity", ["X"], ["probabilities"])], "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    (space / "data/models/bare.onnx").write_bytes(model.SerializeToString())
    parquet(space, f"data/lake/c/day={DAY}/a.parquet")
    code, said = new(capsys, "data/lake/c", "data/models/bare.onnx")
    yaml = (space / "jobs/first/job.yaml").read_text()
    assert code == 0 and "matched   0 of 2 columns" in said and "feature_1" in said
    assert "columns: [feature_1, feature_2]" in yaml and 'score: "probabilities[1]"' in yaml
    assert call(["check", "first"]) == 1


def test_the_key_tells_rows_apart(space: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two columns where no one does; what tells nothing apart is said to be guessed."""
    pair = pa.table(
        {"shop_id": [1, 1, 2], "item_id": [1, 2, 1], "spend": [1.0, 2.0, 3.0], "order": [0.0, 0.0, 0.0]}
    )
    parquet(space, f"data/lake/c/day={DAY}/a.parquet", pair)
    assert new(capsys, "data/lake/c")[0] == 0
    assert (
        "key: [shop_id, item_id]   # no two of 3 rows of a.parquet"
        in (space / "jobs/first/job.yaml").read_text()
    )
    parquet(space, f"data/lake/d/day={DAY}/a.parquet", pa.concat_tables([pair, pair]))
    assert call(["new", "other", "--model", "data/models/m.onnx", "--input", "data/lake/d"]) == 0
    assert ": guessed: " in capsys.readouterr().out


REFUSED = {
    "no name": (
        ["Bad Name", "data/models/m.onnx", "data/lake/c"],
        "is no name for a job; allowed: small letters",
    ),
    "a model that is none": (
        ["a", "data/lake/c/day=2026-01-07/a.parquet", "data/lake/c"],
        "made for an .onnx file",
    ),
    "no model": (["a", "data/models/none.onnx", "data/lake/c"], "data/models/none.onnx: can't be read"),
    "no ONNX": (["a", "data/models/bad.onnx", "data/lake/c"], "ONNX Runtime can't load it"),
    "no input": (
        ["a", "data/models/m.onnx", "data/lake/none"],
        "nothing is there; allowed: a Parquet or CSV",
    ),
    "an input outside": (["a", "data/models/m.onnx", "/etc"], "lies outside the workspace"),
    "an empty input": (["a", "data/models/m.onnx", "data/lake/empty"], "is empty; allowed"),
    "another file": (
        ["a", "data/models/m.onnx", "data/models/bad.onnx"],
        "is none of the files that are known",
    ),
    "no Parquet": (
        ["a", "data/models/m.onnx", "data/lake/bad.parquet"],
        "is no Parquet file that can be read",
    ),
    "a folder that is there": (
        ["taken", "data/models/m.onnx", "data/lake/c"],
        "jobs/taken/features.sql is there",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case: str, space: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With what is allowed, and nothing is written."""
    parquet(space, f"data/lake/c/day={DAY}/a.parquet")
    (space / "data/lake/empty").mkdir()
    (space / "data/models/bad.onnx").write_bytes(b"no model")
    (space / "data/lake/bad.parquet").write_bytes(b"no rows")
    (space / "jobs/taken").mkdir()
    (space / "jobs/taken/features.sql").write_text("SELECT 1")
    before = sorted(space.rglob("*"))
    (name, model, source), says = REFUSED[case]
    assert call(["new", name, "--model", model, "--input", source]) == 1
    said = capsys.readouterr().err
    assert says in said and "report it" not in said
    assert sorted(space.rglob("*")) == before
