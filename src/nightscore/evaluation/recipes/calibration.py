"""Rows for a recipe to look at a network's inner values with."""

from collections.abc import Iterator, Sequence

import numpy as np

from nightscore.evaluation.recipes.recipe import Feeds, NoCandidate

NUMBERS, TOKENS = 131_072, 2048  # inputs in a piece: the values of all layers have to fit into memory


def calibration_batches(feeds: Sequence[Feeds], pieces: int) -> list[Feeds]:
    """Evenly spaced pieces of the rows in the feeds, those with a NaN or an infinity left out.

    One NaN among the values of a layer would make NaN of every range and every mean.

    Raises:
        NoCandidate: no rows are left.
    """
    batches = [piece for batch in feeds for piece in _pieces(_finite(batch))]
    if not batches:
        raise NoCandidate("there are no rows to calibrate with: none, or none without a NaN or an infinity")
    places = np.unique(np.linspace(0, len(batches) - 1, min(pieces, len(batches))).astype(int))
    return [batches[i] for i in places]


def _finite(batch: Feeds) -> Feeds:
    floats = [array for array in batch.values() if array.dtype.kind == "f"]
    if not floats:
        return batch
    good = np.all([np.isfinite(array).reshape(len(array), -1).all(axis=1) for array in floats], axis=0)
    return {name: array[good] for name, array in batch.items()}


def _pieces(batch: Feeds) -> Iterator[Feeds]:
    """A batch in pieces of rows; a token becomes a long vector in each layer, a number does not."""
    rows = len(next(iter(batch.values())))
    width = max((array[0].size for array in batch.values()), default=1) if rows else 1
    tokens = all(array.dtype.kind in "iu" for array in batch.values())
    size = max(1, (TOKENS if tokens else NUMBERS) // width)
    for start in range(0, rows, size):
        yield {name: array[start : start + size] for name, array in batch.items()}
