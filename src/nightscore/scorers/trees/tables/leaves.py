"""What leaves add to the targets, as columns of values."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nightscore.scorers.trees.forest import Floats, Forest, Ints

_NOTHING = {"MIN": np.inf, "MAX": -np.inf}  # what a leaf without a weight for a target adds; else 0


@dataclass(frozen=True)
class Leaves:
    """For each weight of a tree's leaves, the first to the last, and each target: one value a leaf.

    sums: [n, 3], a target, and where in `values` a tree's values for it start, and how many.
    spans: [trees, 2], the first and the one after the last of a tree's sums.
    always, ever: [targets], whether every row, whether any row gets a weight for a target.
    """

    values: Floats
    sums: Ints
    spans: Ints
    always: npt.NDArray[np.bool_]
    ever: npt.NDArray[np.bool_]


def leaves_of(forest: Forest, owners: Ints, leaves: Ints) -> Leaves:
    """The values of leaves, each [leaves] the tree and the node; the leaves of a tree stand together."""
    sizes = np.bincount(owners, minlength=len(forest.roots))
    begins = np.zeros(len(sizes), np.int64)
    begins[owners[::-1]] = np.arange(len(owners))[::-1]
    place = np.arange(len(owners)) - begins[owners]  # of each leaf within its tree
    leaf, weights, nth = _weights(forest, leaves)
    targets = forest.weight_targets[weights]
    depth = 1 + int(nth.max(initial=0))
    keys = (owners[leaf] * depth + nth) * forest.targets + targets
    columns, column, met = np.unique(keys, return_inverse=True, return_counts=True)
    trees, nths, target = (
        columns // (depth * forest.targets),
        columns // forest.targets % depth,
        columns % forest.targets,
    )
    starts = np.cumsum(sizes[trees]) - sizes[trees]
    values = np.full(sizes[trees].sum(), _NOTHING.get(forest.aggregate, 0.0), forest.dtype)
    values[starts[column] + place[leaf]] = forest.weight_values[weights]
    first = nths == 0
    always, ever = np.zeros((2, forest.targets), bool)
    ever[target[first]] = True
    always[target[first & (met == sizes[trees])]] = True
    numbers = np.arange(len(sizes))
    spans = np.stack([np.searchsorted(trees, numbers), np.searchsorted(trees, numbers, "right")], axis=1)
    return Leaves(values, np.stack([target, starts, sizes[trees]], axis=1), spans, always, ever)


def _weights(forest: Forest, leaves: Ints) -> tuple[Ints, Ints, Ints]:
    """Each weight of the leaves: which of them has it, its number, how many come before for its target."""
    starts, ends = forest.weight_start[leaves], forest.weight_start[leaves + 1]
    if forest.targets == 1:  # ONNX Runtime looks at a lone target's first weight alone
        ends = np.minimum(ends, starts + 1)
    counts = ends - starts
    leaf = np.repeat(np.arange(len(leaves)), counts)
    weights = np.arange(len(leaf)) + np.repeat(starts - (np.cumsum(counts) - counts), counts)
    same = leaf * forest.targets + forest.weight_targets[weights]
    order = np.argsort(same, kind="stable")
    begins = np.diff(same[order], prepend=-1) > 0
    run = np.flatnonzero(begins)[np.cumsum(begins) - 1]
    nth = np.empty(len(leaf), np.int64)
    nth[order] = np.arange(len(leaf)) - run
    return leaf, weights, nth
