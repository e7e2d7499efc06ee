"""Oblivious trees, as CatBoost grows them: all nodes of a level ask the same of the same feature.

Each level's answer is a bit of the number of a row's leaf, the root's the lowest.
"""

import numpy as np

from nightscore.scorers.trees.binning import Conditions
from nightscore.scorers.trees.tables.part import BITS, BLOCK, Part, spans_of

MOST_LEVELS = 2 * BITS


def oblivious_trees(graph: Conditions) -> Part:
    """Those of all trees that are oblivious, of at most MOST_LEVELS; a lone leaf is one, too.

    The table is uint32 [n, 2], for each level of a tree from its root on: the offset of its column of bins,
    and low | width << 8.
    """
    questions = np.stack([graph.column * BLOCK, graph.low | graph.width << 8], axis=1)
    trees, nodes = np.arange(len(graph.roots)), graph.roots[:, None]  # [trees], [trees, nodes of a level]
    asked = np.zeros((len(trees), 0, 2), np.int64)
    found = []
    for _ in range(MOST_LEVELS + 1):
        inner = graph.inner[nodes]
        ends = ~inner.any(axis=1)
        found.append((trees[ends], asked[ends], nodes[ends]))
        ask = questions[nodes]
        goes_on = inner.all(axis=1) & (ask == ask[:, :1]).all(axis=(1, 2))
        trees, nodes = trees[goes_on], nodes[goes_on]
        asked = np.concatenate([asked[goes_on], ask[goes_on, :1]], axis=1)
        nodes = np.concatenate([graph.false[nodes], graph.true[nodes]], axis=1)
        if nodes.size > 2 * len(graph.inner):  # nodes that many share, and soon too many to count them
            break
    return Part(
        table=np.concatenate([asked.reshape(-1, 2) for _, asked, _ in found]).astype(np.uint32),
        trees=np.concatenate([trees for trees, _, _ in found]),
        spans=spans_of(np.concatenate([np.full(len(asked), asked.shape[1]) for _, asked, _ in found])),
        owners=np.concatenate([np.repeat(trees, nodes.shape[1]) for trees, _, nodes in found]),
        leaves=np.concatenate([nodes.reshape(-1) for _, _, nodes in found]),
    )
