"""Fit the volatility proxy to the VIX: how implied volatility moves as the index does.

    python data/models/finance/implied_volatility.py      # seconds

There are no implied volatilities of the 20 stocks; of the S&P 500 there is the VIX, 2014 to 2018. The proxy
of the job `volatility` is the exponentially weighted volatility of 250 returns times exp(slope x shock),
where the shock adds up the index's returns over their own volatility, each older one `index_decay` times the
next (jobs/finance/volatility/moves.sql). Here the same is made of the index itself, in NumPy, and held to the
VIX:
- `decay` and `index_decay` are those of a grid with the largest R² of the daily changes of log VIX, with the
  slope of least squares;
- the slope is then the one at which the proxy moves as much as the VIX did (the standard deviations of daily
  changes are the same): least squares would leave out what the index does not explain, and vega risk with it.

All of it on 2014 to 2016. The years 2017 and 2018 are for the card's figures alone. Beside this script it
writes implied_volatility_metrics.json and implied_volatility_card.md; job.yaml has the numbers as defaults of
its parameters, which a test holds to the metrics.
"""

import itertools
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from implied_volatility_card import implied_volatility_card
from scipy.optimize import brentq

HERE = Path(__file__).resolve().parent
PRICES = HERE.parents[1] / "sources/prices.parquet"
DECAYS, INDEX_DECAYS = (0.97, 0.98, 0.99), (0.8, 0.85, 0.9, 0.95)
SPAN, INDEX_SPAN, INDEX_SMOOTHING = 250, 66, 0.94
YEARS = {"fitted": (2014, 2016), "not seen": (2017, 2018)}
LARGE = 0.015  # a day on which the index moved by more

Numbers = npt.NDArray[Any]


