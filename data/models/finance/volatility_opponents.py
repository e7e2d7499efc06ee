"""Forecasts of volatility that the model is held against: what a desk would use without it.

Each is known at the close of the day on which it is made, and nothing of it is fitted on days after 2014.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from arch import arch_model

Numbers = npt.NDArray[np.float64]
WINDOW = 500  # days of the plain historical quantile
DECAY = 0.94  # of the exponentially weighted mean: RiskMetrics' for daily returns
BURN_IN = 252  # days before the first forecast that a quantile is taken of
LEAST_SCALE = 1e-6  # a stock whose price stood still for weeks has none
GARCH_FROM = ("1990-01-02", "2000-01-03")  # first days of the two fits
NORMAL = {"quantile_1": -2.3263478740408408, "quantile_5": -1.6448536269514722}
LEVELS = {"quantile_1": 0.01, "quantile_5": 0.05}
Forecast = dict[str, Numbers]  # quantile_1, quantile_5 and, where there is one, volatility, [days, symbols]


class Opponent(NamedTuple):
    """Forecasts made on each day for the next, and the stocks (columns) whose fit did not converge."""

    name: str
    forecast: Forecast
    not_converged: tuple[int, ...] = ()


def opponents(days: npt.NDArray[np.datetime64], returns: Numbers, end: int) -> Iterator[Opponent]:
    """All of them; `end` is the row of the last day that may be fitted on."""
    smooth = np.sqrt(ewma(returns))
    yield Opponent(f"EWMA {DECAY}, normal", scaled(smooth, NORMAL))
    yield Opponent(f"EWMA {DECAY}, empirical", scaled(smooth, standardised(returns, smooth, end)))
    plain = {name: historical(returns, level) for name, level in LEVELS.items()}
    yield Opponent(f"last {WINDOW} days", plain)
    for first_day in GARCH_FROM:
        first = max(1, int(np.searchsorted(days, np.datetime64(first_day))))
        yield Opponent(f"GJR-GARCH, skewed t, {first_day[:4]} to 2014", *garch(returns, first, end))


def scaled(volatility: Numbers, quantiles: Mapping[str, Numbers | float]) -> Forecast:
    """The volatility and its quantiles, of standardised quantiles for all stocks or for each."""
    return {"volatility": volatility} | {name: z * volatility for name, z in quantiles.items()}


def standardised(returns: Numbers, scale: Numbers, end: int) -> dict[str, float]:
    """The quantiles of returns over the scale of the day before, up to and including the day `end`."""
    ratios = returns[BURN_IN : end + 1] / np.maximum(scale[BURN_IN - 1 : end], LEAST_SCALE)
    return {name: float(np.quantile(ratios, level)) for name, level in LEVELS.items()}


def ewma(returns: Numbers) -> Numbers:
    """The exponentially weighted mean of squared returns up to and including each day, [days, symbols]."""
    found = np.empty_like(returns)
    found[1] = np.mean(returns[1:251] ** 2, axis=0)
    found[0] = np.nan
    for day in range(2, len(returns)):
        found[day] = DECAY * found[day - 1] + (1 - DECAY) * returns[day] ** 2
    return found


def historical(returns: Numbers, level: float) -> Numbers:
    """The empirical quantile of the last 500 returns up to and including each day, [days, symbols]."""
    windows = np.lib.stride_tricks.sliding_window_view(returns, WINDOW, axis=0)
    found = np.full_like(returns, np.nan)
    for day in range(WINDOW, len(returns)):
        found[day] = np.quantile(windows[day - WINDOW + 1], level, axis=-1)
    return found


def garch(returns: Numbers, first: int, end: int) -> tuple[Forecast, tuple[int, ...]]:
    """GJR-GARCH(1,1) with Hansen's skewed t, fitted to each stock alone and filtered forward from there.

    Glosten, Jagannathan and Runkle (1993), Hansen (1994), by maximum likelihood with a mean of 0 on the days
    `first` to `end`; a forecast is of the day after. Its quantiles are the empirical ones of each stock's own
    standardised returns on those days. Before `first` it is NaN. Also the columns whose fit did not converge.
    """
    volatility, failed = np.full_like(returns, np.nan), []
    for column in range(returns.shape[1]):
        percent = 100 * returns[first:, column]
        options = {"mean": "Zero", "p": 1, "o": 1, "q": 1, "dist": "skewt", "rescale": False}
        fitted = arch_model(percent[: end + 1 - first], **options).fit(disp="off", show_warning=False)
        failed += [column] if fitted.convergence_flag else []
        every = arch_model(percent, **options).fix(fitted.params)  # no parameter is of days after `end`
        volatility[first:, column] = (
            every.conditional_volatility / 100
        )  # of the day itself, made the day before
    own = returns[max(first, BURN_IN) : end + 1] / volatility[max(first, BURN_IN) : end + 1]
    quantiles = {name: np.quantile(own, level, axis=0) for name, level in LEVELS.items()}
    tomorrow = np.vstack([volatility[1:], np.full((1, volatility.shape[1]), np.nan)])
    return scaled(tomorrow, quantiles), tuple(failed)
