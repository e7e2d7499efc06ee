"""Models as people log them, saved by MLflow itself, and the rows to try them on."""

import logging
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import lightgbm as lgb
import mlflow.lightgbm
import mlflow.onnx
import mlflow.pyfunc
import mlflow.sklearn
import mlflow.xgboost
import numpy as np
import pandas as pd
import pyarrow as pa
import xgboost as xgb
import yaml
from mlflow.models import infer_signature
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from nightscore.scorers import ModelFile, read_model_folder

logging.getLogger("mlflow").setLevel(logging.ERROR)
ROWS = 300
NUMBERS, PLANS = ["a", "b"], ["basic", "plus", "pro"]

CODE = """\
import os
import sys
import time

import numpy as np
import pandas as pd

import mlflow


class Wordless(Exception):
    def __str__(self):
        raise ValueError


class Odd(mlflow.pyfunc.PythonModel):
    def predict(self, context, frame, params=None):
        print("a word that is no answer")
        what, y = int(frame["b"].iloc[0]), (frame["a"] + 2 * frame["b"]).to_numpy()
        if what == -1:
            raise ValueError(f"a is {frame['a'].iloc[0]}")
        if what == -2:
            print("the heap is damaged", file=sys.stderr, flush=True)
            os._exit(7)
        if what == -3:
            os.kill(os.getpid(), 9)
        if what == -4:
            return y[1:]
        if what == -5:
            return pd.Series(y)[::-1]
        if what == -6:
            return [str(one) for one in y]
        if what == -7:
            open("/no/such/file")
        if what == -8:
            return {"other": y, "prediction": y}
        if what == -9:
            return 3.5
        if what == -10:
            return pd.DataFrame({"other": y})
        if what == -11:
            raise Wordless()
        if what in (-20, -22) and os.fork() == 0 and what == -22:
            time.sleep(600)
        if what == -21:
            y = y + len(sys.stdin.read())
        if what == -22:
            os.kill(os.getpid(), 9)
        return y


mlflow.models.set_model(Odd())
"""


def frame(rows: int = ROWS) -> pd.DataFrame:
    """Two numbers and a text [rows]."""
    rng = np.random.default_rng(5)
    numbers = {name: rng.normal(size=rows) for name in NUMBERS}
    return pd.DataFrame({**numbers, "plan": rng.choice(PLANS, rows)})


def target(given: pd.DataFrame) -> Any:
    """What came true: 0 or 1 [rows]."""
    return (given["a"] + given["b"] + given["plan"].eq("pro") > 0.3).astype(int)


def pipeline(given: pd.DataFrame) -> Any:
    """A pipeline of scikit-learn with a text."""
    columns = make_column_transformer((StandardScaler(), NUMBERS), (OneHotEncoder(), ["plan"]))
    return make_pipeline(columns, LogisticRegression()).fit(given, target(given))


class Doubled(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """A model that is a class of somebody's, pickled."""

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # noqa: ARG002
        """Two columns by names."""
        return pd.DataFrame({"twice": model_input["a"] * 2, "word": model_input["plan"] + "!"})


def _sklearn(folder: Path) -> Any:
    model = pipeline(frame())
    signature = infer_signature(frame(), model.predict_proba(frame()))
    mlflow.sklearn.save_model(
        model,
        folder,
        serialization_format="cloudpickle",
        pyfunc_predict_fn="predict_proba",
        signature=signature,
    )
    return model


def _labels(folder: Path) -> Any:
    model = LogisticRegression().fit(frame()[NUMBERS].to_numpy(), frame()["plan"])
    matrix = frame()[NUMBERS].to_numpy()
    signature = infer_signature(matrix, model.predict(matrix))
    mlflow.sklearn.save_model(model, folder, serialization_format="cloudpickle", signature=signature)
    return model


def _lightgbm(folder: Path) -> Any:
    x = frame()[NUMBERS]
    model = lgb.train({"objective": "binary", "verbose": -1}, lgb.Dataset(x, target(frame())), 8)
    mlflow.lightgbm.save_model(model, folder, signature=infer_signature(x, model.predict(x)))
    return model


def _xgboost(folder: Path) -> Any:
    x = frame()[NUMBERS]
    model = xgb.XGBClassifier(n_estimators=8).fit(x, target(frame()))
    mlflow.xgboost.save_model(model, folder, signature=infer_signature(x, model.predict(x)))
    return model


def _catboost(folder: Path) -> Any:
    import catboost
    import mlflow.catboost

    given = frame().assign(plan=lambda rows: rows["plan"].astype(object))
    model = catboost.CatBoostClassifier(
        iterations=8, depth=3, verbose=0, random_seed=0, thread_count=1, cat_features=["plan"]
    )
    model.fit(given, target(given))
    signature = infer_signature(given, model.predict(given))
    mlflow.catboost.save_model(model, folder, signature=signature)
    return model


def _onnx(folder: Path) -> Any:
    from skl2onnx import to_onnx

    x = frame()[NUMBERS].to_numpy(np.float32)
    model = LogisticRegression().fit(x, target(frame()))
    graph = to_onnx(model, x[:1], options={"zipmap": False})
    mlflow.onnx.save_model(graph, folder, signature=infer_signature(x, model.predict(x)))
    return model


def _class(folder: Path) -> Any:
    signature = infer_signature(frame(), Doubled().predict(None, frame()))
    cloudpickle.register_pickle_by_value(
        sys.modules[__name__]
    )  # as of a notebook: no package of tests is there
    mlflow.pyfunc.save_model(folder, python_model=Doubled(), signature=signature)


def _code(folder: Path) -> Any:
    path = folder.with_suffix(".py")
    path.write_text(CODE, encoding="utf-8")
    x = frame()[NUMBERS]
    mlflow.pyfunc.save_model(folder, python_model=path, signature=infer_signature(x, x["a"].to_numpy()))


SAVE: dict[str, Callable[[Path], Any]] = {
    "sklearn": _sklearn, "labels": _labels, "lightgbm": _lightgbm, "xgboost": _xgboost,
    "catboost": _catboost, "onnx": _onnx, "class": _class, "code": _code,
}  # fmt: skip


def saved(kind: str, folder: Path) -> Any:
    """A model of a kind in a folder, as MLflow saves it; and the model itself, where the library has it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of MLflow, about what it saves
        return SAVE[kind](folder)


def copied(folder: Path, to: Path) -> Path:
    """A copy of a model's folder, for a test that changes it."""
    return Path(shutil.copytree(folder, to))


def rewrite(folder: Path, was: str, now: str) -> None:
    """Change the signature in a folder's MLmodel, at one place."""
    about = yaml.safe_load((folder / "MLmodel").read_text())
    inputs = about["signature"]["inputs"]
    assert was in inputs
    about["signature"]["inputs"] = inputs.replace(was, now, 1)
    (folder / "MLmodel").write_text(yaml.safe_dump(about))


def read(folder: Path, name: str = "data/models/churn") -> ModelFile:
    """The folder as a job reads it."""
    return read_model_folder(folder, name, [file for file in folder.rglob("*") if file.is_file()])


def chunk(given: pd.DataFrame) -> pa.RecordBatch:
    """Rows as a scorer gets them."""
    return pa.RecordBatch.from_pandas(given, preserve_index=False)
