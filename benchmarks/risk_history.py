"""Every day since 2015 of market risk, recounted beside the jobs: how often losses were beyond VaR.

python benchmarks/risk_history.py                       the book of 1,000 positions: a minute or two
python benchmarks/risk_history.py --positions 10000     that of the demo: a quarter of an hour

Nothing of the jobs' SQL or of the workspace's scorers is used, but for the weights of the volatility model:
its features, proxies, rates and prices are made of the raw files by NumPy, SciPy and Numba. For each day
the book is revalued under its 500 scenarios, as they were and filtered; the next day's hypothetical and
actual P&L are held to the fifth and the sixth largest loss. It rounds no cents: of a VaR of millions that
is a dollar.
"""

import argparse
import math
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from scipy.special import ndtr, xlogy
from scipy.stats import chi2

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the root, for data.lakes and tests

from data.lakes.book import FIRST_DAY, make_trades
from data.lakes.finance import INDICES, PRICES
from tests.workspace.finance.recount import SCENARIOS, Recount
from tests.workspace.finance.volatility import forecasts, read_returns

Numbers = np.ndarray[Any, np.dtype[Any]]
DESKS = ("cash equity", "hedging", "market making", "options", "firm")
RANKS = (5, 6, 12)  # the k-th largest of 500 losses


@dataclass
class Book:
    """Every position there ever was, as columns [positions]; `opened` and `ended` are rows of the prices."""

    positions: int

    @cached_property
    def days(self) -> Numbers:
        """The trading days, as numbers of days since 1970."""
        return pq.read_table(PRICES)["day"].to_numpy().astype("datetime64[D]").astype(np.int64)

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row a position; it is not held from the day `ended` on."""
        closes = pq.read_table(PRICES).drop_columns(list(INDICES))
        trades = make_trades(closes, FIRST_DAY, self.positions).to_pandas()
        opened = trades[trades["action"] == "open"].set_index("position_id")
        closed = trades[trades["action"] == "close"].set_index("position_id")["day"].reindex(opened.index)
        symbols = sorted(name for name in closes.column_names if name != "day")
        end = pd.concat([pd.to_datetime(closed), pd.to_datetime(opened["expiry"])], axis=1).min(axis=1)
        expiry = _numbers(opened["expiry"])
        return pd.DataFrame({
            "symbol": np.searchsorted(symbols, opened["symbol"].astype(str)),
            "right": np.where(opened["kind"] == "put", -1.0, 1.0),
            "is_stock": opened["kind"] == "stock",
            "strike": opened["strike"].astype(float).fillna(0.0),
            "expiry": expiry,
            "quantity": opened["quantity"].astype(float),
            "desk": [DESKS.index(desk) for desk in opened["desk"]],
            "opened": np.searchsorted(self.days, _numbers(opened["day"])),
            "ended": np.searchsorted(self.days, _numbers(end.dt.date)),
        })  # fmt: skip

    def held(self, at: int) -> pd.DataFrame:
        """The positions at a day's close."""
        return self.table[(self.table["opened"] <= at) & (self.table["ended"] > at)]


def _numbers(days: pd.Series) -> Numbers:
    """Dates as days since 1970; far in the future where there is none."""
    found = pd.to_datetime(days).to_numpy().astype("datetime64[D]")
    return np.where(np.isnat(found), np.iinfo(np.int32).max, found.astype(np.int64))


def value(book: pd.DataFrame, spot: Numbers, rate: float, years: Numbers, volatility: Numbers) -> Numbers:
    """US dollars a share [positions], of spots and volatilities [positions]; without time the payoff."""
    right, strike = book["right"].to_numpy(), book["strike"].to_numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        deviation = volatility * np.sqrt(years)
        d1 = (np.log(spot / strike) + rate * years) / deviation + deviation / 2
        price = right * (
            spot * ndtr(right * d1) - strike * np.exp(-rate * years) * ndtr(right * (d1 - deviation))
        )
    payoff = np.maximum(right * (spot - strike), 0)
    return np.where(book["is_stock"], spot, np.where(years > 0, price, payoff))


@numba.njit(error_model="numpy")
def revalue(options, base, states, rate, sums):  # type: ignore[no-untyped-def]
    """Add to `sums` [desks, scenarios] what options [n, 7] make in states [2, symbols, scenarios]."""
    for i in range(len(options)):
        symbol, desk = int(options[i, 0]), int(options[i, 1])
        right, strike, years, quantity = options[i, 2], options[i, 3], options[i, 4], options[i, 5]
        owed, root = strike * math.exp(-rate * years), math.sqrt(years)
        for k in range(states.shape[2]):
            spot, deviation = states[0, symbol, k], states[1, symbol, k] * root
            d1 = math.log(spot / owed) / deviation + deviation / 2
            first = 0.5 * math.erfc(-right * d1 * 0.7071067811865476)
            second = 0.5 * math.erfc(-right * (d1 - deviation) * 0.7071067811865476)
            sums[desk, k] += quantity * (right * (spot * first - owed * second) - base[i])


