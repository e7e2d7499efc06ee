"""A job is held to what its training expects. Truth: NumPy for a linear model, LightGBM for trees."""

import csv
import hashlib
import json
import re
from pathlib import Path

import lightgbm as lgb
import numpy as np
import onnx
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from onnxmltools import convert_lightgbm
from onnxmltools.convert.common.data_types import FloatTensorType

from nightscore import Broken, RunRequest, load, run
from nightscore.cli.main import call
from nightscore.evaluation import promote_model
from nightscore.pipeline import check_job, plan_day
from tests.behaviour.conftest import Build
from tests.behaviour.world import DAY, receipts
from tests.support.workspace import JOB, linear_model

CASES, SCORES = "data/models/cases.parquet", "data/models/expected.parquet"
HELD = f"  expected: {{features: {CASES}, scores: {SCORES}}}\n"
WEIGHTS = (1.0, 2.0)
disk_only = pytest.mark.disk_only(reason="the same code wherever the files lie")


def held(job: str = JOB, line: str = HELD) -> str:
    """A job with what training expects of its model."""
    return re.sub(r"  outputs: .*\n", lambda found: found[0] + line, job)


def cases(rows: int = 300) -> pa.Table:
    """Rows as training had them: a and b float32."""
    rng = np.random.default_rng(5)
    a, b = (rng.normal(size=rows).astype(np.float32) for _ in range(2))
    return pa.table({"id": np.arange(rows) * 7, "a": a, "b": b})


def of_numpy(table: pa.Table) -> pa.Table:
    """The scores of the linear model, by NumPy in float64."""
    a, b = (table[name].to_numpy().astype(np.float64) for name in ("a", "b"))
    return pa.table({"score": WEIGHTS[0] * a + WEIGHTS[1] * b})


