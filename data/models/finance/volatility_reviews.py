"""How often the job volatility_outcomes would ask for a review: what its thresholds are chosen by, and mean.

In NumPy. A night is 250 days, and the thresholds are those of the job's parameters. `reviews` counts the
nights since 2015, which the model had not seen. `false_alarms` counts nights of a model that is right: a
threshold that asks on many of those says nothing of a model.

- Right is made so: of the training days, each stock's places in the forecast distribution (PIT) are made
  uniform by their ranks, and its returns are those that lie there. Stocks still move together, and calm and
  wild days still follow each other, as they did.
- Nights are drawn by the stationary bootstrap (Politis and Romano, 1994): runs of days, one after another.
  Their mean length is the longest that the rule of Politis and White (2004, corrected 2009) finds for what
  the thresholds are about, so that the serial correlation of these days is kept.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml
from arch.bootstrap import optimal_block_length
from numpy.lib.stride_tricks import sliding_window_view
from volatility_opponents import LEVELS, NORMAL

Numbers = npt.NDArray[Any]
DAYS = 250
USUAL_DECAY, USUAL_DAYS = 0.97, 250  # of the plain forecast in the job's held.sql
SEED, DRAWN, TOGETHER = 20_221_228, 6_000, 200  # nights drawn, and how many are counted at a time
WRONG = (0.9, 0.8, 1.25)  # forecasts that are so many times what they should be
JOB = Path(__file__).resolve().parents[3] / "jobs/finance/volatility_outcomes/job.yaml"


@dataclass(frozen=True)
class Forecasts:
    """What was forecast for each of some days, and the distribution of returns over the volatility."""

    volatility: Numbers  # [days, stocks]
    usual: Numbers  # RiskMetrics', [days, stocks]
    quantiles: dict[str, float]
    standardised: Numbers  # rising, with the probability of each
    probability: Numbers


@dataclass(frozen=True)
class Spell:
    """Days that follow each other, by quantile where it is a dict."""

    below: dict[str, Numbers]  # 1 where the return lay below the quantile, else 0, [days, stocks]
    loss: dict[str, Numbers]  # pinball, the mean of a day's stocks
    usual_loss: dict[str, Numbers]
    pit: Numbers  # [days, stocks]


def reviews(returns: Numbers, made: Forecasts) -> dict[str, Any]:
    """The share of nights by what they would have asked for, and of those that ask for anything.

    `returns` [days, stocks] are those of the forecasts' days, which follow each other.
    """
    return _shares(_asked(_spell(returns, made), sliding_window_view(np.arange(len(returns)), DAYS)))


def false_alarms(returns: Numbers, made: Forecasts) -> dict[str, Any]:
    """The same of a model that is right, by nights drawn from the days in training, which are given.

    `found` is the share of nights that ask where forecasts are so many times what is right.
    """
    random = np.random.default_rng(SEED)
    right = right_returns(returns, made, random)
    spell = _spell(right, made)
    run = round(max(_mean_run(series) for series in _series(spell)))
    nights = drawn_nights(random, len(right), run)
    wrong = {times: replace(made, volatility=times * made.volatility) for times in WRONG}
    found = {times: _shares(_asked(_spell(right, other), nights)) for times, other in wrong.items()}
    return {
        "mean_run": run,
        **_shares(_asked(spell, nights)),
        "found": {str(times): shares["anything"] for times, shares in found.items()},
    }


def right_returns(returns: Numbers, made: Forecasts, random: np.random.Generator) -> Numbers:
    """Returns of a model that is right: each stock's PIT made uniform by its ranks, ties in any order."""
    pit = np.interp(returns / made.volatility, made.standardised, made.probability)
    places = np.argsort(np.argsort(pit + random.uniform(0, 1e-9, pit.shape), axis=0), axis=0)
    right: Numbers = made.volatility * np.interp(
        (places + 0.5) / len(places), made.probability, made.standardised
    )
    return right


def drawn_nights(random: np.random.Generator, days: int, mean_run: float) -> Numbers:
    """The days of each night, [nights, 250]: runs of days that follow each other, of geometric length."""
    begins = random.random((DRAWN, DAYS)) < 1 / mean_run
    found = random.integers(0, days, (DRAWN, DAYS))  # where a run begins, if one does
    for place in range(1, DAYS):
        goes_on = (found[:, place - 1] + 1) % days
        found[:, place] = np.where(begins[:, place], found[:, place], goes_on)
    return found


