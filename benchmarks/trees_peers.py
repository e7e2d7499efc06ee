"""The tree kernel beside the libraries that train trees, and compilers of trees: one thread each.

LightGBM, XGBoost, and CatBoost, whose trees are oblivious, of one score and of five classes, over 40 float
columns (seeded), exported to ONNX once. Every contender scores the same Arrow chunk of 16,384 rows, a matrix
assembled where it takes one, in turns; time is that of the thread on its core, for the machine may be busy.
Printed are medians of the rounds' own ratios. Treelite, TL2cgen (which needs gcc) and CatBoost take part
where they can be imported: none of them is in requirements. (lleaves 1.3 does not run with our llvmlite.)

    python benchmarks/trees_peers.py                        all models
    python benchmarks/trees_peers.py --models lightgbm-300x31 --rounds 21
"""

import argparse
import importlib
import importlib.util
import os
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xgboost as xgb
from onnxmltools import convert_lightgbm, convert_xgboost
from onnxmltools.convert.common.data_types import FloatTensorType

from nightscore.scorers.arrays import matrix
from nightscore.scorers.contract import Options
from nightscore.scorers.files.model_file import read_model
from nightscore.scorers.hardware import read_hardware
from nightscore.scorers.onnx.scorer import open_onnx
from nightscore.scorers.trees import open_trees

WORK = Path(__file__).parent / "work" / "trees_peers"
COLUMNS = [f"f{i}" for i in range(40)]
TRAINED, ROWS = 20_000, 16_384
MODELS = (
    "lightgbm-300x31", "lightgbm-500x63", "lightgbm-5classes", "xgboost-200x6", "catboost-500x6",
    "catboost-200x10", "catboost-5classes",
)  # fmt: skip
PEERS = ("onnx", "library", "treelite", "tl2cgen")
SUFFIXES = {"lightgbm": ".txt", "xgboost": ".json", "catboost": ".cbm"}
SHAPE = [("X", FloatTensorType([None, len(COLUMNS)]))]
LIBRARIES = ("numba", "onnxruntime", "lightgbm", "xgboost-cpu", "catboost", "treelite", "tl2cgen")
Array = npt.NDArray[Any]
Contender = Callable[[pa.RecordBatch], Array]


