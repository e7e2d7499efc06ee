"""Small trees as choices, for each condition one between what its two sides have come to."""

from dataclasses import dataclass

import numpy as np

from nightscore.scorers.trees.binning import Conditions
from nightscore.scorers.trees.forest import Ints
from nightscore.scorers.trees.tables.part import BLOCK, CONSTANTS, LANES, LEAVES, Part, spans_of

CHOICES = 512  # conditions of a tree that are decided on for every row; with more of them, rows walk


@dataclass(frozen=True)
class _Unfolded:
    """The conditions of trees, level by level from the roots on, each once for each way to it.

    sides: [conditions, 2], which condition is on the true and on the false side; -1 for a leaf, so that
    arrays with one more entry at the end, for leaves, are indexed by it.
    """

    levels: tuple[slice, ...]
    owners: Ints
    nodes: Ints
    sides: Ints


def decided_trees(graph: Conditions, trees: Ints) -> tuple[Part, int]:
    """Those of some trees that are small, and the slots for numbers of leaves that they need.

    The table is uint32 [n, 5], for each condition of a tree, children before parents: the offset of its
    column of bins, low | width << 8, where the numbers of the leaves of the true side and of the false side
    stand (offset << 1 | 1 if one for each row, else 0), and the offset at which to put those chosen.
    """
    tree = _unfolded(graph, trees)
    at_leaf = tree.sides < 0
    ends = np.stack([graph.true[tree.nodes], graph.false[tree.nodes]], axis=1)
    nodes = len(graph.inner)
    keys, which = np.unique((tree.owners[:, None] * nodes + ends)[at_leaf], return_inverse=True)
    owners, leaves = keys // nodes, keys % nodes
    conditions = np.bincount(tree.owners, minlength=len(graph.roots))
    held = (conditions > 0) & (conditions <= CHOICES)
    held &= np.bincount(owners, minlength=len(graph.roots)) <= LEAVES
    slots, order = _slots_and_order(tree)
    sides = np.zeros_like(tree.sides)
    sides[at_leaf] = (which - np.searchsorted(owners, owners)[which]) * LANES << 1
    sides[~at_leaf] = _offset(slots[tree.sides[~at_leaf]]) << 1 | 1
    spans = spans_of(conditions[held])
    kept = held[tree.owners]
    table = np.zeros((conditions[held].sum(), 5), np.uint32)
    last = np.zeros(len(held), np.int64)
    last[held] = spans[:, 1] - 1
    node = tree.nodes[kept]
    table[last[tree.owners[kept]] - order[:-1][kept]] = np.column_stack([
        graph.column[node] * BLOCK, graph.low[node] | graph.width[node] << 8, sides[kept],
        _offset(slots[:-1][kept]),
    ])  # fmt: skip
    of_held = held[owners]
    part = Part(table, np.flatnonzero(held), spans, owners[of_held], leaves[of_held])
    return part, 1 + int(slots[:-1][kept].max(initial=0))


def _offset(slot: Ints) -> Ints:
    return CONSTANTS + slot * BLOCK


def _unfolded(graph: Conditions, trees: Ints) -> _Unfolded:
    """The trees' conditions, of a large tree not all: more than CHOICES."""
    counts = np.zeros(len(graph.roots), np.int64)
    owners = trees[graph.inner[graph.roots[trees]]]
    nodes, filled = graph.roots[owners], 0
    found: list[tuple[Ints, Ints, Ints]] = []
    levels = []
    while len(nodes):
        counts += np.bincount(owners, minlength=len(counts))
        children = np.stack([graph.true[nodes], graph.false[nodes]], axis=1)
        onward = graph.inner[children] & (counts[owners] <= CHOICES)[:, None]
        levels.append(slice(filled, filled + len(nodes)))
        filled += len(nodes)
        sides = np.where(onward, filled - 1 + np.cumsum(onward).reshape(-1, 2), -1)
        found.append((owners, nodes, sides))
        owners, nodes = np.repeat(owners, 2)[onward.reshape(-1)], children[onward]
    found.append((trees[:0], trees[:0], np.zeros((0, 2), np.int64)))
    whole = (np.concatenate(column) for column in zip(*found, strict=True))
    return _Unfolded(tuple(levels), *whole)


def _slots_and_order(tree: _Unfolded) -> tuple[Ints, Ints]:
    """For each condition, the slot of its numbers, and how many of its tree's come after it.

    The side that needs more slots comes first, as the other then needs but one more (Sethi and Ullman 1970).
    """
    needs, size, slots, order = np.zeros((4, len(tree.nodes) + 1), np.int64)
    for level in reversed(tree.levels):
        true, false = needs[tree.sides[level]].T
        needs[level] = np.where(true == false, true + 1, np.maximum(true, false))
        size[level] = 1 + size[tree.sides[level]].sum(axis=1)
    false_first = needs[tree.sides[:, 1]] > needs[tree.sides[:, 0]]
    true, false = tree.sides.T
    first, second = np.where(false_first, (false, true), (true, false))
    for level in tree.levels:
        one, other = first[level], second[level]
        slots[one], slots[other] = slots[level], slots[level] + (one >= 0)
        order[one], order[other] = order[level] + 1 + size[other], order[level] + 1
    return slots, order
