"""The trees of a model in XGBoost's own file, as XGBoost runs them: all in single precision."""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nightscore.scorers.boosted import MARGIN, PROBABILITIES, SCORE, two_classes
from nightscore.scorers.coded import CodedColumns, category_values
from nightscore.scorers.contract import Options
from nightscore.scorers.files.model_file import ModelFile
from nightscore.scorers.outputs import matrix_columns
from nightscore.scorers.trees import kernel
from nightscore.scorers.trees.boosted_file import BoostedFile
from nightscore.scorers.trees.forest import NotTrees
from nightscore.scorers.trees.growing import LESS, Growing, Tree, constant
from nightscore.scorers.trees.xgboost_file import read_xgboost_file

FLOAT = np.dtype(np.float32)
ONE, TINY, MOST = np.float32(1), np.float32(1e-16), np.float32(88.7)  # of XGBoost's sigmoid
LOGISTIC = ("binary:logistic", "reg:logistic")
EXPONENTIAL = ("count:poisson", "reg:gamma", "reg:tweedie")
IDENTITY = (
    "reg:squarederror", "reg:absoluteerror", "reg:pseudohubererror", "reg:quantileerror",
    "reg:squaredlogerror", "binary:logitraw", "rank:pairwise", "rank:ndcg", "rank:map",
)  # fmt: skip
SOFTMAX = "multi:softprob"
CLASSIFIERS = ("binary:logistic", SOFTMAX)

Array = npt.NDArray[Any]


def read_xgboost(model: ModelFile, options: Options) -> BoostedFile:
    """A model's trees, columns and outputs.

    Raises:
        NotTrees: dart or linear, leaves of several numbers, an unknown objective, categories of other values
            than texts and integers, or a model that was stopped early.
        ModelError: it can't be read, or its columns can't be told.
    """
    learner = read_xgboost_file(model)["learner"]
    try:
        return _read(model.name, learner, options)
    except NotTrees as error:
        raise NotTrees(f"{model.name}: not for the kind trees: {error}; the kind xgboost runs it") from error
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise NotTrees(f"{model.name}: a model of xgboost that can't be read: {error!r:.200}") from error


def _read(model: str, learner: Mapping[str, Any], options: Options) -> BoostedFile:
    if (booster := learner["gradient_booster"]["name"]) != "gbtree":
        raise NotTrees(f"a booster {booster}")
    objective, said = learner["objective"]["name"], learner["learner_model_param"]
    if objective not in (*LOGISTIC, *EXPONENTIAL, *IDENTITY, SOFTMAX):
        raise NotTrees(f"the objective {objective!r}")
    body = learner["gradient_booster"]["model"]
    targets = max(int(said["num_class"]), int(said.get("num_target", 1)), 1)
    columns = _columns(model, learner, options)
    growing = Growing(FLOAT)
    for target, base in enumerate(_bases(said["base_score"], objective, targets)):
        growing.add(constant(base, FLOAT), target)
    for tree, target in zip(body["trees"][: _last(learner, body)], body["tree_info"], strict=False):
        growing.add(_tree(tree), int(target))
    main, wide = PROBABILITIES if objective in CLASSIFIERS else SCORE, targets if targets > 1 else 0
    widths = {main: 2 if objective == "binary:logistic" else wide, MARGIN: wide}
    return BoostedFile(columns, widths, growing.forest(targets), _Finish(objective, targets))


def _last(learner: Mapping[str, Any], body: Mapping[str, Any]) -> int:
    """How many trees count: of scikit-learn's classes those up to the best round."""
    said, ends = learner["attributes"], body["iteration_indptr"]
    best = said.get("best_iteration")
    if best is None or int(best) + 2 == len(ends):
        return len(body["trees"])
    if "scikit_learn" not in said:
        raise NotTrees("it was stopped early, and which of its trees are meant is not said")
    return int(ends[int(best) + 1])


def _bases(text: str, objective: str, targets: int) -> Array:
    """What each target starts from, as a margin [targets]."""
    bases = np.array(text.strip("[]").split(","), FLOAT)
    if objective in LOGISTIC:
        bases = -kernel.log(ONE / bases - ONE)
    elif objective in EXPONENTIAL:
        bases = kernel.log(bases)
    return np.broadcast_to(bases, targets)


