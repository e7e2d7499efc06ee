"""LightGBM's own text of a model: its columns, their categories, and its trees as plain arrays.

All in double precision, as LightGBM compares and sums: our kernel comes to the same bits.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nightscore.scorers.boosted import MARGIN, PROBABILITIES, SCORE
from nightscore.scorers.coded import CodedColumns, category_values
from nightscore.scorers.contract import Options
from nightscore.scorers.errors import ModelError
from nightscore.scorers.files.foreign import looks_like
from nightscore.scorers.files.model_file import ModelFile
from nightscore.scorers.outputs import matrix_columns

BEGIN = b"tree\n"
CLASSIFIERS = ("binary", "multiclass", "multiclassova")
UNNAMED = re.compile(r"Column_\d+")  # what LightGBM calls a column of a matrix without names

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class LightGBMHead:
    """What the file says but for its trees. `objective` is empty where the user brought one of their own."""

    names: tuple[str, ...]
    named: bool
    per_iteration: int
    objective: tuple[str, ...]
    averaged: bool
    categorical: tuple[int, ...]
    values: tuple[tuple[Any, ...], ...] = field(
        default=()
    )  # of pandas' columns of categories, in their order

    @property
    def classifier(self) -> bool:
        """Whether what it gives are probabilities."""
        return self.objective[:1] != () and self.objective[0] in CLASSIFIERS

    @property
    def binary(self) -> bool:
        """Whether it tells two classes apart."""
        return self.objective[:1] == ("binary",)

    @property
    def widths(self) -> Mapping[str, int]:
        """The outputs: name -> numbers a row, 0 for one alone."""
        width = self.per_iteration if self.per_iteration > 1 else 0
        if self.classifier:
            return {PROBABILITIES: 2 if self.binary else self.per_iteration, MARGIN: width}
        return {SCORE: width, MARGIN: width}

    def option(self, name: str, default: float = 1.0) -> float:
        """A number that the objective stands with, as `sigmoid:1`."""
        found = dict(part.split(":", 1) for part in self.objective[1:] if ":" in part)
        return float(found.get(name, default))


def is_lightgbm(model: ModelFile) -> bool:
    """Whether a file is of LightGBM."""
    return model.data[:6].replace(b"\r", b"").startswith(BEGIN)


def read_lightgbm_head(model: ModelFile) -> LightGBMHead:
    """What a file says of itself.

    Raises:
        ModelError: it is none of LightGBM.
    """
    if not is_lightgbm(model):
        looks = looks_like(model.data)
        what = f"it looks like {looks}" if looks else "it does not begin like one"
        raise ModelError(
            f"{model.name}: no model of lightgbm: {what}; to make one: booster.save_model('m.txt'), of "
            "scikit-learn's classes model.booster_.save_model('m.txt')"
        )
    try:
        return _head(model.data.decode())
    except (KeyError, ValueError, TypeError) as error:
        raise ModelError(f"{model.name}: a model of lightgbm that can't be read: {error!r:.200}") from error


def _head(text: str) -> LightGBMHead:
    head = fields(text[: text.index("\n\n")])
    names = tuple(head["feature_names"].split(" "))
    infos = head["feature_infos"].split(" ")
    said = re.search(r"^\[categorical_feature: ([\d,]*)\]", text, re.MULTILINE)
    if said:
        categorical = [int(place) for place in said[1].split(",") if place]
    else:  # a file without its parameters: those that the trees know
        categorical = [i for i, info in enumerate(infos) if info[:1] != "[" and info != "none"]
    tail = re.search(r"^pandas_categorical:(.*)$", text, re.MULTILINE)
    values = json.loads(tail[1]) if tail else None
    return LightGBMHead(
        names=names,
        named=not all(map(UNNAMED.fullmatch, names)),
        per_iteration=int(head["num_tree_per_iteration"]),
        objective=tuple(head.get("objective", "").split()),
        averaged="average_output" in head,
        categorical=tuple(sorted(categorical)),
        values=tuple(map(tuple, values or ())),
    )


def fields(block: str) -> dict[str, str]:
    """The lines `key=value` of a block."""
    return {key: value for key, _, value in (line.strip().partition("=") for line in block.splitlines())}


def coded_columns(model: str, head: LightGBMHead, options: Options) -> CodedColumns:
    """The columns of a model, with the categories that its file holds.

    Raises:
        ModelError: nothing says which columns they are, or which of them the categories are of.
    """
    own = head.names if head.named else None
    names = matrix_columns(model, options, own, len(head.names), "in its file")
    if not head.values:  # whole numbers that are categories by themselves, or none
        return CodedColumns(names, np.dtype(np.float64))
    if len(head.values) != len(head.categorical):
        raise ModelError(
            f"{model}: holds the categories of {len(head.values)} columns, and names {len(head.categorical)} "
            "as categorical, so that it can't be told whose they are (LightGBM writes those of ordered "
            "categories without their columns); train without order: df[column] = "
            "df[column].cat.as_unordered(), or with the codes of ordered columns as numbers"
        )
    by_place = zip(head.categorical, head.values, strict=True)
    categories: dict[int, pa.Array] = {
        place: category_values(model, head.names[place], values) for place, values in by_place
    }
    return CodedColumns(names, np.dtype(np.float64), categories)
