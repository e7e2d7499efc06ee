"""What the parts of the tables share: sizes that the kernel counts on, and the trees of one way."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nightscore.scorers.trees.forest import Ints

BLOCK = 512  # rows that go through all trees together, while their bins stay in the processor's caches
LANES = 64  # rows that one step of the kernel decides on
LEAVES = 256  # of a tree whose leaves' numbers fit a byte
BITS = 8  # of such a number
CONSTANTS = LEAVES * LANES  # bytes: each leaf's number, once for each lane, before the slots
OBLIVIOUS, DECIDED, DEEP, WALKED = range(4)  # how rows find a leaf; in the first two, of at most LEAVES


@dataclass(frozen=True)
class Part:
    """Trees in which rows find their leaf in one way, and a table of the kernel for them.

    trees: [trees], their numbers.
    spans: [trees, 2], the first of each tree's rows in the table, and the one after its last.
    owners, leaves: [leaves], the tree and the node of each leaf, a tree's in the order of their numbers.
    """

    table: npt.NDArray[Any]
    trees: Ints
    spans: Ints
    owners: Ints
    leaves: Ints


def spans_of(counts: Ints) -> Ints:
    """[n, 2]: where each of n runs of some lengths begins and ends."""
    ends = np.cumsum(counts)
    return np.stack([ends - counts, ends], axis=1)
