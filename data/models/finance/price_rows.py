"""Rows that the finance jobs without a trained model are held to: what QuantLib and SciPy give for them.

    python data/models/finance/price_rows.py     # needs the packages of the tests

Writes, beside this script, options_expected.parquet (of scorers/black_scholes.py: market_risk, pnl_explain),
book_expected.parquet (of scorers/revalue.py: stress, historical_simulation) and
coverage_tests_expected.parquet (of coverage_tests.onnx: market_risk_backtest). Vanna and volga, which
QuantLib does not give, are the derivatives of its delta and vega by the volatility in closed form (Haug, The
Complete Guide to Option Pricing Formulas, 2007, sections 2.2 and 2.3).
"""

import math
import sys
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import QuantLib
from scipy.special import xlogy
from scipy.stats import chi2, norm

HERE = Path(__file__).resolve().parent
SEED, ROWS, BOOKS, LEVEL = 23, 300, 40, 0.01
GREEKS = ("delta", "gamma", "vega", "theta", "rho", "vanna", "volga")

Row = dict[str, Any]


def main() -> int:
    """Draw the rows, ask the libraries and write; returns the exit code."""
    chance = np.random.default_rng(SEED)
    for name, rows in (("options", options), ("book", books), ("coverage_tests", samples)):
        pq.write_table(
            pa.Table.from_pylist(rows(chance)), HERE / f"{name}_expected.parquet", compression="zstd"
        )
    return 0


def options(chance: np.random.Generator) -> list[Row]:
    """Options near and far from the money, of a day to thirty years, and shares; with price and greeks."""
    rows: list[Row] = []
    for i in range(ROWS):
        spot, right = float(chance.uniform(5, 500)), float(chance.choice([1.0, -1.0]))
        row = {
            "spot": spot, "strike": spot * float(np.exp(chance.normal(0, 0.3))),
            "rate": float(chance.choice([-0.01, 0.0, 0.02, 0.08])),
            "years": float(chance.choice([1 / 365, 0.1, 1.0, 5.0, 30.0])),
            "volatility": float(chance.choice([0.05, 0.2, 0.6, 1.5])), "right": right,
        }  # fmt: skip
        if i % 20 == 0:
            row |= {"strike": 0.0, "right": 1.0}
        rows.append(row | {"price": price(**row)} | greeks(**row))
    return rows


def price(spot: float, strike: float, rate: float, years: float, volatility: float, right: float) -> float:  # noqa: PLR0917
    """QuantLib's price of a European option, US dollars; of a share its spot."""
    if strike == 0:
        return spot
    discount = math.exp(-rate * years)
    kind = QuantLib.Option.Call if right > 0 else QuantLib.Option.Put
    deviation = volatility * math.sqrt(years)
    return float(QuantLib.blackFormula(kind, strike, spot / discount, deviation, discount))


def greeks(spot: float, strike: float, rate: float, years: float, volatility: float, right: float) -> Row:  # noqa: PLR0917
    """QuantLib's greeks, theta a year, and vanna and volga."""
    if strike == 0:
        return dict.fromkeys(GREEKS, 0.0) | {"delta": 1.0}
    root = volatility * math.sqrt(years)
    one = QuantLib.BlackCalculator(
        QuantLib.PlainVanillaPayoff(QuantLib.Option.Call if right > 0 else QuantLib.Option.Put, strike),
        spot * math.exp(rate * years), root, math.exp(-rate * years),
    )  # fmt: skip
    first = (math.log(spot / strike) + rate * years) / root + root / 2
    second, vega = first - root, one.vega(years)
    return {
        "delta": one.delta(spot), "gamma": one.gamma(spot), "vega": vega,
        "theta": one.theta(spot, years), "rho": one.rho(years),
        "vanna": -float(norm.pdf(first)) * second / volatility, "volga": vega * first * second / volatility,
    }  # fmt: skip


def books(chance: np.random.Generator) -> list[Row]:
    """Positions in a stock under moves: their value and P&L, position by position rounded to the cent."""
    return [_book(chance, int(chance.integers(0, 6)), int(chance.integers(1, 9))) for _ in range(BOOKS)]


def _book(chance: np.random.Generator, n: int, m: int) -> Row:
    """A book of n positions under m moves."""
    spot, volatility, rate = float(chance.uniform(5, 500)), float(chance.uniform(0.1, 0.8)), 0.02
    years = chance.choice([0.1, 1.0, 5.0], n).tolist()
    strikes = (spot * np.exp(chance.normal(0, 0.3, n)) * (chance.random(n) > 0.2)).tolist()
    rights = [1.0 if strike == 0 else float(chance.choice([1.0, -1.0])) for strike in strikes]
    quantities = chance.integers(-500, 501, n).astype(float).tolist()
    spots, volatilities = (np.exp(chance.normal(0, 0.1, m)).tolist() for _ in range(2))

    def prices(by: float, rise: float) -> list[float]:
        terms = zip(strikes, years, rights, strict=True)
        return [price(spot * by, k, rate, t, volatility * rise, right) for k, t, right in terms]

    def cents(values: list[float]) -> int:
        return sum(_cents(quantity * one) for quantity, one in zip(quantities, values, strict=True))

    now = prices(1.0, 1.0)
    moved = [prices(*move) for move in zip(spots, volatilities, strict=True)]
    return {
        "spot": spot, "volatility": volatility, "rate": rate, "quantities": quantities,
        "strikes": strikes, "years": years, "rights": rights,
        "price_ratios": spots, "volatility_ratios": volatilities, "value": cents(now) / 100,
        "pnl": [cents([new - old for new, old in zip(one, now, strict=True)]) / 100 for one in moved],
    }  # fmt: skip


def _cents(dollars: float) -> int:
    return int((Decimal(dollars) * 100).quantize(Decimal(1), ROUND_HALF_UP))


def samples(chance: np.random.Generator) -> list[Row]:
    """Days and their exceptions, none and many among them: likelihood ratios by SciPy, and their p-values."""
    rows = []
    for _ in range(ROWS):
        days = int(chance.choice([1, 2, 20, 250, 1000]))
        flags = chance.random(days) < chance.choice([0.0, 0.01, 0.1, 1.0])
        pairs = np.zeros((2, 2))
        np.add.at(pairs, (flags[:-1].astype(int), flags[1:].astype(int)), 1)
        one = _ratio(np.array([[days - flags.sum(), flags.sum()]]), np.array([[1 - LEVEL, LEVEL]]))
        shares = pairs.sum(axis=0, keepdims=True) / max(pairs.sum(), 1)
        two = _ratio(pairs, shares)
        rows.append({
            "days": float(days), "exceptions": float(flags.sum()),
            "quiet_quiet": pairs[0, 0], "quiet_exception": pairs[0, 1],
            "exception_quiet": pairs[1, 0], "exception_exception": pairs[1, 1],
            "kupiec": one, "kupiec_p": float(chi2.sf(one, 1)),
            "independence": two, "independence_p": float(chi2.sf(two, 1)),
            "coverage": one + two, "coverage_p": float(chi2.sf(one + two, 2)),
        })  # fmt: skip
    return rows


def _ratio(counts: Any, held: Any) -> float:
    """2 (log-likelihood of each row's own shares - that of the shares it is held to)."""
    own = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    apart = xlogy(counts, own) - xlogy(counts, np.broadcast_to(held, own.shape))
    return max(2 * float(apart.sum()), 0.0)


if __name__ == "__main__":
    sys.exit(main())
