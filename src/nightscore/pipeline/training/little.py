"""What expected scores can't show: where there are few, or they are alike, a wrong job passes, too."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nightscore.pipeline.score.deviation import is_list
from nightscore.pipeline.score.row_distance import Numbers

FEWEST = 2  # rows: one alone can be right by chance, or be the one that the SQL leaves as it is
TOLERANCES = 10  # by so many the scores of an output have to differ


def is_all_missing(scores: pa.RecordBatch) -> bool:
    """Whether no row has a score: each value is null or NaN, or a list of nothing else."""
    return all(
        _flat(column).is_null(nan_is_null=True).to_numpy(zero_copy_only=False).all() for column in scores
    )


def little_held(scores: pa.RecordBatch, tolerance: float) -> str:
    """Why these scores [rows] hold a job to little, in words; empty where they do hold it."""
    return "; ".join(_reasons(scores, tolerance))


def _reasons(scores: pa.RecordBatch, tolerance: float) -> Iterator[str]:
    if scores.num_rows < FEWEST:
        yield f"there is {scores.num_rows} row"
        return
    for name, column in zip(scores.schema.names, scores.columns, strict=True):
        values = _flat(column)
        if not pa.types.is_floating(values.type):
            continue
        numbers = _finite(values)
        spread = float(np.ptp(numbers)) if len(numbers) else 0.0
        if spread <= TOLERANCES * tolerance * max(
            1.0, float(np.median(np.abs(numbers))) if len(numbers) else 0
        ):
            yield (
                f"all values of {name} lie within {spread:.2g}, and they need {TOLERANCES} times the "
                f"tolerance ({tolerance:g}) to be told apart; give a smaller tolerance, or other rows"
            )


def _flat(column: pa.Array) -> pa.Array:
    return _flat(pc.list_flatten(column)) if is_list(column.type) else column


def _finite(values: pa.Array) -> Numbers:
    numbers = np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.float64)
    return numbers[np.isfinite(numbers)]
