"""`nightscore.export`: the .onnx file is the model that was trained, or nothing is written.

The truth is the library's own scores, and ONNX Runtime called by hand on the file.
"""

# ruff: noqa: E501, N803, N806 - a case is one line; X is what every library calls it

import json
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import onnxruntime
import pandas as pd
import pyarrow.parquet as pq
import pytest
import xgboost
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.ensemble import GradientBoostingRegressor, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler

import nightscore
from nightscore import Broken
from nightscore.cli.main import call

COLUMNS = list("abcdef")
EPOCH = pd.Timestamp(0)


def customers(rows: int = 400, seed: int = 1) -> tuple[pd.DataFrame, pd.Series]:
    """Customers with texts, nulls and dates, and whether they left."""
    chance = np.random.default_rng(seed)
    days = pd.to_timedelta(chance.integers(0, 300, rows), "D")
    frame = pd.DataFrame(
        {
            "age": chance.integers(18, 90, rows),
            "income": np.where(chance.random(rows) < 0.1, np.nan, chance.lognormal(8, 1, rows)),
            "country": chance.choice(np.array(["de", "fr", "it", None], object), rows),
            "active": chance.random(rows) < 0.5,
            "last_order": (pd.Timestamp("2025-01-01") + days).where(chance.random(rows) > 0.1),
        }
    )
    left = (frame.age > 50) ^ (frame.country == "de") ^ (frame.income.fillna(0) > 4000)
    return frame, left.astype(int)


def of_date(dates: pd.DataFrame) -> Any:
    """What a team's own code makes of a date."""
    date = dates.iloc[:, 0]
    since = (pd.Timestamp("2026-01-01") - date).dt.days.fillna(999)
    return np.column_stack([date.dt.month.fillna(0), date.dt.day_of_week.fillna(-1), since])


def pipeline(model: Any) -> Pipeline:
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    texts = make_pipeline(
        SimpleImputer(strategy="constant", fill_value="?"), OneHotEncoder(handle_unknown="ignore")
    )
    dates = make_pipeline(FunctionTransformer(of_date), StandardScaler())
    steps = [("n", numbers, ["age", "income"]), ("t", texts, ["country"]), ("d", dates, ["last_order"])]
    return Pipeline(
        [("columns", ColumnTransformer([*steps, ("rest", "passthrough", ["active"])])), ("model", model)]
    )


def by_hand(path: Path, rows: dict[str, Any], output: str) -> Any:
    """What ONNX Runtime gives, its metadata read by nobody."""
    session = onnxruntime.InferenceSession(path.read_bytes())
    kinds = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(bool)": bool}
    kinds |= {"tensor(string)": object, "tensor(int64)": np.int64}
    fed = {i.name: np.asarray(rows[i.name]).astype(kinds[i.type]) for i in session.get_inputs()}
    fed = {name: values.reshape(len(values), -1) for name, values in fed.items()}
    return session.run([output], fed)[0]


def test_a_pipeline_of_texts_nulls_and_dates(tmp_path: Path) -> None:
    """On rows that the export has not seen, some with a country that training has not; a day is a number."""
    frame, left = customers()
    model = pipeline(LogisticRegression()).fit(frame, left)
    done = nightscore.export(model, frame, tmp_path, name="churn")
    others, _ = customers(300, seed=2)
    others.loc[::9, "country"] = "pt"
    rows = others.assign(
        country=others.country.fillna(""), last_order=(others.last_order - EPOCH) / pd.Timedelta("1D")
    )
    given = by_hand(done.path, dict(rows), "probabilities")[:, 1]
    assert abs(given - model.predict_proba(others)[:, 1]).max() < 1e-6
    assert done.path == tmp_path / "churn.onnx" and done.furthest < 1e-6
    assert done.outputs == {"score": "probabilities[1]"}
    metadata = onnxruntime.InferenceSession(done.path.read_bytes()).get_modelmeta().custom_metadata_map
    said = {key: json.loads(metadata[key]) for key in ("columns", "missing", "days")}
    assert said == {"columns": list(frame), "missing": {"country": ""}, "days": ["last_order"]}
    # A day that no table has is no number, and a job refuses it.
    far = dict(rows[:1].assign(last_order=200_000.0))
    assert np.isnan(by_hand(done.path, far, "probabilities")).all()


