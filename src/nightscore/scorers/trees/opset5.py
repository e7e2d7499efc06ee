"""The operator TreeEnsemble of ai.onnx.ml 5, which numbers inner nodes and leaves apart; here leaves follow.

Its numbers for post-transforms mean in ONNX Runtime (1.31 at least) what `POST_TRANSFORMS` says; in the
specification SOFTMAX and LOGISTIC change places. A score must not depend on the kind that serves it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from nightscore.scorers.trees.forest import (
    AGGREGATES,
    BRANCH_MODES,
    LEAF_MODE,
    POST_TRANSFORMS,
    Floats,
    Forest,
    NotTrees,
    floats,
    ints,
    missing,
    named,
    sized,
)

MEMBER_MODE = 6  # BRANCH_MEMBER, which only the newer operator has
EXACT = 30  # and from 0: to a set with another number in it, ONNX Runtime 1.31 takes 2.5 for 2
UNROLLED = 1_000_000  # nodes at most, where a node with a set of values becomes one node for each value


def newer(attributes: Mapping[str, Any], dtype: np.dtype[Any]) -> Forest:
    """The trees of a TreeEnsemble, whose input is of `dtype`. Raises NotTrees."""
    modes = ints(attributes, "nodes_modes").astype(np.int8)
    nodes = len(modes)
    targets, weights = ints(attributes, "leaf_targetids"), floats(attributes, "leaf_weights", dtype)
    leaves = len(sized(targets, len(weights), "leaf_targetids"))
    true = sized(ints(attributes, "nodes_truenodeids"), nodes, "nodes_truenodeids")
    false = sized(ints(attributes, "nodes_falsenodeids"), nodes, "nodes_falsenodeids")
    roots = ints(attributes, "tree_roots")
    if ((roots < 0) | (roots >= nodes)).any() or (true[roots] == false[roots]).any():
        raise NotTrees("a root whose two children have one number")  # ONNX Runtime takes it for a leaf
    nothing = np.zeros(leaves, np.int64)
    forest = Forest(
        modes=np.concatenate([modes, np.full(leaves, LEAF_MODE, np.int8)]),
        features=np.concatenate(
            [sized(ints(attributes, "nodes_featureids"), nodes, "nodes_featureids"), nothing]
        ),
        values=np.concatenate(
            [sized(floats(attributes, "nodes_splits", dtype), nodes, "nodes_splits"), nothing]
        ).astype(dtype),
        missing=np.concatenate([missing(attributes, nodes), nothing.astype(bool)]),
        true=np.concatenate([true + nodes * (ints(attributes, "nodes_trueleafs") != 0), nothing]),
        false=np.concatenate([false + nodes * (ints(attributes, "nodes_falseleafs") != 0), nothing]),
        roots=roots,
        weight_start=np.concatenate([np.zeros(nodes, np.int64), np.arange(leaves + 1)]),
        weight_targets=targets,
        weight_values=weights,
        targets=int(attributes.get("n_targets", 0)),
        aggregate=named(AGGREGATES, attributes.get("aggregate_function", 1), "aggregate_function"),
        post_transform=named(POST_TRANSFORMS, attributes.get("post_transform", 0), "post_transform"),
        base_values=np.zeros(0, dtype),
        output_dtype=dtype,
    )
    return _unrolled(forest, floats(attributes, "membership_values", dtype))


def _unrolled(forest: Forest, members: Floats) -> Forest:
    """The same forest, where `x in {a, b, c}` is a chain of x == a, x == b, x == c."""
    sets = np.flatnonzero(forest.modes == MEMBER_MODE)
    if not len(sets):
        return forest
    ends = np.flatnonzero(np.isnan(members))
    groups = np.split(members, ends + 1)
    groups = [group[~np.isnan(group)] for group in groups][: len(sets)]
    if len(groups) != len(sets) or not all(len(group) for group in groups):
        raise NotTrees(f"{len(sets)} nodes BRANCH_MEMBER, and membership_values has not a set for each")
    if any(len(group) > 1 and not _exact(group) for group in groups):
        raise NotTrees(f"BRANCH_MEMBER of other numbers than the integers 0 to {EXACT}")
    grown = {
        name: getattr(forest, name).tolist() for name in ("modes", "features", "missing", "true", "false")
    }
    values = list(forest.values)
    for node, group in zip(sets.tolist(), groups, strict=True):
        _unroll(grown, values, node, list(group))
        if len(values) > UNROLLED:
            raise NotTrees(f"over {UNROLLED} values in the sets of BRANCH_MEMBER")
    added = np.full(len(values) - len(forest.values), forest.weight_start[-1])
    columns: dict[str, Any] = {n: np.array(column, getattr(forest, n).dtype) for n, column in grown.items()}
    columns["values"] = np.array(values, forest.dtype)
    return replace(forest, weight_start=np.concatenate([forest.weight_start, added]), **columns)


def _exact(group: Floats) -> bool:
    return bool(((group >= 0) & (group <= EXACT) & (group == np.floor(group))).all())


def _unroll(grown: dict[str, list[Any]], values: list[Any], node: int, group: Sequence[Any]) -> None:
    """Turn `node` into x == group[0], and put the rest of the chain behind all nodes."""
    last = grown["false"][node]
    at = node
    for i, value in enumerate(group):
        grown["modes"][at], values[at] = BRANCH_MODES.index("BRANCH_EQ"), value
        if i + 1 == len(group):
            grown["false"][at] = last
            return
        for column in grown.values():
            column.append(column[node])
        values.append(value)
        grown["false"][at] = at = len(values) - 1
