"""Kind `catboost`: a model in CatBoost's own .cbm, scored by CatBoost.

Its file knows categories by their hashes, so that columns of categories are texts, whichever they are; one
that was not seen in training is scored as CatBoost has it, and a null is refused, as by CatBoost.
"""

import functools
import importlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from nightscore.scorers.arrays import matrix, zeros
from nightscore.scorers.boosted import MARGIN, PROBABILITIES, SCORE
from nightscore.scorers.boosters.booster import (
    Array,
    Booster,
    BoosterScorer,
    find_library,
    not_of,
    refuse_device,
    width_of,
)
from nightscore.scorers.contract import Options
from nightscore.scorers.errors import MissingValueError, ModelError
from nightscore.scorers.files.model_file import ModelFile
from nightscore.scorers.outputs import matrix_columns

CLASSIFIERS = ("Logloss", "CrossEntropy", "MultiClass", "MultiLogloss", "MultiCrossEntropy")
EXPONENTIAL = ("Poisson", "Tweedie")


def open_catboost(model: ModelFile, options: Options) -> BoosterScorer:
    """A scorer for a model file of CatBoost.

    Raises:
        ModelError: it is none, takes texts or embeddings, its columns can't be told, it has no such output,
            or CatBoost is not installed.
    """
    refuse_device("catboost", model, options)
    library = find_library("catboost")
    try:
        opened = library.CatBoost().load_model(blob=model.data)
    except Exception as error:  # CatBoost's own, and others
        raise not_of("catboost", model, error) from error
    if opened.get_text_feature_indices() or opened.get_embedding_feature_indices():
        raise ModelError(
            f"{model.name}: has columns of texts or embeddings; kind catboost takes numbers and categories, "
            "and kind python, with path, any other (docs/scorers.md)"
        )
    pool = _Pool(library, opened, model.name, options)
    types = _prediction_types(opened)
    predict = functools.partial(_predicted, opened, options.threads, types)
    tried = pool(zeros(pool.schema))  # the first call prepares it, before threads share it
    widths = {output: width_of(predict(tried, output)) for output in types}
    return BoosterScorer(
        model.name, Booster(pool.schema, widths, np.dtype(np.float64), predict, pool), options
    )


class _Pool:
    """Makes a chunk the library's own table: float32, and categories as pandas has them."""

    def __init__(self, library: Any, opened: Any, model: str, options: Options) -> None:
        own: Sequence[str] = opened.feature_names_
        named = list(own) != [str(i) for i in range(len(own))]
        self._make, self._own = library.Pool, list(own)
        self._names = matrix_columns(model, options, own if named else None, len(own), "in its file")
        self._categories = set(opened.get_cat_feature_indices())
        kinds = [pa.string() if i in self._categories else pa.float32() for i in range(len(own))]
        self.schema = pa.schema(list(zip(self._names, kinds, strict=True)))

    def __call__(self, chunk: pa.RecordBatch) -> Any:
        """The pool of a chunk.

        Raises:
            ChunkError: a category, or an integer, is null.
        """
        if not self._categories:
            return self._make(matrix(chunk, self._names, np.float32), feature_names=self._own)
        pd = importlib.import_module("pandas")  # CatBoost brings it

        columns = {own: self._column(chunk, i, pd) for i, own in enumerate(self._own)}
        return self._make(pd.DataFrame(columns), cat_features=sorted(self._categories))

    def _column(self, chunk: pa.RecordBatch, place: int, pd: Any) -> Any:
        name = self._names[place]
        if place not in self._categories:
            return matrix(chunk, [name], np.float32)[:, 0]
        column = chunk.column(name)
        if column.null_count:
            raise MissingValueError(
                f"column {name!r} is a category, and has {column.null_count} null values; CatBoost takes "
                "none: give them, in the features SQL, the text that stood for them in training"
            )
        coded = column.cast(pa.string()).dictionary_encode()
        return pd.Categorical.from_codes(
            coded.indices.to_numpy(), pd.Index(coded.dictionary.to_pylist(), dtype=object)
        )


def _prediction_types(opened: Any) -> Mapping[str, str]:
    """The outputs of a model: name -> CatBoost's own name of it."""
    params = json.loads(opened.get_metadata().get("params") or "{}")
    loss = str(params.get("loss_function", {}).get("type", ""))
    if len(opened.classes_) or loss.startswith(CLASSIFIERS):
        return {PROBABILITIES: "Probability", MARGIN: "RawFormulaVal"}
    own = "Exponent" if loss.startswith(EXPONENTIAL) else loss
    special = own in ("Exponent", "RMSEWithUncertainty")
    return {SCORE: own if special else "RawFormulaVal", MARGIN: "RawFormulaVal"}


def _predicted(opened: Any, threads: int, types: Mapping[str, str], pool: Any, source: str) -> Array:
    values: Array = opened.predict(pool, prediction_type=types[source], thread_count=threads)
    return values
