"""Models as people train them, on a frame with numbers, gaps and categories, and rows to try them on."""

import functools
from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
import pyarrow as pa
import xgboost as xgb

from nightscore.scorers import ModelFile

PLANS = ["basic", "plus", "pro"]
NUMBERS, COLUMNS = ["balance", "age"], ["balance", "plan", "age", "store"]
FEW = {"n_estimators": 12, "random_state": 0, "n_jobs": 1}
ROWS = 1500


def frame(rows: int = ROWS, seed: int = 0) -> pd.DataFrame:
    """Features [rows]: float32 numbers with gaps, and categories of texts and of integers, with gaps too."""
    rng = np.random.default_rng(seed)
    plan = rng.choice([*PLANS, None], rows, p=[0.4, 0.3, 0.2, 0.1])
    store = rng.choice(np.array([7, 11, 40, 41, 42, 99]), rows)
    return pd.DataFrame(
        {
            "balance": np.where(rng.random(rows) < 0.1, np.nan, rng.normal(size=rows)).astype(np.float32),
            "plan": pd.Categorical(plan, categories=PLANS),
            "age": rng.integers(18, 90, rows).astype(np.float32),
            "store": pd.Categorical(store, categories=[7, 11, 40, 41, 42, 99]),
        }
    )


def target(features: pd.DataFrame, classes: int = 0) -> Any:
    """What came true [rows]: a number, or one of some classes."""
    plan = features["plan"].cat.codes.to_numpy()
    store = np.isin(features["store"].astype(int), [11, 41, 99])
    signal = (
        np.nan_to_num(features["balance"].to_numpy()) + plan + 2 * store + features["age"].to_numpy() / 60
    )
    noise = np.random.default_rng(9).normal(size=len(features)) / 3
    number = signal + noise
    return (
        number if not classes else np.digitize(number, np.quantile(number, np.arange(1, classes) / classes))
    )


def edges(features: pd.DataFrame) -> pd.DataFrame:
    """Rows of what could be mistaken: gaps, zeros and their neighbours, extremes; categories are known."""
    tiny = np.nextafter(np.float32(0), np.float32(1))
    numbers = np.array([np.nan, 0.0, -0.0, tiny, -tiny, 1e-35, -1e-35, 3e38, -3e38, 18, 17.5], np.float32)
    grown = pd.concat([features] * 2, ignore_index=True)
    grown.loc[: len(numbers) - 1, "balance"] = numbers
    grown.loc[len(numbers) : 2 * len(numbers) - 1, "age"] = numbers
    grown.loc[::7, "plan"] = None
    grown.loc[::11, "store"] = np.nan
    return grown


def chunk(features: pd.DataFrame) -> pa.RecordBatch:
    """The same rows as SQL gives them: texts and integers, and nulls."""
    columns = [
        pa.array(column.astype(object).where(column.notna(), None), _kind(name), from_pandas=True)
        for name, column in features.items()
    ]
    return pa.RecordBatch.from_arrays(columns, list(features.columns))


def _kind(name: Any) -> pa.DataType:
    return {"plan": pa.string(), "store": pa.int64()}.get(name, pa.float32())


def file(data: bytes | str, name: str = "model") -> ModelFile:
    """The bytes of a model file."""
    return ModelFile(name, "0" * 64, data.encode() if isinstance(data, str) else data)


@functools.cache
def of_lightgbm(objective: str, numbers: bool = False, **options: Any) -> Any:
    """A model of LightGBM; of numbers alone, or with categories."""
    features = frame()[NUMBERS] if numbers else frame()
    kind = lgb.LGBMClassifier if objective in ("binary", "multiclass", "multiclassova") else lgb.LGBMRegressor
    classes = {"binary": 2, "multiclass": 3, "multiclassova": 3}.get(objective, 0)
    y = target(frame(), classes)
    y = np.abs(y) if objective in ("poisson", "gamma", "tweedie") else y
    y = (y - y.min()) / np.ptp(y) if objective.startswith("cross_entropy") else y
    model = kind(objective=objective, num_leaves=15, min_child_samples=5, verbose=-1, **FEW, **options)
    return model.fit(features, y)


@functools.cache
def of_xgboost(objective: str, numbers: bool = False, **options: Any) -> Any:
    """A model of XGBoost, likewise."""
    features = frame()[NUMBERS] if numbers else frame()
    kind = xgb.XGBClassifier if objective in ("binary:logistic", "multi:softprob") else xgb.XGBRegressor
    classes = {"binary:logistic": 2, "multi:softprob": 3}.get(objective, 0)
    y = target(frame(), classes)
    y = np.abs(y) if objective in ("count:poisson", "reg:gamma", "reg:tweedie") else y
    model = kind(objective=objective, max_depth=4, enable_categorical=True, **FEW | options)
    seen = {"eval_set": [(features[1000:], y[1000:])]} if "early_stopping_rounds" in options else {}
    return model.fit(features[:1000], y[:1000], verbose=False, **seen)
