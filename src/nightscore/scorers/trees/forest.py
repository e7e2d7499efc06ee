"""An ensemble of decision trees as plain arrays, from any of ONNX's three operators for it.

What ONNX Runtime reads into a node is kept to the letter, quirks included; what it would read in a way
that depends on its version, or not at all, is refused (`NotTrees`), and the onnx kind serves the model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from nightscore.scorers.errors import ModelError

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.floating[Any]]

BRANCH_MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ")
LEAF_MODE = -1
AGGREGATES = ("AVERAGE", "SUM", "MIN", "MAX")
POST_TRANSFORMS = ("NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO", "PROBIT")


class NotTrees(ModelError):
    """The tree kernel can't run this model exactly as ONNX Runtime does."""


@dataclass(frozen=True)
class Forest:
    """Trees whose nodes are numbered through; all arrays but `roots` and the weights are [nodes].

    A child is a node's number. A leaf has mode `LEAF_MODE`, and its weights, in the order in which they are
    added, are `weight_targets[weight_start[n]:weight_start[n + 1]]` with `weight_values` beside them.
    """

    modes: npt.NDArray[np.int8]
    features: Ints
    values: Floats  # of the precision in which ONNX Runtime compares and sums
    missing: npt.NDArray[np.bool_]  # NaN goes where the condition is true
    true: Ints
    false: Ints
    roots: Ints
    weight_start: Ints
    weight_targets: Ints
    weight_values: Floats
    targets: int
    aggregate: str
    post_transform: str
    base_values: Floats
    labels: tuple[int, ...] | tuple[str, ...] | None = None  # of a classifier
    output_dtype: npt.DTypeLike = field(default=np.float32)

    @property
    def dtype(self) -> np.dtype[Any]:
        """What features are compared in and scores are summed in: float32 or float64."""
        return self.values.dtype


def regressor(attributes: Mapping[str, Any], dtype: np.dtype[Any]) -> Forest:
    """The trees of a TreeEnsembleRegressor, whose input is of `dtype`. Raises NotTrees."""
    aggregate = attributes.get("aggregate_function", b"SUM").decode()
    return _older(attributes, dtype, "target", int(attributes.get("n_targets", 0)), aggregate, None)


def classifier(attributes: Mapping[str, Any], dtype: np.dtype[Any]) -> Forest:
    """The trees of a TreeEnsembleClassifier, whose input is of `dtype`. Raises NotTrees."""
    texts = tuple(text.decode() for text in attributes.get("classlabels_strings", ()))
    labels = texts or tuple(int(label) for label in attributes.get("classlabels_int64s", ()))
    if len(labels) < 2:
        raise NotTrees(f"a classifier of {len(labels)} classes")
    return _older(attributes, dtype, "class", len(labels), "SUM", labels)


def _older(  # noqa: PLR0917
    attributes: Mapping[str, Any],
    dtype: np.dtype[Any],
    prefix: str,
    targets: int,
    aggregate: str,
    labels: tuple[int, ...] | tuple[str, ...] | None,
) -> Forest:
    """TreeEnsembleRegressor and -Classifier: nodes and weights name each other by (tree, node)."""
    trees, ids = ints(attributes, "nodes_treeids"), ints(attributes, "nodes_nodeids")
    names = attributes.get("nodes_modes", ())
    nodes = len(names)
    if not len(trees) == len(ids) == nodes:
        raise NotTrees(f"{nodes} nodes with {len(trees)} trees' and {len(ids)} nodes' numbers")
    named = _Names(trees, ids)
    if named.distinct != nodes:
        raise NotTrees(f"{nodes} nodes with {named.distinct} distinct names")
    known = {name: _mode(name.decode()) for name in set(names)}
    modes = np.array([known[name] for name in names], np.int8)
    starts = np.flatnonzero(np.diff(trees, prepend=trees[:1] - 1))
    if len(starts) != len(np.unique(trees)):
        raise NotTrees("the nodes of a tree do not stand together")
    weights = _weights(attributes, dtype, prefix, named)
    return Forest(
        modes=modes,
        features=sized(ints(attributes, "nodes_featureids"), nodes, "nodes_featureids"),
        values=sized(floats(attributes, "nodes_values", dtype), nodes, "nodes_values"),
        missing=missing(attributes, nodes),
        true=_children(attributes, "nodes_truenodeids", trees, modes, named),
        false=_children(attributes, "nodes_falsenodeids", trees, modes, named),
        roots=starts,
        weight_start=weights[0],
        weight_targets=weights[1],
        weight_values=weights[2],
        targets=targets,
        aggregate=aggregate,
        post_transform=attributes.get("post_transform", b"NONE").decode(),
        base_values=floats(attributes, "base_values", dtype),
        labels=labels,
    )


class _Names:
    """Nodes by what names them: a tree's number, and a node's within it."""

    def __init__(self, trees: Ints, ids: Ints) -> None:
        self._trees, self._ids = np.unique(trees), np.unique(ids)
        self._keys, self._nodes = np.unique(self._key(trees, ids), return_index=True)
        self.distinct = len(self._keys)

    def find(self, trees: Ints, ids: Ints) -> Ints:
        """The nodes of these names; -1 where there is none."""
        if not self.distinct:
            return np.full(len(ids), -1)
        keys = self._key(trees, ids)
        place = np.minimum(np.searchsorted(self._keys, keys), self.distinct - 1)
        return np.where(self._keys[place] == keys, self._nodes[place], -1)

    def _key(self, trees: Ints, ids: Ints) -> Ints:
        """One number for each name that can be; -1 for any other."""
        tree, node = np.searchsorted(self._trees, trees), np.searchsorted(self._ids, ids)
        known = self._trees[np.minimum(tree, len(self._trees) - 1)] == trees
        known &= self._ids[np.minimum(node, len(self._ids) - 1)] == ids
        return np.where(known, tree * len(self._ids) + node, -1)


