"""A metric of two models on the same rows, and a confidence interval of their difference.

Rows of one cluster (a household's, a customer's), on all days, are one observation: they are not independent.
A metric is linearized: each row has an influence on it, those of a cluster are added up, and the variance of
the difference of two models is I/(I-1) times the sum over the I clusters of the squared differences of these
sums.

- For an average over rows that is the cluster-robust variance (Liang and Zeger, Biometrika 1986; Cameron and
  Miller, Journal of Human Resources 2015, section II).
- For the area under the ROC curve the influences are DeLong's placements (DeLong, DeLong and Clarke-Pearson,
  Biometrics 1988), summed by cluster after Obuchowski (Biometrics 1997), with one factor I/(I-1).

No random number is drawn: the same rows give the same interval.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
SQUARED_ERROR = "squared_error"
MODELS = ("champion", "challenger")
LEAST = 30  # clusters: with fewer there is no interval
SMALLEST = 1e-7  # a probability is held above it, and below 1 less it, so that its logarithm is finite


@dataclass(frozen=True)
class LabelledScores:
    """Some rows of a day: both models' scores, what came true, and the cluster of each; all [rows]."""

    champion: Floats
    challenger: Floats
    labels: Floats
    clusters: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Compared:
    """A metric of two models, and how much better the challenger's is, with the bounds of its interval.

    Without an interval (too few clusters, or one class of labels only) `problem` says why.
    """

    rows: int
    clusters: int
    champion: float = math.nan
    challenger: float = math.nan
    better: float = math.nan
    low: float = math.nan
    high: float = math.nan
    problem: str = ""


def auc(scores: Floats, labels: Floats) -> tuple[float, Floats]:
    """The area under the ROC curve, ties counting one half, and each row's influence on it [rows]."""
    positive = labels == 1
    ahead, behind = np.sort(scores[positive]), np.sort(scores[~positive])
    placed = np.empty(len(scores))
    placed[positive] = _share_below(behind, scores[positive])
    placed[~positive] = 1 - _share_below(ahead, scores[~positive])
    value = float(placed[positive].mean())
    return value, (placed - value) / np.where(positive, len(ahead), len(behind))


def log_loss(scores: Floats, labels: Floats) -> tuple[float, Floats]:
    """The mean of -log of the probability that the model gave to what came true; and influences [rows]."""
    held = np.clip(scores, SMALLEST, 1 - SMALLEST)
    return _mean(-np.log(np.where(labels == 1, held, 1 - held)))


def squared_error(scores: Floats, labels: Floats) -> tuple[float, Floats]:
    """The mean of the squared differences, and the influences [rows]."""
    return _mean((scores - labels) ** 2)


METRICS: Mapping[str, tuple[Callable[[Floats, Floats], tuple[float, Floats]], int]] = {
    "auc": (auc, 1),  # and which direction is better
    "log_loss": (log_loss, -1),
    SQUARED_ERROR: (squared_error, -1),
}


@dataclass(frozen=True)
class DayMetric:
    """A metric of both models on a day; by cluster, the sum of the differences of its rows' influences."""

    rows: int
    champion: float
    challenger: float
    clusters: npt.NDArray[np.int64]
    sums: Floats


def day_metric(metric: str, rows: LabelledScores) -> DayMetric | None:
    """The metric of a day; None where it has none: no rows, or of two classes only one."""
    if not len(rows.labels) or (metric != SQUARED_ERROR and len(np.unique(rows.labels)) < 2):
        return None
    measure, _ = METRICS[metric]
    champion, ours = measure(rows.champion, rows.labels)
    challenger, theirs = measure(rows.challenger, rows.labels)
    clusters, place = np.unique(rows.clusters, return_inverse=True)
    sums = np.bincount(place, theirs - ours, len(clusters)).astype(np.float64)
    return DayMetric(len(rows.labels), champion, challenger, clusters, sums)


def metric_interval(metric: str, days: Sequence[DayMetric], confidence: float) -> Compared:
    """The mean of the days' values of each model, and the interval of how much better the challenger's is."""
    if not days:
        return Compared(0, 0, problem="no day has labels, of both kinds where there are two")
    clusters, place = np.unique(np.concatenate([day.clusters for day in days]), return_inverse=True)
    sums = np.bincount(place, np.concatenate([day.sums for day in days]), len(clusters)) / len(days)
    champion, challenger = (float(np.mean([getattr(day, model) for day in days])) for model in MODELS)
    better = METRICS[metric][1] * (challenger - champion)
    count, rows = len(clusters), sum(day.rows for day in days)
    compared = Compared(rows, count, champion, challenger, better)
    if count < LEAST:
        return replace(compared, problem=f"fewer than {LEAST} clusters")
    reach = student_t_quantile(confidence, count - 1) * math.sqrt(count / (count - 1) * float(sums @ sums))
    return replace(compared, low=better - reach, high=better + reach)


def student_t_quantile(confidence: float, freedom: int) -> float:
    """The quantile of Student's t at a two-sided confidence."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + confidence) / 2))


def _share_below(sorted_scores: Floats, scores: Floats) -> Floats:
    """The share of sorted scores below each of some scores; those equal to it count one half."""
    below = np.searchsorted(sorted_scores, scores, "left") + np.searchsorted(sorted_scores, scores, "right")
    share: Floats = below / (2 * len(sorted_scores))
    return share


def _mean(losses: Floats) -> tuple[float, Floats]:
    value = float(losses.mean())
    return value, (losses - value) / len(losses)
