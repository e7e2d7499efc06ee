"""The kernel for light networks beside ONNX Runtime on the same model, and BLAS on blocks: one thread each.

Networks of several sizes with seeded weights, Gemm and Relu as exporters write them. Every contender scores
the same rows from an Arrow chunk, in turns, chunk after chunk of 16,384 rows as a night does; time is that of
the thread on its core (the machine may be busy). Printed are medians of the rounds' own ratios. BLAS is
NumPy's: columns stacked in blocks of 1,024 rows, W @ X layer after layer.

    python benchmarks/networks.py                          all sizes
    python benchmarks/networks.py --sizes 40-64-32-1 --rounds 41
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from itertools import pairwise
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import numpy.typing as npt
import onnx
import pyarrow as pa
from onnx import TensorProto, helper, numpy_helper

from nightscore.scorers.arrays import matrix
from nightscore.scorers.contract import Options, Scorer
from nightscore.scorers.files.model_file import ModelFile
from nightscore.scorers.hardware import read_hardware
from nightscore.scorers.networks import open_networks
from nightscore.scorers.onnx.runtime import open_session
from nightscore.scorers.onnx.scorer import open_onnx

SIZES = (
    "10-8-1", "20-32-16-1", "40-64-32-1", "100-128-64-1", "200-256-128-10", "40-256-256-1", "40-512-256-1",
    "40-1024-512-1",
)  # fmt: skip
ROWS, BLOCK = 16_384, 1_024
PEERS = ("the onnx kind", "onnxruntime", "BLAS")
Layers = Sequence[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]
Contender = Callable[[], npt.NDArray[Any]]


def main() -> None:
    """Measure and print; fail where a score is further from ONNX Runtime's than a job allows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", nargs="*", default=SIZES)
    parser.add_argument("--rounds", type=int, default=21)
    options = parser.parse_args()
    packages = ("llvmlite", "onnxruntime", "numpy")
    print(read_hardware().processor, *(f"{name} {version(name)}" for name in packages), sep=", ")
    heads = [
        "network",
        "weights",
        "opened in",
        "kernel, rows/s",
        *(f"times {peer}" for peer in PEERS),
        "furthest",
    ]
    print("|", " | ".join(heads), "|")
    print("|" + "---|" * len(heads))
    for size in options.sizes:
        _measure(size, options.rounds)


def _measure(size: str, rounds: int) -> None:
    """One line of the table; contenders take turns."""
    layers = _layers([int(width) for width in size.split("-")])
    columns = [f"f{i}" for i in range(len(layers[0][0]))]
    model = ModelFile(f"{size}.onnx", "0" * 64, _written(layers))
    started = time.process_time()
    kernel = open_networks(model, Options({"y": "y[0]"}, columns))
    opened = time.process_time() - started
    chunk = pa.RecordBatch.from_arrays(
        [pa.array(column) for column in _floats(1, len(columns), ROWS)], columns
    )
    session, ready = open_session(model, "cpu", 1), matrix(chunk, columns, np.float32)
    contenders: dict[str, Contender] = {
        "kernel": partial(_scored, kernel, chunk),
        "the onnx kind": partial(_scored, open_onnx(model, Options({"y": "y[0]"}, columns)), chunk),
        "onnxruntime": lambda: session.run(None, {"X": ready})[0][:, 0],
        "BLAS": partial(_multiplied, [(w.T.copy(), b[:, None]) for w, b in layers], chunk, columns),
    }
    scores = {who: score() for who, score in contenders.items()}
    furthest = np.abs(scores["kernel"] - scores["the onnx kind"]) / np.maximum(1, np.abs(scores["kernel"]))
    np.testing.assert_array_less(furthest, 1e-5)
    seconds: dict[str, list[float]] = {who: [] for who in contenders}
    for _ in range(rounds):
        for who, score in contenders.items():
            start = time.thread_time()
            score()
            seconds[who].append(time.thread_time() - start)
    ratios = (statistics.median(map(_divided, seconds[peer], seconds["kernel"])) for peer in PEERS)
    weights = sum(w.nbytes for w, _ in layers)
    rate = ROWS / statistics.median(seconds["kernel"])
    cells = [size, f"{weights / 1e3:,.0f} kB", f"{opened * 1e3:.0f} ms", f"{rate:,.0f}"]
    print("|", " | ".join([*cells, *(f"{r:.2f}" for r in ratios), f"{furthest.max():.1g}"]), "|", flush=True)


def _divided(one: float, other: float) -> float:
    return one / other


def _scored(scorer: Scorer, chunk: pa.RecordBatch) -> npt.NDArray[Any]:
    values: npt.NDArray[Any] = scorer.score(chunk)["y"].to_numpy()
    return values


def _multiplied(layers: Layers, chunk: pa.RecordBatch, columns: Sequence[str]) -> npt.NDArray[Any]:
    """By BLAS, a block of rows after the other."""
    arrays, scores = [chunk[name].to_numpy() for name in columns], np.empty(chunk.num_rows, np.float32)
    for start in range(0, chunk.num_rows, BLOCK):
        value = np.stack([array[start : start + BLOCK] for array in arrays])
        for i, (weights, bias) in enumerate(layers):
            value = weights @ value
            value += bias
            if i < len(layers) - 1:
                np.maximum(value, 0, out=value)
        scores[start : start + BLOCK] = value[0]
    return scores


def _layers(widths: Sequence[int]) -> Layers:
    rng = np.random.default_rng(0)
    return [
        (
            (rng.normal(size=pair) / np.sqrt(pair[0])).astype(np.float32),
            rng.normal(size=pair[1]).astype(np.float32),
        )
        for pair in pairwise(widths)
    ]


def _floats(seed: int, *shape: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _written(layers: Layers) -> bytes:
    """The network as ONNX."""
    nodes, value, tensors = [], "X", []
    for i, (weights, bias) in enumerate(layers):
        last = i == len(layers) - 1
        tensors += [numpy_helper.from_array(weights, f"w{i}"), numpy_helper.from_array(bias, f"b{i}")]
        nodes.append(helper.make_node("Gemm", [value, f"w{i}", f"b{i}"], ["y" if last else f"m{i}"]))
        if not last:
            nodes.append(helper.make_node("Relu", [f"m{i}"], [f"r{i}"]))
        value = f"r{i}"
    x = helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, len(layers[0][0])])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, len(layers[-1][1])])
    model = helper.make_model(
        helper.make_graph(nodes, "g", [x], [y], tensors), opset_imports=[helper.make_opsetid("", 17)]
    )
    model.ir_version = 9
    data: bytes = onnx.ModelProto.SerializeToString(model)
    return data


if __name__ == "__main__":
    main()