def proxy(returns: Numbers) -> Numbers:
    """RiskMetrics' volatility of a day [days, stocks]: 250 squared returns, weighted exponentially."""
    weights = USUAL_DECAY ** np.arange(USUAL_DAYS)[::-1]
    found = np.full_like(returns, np.nan)
    windows = sliding_window_view(returns[1:] ** 2, USUAL_DAYS, axis=0)
    found[USUAL_DAYS:] = np.sqrt(windows @ (weights / weights.sum()))
    return found


def _spell(returns: Numbers, made: Forecasts) -> Spell:
    quantile = {name: made.quantiles[name] * made.volatility for name in LEVELS}
    usual = {name: NORMAL[name] * made.usual for name in LEVELS}
    return Spell(
        {name: (returns < quantile[name]).astype(float) for name in LEVELS},
        {name: _pinball(returns, quantile[name], level) for name, level in LEVELS.items()},
        {name: _pinball(returns, usual[name], level) for name, level in LEVELS.items()},
        np.interp(returns / made.volatility, made.standardised, made.probability),
    )


def _asked(spell: Spell, nights: Numbers) -> dict[str, Numbers]:
    """Whether each night, of days [nights, 250], asks for a review, by reason."""
    parts = [_asked_of(spell, part) for part in np.array_split(nights, len(nights) // TOGETHER + 1)]
    return {reason: np.concatenate([part[reason] for part in parts]) for reason in parts[0]}


def _asked_of(spell: Spell, nights: Numbers) -> dict[str, Numbers]:
    params = yaml.safe_load(JOB.read_text(encoding="utf-8"))["params"]
    most = {name: one["default"] for name, one in params.items()}
    asked = {}
    for name, level in LEVELS.items():
        percent = f"{level:.0%}".replace("%", " %")
        below = spell.below[name][nights]
        together = _too_many(below.mean(axis=2), level, below.shape[2])
        asked[f"too many below the {percent} quantile"] = together > most["review_errors"]
        one = _too_many(below, level, 1).max(axis=1)
        asked[f"a stock has too many below the {percent} quantile"] = one > most["review_errors_stock"]
        gain = spell.loss[name][nights].mean(axis=1) / spell.usual_loss[name][nights].mean(axis=1) - 1
        asked[f"no better than RiskMetrics at {percent}"] = gain > most["review_gain"]
    asked["another distribution"] = _distance(spell.pit[nights]) > most["review_pit"]
    return asked


def _shares(asked: dict[str, Numbers]) -> dict[str, Any]:
    anything = np.any(list(asked.values()), axis=0)
    return {
        "nights": len(anything),
        "anything": round(float(anything.mean()), 4),
        "by_reason": {name: round(float(nights.mean()), 4) for name, nights in asked.items()},
    }


def _pinball(labels: Numbers, quantile: Numbers, level: float) -> Numbers:
    """The mean pinball loss of each day."""
    over = labels - quantile
    found: Numbers = np.maximum(level * over, (level - 1) * over).mean(axis=1)
    return found


def _too_many(share: Numbers, level: float, stocks: int) -> Numbers:
    """By how many standard errors of days the share below is too high, of each night [nights, 250, …]."""
    error = np.maximum(share.std(axis=1), np.sqrt(level * (1 - level) / stocks)) / np.sqrt(DAYS)
    found: Numbers = (share.mean(axis=1) - level) / error
    return found


def _distance(pit: Numbers) -> Numbers:
    """Kolmogorov's distance of each night's PIT [nights, 250, stocks] from the uniform distribution."""
    values = np.sort(pit.reshape(len(pit), -1), axis=1)
    places = np.arange(values.shape[1] + 1) / values.shape[1]
    found: Numbers = np.maximum(places[1:] - values, values - places[:-1]).max(axis=1)
    return found


def _series(spell: Spell) -> list[Numbers]:
    """What the thresholds are about, [days] each: shares below, losses, place and spread of the PIT."""
    shares = [below.mean(axis=1) for below in spell.below.values()]
    losses = [spell.loss[name] - spell.usual_loss[name] for name in LEVELS]
    return [*shares, *losses, spell.pit.mean(axis=1), ((spell.pit - 0.5) ** 2).mean(axis=1)]


def _mean_run(series: Numbers) -> float:
    return float(optimal_block_length(series)["stationary"].iloc[0])
