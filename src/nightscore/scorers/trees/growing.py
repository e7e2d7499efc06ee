"""The arrays of a forest, grown tree by tree from the files of the libraries that train them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nightscore.scorers.trees.forest import BRANCH_MODES, LEAF_MODE, Forest, NotTrees

LESS, AT_MOST = BRANCH_MODES.index("BRANCH_LT"), BRANCH_MODES.index("BRANCH_LEQ")
MOST_ADDED = 100_000  # conditions for categories: beyond, opening takes seconds, and the library is faster

Array = npt.NDArray[Any]


class Node(NamedTuple):
    """A condition: x < cut goes left, else right, and NaN left where `missing`; nodes by their numbers."""

    feature: int
    cut: float
    missing: bool
    left: int
    right: int


@dataclass
class Tree:
    """A tree whose nodes are numbered: its conditions [inner], its leaves [leaves], and then what is added.

    `mode` is how conditions compare; `missing` is whether NaN goes left.
    """

    mode: int
    features: Array
    cuts: Array
    missing: Array
    left: Array
    right: Array
    leaves: Array
    asked: dict[int, Node] = field(default_factory=dict)  # in place of conditions
    added: list[Node] = field(default_factory=list)

    def ask_categories(
        self, node: int, codes: Sequence[int], sides: tuple[int, int], missing_within: bool
    ) -> None:
        """Make a condition ask whether a number, cut to a whole one, is one of some codes: by a search.

        Args:
            node: the number of the condition.
            codes: sorted, different, 0 or more.
            sides: the node where all others go, and the one where these go.
            missing_within: whether NaN goes where these go.
        """
        cuts = _ends_of_runs(codes, self.cuts.dtype)
        self.asked[node] = self._between(
            int(self.features[node]), cuts, (0, len(cuts)), sides, missing_within
        )

    def _between(
        self, feature: int, cuts: Array, span: tuple[int, int], sides: tuple[int, int], within: bool
    ) -> Node:
        """What tells apart the places low … high between the cuts, of which every other one is of the codes.

        NaN goes to the second place, which is of the codes (`within`), or to the first.
        """
        low, high = span
        middle = (low + high) // 2
        ends = [
            sides[a % 2] if a == b else self._added(self._between(feature, cuts, (a, b), sides, within))
            for a, b in ((low, middle), (middle + 1, high))
        ]
        return Node(feature, float(cuts[middle]), int(within) <= middle, *ends)

    def _added(self, node: Node) -> int:
        self.added.append(node)
        return len(self.features) + len(self.leaves) + len(self.added) - 1


class Growing:
    """A forest that grows; `dtype` is what the library compares and sums in."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._dtype, self._count, self._added = dtype, 0, 0
        self._roots: list[int] = []
        self._parts: dict[str, list[Array]] = {
            name: []
            for name in ("modes", "features", "values", "missing", "true", "false", "weights", "targets")
        }

    def add(self, tree: Tree, target: int) -> None:
        """One more tree, whose leaves are added to a target.

        Raises:
            NotTrees: its conditions on categories are too many.
        """
        inner, ends, more = len(tree.features), len(tree.leaves), len(tree.added)
        self._added += more
        if self._added > MOST_ADDED:
            raise NotTrees(f"conditions on categories that take more than {MOST_ADDED:,} nodes")
        for node, asked in tree.asked.items():
            tree.features[node], tree.cuts[node], tree.missing[node] = asked.feature, asked.cut, asked.missing
            tree.left[node], tree.right[node] = asked.left, asked.right
        modes = np.full(inner, tree.mode, np.int8)
        modes[list(tree.asked)] = LESS
        extra = list(zip(*tree.added, strict=True)) if more else [()] * len(Node._fields)

        def whole(conditions: Array, added: Any, at_leaves: float = 0) -> Array:
            return np.concatenate([conditions, np.full(ends, at_leaves), np.array(added)])

        first = self._count
        self._put("modes", whole(modes, [LESS] * more, LEAF_MODE), np.int8)
        self._put("features", whole(tree.features, extra[0]), np.int64)
        self._put("values", whole(tree.cuts, extra[1]), self._dtype)
        self._put("missing", whole(tree.missing, extra[2]), np.bool_)
        self._put("true", whole(tree.left, extra[3]) + first, np.int64)
        self._put("false", whole(tree.right, extra[4]) + first, np.int64)
        self._put("weights", tree.leaves, self._dtype)
        self._put("targets", np.full(ends, target), np.int64)
        self._roots.append(first)
        self._count += inner + ends + more

    def _put(self, name: str, values: Array, dtype: npt.DTypeLike) -> None:
        self._parts[name].append(values.astype(dtype))

    def forest(self, targets: int) -> Forest:
        """All trees; scores are summed in the order in which they were added."""
        joined = {name: np.concatenate(parts) for name, parts in self._parts.items()}
        at_leaf = joined["modes"] == LEAF_MODE
        return Forest(
            modes=joined["modes"],
            features=joined["features"],
            values=joined["values"],
            missing=joined["missing"],
            true=joined["true"],
            false=joined["false"],
            roots=np.array(self._roots, np.int64),
            weight_start=np.concatenate([[0], np.cumsum(at_leaf)]).astype(np.int64),
            weight_targets=joined["targets"],
            weight_values=joined["weights"],
            targets=targets,
            aggregate="SUM",
            post_transform="NONE",
            base_values=np.zeros(0, self._dtype),
            output_dtype=self._dtype,
        )


def constant(value: float, dtype: np.dtype[Any]) -> Tree:
    """A tree of one leaf."""
    none = np.zeros(0, np.int64)
    return Tree(LESS, none, np.zeros(0, dtype), none, none, none, np.array([value], dtype))


def _ends_of_runs(codes: Sequence[int], dtype: np.dtype[Any]) -> Array:
    """Where runs of codes begin and end: a number x is of them where an odd number of cuts is at most x.

    A number is cut towards 0, so that 0 begins right above -1.
    """
    whole = np.array(codes, np.int64)
    begins = whole[np.diff(whole, prepend=-2) > 1].astype(dtype)
    ends = whole[np.diff(whole, append=whole[-1] + 2) > 1].astype(dtype) + dtype.type(1)
    begins[begins == 0] = np.nextafter(dtype.type(-1), dtype.type(0))
    return np.stack([begins, ends], axis=1).reshape(-1)
