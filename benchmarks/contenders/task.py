"""What every contender is given on its command line, and what it says when it is done."""

import argparse
import json
import os
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

BATCH = 16_384  # rows of one call of the model: for Polars 4,096 to 65,536 were alike within the noise


@dataclass(frozen=True)
class Task:
    """Score `files` by the model and write `id` and `score` as Parquet below `out`."""

    model: Path
    out: Path
    files: list[str]

    @property
    def columns(self) -> list[str]:
        """The model's columns, in order."""
        return [f"f{i}" for i in range(40)]

    @property
    def cores(self) -> int:
        """Cores that this process may use."""
        return len(os.sched_getaffinity(0))


def read_task() -> Task:
    """The task of this process, from its command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("files", nargs="+")
    options = parser.parse_args()
    options.out.mkdir(parents=True)
    return Task(options.model, options.out, options.files)


def session(model: Path, threads: int) -> Any:
    """An ONNX Runtime session on `threads` threads."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def predicted(opened: Any, matrix: Any, batch: int = BATCH) -> Any:
    """The model's only output for a float32 matrix [rows, columns], as an array [rows]."""
    import numpy as np

    name = opened.get_inputs()[0].name
    parts = [
        opened.run(None, {name: np.ascontiguousarray(matrix[start : start + batch])})[0]
        for start in range(0, len(matrix), batch)
    ]
    return np.concatenate(parts).reshape(-1)


def done(started: float, *packages: str) -> None:
    """Say how long it took since `started`, and by which versions."""
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "versions": {name: version(name) for name in packages}}))
