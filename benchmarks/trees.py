"""The tree kernel beside ONNX Runtime on the same model, and LightGBM's own predict: one thread each.

LightGBM regressors of several sizes over 40 float columns (seeded), exported to ONNX once. Every contender
scores the same rows from an Arrow chunk, the assembly of a matrix or of bins included, in turns; printed are
medians and ratios of medians, which count, for the machine may be busy. lleaves takes part where it can be
imported.

    python benchmarks/trees.py                        all sizes
    python benchmarks/trees.py --trees 500 --rows 16384
"""

import argparse
import importlib.util
import os
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from onnxmltools import convert_lightgbm
from onnxmltools.convert.common.data_types import FloatTensorType

os.environ.setdefault("OMP_NUM_THREADS", "1")

from nightscore.scorers.arrays import matrix
from nightscore.scorers.contract import Options
from nightscore.scorers.files.model_file import read_model
from nightscore.scorers.onnx.runtime import open_session
from nightscore.scorers.onnx.scorer import open_onnx
from nightscore.scorers.trees import open_trees

WORK = Path(__file__).parent / "work" / "trees"
COLUMNS = [f"f{i}" for i in range(40)]
SIZES = ((10, 31), (100, 31), (500, 31), (10, 63), (100, 63), (500, 63))
TRAINED = 60_000  # rows
OPTIONS = Options({"score": "variable"}, COLUMNS)
Contender = Callable[[pa.RecordBatch], npt.NDArray[Any]]


def main() -> None:
    """Measure and print; fail where a score is not that of ONNX Runtime to the last bit."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trees", type=int, nargs="*", default=[10, 100, 500])
    parser.add_argument("--rows", type=int, nargs="*", default=[1_000, 16_384, 200_000])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    names = ("numba", "onnxruntime", "lightgbm")
    print(
        platform.processor() or platform.machine(), *(f"{name} {version(name)}" for name in names), sep=", "
    )
    peers = ("onnxruntime", "the onnx kind", "LightGBM", "lleaves")
    heads = ["trees x leaves", "rows", "kernel, rows/s", *(f"times {peer}" for peer in peers)]
    print("|", " | ".join(heads), "|")
    print("|" + "---|" * len(heads))
    for trees, leaves in SIZES:
        if trees in options.trees:
            contenders = _contenders(*_model(trees, leaves))
            for rows in options.rows:
                _measure(f"{trees} x {leaves}", contenders, _chunk(rows), options.rounds)


def _measure(name: str, contenders: dict[str, Contender], chunk: pa.RecordBatch, rounds: int) -> None:
    """One line of the table; contenders take turns."""
    scores = {who: score(chunk) for who, score in contenders.items()}
    np.testing.assert_array_equal(scores["trees"], scores["onnx"])
    # The exporter rounds thresholds to float32: a row in a hundred thousand falls on the other side of one.
    near = np.isclose(scores["trees"], scores["lightgbm"], rtol=1e-4, atol=1e-4).mean()
    if near < 0.9999:
        raise SystemExit(f"{name}: {1 - near:.2%} of LightGBM's own predictions are others")
    seconds: dict[str, list[float]] = {who: [] for who in contenders}
    repeat = max(1, 16_384 // chunk.num_rows)  # of what is over too soon to be timed
    for _ in range(rounds):
        for who, score in contenders.items():
            start = time.perf_counter()
            for _ in range(repeat):
                score(chunk)
            seconds[who].append((time.perf_counter() - start) / repeat)
    median = {who: statistics.median(times) for who, times in seconds.items()}
    ratios = [
        f"{median[who] / median['trees']:.1f}x" if who in median else "-"
        for who in ("onnxruntime", "onnx", "lightgbm", "lleaves")
    ]
    cells = [name, f"{chunk.num_rows:,}", f"{chunk.num_rows / median['trees']:,.0f}", *ratios]
    print("|", " | ".join(cells), "|", flush=True)


def _contenders(onnx_file: Path, text_file: Path) -> dict[str, Contender]:
    """By name; `onnxruntime` is given its matrix ready-made, `lightgbm` and `lleaves` too."""
    model = read_model(onnx_file, onnx_file.name)
    start = time.perf_counter()
    trees = open_trees(model, OPTIONS)
    trees.score(_chunk(1))
    print(f"<!-- {onnx_file.name}: opened and compiled in {time.perf_counter() - start:.1f} s -->")
    onnx, session = open_onnx(model, OPTIONS), open_session(model, "cpu", 1)
    booster = lgb.Booster(model_file=text_file)
    ready: dict[int, npt.NDArray[Any]] = {}

    def rows(chunk: pa.RecordBatch) -> npt.NDArray[Any]:
        if chunk.num_rows not in ready:
            ready[chunk.num_rows] = matrix(chunk, COLUMNS, np.float32)
        return ready[chunk.num_rows]

    def onnxruntime(chunk: pa.RecordBatch) -> npt.NDArray[Any]:
        x, run = rows(chunk), session.run
        return np.concatenate(
            [run(None, {"X": x[i : i + 16_384]})[0][:, 0] for i in range(0, len(x), 16_384)]
        )

    contenders: dict[str, Contender] = {
        "trees": partial(_scored, trees),
        "onnxruntime": onnxruntime,
        "onnx": partial(_scored, onnx),
        "lightgbm": lambda chunk: booster.predict(rows(chunk), num_threads=1),
    }
    if importlib.util.find_spec("lleaves"):
        import lleaves

        compiled = lleaves.Model(model_file=str(text_file))
        compiled.compile(cache=text_file.with_suffix(".lleaves"))
        contenders["lleaves"] = lambda chunk: compiled.predict(rows(chunk), n_jobs=1)
    return contenders


def _scored(scorer: Any, chunk: pa.RecordBatch) -> npt.NDArray[Any]:
    values: npt.NDArray[Any] = scorer.score(chunk)["score"].to_numpy()
    return values


def _chunk(rows: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array(column) for column in _rows(rows, 1).T.copy()], COLUMNS)


def _rows(count: int, seed: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(count, len(COLUMNS))).astype(np.float32)


def _model(trees: int, leaves: int) -> tuple[Path, Path]:
    """A model as ONNX and as LightGBM's text, trained once."""
    files = WORK / f"{trees}x{leaves}.onnx", WORK / f"{trees}x{leaves}.txt"
    if not all(file.exists() for file in files):
        WORK.mkdir(parents=True, exist_ok=True)
        x, noise = _rows(TRAINED, 7), np.random.default_rng(8).normal(size=TRAINED)
        y = (
            x @ np.random.default_rng(9).normal(size=len(COLUMNS))
            + 4 * np.sin(3 * x[:, 0])
            + 3 * x[:, 1] * x[:, 2]
        )
        model = lgb.LGBMRegressor(n_estimators=trees, num_leaves=leaves, learning_rate=0.05, verbose=-1)
        model.fit(x, y + noise)
        model.booster_.save_model(files[1])
        shape = [("X", FloatTensorType([None, len(COLUMNS)]))]
        files[0].write_bytes(
            convert_lightgbm(model, initial_types=shape, target_opset=15).SerializeToString()
        )
    return files


if __name__ == "__main__":
    main()
