"""How far a candidate's scores and decisions (another way to compute a model) are from the reference's."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from nightscore.job import AccuracyBudget, share_of

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Deviation:
    """How far a candidate is from the reference on one day.

    Args:
        max_abs: the largest difference of a number; infinite where only one of the two has a number.
        rank_correlation: Spearman's, the least over the columns of scores; ties have their mean rank.
        cosine: the least similarity of a row's list of numbers, over rows and columns of lists.
        flips: rows of the decision tables that changed.
        decisions: rows of the decision tables.
        totals: the largest relative change of the sum of a column of fractions in a decision table.
        metric: how good the candidate's scores are; None without labels.
        metric_before: how good the reference's are.
    """

    max_abs: float = 0.0
    rank_correlation: float = 1.0
    cosine: float = 1.0
    flips: int = 0
    decisions: int = 0
    totals: float = 0.0
    metric: float | None = None
    metric_before: float | None = None

    def breaks(self, budget: AccuracyBudget) -> list[str]:
        """What of a budget does not hold, a sentence each; empty if it is kept."""
        broken: list[str] = []
        if budget.max_abs is not None and not self.max_abs <= budget.max_abs:
            broken.append(f"a score moves by {self.max_abs:.2g}, allowed {budget.max_abs:g}")
        if budget.rank_correlation is not None and not self.rank_correlation >= budget.rank_correlation:
            broken.append(
                f"rank correlation {self.rank_correlation:.5f}, allowed {budget.rank_correlation:g}"
            )
        if budget.cosine is not None and not self.cosine >= budget.cosine:
            broken.append(f"cosine similarity {self.cosine:.4f}, allowed {budget.cosine:g}")
        if budget.decision_flips is not None and not self.flips <= budget.flips(self.decisions):
            broken.append(
                f"{self.flips:,} of {self.decisions:,} decisions flip, allowed {budget.decision_flips}"
            )
        if budget.totals is not None and not self.totals <= share_of(budget.totals):
            broken.append(f"a total moves by {self.totals:.2%}, allowed {budget.totals}")
        return broken + self._worse(budget)

    def _worse(self, budget: AccuracyBudget) -> list[str]:
        if budget.metric is None:
            return []
        if self.metric is None or self.metric_before is None:
            return ["there are no labels for the metric on this day"]
        if self.metric >= self.metric_before - budget.metric.max_drop:
            return []
        return [
            f"the metric falls from {self.metric_before:.4f} to {self.metric:.4f}, "
            f"allowed by {budget.metric.max_drop:g}"
        ]

    def worst(self, other: "Deviation") -> "Deviation":
        """The worse of two days in each number; of decisions and the metric those of the worse day."""
        worse = max(self, other, key=lambda day: day.flips / max(day.decisions, 1))
        return Deviation(
            max(self.max_abs, other.max_abs), min(self.rank_correlation, other.rank_correlation),
            min(self.cosine, other.cosine), worse.flips, worse.decisions, max(self.totals, other.totals),
            self.metric, self.metric_before,
        )  # fmt: skip

    def as_dict(self) -> dict[str, float | int | None]:
        """Every number by name."""
        return asdict(self)


def deviation_from(raw: Mapping[str, float | int | None]) -> Deviation:
    """The deviation whose `as_dict` this is; numbers of a later version are left out."""
    names = {field.name for field in fields(Deviation)}
    return Deviation(**{name: value for name, value in raw.items() if name in names})  # type: ignore[arg-type]


def compare_scores(reference: Sequence[Path], candidate: Sequence[Path], outputs: pa.Schema) -> Deviation:
    """How far staged scores are from the reference's: the same rows in the same order.

    `outputs` are the columns of scores. One column is held in memory at a time.
    """
    deviation = Deviation()
    for field in outputs:
        expected, actual = (read_column(files, field.name) for files in (reference, candidate))
        deviation = deviation.worst(column_deviation(actual, expected))
    return deviation


def column_deviation(candidate: pa.Array, reference: pa.Array) -> Deviation:
    """How far one column of scores is from the reference's."""
    if len(candidate) != len(reference):
        return Deviation(max_abs=float("inf"), rank_correlation=-1.0, cosine=-1.0)
    if is_list(reference.type) and is_scalar_number(reference.type.value_type):
        return _lists_apart(candidate, reference)
    if not is_scalar_number(reference.type):
        return Deviation() if candidate.equals(reference) else Deviation(max_abs=float("inf"))
    left, right = _numbers(candidate), _numbers(reference)
    return Deviation(max_abs=_max_abs(left, right), rank_correlation=rank_correlation(left, right))


