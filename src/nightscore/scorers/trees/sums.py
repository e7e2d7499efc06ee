"""A forest, run over the columns of a chunk by the kernel."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from nightscore.scorers.arrays import SCORER_BATCH_ROWS
from nightscore.scorers.trees import kernel
from nightscore.scorers.trees.forest import AGGREGATES, Forest
from nightscore.scorers.trees.tables import tables
from nightscore.scorers.trees.tables.part import BLOCK, CONSTANTS

# Of bins, about, and of SCORER_BATCH_ROWS rows at most: they stay in the second-level cache.
BATCH_BYTES = 1 << 20
LINE = 64  # bytes: an array starts where a cache line does

Array = npt.NDArray[Any]


class Sums:
    """What the trees of a forest come to. Keeps nothing between calls; several threads may call."""

    def __init__(self, forest: Forest) -> None:
        """Raises NotTrees where the kernel can't address it."""
        self.forest, self.tables = forest, tables(forest)
        self._how = AGGREGATES.index(forest.aggregate)

    @property
    def width(self) -> int:
        """The columns that it looks at, at least: one more than the last of them."""
        return 1 + max((feature.feature for feature in self.tables.bins), default=-1)

    @property
    def batch_rows(self) -> int:
        """The rows to be summed at once, so that their bins fit the processor's cache."""
        return max(BLOCK, min(SCORER_BATCH_ROWS, BATCH_BYTES // self.tables.columns // BLOCK * BLOCK))

    def __call__(self, column: Callable[[int], Array], rows: int) -> Array:
        """The sums [targets, rows]; `column` gives the numbers [rows] of a feature, as they are compared."""
        layout = self.tables
        blocks = -(-rows // BLOCK)
        bins = _aligned(blocks * layout.columns * BLOCK).reshape(blocks, layout.columns, BLOCK)
        for feature in layout.bins:
            values = _read_only(column(feature.feature))
            kernel.put_into_bins(values, feature.cuts, feature.heap, feature.levels, feature.columns, bins)
        slots = _aligned(CONSTANTS + layout.slots * BLOCK)
        sums = np.empty((self.forest.targets, rows), self.forest.dtype)
        kernel.add_up(
            bins,
            layout.levels,
            layout.choices,
            layout.steps,
            layout.trees,
            layout.sums,
            layout.leaves,
            self._how,
            slots,
            sums,
        )
        return sums


def _read_only(values: Array) -> Array:
    """The same values; always read-only, which is a part of a type to Numba."""
    values = np.ascontiguousarray(values).view()
    values.flags.writeable = False
    return values


def _aligned(size: int) -> npt.NDArray[np.uint8]:
    """`size` bytes, of any value, from the start of a cache line on."""
    memory = np.empty(size + LINE, np.uint8)
    start = -memory.ctypes.data % LINE
    return memory[start : start + size]
