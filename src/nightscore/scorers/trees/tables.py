"""Trees as the tables that the kernel runs through.

A small tree is a list of choices: for every row, children before parents, each condition chooses one of the
leaf numbers that its two sides have come to. That takes as many steps as a tree has conditions, but one
step is for 64 rows, and nothing has to be guessed by the processor. In a large tree, rows walk.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nightscore.scorers.trees.binning import Bins, Conditions, conditions
from nightscore.scorers.trees.forest import Floats, Forest, Ints, NotTrees

BLOCK = 512  # rows that go through all trees together, while their bins stay in the processor's caches
LANES = 64  # rows that one step of the kernel decides on
LEAVES = 256  # of a tree whose leaves' numbers fit a byte
CHOICES = 512  # conditions of a tree that are decided on for every row; with more of them, rows walk
CONSTANTS = LEAVES * LANES  # bytes: each leaf's number, once for each lane, before the slots


@dataclass(frozen=True)
class Tables:
    """What the kernel reads. Trees stand in the order in which their scores are added.

    choices: uint32 [n, 5], for each condition of a tree, children before parents: the offset of its column
        of bins, low | width << 8, where the numbers of the leaves of the true side and of the false side
        stand (offset << 1 | 1 if one for each row, else 0), and the offset at which to put those chosen.
    steps: int32 [n, 4]: the offset of the bins, low | width << 8, the true and the false side, each the
        row of a step or ~(number of a leaf).
    trees: int64 [trees, 5]: first and last of `choices`, or -1 and a side to start at; first and last of
        `sums`; 1 if rows walk.
    sums: int64 [n, 3]: a target, and where in `leaves` a tree's values for it start, and how many.
    leaves: LEAVES more than there are, so that a table of as many can be read from each start.
    slots: the most that a tree needs; one holds the numbers of leaves for a block of rows.
    always, ever: [targets], whether every row, whether any row gets a weight for a target.
    """

    bins: tuple[Bins, ...]
    columns: int
    choices: npt.NDArray[np.uint32]
    steps: npt.NDArray[np.int32]
    trees: Ints
    sums: Ints
    leaves: Floats
    slots: int
    always: npt.NDArray[np.bool_]
    ever: npt.NDArray[np.bool_]


class _Builder:
    """Puts tree after tree into the tables."""

    def __init__(self, forest: Forest, graph: Conditions) -> None:
        self._forest = forest
        self._inner = graph.inner.tolist()
        self._true, self._false = graph.true.tolist(), graph.false.tolist()
        self._column = (graph.column * BLOCK).tolist()
        self._test = (graph.low | graph.width << 8).tolist()
        self._starts = forest.weight_start.tolist()
        self.choices: list[tuple[int, ...]] = []
        self.steps: list[tuple[int, ...]] = []
        self.trees: list[tuple[int, ...]] = []
        self.sums: list[tuple[int, int, int]] = []
        self.leaves: list[Floats] = []
        self.always, self.ever = np.zeros((2, forest.targets), bool)
        self.slots = 1
        self._filled = 0

    def add(self, root: int) -> None:
        """One more tree."""
        order = self._children_first(root)
        leaves = [node for node in order if not self._inner[node]]
        number = {node: i for i, node in enumerate(leaves)}
        first_sum = len(self.sums)
        self._add_sums(leaves)
        sums = (first_sum, len(self.sums))
        if self._inner[root] and len(leaves) <= LEAVES and self._conditions(order) <= CHOICES:
            first = len(self.choices)
            self._add_choices(root, order, number)
            self.trees.append((first, len(self.choices), *sums, 0))
        else:
            self.trees.append((-1, self._add_steps(root, order, number), *sums, 1))

    def _children_first(self, root: int) -> list[int]:
        """The nodes below `root`, and itself, each once and after its children."""
        order, state, stack = [], {}, [root]
        while stack:
            node = stack[-1]
            if node not in state and self._inner[node]:
                state[node] = False  # on the way down
                stack += [self._true[node], self._false[node]]
                if state.get(stack[-1]) is False or state.get(stack[-2]) is False:
                    raise NotTrees("a node that is its own descendant")
                continue
            stack.pop()
            if not state.get(node):
                state[node] = True
                order.append(node)
        return order

    def _conditions(self, order: list[int]) -> int:
        """Conditions of the tree, where what several nodes share counts for each of them."""
        count: dict[int, int] = {}
        for node in order:
            inner = self._inner[node]
            count[node] = 1 + count[self._true[node]] + count[self._false[node]] if inner else 0
        return count[order[-1]]

    def _add_choices(self, root: int, order: list[int], number: dict[int, int]) -> None:
        """From the root down, the side that needs more slots first; then the list turned round."""
        needs = self._needs(order)
        choices, stack = [], [(root, 0)]
        while stack:
            node, slot = stack.pop()
            sides = [self._true[node], self._false[node]]
            heavy = int(needs[sides[1]] > needs[sides[0]])
            places = [slot, slot]
            places[1 - heavy] += self._inner[sides[heavy]]
            ends = [
                self._slot(place) << 1 | 1 if self._inner[side] else number[side] * LANES << 1
                for side, place in zip(sides, places, strict=True)
            ]
            choices.append((self._column[node], self._test[node], *ends, self._slot(slot)))
            stack += [(sides[i], places[i]) for i in (heavy, 1 - heavy) if self._inner[sides[i]]]
        self.choices += reversed(choices)

    def _needs(self, order: list[int]) -> dict[int, int]:
        """Slots that each node's subtree needs (Sethi and Ullman 1970)."""
        needs: dict[int, int] = {}
        for node in order:
            needs[node] = 0
            if self._inner[node]:
                true, false = needs[self._true[node]], needs[self._false[node]]
                needs[node] = max(true, false) if true != false else true + 1
        return needs

    def _slot(self, place: int) -> int:
        self.slots = max(self.slots, place + 1)
        return CONSTANTS + place * BLOCK

    def _add_steps(self, root: int, order: list[int], number: dict[int, int]) -> int:
        """The side to start at."""
        side = {node: ~i for node, i in number.items()}
        for node in order:
            if self._inner[node]:
                side[node] = len(self.steps)
                ends = (side[self._true[node]], side[self._false[node]])
                self.steps.append((self._column[node], self._test[node], *ends))
        return side[root]

    def _add_sums(self, leaves: list[int]) -> None:
        """For each weight of the leaves, the first to the last, and each target: one value a leaf."""
        forest = self._forest
        columns: dict[tuple[int, int], Floats] = {}
        counts = np.zeros(forest.targets, np.int64)
        for i, leaf in enumerate(leaves):
            seen: dict[int, int] = {}
            for w in range(self._starts[leaf], self._starts[leaf + 1]):
                target = int(forest.weight_targets[w])
                nth = seen.get(target, 0)
                seen[target] = nth + 1
                counts[target] += not nth
                if forest.targets == 1 and nth:
                    break  # ONNX Runtime looks at a lone target's first weight alone
                if (nth, target) not in columns:
                    columns[nth, target] = np.full(len(leaves), _nothing(forest), forest.dtype)
                columns[nth, target][i] = forest.weight_values[w]
        self.ever |= counts > 0
        self.always |= counts == len(leaves)
        for (_, target), values in sorted(columns.items(), key=lambda item: item[0]):
            self.sums.append((target, self._filled, len(values)))
            self.leaves.append(values)
            self._filled += len(values)


def _nothing(forest: Forest) -> float:
    """What a leaf without a weight for a target adds to it."""
    return {"MIN": np.inf, "MAX": -np.inf}.get(forest.aggregate, 0.0)


def tables(forest: Forest) -> Tables:
    """The kernel's tables of a forest.

    Raises:
        NotTrees: a node that is its own descendant, or more bins than can be addressed.
    """
    graph, bins = conditions(forest)
    builder = _Builder(forest, graph)
    for root in graph.roots.tolist():
        builder.add(root)
    return Tables(
        bins=bins,
        columns=max(1, sum(len(feature.columns) for feature in bins)),
        choices=np.array(builder.choices, np.uint32).reshape(-1, 5),
        steps=np.array(builder.steps, np.int32).reshape(-1, 4),
        trees=np.array(builder.trees, np.int64).reshape(-1, 5),
        sums=np.array(builder.sums, np.int64).reshape(-1, 3),
        leaves=np.concatenate([*builder.leaves, np.zeros(LEAVES)]).astype(forest.dtype),
        slots=builder.slots,
        always=builder.always,
        ever=builder.ever,
    )