def write(root: Path, path: str, table: pa.Table) -> bytes:
    """Write a file of the training script; its bytes."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    data = sink.getvalue().to_pybytes()
    (root / path).write_bytes(data)
    return data


def refused(root: Path) -> str:
    """That check, plan and run all refuse, with one message, and nothing is published; the message."""
    job, said = load("mini", root), []
    for do in (lambda: check_job(job), lambda: plan_day(job, _day()), lambda: run(job, DAY)):
        with pytest.raises(Broken) as error:
            do()
        said.append(str(error.value))
    assert len(set(said)) == 1, said
    assert not (root / "data/tables/mini_scores").exists() or receipts(root) == []
    return said[0]


def _day() -> "np.datetime64":
    return np.datetime64(DAY).item()


def test_a_night_that_is_held_says_so_and_an_unchanged_day_stays_so(
    fresh: Build, capsys: pytest.CaptureFixture[str]
) -> None:
    root = fresh(job=held())
    table = cases()
    data = [write(root, CASES, table.drop(["id"])), write(root, SCORES, of_numpy(table))]
    receipt = run(load("mini", root), DAY)
    assert receipt.training is not None
    assert receipt.training.rows == 300
    assert receipt.training.difference < 1e-5
    hashes = [hashlib.sha256(each).hexdigest() for each in data]
    assert dict(receipt.training.files) == dict(zip((CASES, SCORES), hashes, strict=True))
    kept = list(load("mini", root).workspace.choices.glob("*.training"))
    assert len(kept) == 1  # the next night does not ask again
    assert run(load("mini", root), DAY).status == "unchanged"
    assert call(["--workspace", str(root), "receipts", "mini", "--day", DAY]) == 0
    assert "300 rows: the model is held to training, the SQL is not; at most " in capsys.readouterr().out
    write(root, SCORES, of_numpy(table).append_column("note", pa.array(["x"] * 300)))
    again = run(load("mini", root), DAY)  # other bytes are another cause
    assert again.status == "published"
    assert again.training is not None
    assert again.training.sha256 != receipt.training.sha256


def test_without_files_a_night_is_published_with_a_note(
    fresh: Build, capsys: pytest.CaptureFixture[str]
) -> None:
    root = fresh()
    receipt = run(load("mini", root), DAY)
    assert receipt.training is None
    assert "training" not in json.loads(receipt.to_json())
    assert all(audit.passed for audit in receipt.audits)
    assert call(["--workspace", str(root), "receipts", "mini", "--day", DAY]) == 0
    assert "not held to training" in capsys.readouterr().out


def test_two_names_that_are_swapped_are_named(fresh: Build) -> None:
    root = fresh(job=held(line="  columns: [b, a]\n  columns_override: true\n" + HELD))
    write(root, CASES, (table := cases()))
    write(root, SCORES, of_numpy(table).append_column("id", table["id"]))
    a, b = (table[name].to_numpy().astype(np.float64) for name in ("a", "b"))
    wrong = np.abs(a - b) / np.maximum(1, np.abs(a + 2 * b))  # relative above 1
    said = refused(root)
    assert "model.expected" in said
    assert SCORES in said
    assert "an order: a and b have changed places" in said or "an order: b and a have changed places" in said
    assert f"id={7 * int(np.argmax(wrong))} (score" in said, said  # the furthest row, by its key
    assert re.search(r"(29\d|300) of 300 rows", said)


@disk_only
@pytest.mark.parametrize("unit", [100.0, 1 / 60])
def test_a_feature_of_another_unit_is_named(fresh: Build, unit: float) -> None:
    root = fresh(job=held())
    table = cases()
    b = table["b"].to_numpy().astype(np.float64)
    write(root, CASES, table)
    write(root, SCORES, of_numpy(table.set_column(2, "b", pa.array(b * unit))))
    assert f"a unit: training had b times {unit:.6g}" in refused(root)


@disk_only
@pytest.mark.parametrize(("change", "cause"), [
    (lambda s: 1 - s, "1 - score is right"),
    (lambda s: 1000 * s, "each score times 1000 is right"),
    (lambda s: s + 0.5, "each score plus 0.5 is right"),
    (lambda s: 1 / (1 + np.exp(-s)), "score is the log-odds of the probability that is expected"),
])  # fmt: skip
def test_outputs_that_are_something_else_are_named(fresh: Build, change, cause: str) -> None:  # type: ignore[no-untyped-def]
    root = fresh(job=held())
    write(root, CASES, (table := cases()))
    write(root, SCORES, pa.table({"score": change(of_numpy(table)["score"].to_numpy())}))
    assert cause in refused(root)


MADE = """\
SELECT id, coalesce(a, 0) AS a, CAST(b AS FLOAT) * $UNIT AS b
FROM rows
WHERE day = getvariable('day')
"""
OF_INPUTS = f"""\
  expected:
    inputs: {{rows: data/models/raw.parquet}}
    features: {CASES}
    scores: {SCORES}
    day: 2020-01-01
