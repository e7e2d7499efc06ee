"""Which layers of a network suffer most from being quantized, and how few have to stay as they are."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from nightscore.evaluation.recipes.network import Array, run_model
from nightscore.evaluation.recipes.recipe import Feeds

UNITS = 48  # layers that are tried alone; of more, neighbours are tried together
T = TypeVar("T")
Quantize = Callable[[Sequence[str]], bytes]


def rank_by_sensitivity(
    reference: bytes, nodes: Sequence[str], quantize: Quantize, feeds: Sequence[Feeds]
) -> list[list[str]]:
    """Nodes in units, the most sensitive first: by the outputs' error when a unit alone is quantized.

    That is the sensitivity analysis of Wu et al., "Integer Quantization for Deep Learning Inference:
    Principles and Empirical Evaluation" (2020, arXiv:2004.09602, section 5.2), with the root mean square
    error on the job's own rows in the place of an accuracy.
    """
    expected = run_model(reference, feeds)
    units = [list(map(str, part)) for part in np.array_split(np.array(nodes), min(len(nodes), UNITS))]
    return sorted(units, key=lambda unit: -_error(run_model(quantize(unit), feeds), expected))


def _error(actual: Sequence[Array], expected: Sequence[Array]) -> float:
    squares = [np.nanmean((array - other) ** 2.0) for array, other in zip(actual, expected, strict=True)]
    return float(np.sqrt(np.mean(squares))) if squares else 0.0


def fewest(total: int, make: Callable[[int], T], keeps: Callable[[T], bool]) -> tuple[int, T] | None:
    """The fewest of `total` things to leave out, and what is made then, so that the budget is kept.

    By bisection, at most log2(total) + 1 probes: what is kept with k left out is taken to be kept with more.
    None if it isn't kept with all but one left out.
    """
    best, low, high = None, 1, total - 1
    while low <= high:
        middle = (low + high) // 2
        candidate = make(middle)
        if keeps(candidate):
            best, high = (middle, candidate), middle - 1
        else:
            low = middle + 1
    return best
