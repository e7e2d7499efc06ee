"""CatBoost, by its own writer of ONNX, which has columns of numbers alone."""

import tempfile
from pathlib import Path
from typing import Any

import catboost
import numpy as np

from nightscore.exporting.conversion import CannotConvert, Trained, Way
from nightscore.exporting.rows import Rows, refuse_other_names

ADVICE = "keep the .cbm file and score it by a scorer of the workspace (docs/scorers.md)"


def read(model: Any, rows: Rows) -> Trained:
    """A fitted CatBoost model. It computes in float32."""
    refuse_other_names(rows, model.feature_names_, r"\d+")
    odd = [column.name for column in rows.columns if column.kind in ("text", "date") or column.categories]
    if odd or model.get_cat_feature_indices():
        raise CannotConvert(
            f"CatBoost writes no categories into ONNX (column {(odd or ['?'])[0]!r} of X): train on "
            f"numbers, or {ADVICE}"
        )
    classes = tuple(model.classes_) if isinstance(model, catboost.CatBoostClassifier) else ()
    predict = model.predict_proba if classes else lambda given: np.asarray(model.predict(given), np.float64)
    return Trained(
        f"catboost {catboost.__version__}", predict, [Way("float32", lambda: _onnx(model))], classes, ADVICE
    )


def _onnx(model: Any) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        model.save_model(str(path), format="onnx")
        return path.read_bytes()
