"""A recipe makes a smaller or quicker model out of another one, the reference; a bake-off judges it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import pyarrow as pa

from nightscore.scorers import ModelFile, Options, Technique

Feeds = Mapping[str, npt.NDArray[Any]]


class NoCandidate(Exception):
    """A recipe has nothing to offer for this model; the message says why, in a sentence of a table."""


@dataclass(frozen=True)
class Material:
    """What recipes make a model from.

    Args:
        model: the reference: the bytes of an .onnx file.
        options: how the job opens it: its output columns, and the columns of its matrix.
        features: rows of the job's own past days, with the columns that the model needs; never those of the
            day on which candidates are judged, nor of the held-out day.
        scores: what the reference gives for them: as many rows, the columns of its signature.
        feeds: the same rows as ONNX Runtime takes them, in batches: input name -> array.
        keeps: whether a model's bytes keep the budget, on the judged day's rows; a probe costs seconds.
    """

    model: ModelFile
    options: Options
    features: pa.Table
    scores: pa.Table
    feeds: tuple[Feeds, ...]
    keeps: Callable[[bytes], bool]


@dataclass(frozen=True)
class Recipe:
    """How a candidate is made; `make` gives the bytes of an .onnx file that takes the reference's place.

    It has the reference's inputs, metadata, and those of its outputs that the job uses: names, types, ranks.
    Recipes with the same `ladder` are tried in order, each smaller than the one before, until one breaks the
    budget.

    `make` raises NoCandidate where it has nothing to offer; whatever else it raises is listed as the recipe's
    reason, too, and the bake-off goes on.
    """

    name: str
    technique: Technique
    about: str
    make: Callable[[Material], bytes]
    ladder: str = ""
