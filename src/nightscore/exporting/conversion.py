"""What a library's module says of a model, what comes of it, and what an export gives back."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

MATRIX = ", as a matrix"  # at the end of what a way is called
Scores = npt.NDArray[np.floating[Any]]  # [n], or [n, k]


class CannotConvert(Exception):
    """A converter can't write this model; the message says why."""


@dataclass(frozen=True)
class Way:
    """One way in which a model may become ONNX: what it is called in messages, and the call that makes it.

    `make` gives the bytes of an .onnx model whose text columns are inputs of their own, or raises anything.
    """

    about: str
    make: Callable[[], bytes]


@dataclass(frozen=True)
class Trained:
    """A model as its library has it.

    `predict` gives the scores [n] or [n, k] of rows as training had them; `classes` [k] are those of the
    columns. `ways` are tried in their order. `advice` says what to do where no way gives the same model.
    `known` are the categories of columns, as far as the model says them.
    """

    library: str
    predict: Callable[[Any], Scores]
    ways: Sequence[Way]
    classes: Sequence[Any] = ()
    advice: str = ""
    known: Mapping[str, Sequence[Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Exported:
    """What an export has written, and what a job says of it.

    `furthest` is the largest distance of a score from the library's: relative to its size, absolute below 1.
    """

    path: Path
    expected: Path
    outputs: Mapping[str, str]
    rows: int
    furthest: float
    tolerance: float
    notes: Sequence[str]
    kind: str = ""

    @property
    def block(self) -> str:
        """The `model:` block of a job.yaml, with the paths as seen from the current folder, the workspace."""
        outputs = ", ".join(f"{name}: {json.dumps(output)}" for name, output in self.outputs.items())
        loose = f", tolerance: {self.tolerance:g}" if self.tolerance != TOLERANCE else ""
        kind = f"  kind: {self.kind}\n" if self.kind else ""
        path, expected = _from_here(self.path), _from_here(self.expected)
        return (
            f"model:\n{kind}  path: {path}\n  outputs: {{{outputs}}}\n"
            f"  expected: {{features: {expected}{loose}}}\n"
        )

    def __str__(self) -> str:
        """The block, and in comments what was compared and what to know."""
        away = f"held to the library on {self.rows:,} rows, the furthest {self.furthest:.1e} away"
        lines = [f"{_from_here(self.path)}: {away}", *self.notes]
        return "".join(f"# {line}\n" for line in lines) + self.block


def _from_here(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


TOLERANCE = 1e-5  # of model.expected: relative above 1, absolute below
