"""Greeks of a book by QuantLib."""

from typing import Any

import numpy as np
import pandas as pd
import QuantLib

from tests.workspace.finance.recount import Recount

GREEKS = ("delta", "gamma", "vega", "theta", "rho", "vanna", "volga")

Numbers = np.ndarray[Any, np.dtype[Any]]


def calculator(row: Any, spot: float, rate: float, years: float, volatility: float) -> Any:
    kind = QuantLib.Option.Call if row.kind == "call" else QuantLib.Option.Put
    return QuantLib.BlackCalculator(
        QuantLib.PlainVanillaPayoff(kind, row.strike),
        spot * float(np.exp(rate * years)),
        volatility * float(np.sqrt(years)),
        float(np.exp(-rate * years)),
    )


def greeks_of(row: Any, spot: float, rate: float, years: float, volatility: float) -> list[float]:
    """A position's greeks a share by QuantLib, theta a year; a share has a delta of 1.

    Vanna and volga, which it does not give, are differences of its delta and vega, extrapolated (Richardson).
    """
    if row.kind == "stock":
        return [1.0, *[0.0] * 6]
    one = calculator(row, spot, rate, years, volatility)
    slopes = []
    for h in (1e-3 * volatility, 2e-3 * volatility):
        up, down = (calculator(row, spot, rate, years, volatility + move) for move in (h, -h))
        slopes.append(
            np.array([up.delta(spot) - down.delta(spot), up.vega(years) - down.vega(years)]) / (2 * h)
        )
    first = [one.delta(spot), one.gamma(spot), one.vega(years), one.theta(spot, years), one.rho(years)]
    return [*first, *((4 * slopes[0] - slopes[1]) / 3)]


def greeks(recount: Recount, book: pd.DataFrame, at: int) -> Numbers:
    """QuantLib's greeks [positions, 7] of a book at the close of trading day `at`."""
    day = recount.closes.index[at]
    column = recount.closes.columns.get_indexer(book["symbol"])
    spot, volatility = recount.closes.to_numpy()[at][column], recount.volatility[at][column]
    years = (pd.to_datetime(book["expiry"]) - pd.Timestamp(day)).dt.days.to_numpy() / 365
    rows = zip(book.itertuples(), spot, years, volatility, strict=True)
    return np.array([greeks_of(row, s, recount.rate(day), t, v) for row, s, t, v in rows])