@dataclass
class History:
    """The market and a book, day by day."""

    book: Book

    def __post_init__(self) -> None:
        recount = Recount(Path())
        self.closes, self.proxy = recount.closes.to_numpy(), recount.volatility
        self.returns = np.vstack(
            [np.full(self.closes.shape[1], np.nan), np.diff(np.log(self.closes), axis=0)]
        )
        self.rates = [recount.rate(day) if day >= FIRST_DAY else 0.0 for day in recount.closes.index]
        after = forecasts(read_returns())  # of each day, made at the close before
        self.forecast = after[recount.closes.columns].reindex(recount.closes.index).to_numpy()
        # What is forecast for the day after the last one is not needed: nothing is held to it.
        self.tomorrow = np.vstack([self.forecast[1:], np.full(self.closes.shape[1], np.nan)])

    def risk(self, at: int, filtered: bool) -> Numbers:
        """VaR by rank and ES at 97.5 % [desks and firm, 4] at a day's close."""
        held, past = self.book.held(at), at - np.arange(SCENARIOS)
        factor = self.tomorrow[at] / self.forecast[past] if filtered else 1.0
        spots = self.closes[at] * np.exp(self.returns[past] * factor)
        volatilities = self.proxy[at] * self.proxy[past] / self.proxy[past - 1]
        states = np.ascontiguousarray(np.stack([spots.T, volatilities.T]))
        years = (held["expiry"] - self.book.days[at]).to_numpy() / 365
        sums = np.zeros((len(DESKS) - 1, SCENARIOS))
        shares = held[held["is_stock"]]
        moves = (spots - self.closes[at]).T
        np.add.at(
            sums, shares["desk"].to_numpy(), moves[shares["symbol"]] * shares["quantity"].to_numpy()[:, None]
        )
        options = held[~held["is_stock"]].assign(years=years[~held["is_stock"]])
        base = value(options, self.closes[at][options["symbol"]], self.rates[at], options["years"].to_numpy(),
                     self.proxy[at][options["symbol"]])  # fmt: skip
        columns = options[["symbol", "desk", "right", "strike", "years", "quantity"]].to_numpy(np.float64)
        revalue(columns, base, states, self.rates[at], sums)
        losses = np.sort(-np.vstack([sums, sums.sum(axis=0)]), axis=1)[:, ::-1]
        shortfall = (losses[:, :12].sum(axis=1) + losses[:, 12] / 2) / 12.5
        return np.column_stack([*(losses[:, rank - 1] for rank in RANKS), shortfall])

    def pnl(self, at: int) -> Numbers:
        """Hypothetical and actual P&L of the next day [2, desks and firm], of the book of a day."""
        held, days = self.book.held(at), self.book.days
        symbol, expiry = held["symbol"].to_numpy(), held["expiry"].to_numpy()
        years = (expiry - days[at]) / 365
        before = value(held, self.closes[at][symbol], self.rates[at], years, self.proxy[at][symbol])
        moved = value(held, self.closes[at + 1][symbol], self.rates[at], years, self.proxy[at + 1][symbol])
        last = np.where(expiry >= days[at + 1], self.closes[at + 1][symbol], self.closes[at][symbol])
        left = np.maximum(expiry - days[at + 1], 0) / 365
        after = value(held, last, self.rates[at + 1], left, self.proxy[at + 1][symbol])
        made = [
            np.bincount(held["desk"], held["quantity"] * (later - before), len(DESKS) - 1)
            for later in (moved, after)
        ]
        return np.array([[*desks, desks.sum()] for desks in made])


def main() -> int:
    """Recount and print; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--positions", type=int, default=1_000)
    parser.add_argument("--days", type=int, default=0, help="the last so many; default: all since 2015")
    options = parser.parse_args()
    history = History(Book(options.positions))
    last = len(history.book.days) - 1
    first = int(history.book.table["opened"].min())
    days = range(max(first, last - options.days) if options.days else first, last)
    risks = {
        how: np.array([history.risk(at, how == "filtered") for at in days])
        for how in ("filtered", "historical")
    }
    pnl = np.array([history.pnl(at) for at in days])
    print(
        "| simulation | VaR | desk | days | exceptions | by actual P&L | Kupiec | independence | coverage |",
        end="",
    )
    print(" 97.5 % | Z2 | most in 250 |\n|" + "---|" * 12)
    for how, rank in ((how, rank) for how in risks for rank in (0, 1)):
        for desk in range(len(DESKS)):
            losses = -pnl[:, :, desk]
            row = tested(losses, risks[how][:, desk], rank)
            print(f"| {how} | {RANKS[rank]}th | {DESKS[desk]} | {len(days)} | {' | '.join(row)} |")
    return 0


def tested(losses: Numbers, risk: Numbers, rank: int) -> list[str]:
    """What a row says: `losses` [days, hypothetical and actual], `risk` [days, VaR by rank and ES]."""
    beyond = losses[:, 0] > risk[:, rank]
    n, x = len(beyond), int(beyond.sum())
    kupiec = 2 * (xlogy(x, x / n / 0.01) + xlogy(n - x, (1 - x / n) / 0.99))
    independence = _independence(beyond)
    z2 = 1 - np.sum(losses[:, 0] / risk[:, 3], where=losses[:, 0] > risk[:, 2]) / (0.025 * n)
    most = np.convolve(beyond, np.ones(min(250, n)), "valid").max()
    return [
        f"{x} ({x / n:.2%})", f"{int((losses[:, 1] > risk[:, rank]).sum())}", f"{chi2.sf(kupiec, 1):.4f}",
        f"{chi2.sf(independence, 1):.4f}", f"{chi2.sf(kupiec + independence, 2):.4f}",
        f"{np.mean(losses[:, 0] > risk[:, 2]):.2%}", f"{z2:+.2f}", f"{most:.0f}",
    ]  # fmt: skip


def _independence(beyond: Numbers) -> float:
    """Christoffersen's likelihood ratio, by counting pairs."""
    pairs = np.zeros((2, 2))
    np.add.at(pairs, (beyond[:-1].astype(int), beyond[1:].astype(int)), 1)

    def likelihood(quiet: float, loud: float) -> float:
        share = loud / max(quiet + loud, 1)
        return float(xlogy(quiet, 1 - share) + xlogy(loud, share))

    return 2 * (likelihood(*pairs[0]) + likelihood(*pairs[1]) - likelihood(*pairs.sum(axis=0)))


if __name__ == "__main__":
    sys.exit(main())
