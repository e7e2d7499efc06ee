"""Large trees as steps from node to node."""

import numpy as np

from nightscore.scorers.trees.binning import Conditions
from nightscore.scorers.trees.forest import Ints, NotTrees
from nightscore.scorers.trees.tables.part import BLOCK, Part


def walked_trees(graph: Conditions, trees: Ints) -> Part:
    """The trees, of any size.

    The table is int32 [n, 4]: the offset of the bins, low | width << 8, the true and the false side, each the
    row of a step or ~(number of a leaf). A tree's rows end with the one that it starts at.

    Raises:
        NotTrees: a node that is its own descendant.
    """
    walks = _Walks(graph)
    leaves = [walks.add(root) for root in graph.roots[trees].tolist()]
    return Part(
        table=np.array(walks.steps, np.int32).reshape(-1, 4),
        trees=trees,
        spans=np.array(walks.spans, np.int64).reshape(-1, 2),
        owners=np.repeat(trees, [len(nodes) for nodes in leaves]),
        leaves=np.array([node for nodes in leaves for node in nodes], np.int64),
    )


class _Walks:
    def __init__(self, graph: Conditions) -> None:
        self._inner = graph.inner.tolist()
        self._true, self._false = graph.true.tolist(), graph.false.tolist()
        self._column = (graph.column * BLOCK).tolist()
        self._test = (graph.low | graph.width << 8).tolist()
        self.steps: list[tuple[int, ...]] = []
        self.spans: list[tuple[int, int]] = []

    def add(self, root: int) -> list[int]:
        """One more tree; its leaves."""
        first = len(self.steps)
        leaves: list[int] = []
        side: dict[int, int] = {}
        for node in self._children_first(root):
            if self._inner[node]:
                side[node] = len(self.steps)
                ends = (side[self._true[node]], side[self._false[node]])
                self.steps.append((self._column[node], self._test[node], *ends))
            else:
                side[node] = ~len(leaves)
                leaves.append(node)
        self.spans.append((first, len(self.steps)))
        return leaves

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
