"""The trees of a model in LightGBM's text, as LightGBM runs them: all in double precision."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from nightscore.scorers.boosted import MARGIN, PROBABILITIES, two_classes
from nightscore.scorers.contract import Options
from nightscore.scorers.files.model_file import ModelFile
from nightscore.scorers.trees import kernel
from nightscore.scorers.trees.boosted_file import BoostedFile
from nightscore.scorers.trees.forest import NotTrees
from nightscore.scorers.trees.growing import AT_MOST, Growing, Tree, constant
from nightscore.scorers.trees.lightgbm_text import LightGBMHead, coded_columns, fields, read_lightgbm_head

DOUBLE = np.dtype(np.float64)
CATEGORICAL, DEFAULT_LEFT = 1, 2  # bits of a node's decision_type; above them, what is missing:
NONE, ZERO, NAN = 0, 1, 2
NEAR_ZERO = float(np.float32(1e-35))  # LightGBM gives its trees a 0 for each number up to this one
EXPONENTIAL = ("poisson", "gamma", "tweedie")
IDENTITY = (
    "regression",
    "regression_l1",
    "huber",
    "fair",
    "quantile",
    "mape",
    "lambdarank",
    "rank_xendcg",
    "",
)
LOGISTIC = ("binary", "multiclassova", "cross_entropy")

Array = npt.NDArray[Any]


def read_lightgbm(model: ModelFile, options: Options) -> BoostedFile:
    """A model's trees, columns and outputs.

    Raises:
        NotTrees: leaves that are linear models, zeros that are missing values, or an unknown objective.
        ModelError: it is none of LightGBM, or its columns can't be told.
    """
    head = read_lightgbm_head(model)
    columns, growing = coded_columns(model.name, head, options), Growing(DOUBLE)
    try:
        blocks = _blocks(model.data.decode())
        finish = _Finish(head, len(blocks))
        for i, block in enumerate(blocks):
            growing.add(_tree(fields(block)), i % head.per_iteration)
    except NotTrees as error:
        raise NotTrees(f"{model.name}: not for the kind trees: {error}; the kind lightgbm runs it") from error
    except (KeyError, ValueError, IndexError) as error:
        raise NotTrees(f"{model.name}: a model of lightgbm that can't be read: {error!r:.200}") from error
    return BoostedFile(columns, head.widths, growing.forest(head.per_iteration), finish)


def _blocks(text: str) -> list[str]:
    return re.split(r"^Tree=\d+$", text.partition("end of trees")[0], flags=re.MULTILINE)[1:]


def _tree(said: Mapping[str, str]) -> Tree:
    if said.get("is_linear", "0") != "0":
        raise NotTrees("leaves that are linear models")
    leaves = _numbers(said["leaf_value"], np.float64)
    inner = int(said["num_leaves"]) - 1
    if not inner:
        return constant(leaves[0], DOUBLE)
    how = _numbers(said["decision_type"], np.int64)
    cuts = _cuts(_numbers(said["threshold"], np.float64), how)
    left, right = (_numbers(said[side], np.int64) for side in ("left_child", "right_child"))
    left, right = (np.where(side < 0, inner + ~side, side) for side in (left, right))
    tree = Tree(
        AT_MOST, _numbers(said["split_feature"], np.int64), cuts, _missing(cuts, how), left, right, leaves
    )
    if int(said["num_cat"]):
        _ask_categories(tree, np.flatnonzero(how & CATEGORICAL), said)
    return tree


def _cuts(cuts: Array, how: Array) -> Array:
    """Cuts that send numbers near 0 where 0 goes; those of categories are numbers of lists, and stay."""
    near = (np.abs(cuts) <= NEAR_ZERO) & ((how & CATEGORICAL) == 0)
    return np.where(near, np.where(cuts < 0, np.nextafter(-NEAR_ZERO, -np.inf), NEAR_ZERO), cuts)


def _missing(cuts: Array, how: Array) -> Array:
    """Whether NaN goes left: where it is no missing value it counts as 0."""
    default, kind, number = (how & DEFAULT_LEFT) > 0, how >> 2 & 3, (how & CATEGORICAL) == 0
    if (number & (kind == ZERO) & (default != (cuts >= 0))).any():
        raise NotTrees("zeros that are missing values")
    return np.where(kind == NONE, cuts >= 0, default)


def _ask_categories(tree: Tree, nodes: Array, said: Mapping[str, str]) -> None:
    """What is of a node's categories goes left, all others, and NaN, go right."""
    starts, words = _numbers(said["cat_boundaries"], np.int64), _numbers(said["cat_threshold"], np.uint32)
    for node in nodes.tolist():
        number = int(tree.cuts[node])
        bits = np.unpackbits(words[starts[number] : starts[number + 1]].view(np.uint8), bitorder="little")
        codes = np.flatnonzero(bits).tolist()
        if not codes:
            raise NotTrees("a condition on no category")
        tree.ask_categories(node, codes, (int(tree.right[node]), int(tree.left[node])), missing_within=False)


def _numbers(text: str, dtype: npt.DTypeLike) -> Array:
    return np.array(text.split(), dtype=np.float64 if dtype == np.float64 else np.int64).astype(dtype)


class _Finish:
    """From the sums over all trees to what the objective makes of them."""

    def __init__(self, head: LightGBMHead, trees: int) -> None:
        """Raises NotTrees for an objective that is not known."""
        self._head, self._rounds = head, trees // head.per_iteration
        self._name, self._words = (*head.objective, "")[0], head.objective[1:]
        known = {*EXPONENTIAL, *IDENTITY, *LOGISTIC, "multiclass", "cross_entropy_lambda"}
        if self._name not in known:
            raise NotTrees(f"the objective {self._name!r}")

    def __call__(self, source: str, sums: Array) -> Array:
        """An output [rows], or [rows, numbers], of sums [targets, rows]."""
        if source != MARGIN:
            sums = self._converted(sums / self._rounds if self._head.averaged else sums)
        if self._head.per_iteration > 1:
            return np.ascontiguousarray(sums.T)
        return two_classes(sums[0]) if source == PROBABILITIES else sums[0]

    def _converted(self, sums: Array) -> Array:
        result: Array = sums
        if self._name in LOGISTIC:
            steep = 1.0 if self._name == "cross_entropy" else self._head.option("sigmoid")
            result = 1.0 / (1.0 + kernel.exp(-steep * sums))
        elif self._name == "multiclass":
            powers = kernel.exp(sums - sums.max(axis=0))
            result = powers / np.add.accumulate(powers, axis=0)[-1]  # one class after the other
        elif self._name in EXPONENTIAL:
            result = kernel.exp(sums)
        elif self._name == "cross_entropy_lambda":
            result = kernel.log1p(kernel.exp(sums))
        elif "sqrt" in self._words:
            result = np.sign(sums) * sums * sums
        return result
