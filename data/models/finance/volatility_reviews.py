"""How often the job volatility_outcomes would have asked for a review: what its thresholds mean.

In NumPy, for every night since there were 250 days of forecasts that the model had not seen; the
thresholds are those of the job's parameters.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml
from numpy.lib.stride_tricks import sliding_window_view
from volatility_opponents import LEVELS, NORMAL

Numbers = npt.NDArray[np.float64]
DAYS = 250
USUAL_DECAY, USUAL_DAYS = 0.97, 250  # of the job volatility's proxy
JOB = Path(__file__).resolve().parents[3] / "jobs/finance/volatility_outcomes/job.yaml"


def reviews(
    returns: Numbers, first: int, volatility: Numbers, quantiles: dict[str, float], pit: Numbers
) -> dict[str, Any]:
    """The share of nights by what they would have asked for, and of those that ask for anything.

    `returns` [days, stocks] from the beginning; `volatility` is that of the days from `first` on, as it was
    forecast the day before, and `pit` where their returns lie in the forecast distribution.
    """
    params = yaml.safe_load(JOB.read_text(encoding="utf-8"))["params"]
    most = {name: one["default"] for name, one in params.items()}
    labels, usual = returns[first:], proxy(returns)[first - 1 : -1]
    asked = {}
    for name, level in LEVELS.items():
        percent = f"{level:.0%}".replace("%", " %")
        quantile = quantiles[name] * volatility
        below = (labels < quantile).astype(float)
        asked[f"too many below the {percent} quantile"] = too_many(below, level) > most["review_errors"]
        one = np.stack([too_many(below[:, [at]], level) for at in range(below.shape[1])])
        asked[f"a stock has too many below the {percent} quantile"] = (one > most["review_errors_stock"]).any(
            axis=0
        )
        gain = rolling(pinball(labels, quantile, level)) / rolling(
            pinball(labels, NORMAL[name] * usual, level)
        )
        asked[f"no better than RiskMetrics at {percent}"] = gain - 1 > most["review_gain"]
    asked["another distribution"] = distance(pit) > most["review_pit"]
    found = {name: round(float(nights.mean()), 4) for name, nights in asked.items()}
    anything = np.any(list(asked.values()), axis=0)
    return {"nights": len(anything), "anything": round(float(anything.mean()), 4), "by_reason": found}


def proxy(returns: Numbers) -> Numbers:
    """RiskMetrics' volatility of a day [days, stocks]: 250 squared returns, weighted exponentially."""
    weights = USUAL_DECAY ** np.arange(USUAL_DAYS)[::-1]
    found = np.full_like(returns, np.nan)
    windows = sliding_window_view(returns[1:] ** 2, USUAL_DAYS, axis=0)
    found[USUAL_DAYS:] = np.sqrt(windows @ (weights / weights.sum()))
    return found


def pinball(labels: Numbers, quantile: Numbers, level: float) -> Numbers:
    """The mean pinball loss of each day."""
    over = labels - quantile
    return np.maximum(level * over, (level - 1) * over).mean(axis=1)


def rolling(values: Numbers) -> Numbers:
    """The mean of the last 250 days of each night that has them."""
    return sliding_window_view(values, DAYS).mean(axis=1)


def too_many(below: Numbers, level: float) -> Numbers:
    """By how many standard errors of days the share below is too high, each night."""
    days = sliding_window_view(below.mean(axis=1), DAYS)
    error = np.maximum(days.std(axis=1), np.sqrt(level * (1 - level) / below.shape[1])) / np.sqrt(DAYS)
    return (days.mean(axis=1) - level) / error


def distance(pit: Numbers) -> Numbers:
    """Kolmogorov's distance of 250 days of PIT from the uniform distribution, each night."""
    found = []
    for night in range(len(pit) - DAYS + 1):
        values = np.sort(pit[night : night + DAYS], axis=None)
        places = np.arange(values.size + 1) / values.size
        found.append(max((places[1:] - values).max(), (values - places[:-1]).max()))
    return np.array(found)