def max_relative(candidate: pa.RecordBatch, reference: pa.RecordBatch) -> float:
    """The largest difference of a number, relative to its size where that is above 1; else absolute.

    Infinite where only one of the two has a number, or where anything else differs.
    """
    return max(_relative(candidate.column(name), reference.column(name)) for name in reference.schema.names)


def _relative(candidate: pa.Array, reference: pa.Array) -> float:
    if not pa.types.is_floating(reference.type):
        return 0.0 if candidate.equals(reference) else float("inf")
    left, right = _numbers(candidate), _numbers(reference)
    return _largest(left, right, np.maximum(1.0, np.abs(right)))


def rank_correlation_of(one: pa.Array, other: pa.Array) -> float:
    """Spearman's rank correlation of two columns of numbers [n], over the rows that have both."""
    return rank_correlation(_numbers(one), _numbers(other))


def rank_correlation(one: Numbers, other: Numbers) -> float:
    """Spearman's rank correlation of two arrays [n], over the places where both have a number.

    Pearson's correlation of mean ranks (Kendall and Gibbons, Rank Correlation Methods, 1990, ch. 3). Where
    all ranks are the same, as of fewer than two rows or of two constants, it is 1; where one alone is
    constant, 0.
    """
    there = ~(np.isnan(one) | np.isnan(other))
    left, right = _ranks(one[there]), _ranks(other[there])
    if len(left) < 2 or np.array_equal(left, right):
        return 1.0
    deviations = left.std() * right.std()
    if not deviations:
        return 0.0
    return float(np.mean((left - left.mean()) * (right - right.mean())) / deviations)


def is_scalar_number(kind: pa.DataType) -> bool:
    """Whether a column of scores holds one number a row."""
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


def is_list(kind: pa.DataType) -> bool:
    """Whether a column holds lists."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def read_column(files: Sequence[Path], name: str) -> pa.Array:
    """One column of several Parquet files, in memory."""
    parts = [pq.read_table(file, columns=[name], partitioning=None)[name] for file in files]
    return pa.chunked_array(
        [chunk for part in parts for chunk in part.chunks], parts[0].type
    ).combine_chunks()


def _numbers(values: pa.Array) -> Numbers:
    return np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.float64)


def _max_abs(candidate: Numbers, reference: Numbers) -> float:
    return _largest(candidate, reference, 1.0)


def _largest(candidate: Numbers, reference: Numbers, unit: Numbers | float) -> float:
    """The largest difference in some unit; infinite where only one of the two is a number."""
    same = (candidate == reference) | (np.isnan(candidate) & np.isnan(reference))
    with np.errstate(invalid="ignore"):
        far = np.where(same, 0.0, np.abs(candidate - reference) / unit)
    return float(np.nan_to_num(far, nan=np.inf, posinf=np.inf).max(initial=0.0))


def _lists_apart(candidate: pa.Array, reference: pa.Array) -> Deviation:
    values, expected = (_flat(column) for column in (candidate, reference))
    if len(values) != len(expected) or len(reference) == 0:
        return Deviation() if len(values) == len(expected) else Deviation(max_abs=float("inf"), cosine=-1.0)
    width = len(expected) // len(reference)
    if width * len(reference) != len(expected):  # of unlike lengths: element by element alone
        return Deviation(max_abs=_max_abs(values, expected))
    left, right = values.reshape(-1, width), expected.reshape(-1, width)
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    dots = np.einsum("ij,ij->i", left, right)
    cosine = np.where(lengths > 0, dots / np.where(lengths > 0, lengths, 1), (left == right).all(axis=1))
    return Deviation(max_abs=_max_abs(values, expected), cosine=float(np.nan_to_num(cosine, nan=-1.0).min()))


def _flat(values: pa.Array) -> Numbers:
    return _numbers(values.flatten())


def _ranks(values: Numbers) -> Numbers:
    """The rank of each value from 1 on; equal ones share their mean rank."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean: Numbers = (last - (counts - 1) / 2)[places]
    return mean
