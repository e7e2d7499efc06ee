"""A forest's tables, put together of its trees of each kind."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nightscore.scorers.trees.binning import Bins, conditions
from nightscore.scorers.trees.forest import Floats, Forest, Ints
from nightscore.scorers.trees.tables.choices import decided_trees
from nightscore.scorers.trees.tables.leaves import leaves_of
from nightscore.scorers.trees.tables.oblivious import oblivious_trees
from nightscore.scorers.trees.tables.part import BITS, DECIDED, DEEP, LEAVES, OBLIVIOUS, WALKED
from nightscore.scorers.trees.tables.walks import walked_trees


@dataclass(frozen=True)
class Tables:
    """What the kernel reads. Trees stand in the order in which their scores are added.

    levels, choices, steps: what rows are asked in trees of each kind: `oblivious`, `choices`, `walks`.
    trees: int64 [trees, 5]: how rows find their leaf, the first of the tree's rows in the table of its
        kind and the one after its last, and the same of `sums`.
    sums: int64 [n, 3]: a target, and where in `leaves` a tree's values for it start, and how many.
    leaves: LEAVES more than there are, so that a table of as many can be read from each start.
    slots: the most that a tree needs; one holds the numbers of leaves, a byte each, for a block of rows.
    always, ever: [targets], whether every row, whether any row gets a weight for a target.
    """

    bins: tuple[Bins, ...]
    columns: int
    levels: npt.NDArray[np.uint32]
    choices: npt.NDArray[np.uint32]
    steps: npt.NDArray[np.int32]
    trees: Ints
    sums: Ints
    leaves: Floats
    slots: int
    always: npt.NDArray[np.bool_]
    ever: npt.NDArray[np.bool_]


def tables(forest: Forest) -> Tables:
    """The kernel's tables of a forest.

    Raises:
        NotTrees: a node that is its own descendant, or more bins than can be addressed.
    """
    graph, bins = conditions(forest)
    how = np.full(len(graph.roots), WALKED)
    oblivious = oblivious_trees(graph)
    deep = oblivious.spans[:, 1] - oblivious.spans[:, 0] > BITS
    how[oblivious.trees] = np.where(deep, DEEP, OBLIVIOUS)
    decided, slots = decided_trees(graph, np.flatnonzero(how == WALKED))
    how[decided.trees] = DECIDED
    walked = walked_trees(graph, np.flatnonzero(how == WALKED))
    spans = np.zeros((len(how), 2), np.int64)
    parts = (oblivious, decided, walked)
    for part in parts:
        spans[part.trees] = part.spans
    owners, leaves = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("owners", "leaves")
    )
    added = leaves_of(forest, owners, leaves)
    return Tables(
        bins=bins,
        columns=max(1, sum(len(feature.columns) for feature in bins)),
        levels=oblivious.table,
        choices=decided.table,
        steps=walked.table,
        trees=np.column_stack([how, spans, added.spans]),
        sums=added.sums,
        leaves=np.concatenate([added.values, np.zeros(LEAVES, forest.dtype)]),
        slots=max(slots, 1 + int(deep.any())),
        always=added.always,
        ever=added.ever,
    )