def _columns(model: str, learner: Mapping[str, Any], options: Options) -> CodedColumns:
    width = int(learner["learner_model_param"]["num_feature"])
    names = matrix_columns(model, options, learner["feature_names"] or None, width, "in its file")
    values = _categories(model, names, learner["gradient_booster"]["model"].get("cats") or {"enc": ()})
    for place, kind in enumerate(learner["feature_types"]):
        if kind == "c" and place not in values:
            raise NotTrees(f"column {names[place]!r} is a category whose values are not in the file")
    return CodedColumns(names, FLOAT, values, "fail")


def _categories(model: str, names: list[str], cats: Mapping[str, Any]) -> dict[int, pa.Array]:
    found = {}
    for place, entry in enumerate(cats["enc"]):
        if len(entry["values"]):
            found[place] = category_values(model, names[place], _values(entry))
    return found


def _values(entry: Mapping[str, Any]) -> list[Any]:
    values = np.asarray(entry["values"])
    if "offsets" in entry:
        text, ends = values.astype(np.uint8).tobytes(), np.asarray(entry["offsets"]).tolist()
        return [text[a:b].decode() for a, b in itertools.pairwise(ends)]
    if not np.issubdtype(values.dtype, np.integer):
        raise NotTrees(f"categories of {values.dtype}")
    return list(values.tolist())


def _tree(said: Mapping[str, Any]) -> Tree:
    """A tree with its conditions first, in XGBoost's order, and then its leaves."""
    if int(said["tree_param"]["size_leaf_vector"] or 1) > 1:
        raise NotTrees("leaves of several numbers")
    left, right = (np.asarray(said[f"{side}_children"], np.int64) for side in ("left", "right"))
    values, leaf = np.asarray(said["split_conditions"], FLOAT), left < 0
    inner = int((~leaf).sum())
    place = np.where(leaf, inner + np.cumsum(leaf) - 1, np.cumsum(~leaf) - 1)
    tree = Tree(
        LESS,
        np.asarray(said["split_indices"], np.int64)[~leaf],
        values[~leaf],
        np.asarray(said["default_left"], np.bool_)[~leaf],
        place[left[~leaf]],
        place[right[~leaf]],
        values[leaf],
    )
    _ask_categories(tree, place, said)
    return tree


def _ask_categories(tree: Tree, place: Array, said: Mapping[str, Any]) -> None:
    """What is of a node's categories goes right, all others go left, and NaN where the node says."""
    for node, start, count in zip(
        said["categories_nodes"], said["categories_segments"], said["categories_sizes"], strict=True
    ):
        number = int(place[node])
        codes = sorted(int(code) for code in said["categories"][start : start + count])
        sides = int(tree.left[number]), int(tree.right[number])
        tree.ask_categories(number, codes, sides, missing_within=not tree.missing[number])


class _Finish:
    """From the sums over all trees, the base among them, to what the objective makes of them."""

    def __init__(self, objective: str, targets: int) -> None:
        self._objective, self._targets = objective, targets

    def __call__(self, source: str, sums: Array) -> Array:
        """An output [rows], or [rows, numbers], of sums [targets, rows]."""
        values = sums if source == MARGIN else self._converted(sums)
        if self._targets > 1:
            return np.ascontiguousarray(values.T)
        return two_classes(values[0]) if source == PROBABILITIES else values[0]

    def _converted(self, sums: Array) -> Array:
        result: Array = sums
        if self._objective in LOGISTIC:
            result = ONE / (kernel.exp(np.minimum(-sums, MOST)) + ONE + TINY)
        elif self._objective in EXPONENTIAL:
            result = kernel.exp(sums)
        elif self._objective == SOFTMAX:
            powers = kernel.exp(sums - sums.max(axis=0))
            total = np.add.accumulate(powers, axis=0, dtype=np.float64)[-1]
            result = powers / total.astype(np.float32)
        return result
