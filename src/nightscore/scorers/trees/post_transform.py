"""From the sums over all trees to scores and labels: base values, post-transforms, the winning class.

All of it in the precision and the order of ONNX Runtime, so that results are the same to the last bit where
its `exp` and `log` are the C library's, as the kernel's are.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from nightscore.scorers.trees import kernel
from nightscore.scorers.trees.forest import Floats, Forest, Ints, NotTrees

ONE = np.float32(1)
Bools = npt.NDArray[np.bool_]


class Finish:
    """What a forest makes of its sums.

    `always` and `ever` are [targets]: whether every row, whether any row gets a weight for a target.
    """

    def __init__(self, forest: Forest, always: Bools, ever: Bools) -> None:
        """Raises NotTrees where a result depends on which rows got a weight at all."""
        self._forest, self._scored = forest, always
        bases, targets = len(forest.base_values), forest.targets
        self._based = bases == targets
        if (always != ever).any() and self._depends():
            raise NotTrees("leaves that give a weight to some of the classes or targets alone")
        if forest.labels is not None and targets == 2:
            self._check_two_classes()

    def _depends(self) -> bool:
        """Whether no weight is something else than a weight of zero."""
        forest = self._forest
        if forest.labels is not None:
            return not (forest.targets > 2 and self._based)
        return forest.aggregate in ("MIN", "MAX") or self._based

    def _check_two_classes(self) -> None:
        if not self._scored.any():
            raise NotTrees("a classifier without weights")
        alone = not self._scored[1] and len(self._forest.base_values) < 2
        one_class = len(np.unique(self._forest.weight_targets)) == 1
        if (
            not one_class
            and isinstance((self._forest.labels or ("",))[0], int)
            and self._forest.labels != (0, 1)
        ):
            raise NotTrees(
                "two classes with weights of their own and labels other than 0 and 1"
            )  # 0 and 1 are given
        if alone and self._forest.post_transform == "PROBIT":
            raise NotTrees("PROBIT of one score for two classes")  # the second is never written

    def __call__(self, sums: Floats) -> tuple[Ints | None, Floats]:
        """Numbers of the labels [rows], for a classifier, and scores [targets, rows], of sums likewise."""
        with np.errstate(all="ignore"):
            if self._forest.labels is None:
                return None, self._regression(sums).astype(self._forest.output_dtype, copy=False)
            numbers, scores = (self._two if self._forest.targets == 2 else self._many)(sums)
            return numbers, scores.astype(np.float32, copy=False)

    def _regression(self, sums: Floats) -> Floats:
        forest = self._forest
        if forest.aggregate == "AVERAGE":
            sums = sums / forest.dtype.type(len(forest.roots))
        if self._based:
            sums = sums + forest.base_values[:, None]
        if forest.targets == 1:  # ONNX Runtime transforms a lone target by PROBIT alone
            return _probit(sums) if forest.post_transform == "PROBIT" else sums
        if forest.aggregate not in ("MIN", "MAX"):
            sums[~self._scored & self._based] = 0  # what got no weight doesn't get its base value either
        elif not self._scored.all():
            base = forest.base_values if self._based else np.zeros(forest.targets)
            sums[~self._scored] = base[~self._scored, None]
        return _transformed(sums, forest.post_transform)

    def _many(self, sums: Floats) -> tuple[Ints, Floats]:
        scored = self._scored.copy()
        for k, base in enumerate(self._forest.base_values):
            sums[k], scored[k] = sums[k] + base, True
        candidates = np.flatnonzero(scored)
        if not len(candidates):
            raise NotTrees("a classifier without weights")
        best = np.full(sums.shape[1], candidates[0])
        highest = sums[candidates[0]].copy()
        for k in candidates[1:]:
            higher = sums[k] > highest
            best[higher] = k
            highest[higher] = sums[k][higher]
        return best, _transformed(sums, self._forest.post_transform)

    def _two(self, sums: Floats) -> tuple[Ints, Floats]:
        bases, (_, second) = self._forest.base_values, self._scored
        if len(bases) == 2 and second:
            sums[1] = bases[1] + sums[0]  # so it is: the sum of class 1 is not looked at
            sums[0] = -sums[1]
        elif len(bases):
            sums[0] += bases[0]
        deciding = sums[1] if second else sums[0]
        one_class = len(np.unique(self._forest.weight_targets)) == 1
        positive = one_class and not (self._forest.weight_values < 0).any()
        winner = (deciding > (0.5 if positive else 0)).astype(np.int64)
        if second or len(bases) == 2:
            return winner, _transformed(sums * self._scored[:, None], self._forest.post_transform)
        return winner, self._from_one(sums[0], positive)

    def _from_one(self, score: Floats, positive: bool) -> Floats:
        """Both classes' scores from that of one."""
        if self._forest.post_transform == "LOGISTIC":
            return np.stack([_logistic(-score), _logistic(score)])
        if positive:
            return np.stack([1 - score, score])
        return np.stack([-score, score])


def _transformed(scores: Floats, transform: str) -> Floats:
    transforms = {
        "LOGISTIC": _logistic, "SOFTMAX": _softmax, "SOFTMAX_ZERO": _softmax_zero, "PROBIT": _probit
    }  # fmt: skip
    return transforms[transform](scores) if transform in transforms else scores


def _logistic(scores: Floats) -> npt.NDArray[np.float32]:
    value = scores.astype(np.float32)
    upper = ONE / (ONE + kernel.exp(-np.abs(value)))
    both: npt.NDArray[np.float32] = np.where(value < 0, ONE - upper, upper)
    return both


def _highest(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    lowest = np.full((1, scores.shape[1]), np.finfo(np.float32).min, np.float32)
    highest: npt.NDArray[np.float32] = np.fmax.reduce(np.concatenate([lowest, scores]), axis=0)
    return highest


def _softmax(scores: Floats) -> npt.NDArray[np.float32]:
    value = scores.astype(np.float32)
    powers = kernel.exp(value - _highest(value))
    shares: npt.NDArray[np.float32] = powers / _summed(powers)
    return shares


def _softmax_zero(scores: Floats) -> Floats:
    """A softmax that leaves zeros out."""
    value = scores.astype(np.float32)
    highest = _highest(value)
    far = (value > np.float32(1e-7)) | (value < np.float32(-1e-7))
    powers = kernel.exp(value - highest)
    total = _summed(np.where(far, powers, np.float32(0)))
    shares: Floats = np.where(far, powers, scores * kernel.exp(-highest[None])) / total
    return shares


def _summed(powers: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """One class after the other, as NumPy's own sum does not promise to."""
    total = np.zeros(powers.shape[1], np.float32)
    for row in powers:
        total += row
    return total


def _probit(scores: Floats) -> npt.NDArray[np.float32]:
    """ONNX Runtime's approximation of the inverse of the normal distribution."""
    f: Any = np.float32
    x = f(2) * scores.astype(f) - ONE
    sign = np.where(x < 0, -ONE, ONE)
    log = kernel.log((ONE - x) * (ONE + x))
    v = f(2) / (f(np.pi) * f(0.147)) + f(0.5) * log
    v2 = ONE / f(0.147) * log
    quantiles: npt.NDArray[np.float32] = f(np.sqrt(2)) * (sign * np.sqrt(-v + np.sqrt(v * v - v2)))
    return quantiles