"""


def of_inputs(fresh: Build, sql: str, line: str = OF_INPUTS) -> Path:
    """A job whose SQL makes features of raw rows; training had -1 where a was missing, its rows backwards."""
    root: Path = fresh(job=held(JOB.replace("features: rows", "features: made.sql"), line))
    (root / "jobs/mini/made.sql").write_text(sql)
    table = cases()
    a = table["a"].to_numpy().copy()
    a[::10] = -1
    raw = pa.array(a, mask=a == -1)
    day = pa.array([np.datetime64("2020-01-01").item()] * len(a))
    write(
        root,
        "data/models/raw.parquet",
        pa.table({"day": day, "id": table["id"], "a": raw, "b": table["b"]}),
    )
    had = pa.table({"id": table["id"], "a": a, "b": table["b"]}).take(np.arange(len(a))[::-1])
    write(root, CASES, had)
    write(root, SCORES, of_numpy(had).append_column("id", had["id"]))
    return root


@disk_only
def test_features_sql_is_run_on_files_that_stand_for_inputs(fresh: Build) -> None:
    root = of_inputs(fresh, MADE.replace("$UNIT", "1").replace("coalesce(a, 0)", "coalesce(a, -1)"))
    assert "300 rows: SQL and model are held to training; at most " in check_job(load("mini", root))
    (root / "jobs/mini/made.sql").write_text(MADE.replace("$UNIT", "1"))
    with pytest.raises(Broken, match=r"the SQL gives other features than training had: a in 30 ") as error:
        check_job(load("mini", root))
    assert "id=2030: 0.0, training had -1.0" in str(error.value)


@disk_only
def test_what_the_sql_makes_otherwise_is_named(fresh: Build) -> None:
    root = of_inputs(fresh, MADE.replace("$UNIT", "1000").replace("coalesce(a, 0)", "coalesce(a, -1)"))
    with pytest.raises(Broken, match=r"a unit: training had b times 0.001"):
        check_job(load("mini", root))
    (root / "jobs/mini/made.sql").write_text(MADE.replace("$UNIT", "1").replace("coalesce(a, 0)", "a"))
    with pytest.raises(Broken, match=r"a missing-value code: a is missing here where it was -1 in training"):
        check_job(load("mini", root))
    swapped = (
        MADE.replace("$UNIT", "1")
        .replace("coalesce(a, 0) AS a", "coalesce(a, -1) AS b")
        .replace("* 1 AS b", "AS a")
    )
    (root / "jobs/mini/made.sql").write_text(swapped)
    with pytest.raises(Broken, match=r"an order: what training had as [ab] is [ab] here"):
        check_job(load("mini", root))


@disk_only
@pytest.mark.parametrize(("line", "says"), [
    ("  expected: {scores: x.parquet}\n", "has no rows: features: FILE, or inputs"),
    ("  expected: {inputs: {rows: x.parquet}}\n", "stand beside scores: FILE"),
    ("  expected: {features: x.parquet, day: 2020-01-01}\n", "is the day of the features SQL"),
    ("  expected: {features: data/models/no.parquet}\n", "no.parquet: can't be read: No such file"),
    (f"  expected: {{features: {CASES}}}\n", "has no column 'score', an output of the job; its columns: id"),
    (f"  expected: {{inputs: {{other: {CASES}}}, scores: {SCORES}}}\n", "is no input of the job; its"),
    ("  expected: {features: jobs/mini/top.sql}\n", "top.sql: can't be read"),
])  # fmt: skip
def test_mistakes_are_said(fresh: Build, line: str, says: str) -> None:
    root = fresh(job=held(line=line))
    write(root, CASES, (table := cases()))
    write(root, SCORES, of_numpy(table))
    with pytest.raises(Broken, match=re.escape(says)):
        check_job(load("mini", root))


@disk_only
def test_rows_and_scores_belong_together(fresh: Build) -> None:
    root = fresh(job=held())
    write(root, CASES, (table := cases()))
    write(root, SCORES, of_numpy(table)[:200])
    with pytest.raises(Broken, match=r"has 200 rows; .*: 300"):
        check_job(load("mini", root))
    write(root, SCORES, of_numpy(table).append_column("id", pa.array(np.arange(300) * 7 + 1)))
    with pytest.raises(Broken, match="300 of 300 rows are not among the features, such as id=1"):
        check_job(load("mini", root))


@disk_only
def test_csv_will_do_and_a_tolerance_is_the_jobs_own(fresh: Build) -> None:
    root = fresh(job=held(line="  expected: {features: data/models/c.csv, tolerance: 0.01}\n"))
    table = cases()
    score = of_numpy(table)["score"].to_numpy()
    both = table.append_column("score", pa.array(score + 0.009 * np.maximum(1, np.abs(score))))
    pa_csv.write_csv(both, root / "data/models/c.csv")
    with (root / "data/models/c.csv").open() as file:
        assert next(csv.reader(file)) == ["id", "a", "b", "score"]
    held_now = plan_day(load("mini", root), _day()).training
    assert held_now is not None
    wanted = np.asarray(both["score"])
    truth = float((np.abs(wanted - score) / np.maximum(1, np.abs(wanted))).max())
    assert held_now.difference == pytest.approx(truth, rel=1e-3)


LITTLE = {  # rows, their scores' size, more of model.expected, what is said
    "one row": (1, 1.0, "", "This holds little: there is 1 row"),
    "small scores": (300, 1e-6, "", "This holds little: all values of score lie within "),
    "a wide tolerance": (300, 1.0, ", tolerance: 1", "need 10 times the tolerance (1) to be told apart"),
    "small scores and tolerance": (300, 1e-6, ", tolerance: 1.0e-9", ""),
}


@disk_only
@pytest.mark.parametrize("case", LITTLE)
@pytest.mark.sample(2)
def test_files_that_hold_little_say_so(fresh: Build, capsys: pytest.CaptureFixture[str], case: str) -> None:
    """In check, receipt and the kept verdict: with scores of 1e-6 a model of swapped columns passes."""
    rows, size, more, little = LITTLE[case]
    root = fresh(job=held(line=HELD.replace("}", more + "}")))
    linear_model(root / "data/models/linear.onnx", (1.0 * size, 2.0 * size))
    write(root, CASES, (table := cases(rows)))
    write(root, SCORES, pa.table({"score": of_numpy(table)["score"].to_numpy() * size}))
    run(load("mini", root), DAY)
    assert call(["--workspace", str(root), "receipts", "mini", "--day", DAY]) == 0
    for text in (check_job(load("mini", root)), " ".join(capsys.readouterr().out.split())):
        assert f"{rows} row{'s' * (rows > 1)}: the model is held to training, the SQL is not; at most" in text
        assert little in text and ("This holds little" in text) == bool(little)
    [verdict] = load("mini", root).workspace.choices.glob("*.training")
    assert little.removeprefix("This holds little: ") in json.loads(verdict.read_text())["little"]


@disk_only
@pytest.mark.parametrize("missing", [None, float("nan")])
def test_files_without_a_score_are_refused(fresh: Build, missing: float | None) -> None:
    root = fresh(job=held())
    write(root, CASES, pa.table({name: pa.array([missing] * 3, pa.float32()) for name in "ab"}))
    write(root, SCORES, pa.table({"score": pa.array([missing] * 3, pa.float64())}))
    assert "data/models/expected.parquet: has no score: each is null or NaN" in refused(root)


def test_a_challenger_is_promoted_only_if_its_own_training_agrees(fresh: Build) -> None:
    two = JOB.replace(
        "path: data/models/linear.onnx",
        "champion: data/models/linear.onnx\n  challengers: [data/models/other.onnx]",
    )
    root = fresh(job=held(two, "  expected: {features: 'data/models/{model}.parquet'}\n"))
    linear_model(root / "data/models/other.onnx", (2.0, 1.0))
    table = cases()
    write(root, "data/models/linear.parquet", table.append_column("score", of_numpy(table)["score"]))
    write(root, "data/models/other.parquet", table.append_column("score", of_numpy(table)["score"]))
    assert run(load("mini", root), DAY).status == "published"
    how = {"by": "Ada", "because": "a test", "force": True}
    with pytest.raises(Broken, match=r"other.parquet: .*an order: a and b have changed places"):
        promote_model(load("mini", root), "data/models/other.onnx", **how)  # type: ignore[arg-type]
    assert load("mini", root).spec.model.file == "data/models/linear.onnx"
    a, b = (table[name].to_numpy().astype(np.float64) for name in "ab")
    write(root, "data/models/other.parquet", table.append_column("score", pa.array(2 * a + b)))
    promote_model(load("mini", root), "data/models/other.onnx", **how)  # type: ignore[arg-type]
    again = run(load("mini", root), DAY)
    assert again.training is not None
    assert [*again.training.files] == ["data/models/other.parquet"]


@disk_only
def test_another_model_that_is_looked_at_is_not_held(fresh: Build) -> None:
    root = fresh(job=held())
    write(root, CASES, (table := cases()))
    write(root, SCORES, of_numpy(table))
    linear_model(root / "data/models/other.onnx", (2.0, 1.0))
    look = RunRequest(model="data/models/other.onnx", limit=10)
    assert run(load("mini", root), DAY, request=look).status == "preview"
    with pytest.raises(Broken, match="not scored as training expects"):
        run(load("mini", root), DAY, request=RunRequest(model="data/models/other.onnx"))


def trees(root: Path, rows: np.ndarray, target: np.ndarray, **settings: object) -> lgb.Booster:
    """LightGBM's trees, exported as the public reports of wrong exports did it."""
    data = lgb.Dataset(rows, target, feature_name=["a", "b"], params={"verbose": -1})
    given = {"verbose": -1, "num_threads": 1, "seed": 1, "deterministic": True, **settings}
    booster = lgb.train(given, data, 30)
    model = convert_lightgbm(booster, "trees", [("X", FloatTensorType([None, 2]))], target_opset=15)
    onnx.helper.set_model_props(model, {"columns": json.dumps(["a", "b"])})
    (root / "data/models/linear.onnx").write_bytes(model.SerializeToString())
    return booster


