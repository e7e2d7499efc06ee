"""What each frame of a function costs, in CPU seconds per million rows; and a pipeline in pandas beside ONNX.

    python benchmarks/frames.py [--rounds 15]

Chunks of 16,384 rows. The functions compute nothing: they give a column that they were given. Frames take
turns, so that whatever else the machine does meets all of them alike; medians of the rounds are printed.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from nightscore.scorers import ModelFile, Options, Scorer, open_scorer
from nightscore.scorers.functions.function import declared_of, open_function, scorer

ROWS = 16_384
NUMBERS = [f"n{i}" for i in range(20)]
TEXTS = [f"t{i}" for i in range(5)]


def chunk(texts: bool) -> pa.RecordBatch:
    """Twenty columns of floats, a tenth of each null; with five of texts, if `texts`."""
    rng = np.random.default_rng(1)
    columns: dict[str, Any] = {n: pa.array(rng.random(ROWS), mask=rng.random(ROWS) < 0.1) for n in NUMBERS}
    if texts:
        words = np.array(["north", "south", "east", "west", "Łódź"])
        columns |= {name: pa.array(rng.choice(words, ROWS)) for name in TEXTS}
    return pa.RecordBatch.from_pydict(columns)


def opened(frame: Any, rows: pa.RecordBatch, function: Callable[..., Any]) -> Scorer:
    """A function of a frame that takes all columns."""
    said = scorer(dict(zip(rows.schema.names, rows.schema.types, strict=True)), {"y": "float64"}, frame=frame)
    declared = declared_of(said(function))
    assert declared is not None  # noqa: S101
    return open_function(frame, function, declared, None, Options({"y": "y"}))


def first(frame: Any) -> Any:
    """The first column of any frame, without its nulls."""
    if isinstance(frame, np.ndarray):
        return np.nan_to_num(frame[:, 0])
    column = frame["n0"]
    return column.fill_null(0.0) if hasattr(column, "fill_null") else column.fillna(0.0)


def arrow_first(frame: pa.RecordBatch) -> pa.RecordBatch:
    """The same of Arrow."""
    return pa.RecordBatch.from_pydict({"y": frame["n0"].fill_null(0.0)})


def measure(what: str, ways: dict[str, Scorer], rows: pa.RecordBatch, rounds: int, calls: int) -> None:
    """Print the median CPU seconds per million rows of each way, and the ratio to the first."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            started = time.process_time()
            for _ in range(calls):
                way.score(rows)
            taken[name].append((time.process_time() - started) / calls / rows.num_rows * 1e6)
    medians = {name: statistics.median(seconds) for name, seconds in taken.items()}
    base = next(iter(medians.values()))
    for name, seconds in medians.items():
        print(f"{what:32} {name:8} {seconds:8.3f} CPU s per million rows  {seconds / base:6.1f} x")


def pipelines() -> tuple[dict[str, Scorer], pa.RecordBatch]:
    """A pipeline with texts by the library in pandas, and its ONNX."""
    rows = pa.RecordBatch.from_pydict(
        {
            f.name: (c.fill_null(0.5) if f.name in NUMBERS else c)
            for f, c in zip(chunk(True).schema, chunk(True).columns, strict=True)
        }
    )
    rows = rows.cast(
        pa.schema([(n, pa.float32() if n in NUMBERS else pa.string()) for n in rows.schema.names])
    )
    frame = rows.to_pandas()
    prepare = ColumnTransformer([("t", OneHotEncoder(), TEXTS), ("n", StandardScaler(), NUMBERS)])
    model = make_pipeline(prepare, LogisticRegression()).fit(frame, frame["n0"] > frame["n1"])
    shapes = [(n, FloatTensorType([None, 1]) if n in NUMBERS else StringTensorType([None, 1])) for n in frame]
    graph = to_onnx(model, initial_types=shapes, options={"zipmap": False}, target_opset=17)
    file = ModelFile("m.onnx", "0" * 64, graph.SerializeToString())
    ways = {
        "onnx": open_scorer("onnx", file, Options({"y": "probabilities[1]"})),
        "pandas": opened("pandas", rows, lambda df: model.predict_proba(df)[:, 1].astype(float)),
    }
    a, b = (way.score(rows)["y"].to_numpy() for way in ways.values())
    print(f"largest difference of the pipeline's two ways: {np.abs(a - b).max():.1e}")
    return ways, rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    for what, texts in (("20 floats", False), ("20 floats, 5 texts", True)):
        rows = chunk(texts)
        frames = ["arrow", "numpy", "polars", "pandas"]
        ways = {
            name: opened(name, rows, arrow_first if name == "arrow" else first)
            for name in frames
            if name != "numpy" or not texts
        }
        measure(what, ways, rows, rounds, 20)
    ways, rows = pipelines()
    measure("logistic regression, one-hot", ways, rows, rounds, 5)


if __name__ == "__main__":
    main()