def test_trees_of_categories_have_their_codes_in_the_file(tmp_path: Path) -> None:
    """A text that training has not seen is a missing value, as to LightGBM; so is a null."""
    frame, left = customers()
    frame = frame.drop(columns="last_order").assign(country=frame.country.astype("category"))
    model = lightgbm.LGBMClassifier(n_estimators=12, min_child_samples=5, verbose=-1).fit(frame, left)
    done = nightscore.export(model, frame, tmp_path)
    texts = np.array(["de", "fr", "it", "pt", ""] * 20, object)
    rows = frame[:100].assign(country=texts)
    known = np.where(np.isin(texts, ["de", "fr", "it"]), texts, None)
    seen = rows.assign(country=pd.Categorical(known, categories=["de", "fr", "it"]))
    given = by_hand(done.path, dict(rows), "probabilities")[:, 1]
    assert abs(given - model.predict_proba(seen)[:, 1]).max() < 1e-6
    booster = nightscore.export(model.booster_, frame, tmp_path, name="booster")
    again = by_hand(booster.path, dict(rows), "probabilities")[:, 1]
    assert abs(again - model.predict_proba(seen)[:, 1]).max() < 1e-6


def thresholds(node: dict[str, Any], feature: int) -> set[float]:
    if "threshold" not in node:
        return set()
    own = {float(node["threshold"])} if node["split_feature"] == feature else set()
    return own | thresholds(node["left_child"], feature) | thresholds(node["right_child"], feature)


def test_the_expected_file_has_values_at_thresholds_and_one_ulp_beside(tmp_path: Path) -> None:
    """The thresholds are those of LightGBM's own dump; scores on both sides are the library's."""
    chance = np.random.default_rng(3)
    X = chance.normal(size=(500, 2)) * 1e3 + 20_240_000  # beyond what float32 tells apart
    model = lightgbm.LGBMRegressor(n_estimators=3, num_leaves=4, verbose=-1).fit(X, X[:, 0] > 20_240_100)
    done = nightscore.export(model, X, tmp_path, columns=["a", "b"])
    file = pq.read_table(done.expected).to_pandas()
    splits = set().union(
        *(thresholds(t["tree_structure"], 0) for t in model.booster_.dump_model()["tree_info"])
    )
    at = {value for value in file["a"].dropna() if value in splits}
    assert at and {np.nextafter(value, np.inf) for value in at} <= set(file["a"].dropna())
    rows = file[["a", "b"]].to_numpy(np.float64, na_value=np.nan)
    assert abs(file["score"] - model.predict(rows)).max() == 0
    assert file["a"].isna().any() and file["a"].max() > X[:, 0].max() and done.rows == len(file)


def public(name: str) -> tuple[Any, Any, Any]:
    """A model of a public report whose export was another model: the model, X and y."""
    chance = np.random.default_rng(0)
    X = chance.normal(size=(1500, 6)).astype(np.float32)
    y = (X[:, 0] + 0.5 * X[:, 1] + 0.3 * chance.normal(size=1500) > 0).astype(int)
    r = X[:, 0] * 2 + np.sin(X[:, 1]) + 10
    gaps = np.where(chance.random(X.shape) < 0.15, np.float32(np.nan), X)
    codes = gaps.copy()
    codes[:, 2] = chance.integers(0, 12, 1500)
    few: dict[str, Any] = {"n_estimators": 15, "verbose": -1}
    forest = RandomForestClassifier(10, max_depth=8, random_state=0)
    scaled = Pipeline([("s", StandardScaler()), ("l", LogisticRegression())])
    sampled = {"boosting_type": "rf", "subsample": 0.7, "subsample_freq": 1}
    hist = HistGradientBoostingClassifier(max_iter=10, random_state=0, categorical_features=[2])
    cases: dict[str, tuple[Any, Any, Any]] = {
        "sklearn-onnx#1253 forest, NaN": (forest, gaps, y),
        "sklearn-onnx#1151 isotonic": (CalibratedClassifierCV(forest, method="isotonic"), X, y),
        "sklearn-onnx#1246 sigmoid": (CalibratedClassifierCV(scaled, method="sigmoid"), X, y),
        "sklearn-onnx#1101 categories": (hist, codes, ((codes[:, 2] % 3 == 0) ^ (y > 0)).astype(int)),
        "onnxmltools#728 zero_as_missing": (lightgbm.LGBMRegressor(zero_as_missing=True, **few), np.where(abs(X) < 0.4, 0, X), r),
        "onnxmltools#728 random forest": (lightgbm.LGBMRegressor(**sampled, **few), X, r),
        "onnxmltools#728 large float64": (lightgbm.LGBMRegressor(**few), X.astype(np.float64) * 1e3 + 20_240_000, r),
    }  # fmt: skip
    return cases[name]


