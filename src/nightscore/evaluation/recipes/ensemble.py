"""The trees of an .onnx file as arrays to be changed, and the file with the changed ones.

They are read by `scorers/trees/graph.py`, so that a node means here what it means to the kernel, and a node
keeps its number: a change takes trees away, turns inner nodes into leaves, or gives leaves other weights.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from nightscore.evaluation.recipes.recipe import Feeds, NoCandidate
from nightscore.scorers import (
    BRANCH_MODES,
    ENSEMBLE_OPERATORS,
    LEAF_MODE,
    MEMBER_MODE,
    FeatureSource,
    Forest,
    Ints,
    ModelFile,
    NotTrees,
    TreeGraph,
    read_tree_graph,
)

BLOCK = 2048  # rows that go down the trees at a time

Bools = npt.NDArray[np.bool_]
Matrix = npt.NDArray[np.floating[Any]]


class Ensemble:
    """An ONNX model that is one ensemble of trees, as `read_tree_graph` takes it."""

    def __init__(self, model: ModelFile) -> None:
        """Raises NoCandidate for any other model; the message says what keeps it from being one."""
        try:
            self._graph: TreeGraph = read_tree_graph(model)
        except NotTrees as error:
            raise NoCandidate(f"its trees can't be changed: {error}") from error
        self._proto = onnx.load_model_from_string(model.data)
        modes = next(a for a in self._ensemble(self._proto).attribute if a.name == "nodes_modes")
        if modes.HasField("t") and (numpy_helper.to_array(modes.t) == MEMBER_MODE).any():
            raise NoCandidate(
                "its trees have sets of values (BRANCH_MEMBER), which were read as chains of nodes"
            )

    @property
    def forest(self) -> Forest:
        """The trees."""
        return self._graph.forest

    def with_forest(self, forest: Forest) -> bytes:
        """The model's bytes with these trees, whose nodes have the numbers of those that were read."""
        proto = onnx.ModelProto()
        proto.CopyFrom(self._proto)
        node = self._ensemble(proto)
        attributes = {attribute.name: attribute for attribute in node.attribute}
        changed = (_newer if node.op_type == "TreeEnsemble" else _older)(attributes, forest)
        del node.attribute[:]
        node.attribute.extend(changed)
        return bytes(proto.SerializeToString(deterministic=True))

    @staticmethod
    def _ensemble(proto: onnx.ModelProto) -> onnx.NodeProto:
        ensemble: onnx.NodeProto
        [ensemble] = [
            node
            for node in proto.graph.node
            if node.op_type in ENSEMBLE_OPERATORS and node.domain == "ai.onnx.ml"
        ]
        return ensemble

    def matrix(self, feeds: Sequence[Feeds]) -> Matrix:
        """Rows as the trees compare them, [rows, columns], of what ONNX Runtime is fed with."""
        return np.concatenate([self._matrix(batch) for batch in feeds])

    def _matrix(self, feeds: Feeds) -> Matrix:
        sources, dtype = self._graph.sources, self.forest.dtype
        if isinstance(sources, FeatureSource) or any(source.column is None for source in sources):
            [values] = feeds.values()
            return _cast(values, sources if isinstance(sources, FeatureSource) else sources[0]).astype(dtype)
        columns = [_cast(feeds[str(source.column)].reshape(-1), source) for source in sources]
        return np.stack(columns, axis=1).astype(dtype)


def _cast(values: npt.NDArray[Any], source: FeatureSource) -> npt.NDArray[Any]:
    for dtype in source.casts:
        values = values.astype(dtype)
    return values


def leaves(forest: Forest, rows: Matrix) -> Ints:
    """The leaf in which each row ends in each tree, [rows, trees]."""
    blocks = [_leaves(forest, rows[start : start + BLOCK]) for start in range(0, len(rows), BLOCK)]
    return np.concatenate(blocks) if blocks else np.zeros((0, len(forest.roots)), np.int64)


def _leaves(forest: Forest, rows: Matrix) -> Ints:
    trees = len(forest.roots)
    at = np.tile(forest.roots, len(rows))
    row = np.repeat(np.arange(len(rows)), trees)
    moving = np.flatnonzero(forest.modes[at] != LEAF_MODE)
    for _ in range(len(forest.modes)):  # a node that is its own descendant would never end
        if not len(moving):
            break
        at[moving] = onward(forest, at[moving], rows[row[moving], forest.features[at[moving]]])
        moving = moving[forest.modes[at[moving]] != LEAF_MODE]
    return at.reshape(len(rows), trees)


def onward(forest: Forest, nodes: Ints, values: Matrix) -> Ints:
    """The child that each of the inner `nodes` sends its value to, all [n]."""
    modes, cuts = forest.modes[nodes], forest.values[nodes]
    compare = (np.less_equal, np.less, np.greater_equal, np.greater, np.equal, np.not_equal)
    holds = np.zeros(len(nodes), bool)
    for mode in np.unique(modes):
        here = modes == mode
        holds[here] = compare[mode](values[here], cuts[here])
    holds |= np.isnan(values) & forest.missing[nodes]
    return np.where(holds, forest.true[nodes], forest.false[nodes])


