"""What training expects of a model, as a file: rows and their scores by the training library.

`nightscore check`, each plan and each promotion hold SQL and model to it (`model.expected` in job.yaml).
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

Numbers = npt.NDArray[Any]

FAR = 1e6  # beyond all that was trained on
SEED = 20


def write_expected(path: Path, features: Mapping[str, Any], scores: Mapping[str, Any]) -> None:
    """Write the features [n] by their names and the scores [n] by those of the job's outputs."""
    pq.write_table(pa.table({**features, **scores}), path, compression="zstd")


def edge_rows(booster: lgb.Booster, rows: int) -> Numbers:
    """Rows on which trees are most easily another model, float32 [rows, features].

    Each value is a threshold of its feature, the float32 beside one, or far out; one in ten is missing.
    """
    chance = np.random.default_rng(SEED)
    thresholds: list[list[float]] = [[] for _ in booster.feature_name()]
    for tree in booster.dump_model()["tree_info"]:
        for feature, threshold in _splits(tree["tree_structure"]):
            thresholds[feature].append(
                float(np.clip(threshold, -FAR, FAR))
            )  # some are of missing values alone
    marks = (np.array([*known, -FAR, 0.0, FAR], np.float32) for known in thresholds)
    return np.column_stack([draw_beside(chance, one, rows, missing=0.1) for one in marks])


def draw_beside(chance: np.random.Generator, marks: Numbers, rows: int, missing: float) -> Numbers:
    """Values [rows] of the type of `marks`, each one of those or the number beside it; a share is NaN."""
    at = chance.choice(marks, rows)
    side = chance.choice(np.array([-np.inf, 0, np.inf], marks.dtype), rows)
    beside = np.where(side == 0, at, np.nextafter(at, side))
    return np.where(chance.random(rows) < missing, marks.dtype.type(np.nan), beside)


def _splits(node: Mapping[str, Any]) -> Iterator[tuple[int, float]]:
    """The feature and threshold of each split below a node."""
    if "threshold" in node:
        yield node["split_feature"], float(node["threshold"])
        yield from _splits(node["left_child"])
        yield from _splits(node["right_child"])
