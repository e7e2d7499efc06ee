"""Greeks of a book by QuantLib."""

from typing import Any

import numpy as np
import pandas as pd
import QuantLib

from tests.workspace.finance.recount import Recount

GREEKS = ("delta", "gamma", "vega", "theta", "rho")

Numbers = np.ndarray[Any, np.dtype[Any]]


def greeks_of(row: Any, spot: float, rate: float, years: float, volatility: float) -> tuple[float, ...]:
    """A position's greeks a share by QuantLib, theta a year; a share has a delta of 1."""
    if row.kind == "stock":
        return 1.0, 0.0, 0.0, 0.0, 0.0
    kind = QuantLib.Option.Call if row.kind == "call" else QuantLib.Option.Put
    one = QuantLib.BlackCalculator(
        QuantLib.PlainVanillaPayoff(kind, row.strike),
        spot * float(np.exp(rate * years)),
        volatility * float(np.sqrt(years)),
        float(np.exp(-rate * years)),
    )
    return one.delta(spot), one.gamma(spot), one.vega(years), one.theta(spot, years), one.rho(years)


def greeks(recount: Recount, book: pd.DataFrame, at: int) -> Numbers:
    """QuantLib's greeks [positions, 5] of a book at the close of trading day `at`."""
    day = recount.closes.index[at]
    column = recount.closes.columns.get_indexer(book["symbol"])
    spot, volatility = recount.closes.to_numpy()[at][column], recount.volatility[at][column]
    years = (pd.to_datetime(book["expiry"]) - pd.Timestamp(day)).dt.days.to_numpy() / 365
    rows = zip(book.itertuples(), spot, years, volatility, strict=True)
    return np.array([greeks_of(row, s, recount.rate(day), t, v) for row, s, t, v in rows])
