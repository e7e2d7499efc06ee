"""What recipes are given, made from a model and rows."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pyarrow as pa

from nightscore.evaluation.recipes.recipe import Material
from nightscore.scorers.contract import Options
from nightscore.scorers.onnx.scorer import open_onnx
from tests.scorers.forests import COLUMNS, chunk, outputs_of
from tests.scorers.models import file

Matrix = npt.NDArray[np.floating[Any]]


def material(
    model: onnx.ModelProto,
    x: Matrix,
    keeps: Callable[[bytes], bool] = lambda _: True,
    outputs: Mapping[str, str] | None = None,
) -> Material:
    """Of a model with one matrix: its rows in two batches, and what ONNX Runtime gives for them."""
    given = file(model, COLUMNS[: x.shape[1]])
    options = Options(outputs or outputs_of(model))
    rows = chunk(x)
    name = model.graph.input[0].name
    return Material(
        model=given,
        options=options,
        features=pa.Table.from_batches([rows]),
        scores=pa.Table.from_batches([open_onnx(given, options).score(rows)]),
        feeds=tuple({name: part} for part in np.array_split(x, 2)),
        keeps=keeps,
    )