@pytest.mark.parametrize(
    ("name", "is_right"),
    [
        ("sklearn-onnx#1253 forest, NaN", True),  # where a missing value goes is written by us
        ("sklearn-onnx#1151 isotonic", False),
        ("sklearn-onnx#1246 sigmoid", False),
        ("sklearn-onnx#1101 categories", False),
        ("onnxmltools#728 zero_as_missing", False),
        ("onnxmltools#728 random forest", False),
        ("onnxmltools#728 large float64", True),  # the trees compare in float64
    ],
)
def test_wrong_exports_of_public_reports_are_noticed(tmp_path: Path, name: str, is_right: bool) -> None:
    """Either the file is the model, on all rows of training, or nothing is there and a row shows why."""
    model, X, y = public(name)
    model.fit(X, y)
    if not is_right:
        with pytest.raises(Broken, match=r"another model: [\d,]+ of [\d,]+ rows differ.* What to do: "):
            nightscore.export(model, X, tmp_path, columns=COLUMNS)
        assert not list(tmp_path.iterdir())
        return
    done = nightscore.export(model, X, tmp_path, columns=COLUMNS)
    output = done.outputs["score"].partition("[")[0]
    given = by_hand(done.path, {"features": X}, output)
    wanted = model.predict_proba(X) if hasattr(model, "predict_proba") else model.predict(X)[:, None]
    assert abs(given - wanted).max() < 1e-6


@pytest.mark.parametrize(
    ("X", "more", "message"),
    [
        (np.zeros((9, 2)), {}, r"a matrix of 2 columns; name them: columns="),
        (pd.DataFrame({"a": [1.0], "score": [2.0]}), {}, r"'score' is a column of X"),
        (pd.DataFrame({"a": [1.0], "b": [pd.Timestamp("2025-01-01 10:00")]}), {}, r"'b' of X has times of day"),
        (pd.DataFrame({"a": [1.0], "b": [b"x"]}), {}, r"'b' of X is object, with values such as b'x'; allowed: "),
        (pd.DataFrame({"a": [], "b": []}), {}, r"X has no rows"),
        ([[1.0, 2.0]], {}, r"X is a list; allowed: "),
        (pd.DataFrame({"a": [1.0], "z": [2.0]}), {}, r"X has the columns \['a', 'z'\], and the model was trained on \['a', 'b'\]"),
    ],
)  # fmt: skip
def test_what_can_not_be_exported_is_said(tmp_path: Path, X: Any, more: dict[str, Any], message: str) -> None:
    model = LinearRegression().fit(pd.DataFrame({"a": [1.0, 2.0, 4.0], "b": [2.0, 1.0, 0.0]}), [1, 2, 3])
    if "score" in getattr(X, "columns", ()):
        model = LinearRegression().fit(pd.DataFrame({"a": [1.0, 2.0], "score": [2.0, 1.0]}), [1, 2])
    with pytest.raises(Broken, match=message):
        nightscore.export(model, X, tmp_path / "new", **more)
    assert not (tmp_path / "new").exists()


def test_an_object_of_no_library_and_a_step_of_python_are_refused(tmp_path: Path) -> None:
    frame, left = customers()
    with pytest.raises(
        Broken, match=r"a dict of builtins has no converter; allowed: scikit-learn, XGBoost, "
    ):
        nightscore.export({}, frame, tmp_path)
    scaled = make_pipeline(FunctionTransformer(lambda x: x * 2), LogisticRegression()).fit(
        frame[["age"]], left
    )
    with pytest.raises(Broken, match=r"FunctionTransformer of <lambda> on age: a model file holds no Python"):
        nightscore.export(scaled, frame[["age"]], tmp_path)


