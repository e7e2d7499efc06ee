"""PyTorch: a module that takes a matrix [rows, columns] of numbers, by torch.onnx.export."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nightscore.exporting.conversion import CannotConvert, Scores, Trained, Way
from nightscore.exporting.rows import Rows

ADVICE = (
    "write forward() of tensor operations alone, without a branch that depends on values or on the number of "
    "rows; torch.onnx.export needs the package onnxscript: pip install 'nightscore[export-torch]'"
)


def read(model: Any, rows: Rows) -> Trained:
    """A module, as model.eval() computes: forward(matrix) gives scores [rows] or [rows, n]."""
    if odd := [
        column.name for column in rows.columns if column.kind not in ("number", "flag") or column.categories
    ]:
        raise CannotConvert(
            f"column {odd[0]!r} of X is no number: a network takes a matrix; make numbers of it first"
        )
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    kind = np.dtype(str(dtype).removeprefix("torch."))

    def predict(given: Any) -> Scores:
        with _in_eval(model), torch.no_grad():
            device = next((p.device for p in model.parameters()), torch.device("cpu"))
            scores = model(torch.from_numpy(np.array(given, kind)).to(device)).cpu().numpy()
        if scores.ndim > 2 or len(scores) != len(given):
            raise CannotConvert(
                f"forward() gives {scores.shape} for {len(given)} rows; allowed: [rows] or [rows, n]"
            )
        return np.asarray(scores)

    return Trained(
        f"torch {torch.__version__}",
        predict,
        [Way(str(kind), lambda: _onnx(model, len(rows.columns), dtype))],
        (),
        ADVICE,
    )


class _in_eval:  # noqa: N801  a context manager
    """A module as it computes outside of training; afterwards as it was."""

    def __init__(self, model: Any) -> None:
        self._model, self._was = model, model.training

    def __enter__(self) -> None:
        self._model.eval()

    def __exit__(self, *_: object) -> None:
        self._model.train(self._was)


def _onnx(model: Any, width: int, dtype: Any) -> bytes:
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    example = torch.zeros((2, width), dtype=dtype, device=device)
    with tempfile.TemporaryDirectory() as folder, _in_eval(model):
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            model, (example,), str(path), input_names=["features"], output_names=["scores"],
            dynamic_shapes=({0: torch.export.Dim("rows")},), external_data=False, dynamo=True, verbose=False,
        )  # fmt: skip
        return path.read_bytes()
