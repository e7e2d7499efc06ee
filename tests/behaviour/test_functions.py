"""Whole nights by a function: its model file is a cause, and its frame has the values of the lake."""

# ruff: noqa: E501 - a case is one line

import datetime as dt
import pickle
import sys
from decimal import Decimal
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from nightscore import Broken, NotYet, load, query, run
from nightscore.pipeline.steps import check_job, plan_day, score_piece
from tests.behaviour.conftest import Build
from tests.support.packages import build

DAY = "2020-01-01"
ROWS = 600
JOB = """\
job: mini
about: x
inputs: {{rows: {{path: data/lake/rows, partition: day}}}}
features: {features}
key: [id]
model: {{{model}, outputs: {{{outputs}}}}}
"""
PREDICT = """\
import joblib
from nightscore.scorers import scorer

INPUTS = {"age": "float64", "visits": "float64", "region": "string", "plan": "string", "since": "date32"}

@scorer(inputs=INPUTS, outputs={"p": "float64"}, frame="pandas", load=joblib.load)
def predict(frame, pipeline):
    frame["days"] = frame["since"].dt.month
    return pipeline.predict_proba(frame.drop(columns="since"))[:, 1]
"""


def people() -> pa.Table:
    """Rows with texts, nulls, dates, as a retailer's; the same at each call."""
    rng = np.random.default_rng(7)
    some = lambda column, share=0.1: pa.array(column, mask=rng.random(ROWS) < share)  # noqa: E731
    days = [dt.date(2019, 1, 1) + dt.timedelta(days=int(n)) for n in rng.integers(0, 300, ROWS)]
    return pa.table(
        {
            "id": np.arange(ROWS),
            "age": some(rng.integers(18, 90, ROWS).astype(np.int32)),
            "visits": some(rng.poisson(3, ROWS).astype(np.int64)),
            "region": some(rng.choice(["north", "south", "Łódź"], ROWS)),
            "plan": pa.array(rng.choice(["basic", "plus"], ROWS)),
            "since": pa.array(days, pa.date32(), mask=rng.random(ROWS) < 0.1),
        }
    )


def training_frame(rows: pa.Table) -> pd.DataFrame:
    """What the training has, made by pandas alone."""
    frame = (
        rows.select(["age", "visits", "region", "plan"]).to_pandas().astype({"age": float, "visits": float})
    )
    since = pd.to_datetime(pd.Series(rows["since"].to_pylist()))
    return frame.assign(days=since.dt.month)


def pipeline(seed: int) -> object:
    frame = training_frame(people())
    rng = np.random.default_rng(seed)
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    texts = OneHotEncoder(handle_unknown="ignore")
    prepare = ColumnTransformer([("n", numbers, ["age", "visits", "days"]), ("t", texts, ["region", "plan"])])
    model = LogisticRegression(C=seed)
    return make_pipeline(prepare, model).fit(frame, rng.random(ROWS) < frame["age"].fillna(50) / 100)


def write_rows(root: Path, rows: pa.Table) -> None:
    folder = root / f"data/lake/rows/day={DAY}"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.parquet"):
        old.unlink()
    pq.write_table(rows, folder / "part-0.parquet", row_group_size=100)


def shop(root: Path, model: str, code: str = PREDICT, outputs: str = "score: p") -> Path:
    """A workspace of people whose job is scored by a function of the file scorers/churn.py."""
    write_rows(root, people())
    (root / "data/models").mkdir(exist_ok=True)
    (root / "scorers").mkdir(exist_ok=True)
    (root / "scorers/churn.py").write_text(code)
    (root / "jobs/mini/job.yaml").write_text(JOB.format(features="rows", model=model, outputs=outputs))
    return root


def published(root: Path) -> list[float]:
    return query("SELECT score FROM mini_scores ORDER BY id", root)["score"].to_pylist()