def test_what_the_library_refuses_is_named_with_its_domain(tmp_path: Path) -> None:
    frame, left = customers()
    frame = frame[["country"]].fillna("de")
    model = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(frame, left)
    done = nightscore.export(model, frame, tmp_path)
    assert 'domain: {"country": {"null": false, "in": ["de", "fr", "it"]}}' in str(done)


def test_a_new_job_takes_what_an_export_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the two files and a lake: texts with nulls, dates as they are; held to training, published."""
    frame, left = customers()
    model = pipeline(LogisticRegression()).fit(frame, left)
    nightscore.export(model, frame, tmp_path / "data/models", name="churn")
    (tmp_path / "jobs").mkdir()
    rows = frame.assign(last_order=frame.last_order.dt.date, customer_id=np.arange(len(frame)))
    (tmp_path / "data/lake/customers/day=2026-01-07").mkdir(parents=True)
    rows.to_parquet(tmp_path / "data/lake/customers/day=2026-01-07/a.parquet")
    monkeypatch.setenv("NIGHTSCORE_WORKSPACE", str(tmp_path))
    arguments = ["--model", "data/models/churn.onnx", "--input", "data/lake/customers"]
    assert call(["new", "churn", *arguments]) == 0
    assert (
        "expected: {features: data/models/churn_expected.parquet}"
        in (tmp_path / "jobs/churn/job.yaml").read_text()
    )
    assert call(["run", "churn", "--day", "2026-01-07"]) == 0
    printed = capsys.readouterr().out
    assert "published" in printed and "not held to training" not in printed
    table = nightscore.query("SELECT customer_id, score FROM churn_scores ORDER BY 1", tmp_path)
    assert abs(np.array(table["score"]) - model.predict_proba(frame)[:, 1]).max() < 1e-6


NUMBERS = [1, 2, 3, 16_777_216, 16_777_217, 90_000_001, 90_000_003]  # float32 takes some for others


def of_many_numbers() -> tuple[pd.DataFrame, Any]:
    """Rows of articles by their numbers, the large ones rare, and what is to be learned of them."""
    chance = np.random.default_rng(1)
    number = chance.choice(NUMBERS, 2000, p=[0.3, 0.3, 0.34, *[0.015] * 4])
    frame = pd.DataFrame({"article": number, "f": chance.normal(size=2000)})
    wanted = dict(zip(NUMBERS, [0, 1, 2, 10, -10, 8, -8], strict=True))
    return frame, frame.f * 0.1 + frame.article.map(wanted)


def test_categories_of_large_integers_keep_apart(tmp_path: Path) -> None:
    """X shows small ones alone; the file has to know all. The expected file has a row for each."""
    frame, y = of_many_numbers()
    frame["article"] = pd.Categorical(frame.article, categories=NUMBERS)
    X = frame[frame.article.isin([1, 2, 3])].head(300)
    small = {"min_child_samples": 3, "cat_smooth": 1, "min_data_per_group": 2}
    light = lightgbm.LGBMRegressor(n_estimators=20, verbose=-1, **small).fit(frame, y)
    boosted = xgboost.XGBRegressor(n_estimators=20, enable_categorical=True).fit(frame, y)
    for model in (light, boosted):
        done = nightscore.export(model, X, tmp_path)
        rows = {"article": np.array(frame.article, float), "f": frame.f}
        given = by_hand(done.path, rows, done.outputs["score"])[:, 0]
        assert abs(given - model.predict(frame)).max() < 1e-4
        assert set(NUMBERS) <= set(pq.read_table(done.expected)["article"].to_pylist())


def test_categories_that_no_number_of_onnx_tells_apart_are_refused(tmp_path: Path) -> None:
    frame, y = of_many_numbers()
    frame["article"] = pd.Categorical(frame.article.map({1: 0.5, 2: 0.1, 3: 0.1 + 1e-12}).fillna(9.0))
    model = lightgbm.LGBMRegressor(n_estimators=3, verbose=-1).fit(frame, y)
    with pytest.raises(Broken, match=r"'article' are merged in float32: 0.1 and 0.10000000000100001 are one"):
        nightscore.export(model, frame, tmp_path)


@pytest.mark.parametrize("encoder", [OrdinalEncoder(), OneHotEncoder(sparse_output=False)])
def test_encoders_of_large_integers_keep_them_apart(tmp_path: Path, encoder: Any) -> None:
    frame, y = of_many_numbers()
    columns = make_column_transformer((encoder, ["article"]), remainder="passthrough")
    model = make_pipeline(columns, GradientBoostingRegressor(n_estimators=20)).fit(frame, y)
    done = nightscore.export(model, frame[frame.article < 4].head(300), tmp_path)
    given = by_hand(done.path, dict(frame), done.outputs["score"])[:, 0]
    assert abs(given - model.predict(frame)).max() < 1e-4


def test_numbers_that_the_library_refuses_have_bounds(tmp_path: Path) -> None:
    """The logarithm of a negative number is none to scikit-learn; a column without a value says nothing."""
    frame, left = customers()
    X = frame[["income"]].assign(empty=np.nan)
    steps = SimpleImputer(keep_empty_features=True), FunctionTransformer(np.log1p), LogisticRegression()
    model = make_pipeline(*steps).fit(X, left)
    done = nightscore.export(model, X, tmp_path)
    said = json.loads(
        onnxruntime.InferenceSession(done.path.read_bytes()).get_modelmeta().custom_metadata_map["domain"]
    )
    assert said["income"] | {"min": X.income.min(), "max": X.income.max()} == said["income"]
    assert {} not in said.values()
    assert "where income is far out, scikit-learn" in str(done)


@pytest.mark.parametrize("kind", [lightgbm.LGBMRegressor, xgboost.XGBRegressor, LinearRegression])
def test_columns_that_training_called_otherwise_are_refused(tmp_path: Path, kind: Any) -> None:
    """A frame in another order or with other names, and a matrix whose names are given in another order."""
    X = customers()[0][["age", "income"]].fillna(0.0)
    more = {} if kind is LinearRegression else {"n_estimators": 3}
    more |= {"verbose": -1} if kind is lightgbm.LGBMRegressor else {}
    model = kind(**more).fit(X, X.age - X.income / 100)
    others: list[tuple[Any, Any]] = [
        (X[["income", "age"]], None),
        (X.set_axis(["years", "euros"], axis=1), None),
        (X.to_numpy(), ["income", "age"]),
    ]
    for given, columns in others:
        with pytest.raises(Broken, match=r"\['age', 'income'\]") as told:
            nightscore.export(model, given, tmp_path, columns=columns)
        assert str(list(columns or given.columns)) in str(told.value)
    assert not list(tmp_path.iterdir())
    nightscore.export(model, X.to_numpy(), tmp_path, columns=["age", "income"])
    of_a_matrix = kind(**more).fit(X.to_numpy(), X.age)  # Column_0, f0: nobody's names
    nightscore.export(of_a_matrix, X.to_numpy(), tmp_path, columns=["a", "b"])


@pytest.mark.parametrize("tolerance", [float("inf"), float("nan"), -1e-9, 0.2, "1"])
def test_a_tolerance_that_holds_nothing_is_refused(tmp_path: Path, tolerance: Any) -> None:
    X = pd.DataFrame({"a": [1.0, 2.0, 4.0]})
    with pytest.raises(Broken, match=r"tolerance is .*; allowed: a number from 0 to 0.1"):
        nightscore.export(LinearRegression().fit(X, [1, 2, 3]), X, tmp_path, tolerance=tolerance)


def test_the_class_of_a_chance_is_printed(tmp_path: Path) -> None:
    frame, left = customers()
    X = frame[["age"]]
    model = LogisticRegression().fit(X, np.where(left, "good", "bad"))
    done = nightscore.export(model, X, tmp_path)
    assert "# probabilities[1] is the chance of 'good'\n" in str(done)


def test_numbers_around_zero_that_no_row_has_refuse_nothing(tmp_path: Path) -> None:
    """LightGBM takes all within 1e-35 of zero for zero; the model's own threshold is there."""
    chance = np.random.default_rng(3)
    X = pd.DataFrame({"f": np.where(chance.random(800) < 0.6, 0.0, chance.normal(size=800))})
    model = lightgbm.LGBMRegressor(n_estimators=3, verbose=-1).fit(X, (X.f == 0) * 1.0)
    splits = [thresholds(t["tree_structure"], 0) for t in model.booster_.dump_model()["tree_info"]]
    assert any(0 < abs(value) < 2e-35 for value in set().union(*splits))
    done = nightscore.export(model, X, tmp_path)
    assert (
        abs(by_hand(done.path, {"features": X}, done.outputs["score"])[:, 0] - model.predict(X)).max() < 1e-6
    )
    assert "f within 2e-35 of zero" in str(done)


