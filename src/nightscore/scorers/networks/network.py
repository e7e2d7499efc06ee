"""A light network as steps over columns, and the same as its kernel has them: one flat array of numbers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from nightscore.scorers.errors import ModelError

DENSE, RELU, SIGMOID, TANH, SOFTMAX = range(5)
ADD, SUBTRACT, SUBTRACT_FROM, MULTIPLY, DIVIDE = range(5, 10)  # with a number for each column
COMPLEMENT = 10  # of one column p: the two columns c - p and p

OUTPUTS = 4  # of a dense step that are computed at once; its weights are filled up to a multiple
# Of weights and numbers: up to here the kernel was the faster one wherever it was measured, and beyond there
# are networks that ONNX Runtime's blocking for the processor's caches suits better (benchmarks/networks.py).
MOST_BYTES = 3 << 20
MOST_STEPS = 40  # compiled in half a second; of a hundred layers it takes many

Floats = npt.NDArray[np.float32]


class NotNetwork(ModelError):
    """The kernel for light networks does not run this model."""


@dataclass(frozen=True)
class Step:
    """One operation on all columns of a row; `width` is how many come of it.

    `numbers` are [width]: the bias of a dense step, the other operand of arithmetic (of COMPLEMENT [1]);
    `weights` are those of a dense step, [columns in, columns out].
    """

    operation: int
    width: int
    numbers: Floats | None = None
    weights: Floats | None = None


@dataclass(frozen=True)
class PackedStep:
    """An operation of so many columns in and out; where in `numbers` its weights and its numbers start.

    Of a dense step `has_relu` says whether negative results become 0.
    """

    operation: int
    inputs: int
    width: int
    weights: int
    numbers: int
    has_relu: bool = False


@dataclass(frozen=True)
class Packed:
    """Steps over `columns`, `given` of which come out; the widest layer, filled up, has `width`.

    Weights lie in `numbers` as they are read: for each `OUTPUTS` columns that come out, input by input.
    """

    columns: int
    steps: tuple[PackedStep, ...]
    numbers: Floats
    width: int

    @property
    def given(self) -> int:
        """The columns that come out."""
        return self.steps[-1].width


def packed(columns: int, steps: Sequence[Step]) -> Packed:
    """The steps of a network over so many columns. A ReLU is part of the dense step before it."""
    made: list[PackedStep] = []
    parts: list[Floats] = []
    size, width = 0, columns
    for step in steps:
        if step.operation == RELU and made and made[-1].operation == DENSE:
            made[-1] = replace(made[-1], has_relu=True)
            continue
        weights, numbers = _parts(step)
        made.append(PackedStep(step.operation, width, step.width, size, size + len(weights)))
        parts += weights, numbers
        size, width = size + len(weights) + len(numbers), step.width
    widest = max([columns, *(step.width for step in steps)])
    return Packed(columns, tuple(made), np.concatenate([np.empty(0, np.float32), *parts]), _filled(widest))


def _parts(step: Step) -> tuple[Floats, Floats]:
    """A step's weights and its numbers, each flat."""
    nothing: Any = np.empty(0, np.float32)
    if step.weights is None:
        return nothing, nothing if step.numbers is None else step.numbers
    more = _filled(step.width) - step.width
    weights = np.pad(step.weights, ((0, 0), (0, more))).reshape(len(step.weights), -1, OUTPUTS)
    # A zero without a sign is what leaves every sum as it is.
    numbers = np.full(step.width, -0.0, np.float32) if step.numbers is None else step.numbers
    return weights.transpose(1, 0, 2).reshape(-1), np.pad(numbers, (0, more))


def _filled(width: int) -> int:
    return -(-width // OUTPUTS) * OUTPUTS