def main() -> None:
    """Measure and print; fail where a score is not that of ONNX Runtime to the last bit."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="*", default=MODELS)
    parser.add_argument("--peers", nargs="*", default=PEERS)
    parser.add_argument("--rounds", type=int, default=11)
    options = parser.parse_args()
    print(read_hardware().processor, *(f"{name} {_version(name)}" for name in LIBRARIES), sep=", ")
    print("| model | kernel, rows/s |", " | ".join(f"times {peer}" for peer in PEERS), "|")
    print("|" + "---|" * (2 + len(PEERS)))
    for name in options.models:
        if not name.startswith("catboost") or _imported("catboost"):
            _measure(name, options.peers, options.rounds)


def _measure(name: str, peers: list[str], rounds: int) -> None:
    """One line of the table; contenders take turns."""
    onnx_file, own_file = _model(name)
    model, classes = read_model(onnx_file, onnx_file.name), name.endswith("classes")
    outputs = {"score": "probabilities[*]" if classes else "variable"}
    if name.startswith("catboost") and not classes:
        outputs = {"score": "predictions"}
    options = Options(outputs, COLUMNS)
    chunk = pa.RecordBatch.from_arrays([pa.array(column) for column in _rows(ROWS, 1).T.copy()], COLUMNS)
    contenders: dict[str, Contender] = {
        "trees": partial(_scored, open_trees(model, options)),
        "onnx": partial(_scored, open_onnx(model, options)),
    }
    contenders |= {peer: score for peer, score in _others(name, own_file, peers) if peer in peers}
    scores = {who: score(chunk) for who, score in contenders.items()}
    np.testing.assert_array_equal(scores["trees"], scores["onnx"])
    for who, values in scores.items():  # exporters round thresholds: a row in a thousand goes another way
        near = np.isclose(np.ravel(scores["trees"]), np.ravel(values), rtol=1e-4, atol=1e-4).mean()
        if near < 0.999:
            raise SystemExit(f"{name}: {1 - near:.2%} of the predictions of {who} are others")
    seconds: dict[str, list[float]] = {who: [] for who in contenders}
    for _ in range(rounds):
        for who, score in contenders.items():
            start = time.thread_time()
            score(chunk)
            seconds[who].append(time.thread_time() - start)
    ratios = {who: statistics.median(np.divide(taken, seconds["trees"])) for who, taken in seconds.items()}
    rate = f"{ROWS / statistics.median(seconds['trees']):,.0f}"
    cells = [name, rate, *(f"{ratios[peer]:.1f}" if peer in ratios else "-" for peer in PEERS)]
    print("|", " | ".join(cells), "|", flush=True)


def _others(name: str, file: Path, peers: list[str]) -> Iterator[tuple[str, Contender]]:
    """The library that trained it, and what compiles or reads its file, where it is there."""
    if name.startswith("catboost"):
        cat = importlib.import_module("catboost").CatBoost().load_model(file)
        kind = "Probability" if name.endswith("classes") else "RawFormulaVal"
        yield (
            "library",
            lambda chunk: cat.predict(_matrix(chunk), prediction_type=kind, thread_count=1),
        )
    elif name.startswith("lightgbm"):
        booster = lgb.Booster(model_file=file)
        yield "library", lambda chunk: booster.predict(_matrix(chunk), num_threads=1)
        # Its thresholds are float64, and so must be the rows.
        yield from _treelite(file, "load_lightgbm_model", np.float64, peers)
    else:
        boosted = xgb.Booster({"nthread": 1}, model_file=file)
        yield "library", lambda chunk: boosted.inplace_predict(_matrix(chunk))
        yield from _treelite(file, "load_xgboost_model", np.float32, peers)


def _treelite(file: Path, loader: str, kind: Any, peers: list[str]) -> Iterator[tuple[str, Contender]]:
    if not _imported("treelite"):
        return
    treelite = importlib.import_module("treelite")
    forest = getattr(treelite.frontend, loader)(file)
    yield "treelite", lambda chunk: treelite.gtil.predict(forest, _matrix(chunk).astype(kind), nthread=1)
    if "tl2cgen" in peers and _imported("tl2cgen"):
        tl2cgen, library = importlib.import_module("tl2cgen"), file.with_suffix(".so")
        if not library.exists():
            tl2cgen.export_lib(forest, "gcc", str(library), params={"parallel_comp": 32})
        run = tl2cgen.Predictor(str(library), nthread=1).predict
        yield "tl2cgen", lambda chunk: run(tl2cgen.DMatrix(_matrix(chunk).astype(kind)))


def _matrix(chunk: pa.RecordBatch) -> Array:
    return matrix(chunk, COLUMNS, np.float32)


def _imported(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not there"


def _scored(scorer: Any, chunk: pa.RecordBatch) -> Array:
    column = scorer.score(chunk)["score"]
    values: Array = (column.flatten() if pa.types.is_list(column.type) else column).to_numpy()
    return values


def _rows(count: int, seed: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(count, len(COLUMNS))).astype(np.float32)


def _model(name: str) -> tuple[Path, Path]:
    """A model as ONNX and as its library's own file, trained once."""
    library, size = name.split("-")
    files = WORK / f"{name}.onnx", WORK / f"{name}{SUFFIXES[library]}"
    if not all(file.exists() for file in files):
        WORK.mkdir(parents=True, exist_ok=True)
        x, random = _rows(TRAINED, 7), np.random.default_rng(8)
        y = x @ random.normal(size=len(COLUMNS)) + 4 * np.sin(3 * x[:, 0]) + 3 * x[:, 1] * x[:, 2]
        {"lightgbm": _lightgbm, "xgboost": _xgboost, "catboost": _catboost}[library](size, x, y, *files)
    return files


def _fifths(y: Array) -> Array:
    """Five classes, as many rows in each."""
    return np.digitize(y, np.quantile(y, [0.2, 0.4, 0.6, 0.8]))


def _lightgbm(size: str, x: Array, y: Array, onnx_file: Path, own_file: Path) -> None:
    if size == "5classes":
        model = lgb.LGBMClassifier(n_estimators=60, num_leaves=31, verbose=-1, num_threads=1)
        y = _fifths(y)
    else:
        trees, leaves = map(int, size.split("x"))
        model = lgb.LGBMRegressor(n_estimators=trees, num_leaves=leaves, verbose=-1, num_threads=1)
    model.fit(x, y)
    model.booster_.save_model(own_file)
    exported = convert_lightgbm(model, initial_types=SHAPE, target_opset=15, zipmap=False)
    onnx_file.write_bytes(exported.SerializeToString())


def _xgboost(size: str, x: Array, y: Array, onnx_file: Path, own_file: Path) -> None:
    trees, depth = map(int, size.split("x"))
    model = xgb.XGBRegressor(n_estimators=trees, max_depth=depth, tree_method="hist", n_jobs=1).fit(x, y)
    model.save_model(own_file)
    onnx_file.write_bytes(convert_xgboost(model, initial_types=SHAPE, target_opset=15).SerializeToString())


def _catboost(size: str, x: Array, y: Array, onnx_file: Path, own_file: Path) -> None:
    catboost = importlib.import_module("catboost")
    classes = size == "5classes"
    trees, depth = (100, 6) if classes else map(int, size.split("x"))
    kind = catboost.CatBoostClassifier if classes else catboost.CatBoostRegressor
    model = kind(iterations=trees, depth=depth, verbose=False, thread_count=1, allow_writing_files=False)
    model.fit(x, _fifths(y) if classes else y)
    model.save_model(str(own_file))
    model.save_model(str(onnx_file), format="onnx")


if __name__ == "__main__":
    main()