def _mode(name: str) -> int:
    if name == "LEAF":
        return LEAF_MODE
    if name not in BRANCH_MODES:
        raise NotTrees(f"branch mode {name!r}")
    return BRANCH_MODES.index(name)


def _children(
    attributes: Mapping[str, Any],
    name: str,
    trees: Ints,
    modes: npt.NDArray[np.int8],
    named: "_Names",
) -> Ints:
    children: Ints = sized(ints(attributes, name), len(modes), name)
    found = np.where(modes == LEAF_MODE, 0, named.find(trees, children))
    if (lost := np.flatnonzero(found < 0)).size:
        raise NotTrees(f"{name}: there is no node {children[lost[0]]} in tree {trees[lost[0]]}")
    return found


def _weights(
    attributes: Mapping[str, Any], dtype: np.dtype[Any], prefix: str, named: "_Names"
) -> tuple[Ints, Ints, Floats]:
    """Per node: where its weights start, their targets, and their values."""
    trees, nodes = ints(attributes, f"{prefix}_treeids"), ints(attributes, f"{prefix}_nodeids")
    targets = sized(ints(attributes, f"{prefix}_ids"), len(nodes), f"{prefix}_ids")
    values = sized(floats(attributes, f"{prefix}_weights", dtype), len(nodes), f"{prefix}_weights")
    owners = named.find(sized(trees, len(nodes), f"{prefix}_treeids"), nodes)
    if (owners < 0).any():
        raise NotTrees(f"{prefix}_treeids and {prefix}_nodeids name a node that is not there")
    order = np.argsort(owners, kind="stable")
    start = np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=named.distinct))]).astype(np.int64)
    return start, targets[order], values[order]


def check(forest: Forest) -> None:
    """Raises NotTrees for what ONNX Runtime would not load, or not read the same way in each version."""
    _check_nodes(forest)
    _check_weights(forest)
    _check_transform(forest)


def _check_nodes(forest: Forest) -> None:
    inner = forest.modes != LEAF_MODE
    nodes = len(forest.modes)
    if not len(forest.roots):
        raise NotTrees("no trees")
    if inner.any() and (forest.modes[inner].min() < 0 or forest.modes[inner].max() >= len(BRANCH_MODES)):
        raise NotTrees("an unknown branch mode")
    for children in (forest.true[inner], forest.false[inner]):
        if ((children < 0) | (children >= nodes)).any():
            raise NotTrees("a child that is not there")
    if inner.any() and forest.features[inner].min() < 0:
        raise NotTrees("a negative feature")


def _check_weights(forest: Forest) -> None:
    """Where ONNX Runtime's score depends on whether a row met any weight at all, it is not ours to sum."""
    if forest.targets < 1:
        raise NotTrees(f"{forest.targets} targets")
    targets = forest.weight_targets
    if len(targets) and (targets.min() < 0 or targets.max() >= forest.targets):
        raise NotTrees("a weight for a target that is not there")
    counts = np.diff(forest.weight_start)[forest.modes == LEAF_MODE]
    if forest.targets == 1 and not counts.all():
        raise NotTrees("a leaf without a weight")
    if forest.aggregate in ("MIN", "MAX") and np.isnan(forest.weight_values).any():
        raise NotTrees(f"a weight that is NaN under {forest.aggregate}")


def _check_transform(forest: Forest) -> None:
    named(POST_TRANSFORMS, forest.post_transform, "post_transform")
    named(AGGREGATES, forest.aggregate, "aggregate_function")
    bases = len(forest.base_values)
    if bases not in (0, forest.targets) and not (
        bases == 1 and forest.labels is not None and forest.targets == 2
    ):
        raise NotTrees(f"{bases} base values for {forest.targets} targets")


def named(names: Sequence[str], value: Any, what: str) -> str:
    """A name, given by itself or by its number."""
    if isinstance(value, str) and value in names:
        return value
    if isinstance(value, int) and 0 <= value < len(names):
        return names[value]
    raise NotTrees(f"{what} {value!r}")


def missing(attributes: Mapping[str, Any], nodes: int) -> npt.NDArray[np.bool_]:
    """Per node, whether NaN goes where the condition is true; false where nothing is said."""
    tracks = ints(attributes, "nodes_missing_value_tracks_true")
    return np.concatenate([tracks[:nodes] == 1, np.zeros(nodes - len(tracks[:nodes]), bool)])


def ints(attributes: Mapping[str, Any], name: str) -> Ints:
    """A list of integers, empty where it is left out."""
    return np.asarray(attributes.get(name, ()), dtype=np.int64).reshape(-1)


def floats(attributes: Mapping[str, Any], name: str, dtype: np.dtype[Any]) -> Floats:
    """A list of floats, or the tensor of the same name; a list's float32 values widen to the dtype."""
    if f"{name}_as_tensor" in attributes:
        tensor: Floats = np.asarray(attributes[f"{name}_as_tensor"]).reshape(-1)
        if tensor.dtype != dtype:
            raise NotTrees(f"{name}_as_tensor is {tensor.dtype}; the input is {dtype}")
        return tensor
    values = attributes.get(name, ())
    if isinstance(values, np.ndarray):
        if values.dtype != dtype:
            raise NotTrees(f"{name} is {values.dtype}; the input is {dtype}")
        return values.reshape(-1)
    return np.asarray(values, dtype=np.float32).astype(dtype)


def sized(array: Any, count: int, name: str) -> Any:
    """The array, if it is of the right size."""
    if len(array) != count:
        raise NotTrees(f"{name} has {len(array)} entries; {count} are needed")
    return array