@pytest.mark.parametrize("kind", ["file", pytest.param("package", marks=pytest.mark.slow)])
def test_a_pipeline_of_pandas_scores_a_night_and_a_retraining_is_another_file(
    fresh: Build, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit what the library gives on a frame that pandas made; no code changes with the model."""
    said = "kind: scorers/churn.py"
    if kind == "package":
        project = (
            '[project]\nname = "shopmodels"\nversion = "1"\n[tool.setuptools]\npy-modules = ["shopmodels"]\n'
        )
        place = build(tmp_path / "p", {"shopmodels.py": PREDICT, "pyproject.toml": project})
        monkeypatch.syspath_prepend(str(place))
        monkeypatch.delitem(sys.modules, "shopmodels", raising=False)
        said = 'kind: python, entry: "shopmodels:predict"'
    root = shop(fresh(rows=1, days=(DAY,)), f"{said}, path: data/models/churn.joblib")
    hashes = set()
    for seed in (1, 2):
        joblib.dump(pipeline(seed), root / "data/models/churn.joblib")
        check_job(load("mini", root))
        receipt = run(load("mini", root), DAY)
        assert receipt.status == "published" and receipt.model is not None and receipt.model.code
        expected = joblib.load(root / "data/models/churn.joblib").predict_proba(training_frame(people()))[
            :, 1
        ]
        assert published(root) == expected.tolist()
        hashes.add((receipt.model.path, receipt.model.sha256))
        assert run(load("mini", root), DAY).status == "unchanged"
    assert len(hashes) == 2
    if kind == "package":
        code = place / "shopmodels.py"
        code.write_text(code.read_text() + "\n")
        monkeypatch.delitem(sys.modules, "shopmodels")
        assert run(load("mini", root), DAY).status == "published"  # the code is a cause, too


@pytest.mark.disk_only(reason="a model's bytes are read by the same call in a bucket")
def test_a_model_file_that_changes_after_the_plan_is_never_opened(fresh: Build) -> None:
    """Its hash is held before the function's `load` sees a byte: a pickle in its place runs nothing."""
    root = shop(fresh(rows=1, days=(DAY,)), "kind: scorers/churn.py, path: data/models/churn.joblib")
    joblib.dump(pipeline(1), root / "data/models/churn.joblib")
    job = load("mini", root)
    plan = plan_day(job, dt.date.fromisoformat(DAY))
    trap = root / "trap"
    (root / "data/models/churn.joblib").write_bytes(pickle.dumps(Trap(str(trap))))
    from nightscore.pipeline.score.open_model import close_models

    close_models()
    with pytest.raises(NotYet, match=r"has changed .*run the day again"):
        score_piece(job, plan, plan.pieces[0])
    assert not trap.exists()
    pinned = (
        (root / "jobs/mini/job.yaml")
        .read_text()
        .replace(", path: data/m", f", sha256: {'f' * 64}, path: data/m")
    )
    (root / "jobs/mini/job.yaml").write_text(pinned)
    with pytest.raises(Broken, match="the job pins"):
        check_job(load("mini", root))


class Trap:
    """A pickle that makes a file when it is opened."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path(self.path),)


@pytest.mark.slow
@pytest.mark.disk_only(reason="what a challenger scores doesn't depend on where data/ lies")
def test_challengers_are_other_files_of_the_same_function(fresh: Build) -> None:
    root = shop(
        fresh(rows=1, days=(DAY,)),
        "kind: scorers/churn.py, champion: data/models/a.joblib, challengers: [data/models/b.joblib]",
    )
    for name, seed in (("a", 1), ("b", 2)):
        joblib.dump(pipeline(seed), root / f"data/models/{name}.joblib")
    receipt = run(load("mini", root), DAY)
    assert [(c.name, c.rows) for c in receipt.challengers] == [("b", ROWS)]
    scores = query("SELECT score, b__score FROM mini_scores ORDER BY id", root, frame="pandas")
    for column, seed in (("score", 1), ("b__score", 2)):
        expected = pipeline(seed).predict_proba(training_frame(people()))[:, 1]  # type: ignore[attr-defined]
        np.testing.assert_allclose(scores[column], expected, rtol=0, atol=0)


WRONG = {
    "sorted by a column": ("frame['b'] = frame['age'].fillna(0); frame = frame.sort_values('b'); return frame['b']", "output 'p' has another index than the frame"),
    "sorted, without an index": ("return frame['age'].fillna(0).sort_values().reset_index(drop=True)", "rows get another score than together.*no sorting"),
    "by the chunk's mean": ("return (frame['age'] - frame['age'].mean()).fillna(0)", "rows get another score than together"),
    "a row too few": ("return frame['age'].dropna().to_numpy()", "rows for"),
    "a NaN": ("return frame['age']", "the model gives NaN as score"),
    "an infinity": ("return 1 / (frame['age'].fillna(0) * 0)", "the model gives an infinite number as score"),
    "two columns": ("return frame[['age', 'age']].to_numpy()", "take the ones that are meant, such as predict_proba.*1.; nothing is published$"),
    "labels": ("return (frame['age'] > 30)", "output 'p' is bool; declared is double"),
}  # fmt: skip


@pytest.mark.disk_only(reason="nothing is written")
@pytest.mark.parametrize(("body", "says"), WRONG.values(), ids=WRONG)
@pytest.mark.sample(3)
def test_a_function_that_moves_rows_publishes_nothing(fresh: Build, body: str, says: str) -> None:
    """Each is found before a row is published, whether by its index or by rows that are scored alone."""
    code = f"from nightscore.scorers import scorer\n\n@scorer(inputs={{'age': 'float64'}}, outputs={{'p': 'float64'}}, frame='pandas')\ndef f(frame):\n    {body}\n"  # fmt: skip
    root = shop(fresh(rows=1, days=(DAY,)), "kind: scorers/churn.py", code)
    with pytest.raises(Broken, match=says) as error:
        run(load("mini", root), DAY)
    assert "Export" not in str(error.value)  # a function is no exported model
    assert not list((root / "data").glob("tables/*/_delta_log"))


NO_SCORE = {
    "an infinity": ("float64", "score: p", "frame['id'].map(lambda i: float('-inf') if i % 50 == 7 else i / 2)", "an infinite number"),
    "one in a list": ("LIST", "score: 'p[1]'", "frame['id'].map(lambda i: [0.5, float('inf') if i % 50 == 7 else i / 2])", "an infinite number"),
    "a list with one": ("LIST", "score: 'p[*]'", "frame['id'].map(lambda i: [0.5, float('inf') if i % 50 == 7 else i / 2])", "a list with an infinite number"),
    "no integer": ("int64", "score: p", "frame['id'].map(lambda i: None if i % 50 == 7 else int(i)).astype('Int64')", "null"),
    "no text": ("string", "score: p", "frame['id'].map(lambda i: float('nan') if i % 50 == 7 else str(int(i)))", "null"),
    "no truth": ("bool", "score: p", "frame['id'].map(lambda i: None if i % 50 == 7 else i > 30).astype('boolean')", "null"),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "outputs", "body", "what"), NO_SCORE.values(), ids=NO_SCORE)
@pytest.mark.sample(2)
def test_what_is_no_score_stops_the_night_or_is_rejected(
    fresh: Build, kind: str, outputs: str, body: str, what: str
) -> None:
    """An infinite number and a null of any type as a NaN: ids 7, 57, 107, … are the twelve of 600."""
    shown = "pa.list_(pa.float64())" if kind == "LIST" else repr(kind)
    code = f"import pyarrow as pa\nfrom nightscore.scorers import scorer\n\n@scorer(inputs={{'id': 'float64'}}, outputs={{'p': {shown}}}, frame='pandas')\ndef f(frame):\n    return {body}\n"
    root = shop(fresh(rows=1, days=(DAY,)), "kind: scorers/churn.py", code, outputs)
    with pytest.raises(Broken, match=f"id=7: the model gives {what} as score .and 11 more rows"):
        run(load("mini", root), DAY)
    assert not list((root / "data").glob("tables/*/_delta_log"))
    file = root / "jobs/mini/job.yaml"
    file.write_text(file.read_text() + "scoring: {nan_output: reject}\npolicy: {max_rejected: 12}\n")
    run(load("mini", root), DAY)
    rejected = query("SELECT id, reason FROM mini_rejects ORDER BY id", root).to_pylist()
    assert rejected == [{"id": i, "reason": "nan_output"} for i in range(7, ROWS, 50)]
    scores = query("SELECT id FROM mini_scores WHERE score IS NOT NULL ORDER BY id", root)["id"].to_pylist()
    assert scores == [i for i in range(ROWS) if i % 50 != 7]


ALL = {
    "yes": (pa.bool_(), True), "i8": (pa.int8(), -7), "u64": (pa.uint64(), 2**64 - 1), "i64": (pa.int64(), 2**53 + 1),
    "f32": (pa.float32(), 0.5), "f64": (pa.float64(), 0.1), "money": (pa.decimal128(20, 2), Decimal("123456789012345678.91")),
    "text": (pa.string(), "Łódź"), "raw": (pa.binary(), b"\x00\xff"), "date": (pa.date32(), dt.date(2020, 2, 29)),
    "clock": (pa.time64("us"), dt.time(23, 59, 59, 999999)), "at": (pa.timestamp("us"), dt.datetime(2020, 3, 29, 2, 30, 0, 1)),
    "utc": (pa.timestamp("us", "UTC"), dt.datetime(2020, 3, 29, 1, 30, 0, 1, tzinfo=dt.UTC)),
    "list": (pa.list_(pa.int64()), [2**53 + 1, None]), "inner": (pa.struct({"n": pa.int64()}), {"n": 2**53 + 1}),
    "kind": (pa.dictionary(pa.int32(), pa.string()), "b"),
}  # fmt: skip
SEE = """\
from nightscore.scorers import category, scorer
import pyarrow as pa

INPUTS = {inputs}

@scorer(inputs=INPUTS, outputs={{"seen": "string", "types": "string"}}, frame="pandas", nullable=True)
def see(frame):
    rows = [repr(list(row)) for row in frame.itertuples(index=False)]
    return frame.assign(seen=rows, types=repr(list(map(str, frame.dtypes))))[["seen", "types"]]
"""
DTYPES = {
    "yes": "boolean", "i8": "Int8", "u64": "UInt64", "i64": "Int64", "f32": "float32", "f64": "float64",
    "text": "str", "date": "datetime64[ms]", "at": "datetime64[us]", "utc": "datetime64[us, UTC]",
    "berlin": "datetime64[us, Europe/Berlin]", "kind": "category",
}  # fmt: skip
DECLARED = {
    "inner": "pa.struct({'n': pa.int64()})", "list": "pa.list_(pa.int64())", "money": "pa.decimal128(20, 2)",
    "at": "pa.timestamp('us')", "utc": "pa.timestamp('us', 'UTC')", "clock": "pa.time64('us')",
    "kind": "category(['a', 'b', 'c'])", "raw": "pa.binary()",
}  # fmt: skip


@pytest.mark.disk_only(reason="a column's type doesn't depend on where data/ lies")
@pytest.mark.parametrize("features", ["rows", "features.sql"])
def test_a_frame_has_what_lies_in_the_lake_of_each_type(fresh: Build, features: str) -> None:
    """A row of values and a row of nulls, as Python wrote them, in dtypes that no null changes."""
    root = shop(fresh(rows=1, days=(DAY,)), "kind: scorers/churn.py", outputs="seen: seen, types: types")
    rows = {name: pa.array([value, None], kind) for name, (kind, value) in ALL.items()}
    write_rows(root, pa.table({"id": [1, 2], **rows}))
    declared = ", ".join(f"{n!r}: {DECLARED.get(n, repr(str(kind)))}" for n, (kind, _) in ALL.items())
    (root / "scorers/churn.py").write_text(SEE.format(inputs=f"{{{declared}}}"))
    job = (root / "jobs/mini/job.yaml").read_text().replace("features: rows", f"features: {features}")
    (root / "jobs/mini/job.yaml").write_text(job)
    (root / "jobs/mini/features.sql").write_text("SELECT * EXCLUDE (day) FROM rows")
    run(load("mini", root), DAY)
    found = query("SELECT seen, types FROM mini_scores ORDER BY id", root).to_pylist()
    assert found[0]["types"] == repr([DTYPES.get(name, "object") for name in ALL])
    world = {
        "Timestamp": pd.Timestamp,
        "Decimal": Decimal,
        "datetime": dt,
        "np": np,
        "nan": None,
        "NaT": None,
    }
    values, nulls = (eval(row["seen"].replace("<NA>", "None"), world) for row in found)  # noqa: S307
    assert nulls == [None] * len(ALL)
    for name, value, (_, written) in zip(ALL, values, ALL.values(), strict=True):
        assert value == (pd.Timestamp(written) if type(written) is dt.date else written), name


@pytest.mark.disk_only(reason="the same files, read by the same call")
def test_a_query_in_pandas_has_the_published_values(published: Path) -> None:
    """Integers beside a null stay integers; Arrow's own answer is what it was."""
    sql = "SELECT id, score, CASE WHEN id > 0 THEN 9007199254740993 END AS big, DATE '2020-02-29' AS d, id > 5 AS yes FROM mini_scores ORDER BY id LIMIT 3"  # fmt: skip
    frame = query(sql, published, frame="pandas")
    assert [str(kind) for kind in frame.dtypes] == ["int64", "float32", "Int64", "datetime64[ms]", "bool"]
    assert frame["big"].tolist() == [pd.NA, 2**53 + 1, 2**53 + 1]
    assert frame["d"].dt.month.tolist() == [2, 2, 2]
    assert frame["id"].tolist() == query(sql, published)["id"].to_pylist()
    none = query(sql.replace("LIMIT 3", "LIMIT 0"), published, frame="pandas")
    assert len(none) == 0 and [str(kind) for kind in none.dtypes][:3] == ["int64", "float32", "int64"]
    with pytest.raises(Broken, match="query: there is no frame 'spark'; allowed: arrow, pandas, polars"):
        query(sql, published, frame="spark")
