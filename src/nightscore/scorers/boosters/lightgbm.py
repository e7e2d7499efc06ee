"""Kind `lightgbm`: a model in LightGBM's own text, scored by LightGBM.

Categories of pandas columns are in the file (`pandas_categorical`), without the columns that have them; those
are the ones that the file names as categorical. A value that is none of its column's categories goes where
a missing one goes, as LightGBM has it.
"""

import functools
from typing import Any

import numpy as np

from nightscore.scorers.boosted import MARGIN, PROBABILITIES, two_classes
from nightscore.scorers.boosters.booster import (
    Array,
    Booster,
    BoosterScorer,
    also_by_trees,
    find_library,
    not_of,
    refuse_device,
)
from nightscore.scorers.contract import Options
from nightscore.scorers.files.model_file import ModelFile
from nightscore.scorers.trees.lightgbm_text import coded_columns, read_lightgbm_head
from nightscore.scorers.variant import Variant


def open_lightgbm(model: ModelFile, options: Options) -> BoosterScorer:
    """A scorer for a model file of LightGBM.

    Raises:
        ModelError: it is none, its columns or categories can't be told, it has no such output, or LightGBM is
            not installed.
    """
    refuse_device("lightgbm", model, options)
    library = find_library("lightgbm")
    head = read_lightgbm_head(model)
    try:
        opened = library.Booster(model_str=model.data.decode())
    except Exception as error:  # LightGBM's own, and those of its parser
        raise not_of("lightgbm", model, error) from error
    columns = coded_columns(model.name, head, options)
    predict = functools.partial(_predicted, opened, options.threads, head.binary)
    return BoosterScorer(
        model.name,
        Booster(columns.schema, head.widths, np.dtype(np.float64), predict, columns.matrix),
        options,
    )


def variants(device: str) -> list[Variant]:
    """What a model may be computed by."""
    return also_by_trees("lightgbm", device)


def _predicted(opened: Any, threads: int, binary: bool, matrix: Array, source: str) -> Array:
    values: Array = opened.predict(matrix, raw_score=source == MARGIN, num_threads=threads)
    return two_classes(values) if binary and source == PROBABILITIES else values