def main() -> int:
    """Fit, evaluate and write; returns the exit code."""
    table = pq.read_table(PRICES)
    days = table["day"].to_numpy().astype("datetime64[D]")
    returns = np.append(np.nan, np.diff(np.log(table["SP500"].to_numpy())))
    vix = np.append(np.nan, np.diff(np.log(table["VIX"].to_numpy())))
    years = days.astype("datetime64[Y]").astype(int) + 1970
    spans = {
        name: np.flatnonzero((years >= first) & (years <= last) & ~np.isnan(vix))
        for name, (first, last) in YEARS.items()
    }
    decay, index_decay, least_squares = chosen(returns, vix, spans["fitted"])
    smooth, shock = parts(returns, decay, index_decay)
    slope = as_lively(smooth, shock, vix, spans["fitted"], least_squares)
    ways = {
        "the proxy": smooth + slope * shock,
        "with the slope of least squares": smooth + least_squares * shock,
        "beta x index return": least_beta(returns, vix, spans["fitted"]) * returns,
        "EWMA 0.97, the proxy before": parts(returns, 0.97, 0.9)[0],
    }
    metrics = {
        "decay": decay,
        "index_decay": index_decay,
        "index_slope": round(slope, 4),
        "least_squares_slope": round(least_squares, 4),
        "years": {name: f"{first} to {last}" for name, (first, last) in YEARS.items()},
        "days": {name: len(span) for name, span in spans.items()},
        "figures": {
            who: {name: figures(found, vix, returns, span) for name, span in spans.items()}
            for who, found in ways.items()
        },
        "largest_fall": largest_fall(days, returns, ways),
        "calm_and_wild": calm_and_wild(returns, vix, np.concatenate(list(spans.values()))),
    }
    (HERE / "implied_volatility_metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
    (HERE / "implied_volatility_card.md").write_text(implied_volatility_card(metrics))
    return 0


def smoothed(returns: Numbers, decay: float, span: int) -> Numbers:
    """The exponentially weighted volatility [days] of `span` returns, a day; NaN where there are fewer."""
    weights = decay ** np.arange(span - 1, -1, -1)
    windows = np.lib.stride_tricks.sliding_window_view(returns**2, span)
    found: Numbers = np.append(np.full(span - 1, np.nan), np.sqrt(windows @ (weights / weights.sum())))
    return found


def parts(returns: Numbers, decay: float, index_decay: float) -> tuple[Numbers, Numbers]:
    """The daily changes [days] of the log of the smoothed volatility, and of the shock."""
    usual = smoothed(returns, INDEX_SMOOTHING, INDEX_SPAN)
    moves = returns / np.append(np.nan, usual[:-1])
    windows = np.lib.stride_tricks.sliding_window_view(moves, INDEX_SPAN)
    shock = np.append(
        np.full(INDEX_SPAN - 1, np.nan), windows @ index_decay ** np.arange(INDEX_SPAN - 1, -1, -1)
    )
    log = np.log(smoothed(returns, decay, SPAN))
    return np.append(np.nan, np.diff(log)), np.append(np.nan, np.diff(shock))


def chosen(returns: Numbers, vix: Numbers, span: Numbers) -> tuple[float, float, float]:
    """The decays of the grid that explain most, and the slope of least squares."""
    tried = []
    for decay, index_decay in itertools.product(DECAYS, INDEX_DECAYS):
        smooth, shock = parts(returns, decay, index_decay)
        rest = (vix - smooth)[span]
        slope = float(rest @ shock[span] / (shock[span] @ shock[span]))
        tried.append((float(np.sum((rest - slope * shock[span]) ** 2)), decay, index_decay, slope))
    _, decay, index_decay, slope = min(tried)
    return decay, index_decay, slope


def as_lively(smooth: Numbers, shock: Numbers, vix: Numbers, span: Numbers, slope: float) -> float:
    """The slope at which the proxy's changes have the standard deviation of the VIX's."""

    def excess(tried: float) -> float:
        return float(np.std((smooth + tried * shock)[span]) - np.std(vix[span]))

    return float(brentq(excess, 4 * slope, slope / 2))


def least_beta(returns: Numbers, vix: Numbers, span: Numbers) -> float:
    """The beta of log VIX by the plain regression on the index's return."""
    return float(vix[span] @ returns[span] / (returns[span] @ returns[span]))


def figures(found: Numbers, vix: Numbers, returns: Numbers, span: Numbers) -> dict[str, float]:
    """How a proxy's daily log changes compare with the VIX's over some days."""
    mine, truth, index = found[span], vix[span], returns[span]
    up, down = index > LARGE, index < -LARGE
    numbers = {
        "deviation": np.std(mine),
        "vix_deviation": np.std(truth),
        "correlation": np.corrcoef(mine, truth)[0, 1],
        "r_squared": 1 - np.sum((truth - mine) ** 2) / np.sum((truth - truth.mean()) ** 2),
        "up": mine[up].mean(),
        "vix_up": truth[up].mean(),
        "down": mine[down].mean(),
        "vix_down": truth[down].mean(),
    }
    return {name: round(float(number), 4) for name, number in numbers.items()}


def largest_fall(days: Numbers, returns: Numbers, ways: dict[str, Numbers]) -> dict[str, Any]:
    """The day since 2014 on which the index fell most, and the factor of each proxy on it."""
    recent = np.flatnonzero(days >= np.datetime64("2014-01-01"))
    at = recent[np.argmin(returns[recent])]
    factors = {who: round(float(np.exp(found[at])), 2) for who, found in ways.items()}
    return {"day": str(days[at]), "index": round(float(np.expm1(returns[at])), 4), "factors": factors}


def calm_and_wild(returns: Numbers, vix: Numbers, span: Numbers) -> dict[str, float]:
    """How much larger moves are on the wilder half of the days: the index's, and those of the log VIX."""
    before = smoothed(returns, INDEX_SMOOTHING, INDEX_SPAN)[span - 1]
    wild = before > np.median(before)
    return {
        name: round(float(np.std(moves[span][wild]) / np.std(moves[span][~wild])), 2)
        for name, moves in (("index", returns), ("vix", vix))
    }


if __name__ == "__main__":
    sys.exit(main())