def test_a_null_is_what_training_had(tmp_path: Path) -> None:
    """An imputer of texts fills NaN, and leaves None: the file's null is the one of X."""
    frame, left = customers()
    X = frame[["country"]].astype(object).where(frame[["country"]].notna(), np.nan)
    steps = SimpleImputer(strategy="constant", fill_value="de"), OneHotEncoder(handle_unknown="ignore")
    model = make_pipeline(*steps, LogisticRegression()).fit(X, left)
    done = nightscore.export(model, X, tmp_path)
    given = by_hand(done.path, {"country": X.country.fillna("")}, "probabilities")[:, 1]
    assert abs(given - model.predict_proba(X)[:, 1]).max() < 1e-6


def test_a_new_job_refuses_what_training_does_not_score(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """scikit-learn raises for a null among integers, and for infinity: so does the night, as it was drafted."""
    frame, left = customers()
    X = frame[["age", "income"]].fillna(0.0)
    X["age"] = X.age.astype("int64")
    model = GradientBoostingRegressor(n_estimators=3).fit(X, left)
    for bad in (X.astype(float).assign(age=np.nan), X.assign(income=np.inf), X.assign(income=4e38)):
        with pytest.raises(ValueError, match=r"NaN|infinity"):
            model.predict(bad)
    nightscore.export(model, X, tmp_path / "data/models", name="m")
    (tmp_path / "jobs").mkdir()
    nights = {"01": X.astype(float), "02": X.assign(age=X.age.astype(float).where(X.index != 7))}
    nights |= {"03": X.assign(income=X.income.where(X.index != 7, np.inf))}
    nights |= {"04": X.assign(income=X.income.where(X.index != 7, -4e38))}
    for day, rows in nights.items():
        folder = tmp_path / f"data/lake/rows/day=2026-01-{day}"
        folder.mkdir(parents=True)
        rows.astype(float).assign(row_id=np.arange(len(rows))).to_parquet(folder / "a.parquet")
    monkeypatch.setenv("NIGHTSCORE_WORKSPACE", str(tmp_path))
    assert call(["new", "m", "--model", "data/models/m.onnx", "--input", "data/lake/rows"]) == 0
    assert call(["run", "m", "--day", "2026-01-01"]) == 0
    for day in ("02", "03", "04"):
        assert call(["run", "m", "--day", f"2026-01-{day}"]) == 1
    printed = capsys.readouterr()
    assert "domain" in printed.out + printed.err


def test_codes_of_categories_that_are_no_whole_numbers_are_named(tmp_path: Path) -> None:
    """LightGBM takes 2.5 for 2, and its .onnx does not; integers can't have it."""
    X = pd.DataFrame({"a": np.arange(400) / 400, "code": np.arange(400) % 8.0})
    model = lightgbm.LGBMRegressor(n_estimators=5, min_child_samples=5, verbose=-1)
    model.fit(X, np.sin(X["code"] * 7), categorical_feature=[1])
    between = X[:8].assign(code=X["code"][:8] + 0.5)
    np.testing.assert_array_equal(model.predict(between), model.predict(X[:8].assign(a=between["a"])))
    said = str(nightscore.export(model, X, tmp_path, name="floats"))
    assert "where code is no whole number, the .onnx does not score as lightgbm" in said
    assert '{"code": {"in": [0, 1, 2, 3, 4, 5, 6, 7]}}' in said
    whole = X.astype({"code": "int64"})
    model.fit(whole, np.sin(X["code"] * 7), categorical_feature=[1])
    assert "no whole number" not in str(nightscore.export(model, whole, tmp_path, name="integers"))