def weights_of(forest: Forest) -> tuple[npt.NDArray[np.float64], Bools]:
    """Each leaf's weights by target, and which it has, both [nodes, targets]."""
    owners = _owners(forest)
    weights = np.zeros((len(forest.modes), forest.targets))
    np.add.at(weights, (owners, forest.weight_targets), forest.weight_values)
    has = np.zeros(weights.shape, bool)
    has[owners, forest.weight_targets] = True
    return weights, has


def in_use(forest: Forest) -> Bools:
    """Which nodes a root leads to, [nodes]."""
    used = np.zeros(len(forest.modes), bool)
    front = np.unique(forest.roots)
    while len(front):
        used[front] = True
        inner = front[forest.modes[front] != LEAF_MODE]
        below = np.unique(np.concatenate([forest.true[inner], forest.false[inner]]))
        front = below[~used[below]]
    return used


def _owners(forest: Forest) -> Ints:
    return np.repeat(np.arange(len(forest.modes)), np.diff(forest.weight_start))


def _older(attributes: dict[str, onnx.AttributeProto], forest: Forest) -> list[onnx.AttributeProto]:
    """TreeEnsembleRegressor and -Classifier: the lists of nodes, without those that are gone."""
    kept, is_leaf = in_use(forest), forest.modes == LEAF_MODE
    tree = np.searchsorted(forest.roots, np.arange(len(kept)), "right") - 1
    place = np.cumsum(kept) - 1
    number = place - place[forest.roots[tree]]  # ONNX Runtime takes no number above that of all nodes
    owners = _owners(forest)
    weighted = kept[owners]
    prefix = "target" if "target_ids" in attributes else "class"
    columns: dict[str, npt.NDArray[Any]] = {
        "nodes_treeids": tree[kept],
        "nodes_nodeids": number[kept],
        "nodes_featureids": np.where(is_leaf, 0, forest.features)[kept],
        "nodes_values": np.where(is_leaf, 0, forest.values).astype(forest.dtype)[kept],
        "nodes_modes": np.array([*BRANCH_MODES, "LEAF"])[forest.modes[kept]],
        "nodes_truenodeids": np.where(is_leaf, 0, number[forest.true])[kept],
        "nodes_falsenodeids": np.where(is_leaf, 0, number[forest.false])[kept],
        "nodes_missing_value_tracks_true": forest.missing[kept].astype(np.int64),
        f"{prefix}_treeids": tree[owners[weighted]],
        f"{prefix}_nodeids": number[owners[weighted]],
        f"{prefix}_ids": forest.weight_targets[weighted],
        f"{prefix}_weights": forest.weight_values[weighted],
    }
    others = [
        attribute
        for attribute in attributes.values()
        if not attribute.name.startswith(("nodes_", f"{prefix}_"))
    ]
    return others + [
        helper.make_attribute(f"{name}_as_tensor", numpy_helper.from_array(values))
        if f"{name}_as_tensor" in attributes
        else helper.make_attribute(name, values.tolist())
        for name, values in columns.items()
    ]


def _newer(attributes: dict[str, onnx.AttributeProto], forest: Forest) -> list[onnx.AttributeProto]:
    """TreeEnsemble: inner nodes and leaves, each with numbers of their own, from 0."""
    kept, is_leaf = in_use(forest), forest.modes == LEAF_MODE
    inner, ends = np.flatnonzero(kept & ~is_leaf), np.flatnonzero(kept & is_leaf)
    number = np.zeros(len(kept), np.int64)
    number[inner] = np.arange(len(inner))
    spare = _spare(forest, number, ends)
    number[ends] = np.arange(len(ends)) + spare
    first = forest.weight_start[ends]
    lists = {
        "nodes_featureids": forest.features[inner],
        "nodes_truenodeids": number[forest.true[inner]],
        "nodes_trueleafs": is_leaf[forest.true[inner]],
        "nodes_falsenodeids": number[forest.false[inner]],
        "nodes_falseleafs": is_leaf[forest.false[inner]],
        "nodes_missing_value_tracks_true": forest.missing[inner],
        "leaf_targetids": np.pad(forest.weight_targets[first], (spare, 0)),
        "tree_roots": number[forest.roots],
    }
    tensors = {
        "nodes_modes": forest.modes[inner].astype(np.uint8),
        "nodes_splits": forest.values[inner],
        "leaf_weights": np.pad(forest.weight_values[first], (spare, 0)),
    }
    gone = {*lists, *tensors, "nodes_hitrates"}
    return [
        *(attribute for attribute in attributes.values() if attribute.name not in gone),
        *(helper.make_attribute(name, values.astype(np.int64).tolist()) for name, values in lists.items()),
        *(helper.make_attribute(name, numpy_helper.from_array(values)) for name, values in tensors.items()),
    ]


def _spare(forest: Forest, number: Ints, ends: Ints) -> int:
    """How many unused leaves go first: a root whose children share a number is a leaf to ONNX Runtime."""
    true, false = forest.true[forest.roots], forest.false[forest.roots]
    mixed = (forest.modes[true] == LEAF_MODE) != (forest.modes[false] == LEAF_MODE)
    number = number.copy()
    number[ends] = np.arange(len(ends))
    leaf = np.where(forest.modes[true] == LEAF_MODE, true, false)[mixed]
    other = np.where(forest.modes[true] == LEAF_MODE, false, true)[mixed]
    forbidden = set((number[other] - number[leaf]).tolist())
    return next(spare for spare in range(len(forest.roots) + 1) if spare not in forbidden)