FOREST = {"boosting": "rf", "bagging_fraction": 0.7, "bagging_freq": 1}


@disk_only
@pytest.mark.parametrize(("settings", "cause"), [
    ({}, ""),
    ({"zero_as_missing": True}, r"a missing-value code: to training 0 of any column was a missing value"),
    (FOREST, r"a unit: each score times 0\.0333"),
    ({"max_bin": 1000, "min_data_in_bin": 1}, r"a type: values lie so near to a threshold that"),
], ids=["as trained", "zeros", "forest", "large"])  # fmt: skip
def test_trees_that_are_another_model_are_named(
    fresh: Build, settings: dict[str, object], cause: str
) -> None:
    """Exports of public reports that are not what was trained: onnxmltools#728."""
    root = fresh(job=held(JOB.replace("score: y", "score: variable")))
    rows = np.random.default_rng(3).normal(size=(2_000, 2))
    target = rows[:, 0] + np.sin(2 * rows[:, 1])
    if "zero_as_missing" in settings:
        rows = np.where(np.abs(rows) < 0.3, 0, rows)
    if "max_bin" in settings:  # float32 has every second whole number there
        rows = rows * 1e3 + 20_240_000
    booster = trees(root, rows, target, **{"objective": "regression", **settings})
    write(root, CASES, pa.table({"a": rows[:400, 0], "b": rows[:400, 1]}))
    write(root, SCORES, pa.table({"score": booster.predict(rows[:400])}))
    job = load("mini", root)
    if not cause:
        assert "400 rows: the model is held to training" in check_job(job)
        return
    with pytest.raises(Broken, match=cause):
        check_job(job)


@disk_only
def test_a_code_for_missing_values_is_named(fresh: Build) -> None:
    root = fresh(job=held(JOB.replace("score: y", "score: variable")))
    rng = np.random.default_rng(4)
    rows = rng.normal(size=(2_000, 2))
    rows[rng.random(2_000) < 0.2, 1] = -999
    booster = trees(
        root, rows, rows[:, 0] + np.where(rows[:, 1] == -999, 3, rows[:, 1]), objective="regression"
    )
    write(root, SCORES, pa.table({"score": booster.predict(rows[:400])}))
    b = rows[:400, 1]
    write(root, CASES, pa.table({"a": rows[:400, 0], "b": pa.array(b, mask=b == -999)}))
    with pytest.raises(
        Broken, match=r"a missing-value code: training had -999 where (b|any column) is missing here"
    ):
        check_job(load("mini", root))
