"""Market risk once more, in NumPy from the raw prices: from the tables' descriptions, not from the SQL."""

import datetime as dt
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.dataset as ds
from scipy.special import ndtr

from data.lakes.finance import INDICES, PRICES

SCENARIOS, DECAY, SPAN = 500, 0.99, 250
INDEX_DECAY, INDEX_SLOPE, INDEX_SPAN = 0.9, -0.07, 66
TARGETS = PRICES.parent / "fed_funds.csv"
Numbers = np.ndarray[Any, np.dtype[Any]]


def black_scholes(  # noqa: PLR0917
    spot: Numbers, strike: Numbers, rate: float, years: Numbers, volatility: Numbers, is_put: Numbers
) -> Numbers:
    """The price of a European option (a share where the strike is 0), from SciPy's normal distribution."""
    with np.errstate(divide="ignore", invalid="ignore"):
        deviation = volatility * np.sqrt(years)
        d1 = (np.log(spot / strike) + (rate + volatility**2 / 2) * years) / deviation
        d2 = d1 - deviation
        owed = strike * np.exp(-rate * years)
        call = spot * ndtr(d1) - owed * ndtr(d2)
        put = owed * ndtr(-d2) - spot * ndtr(-d1)
    return np.where(strike == 0, spot, np.where(is_put, put, call))


def index_shock() -> Numbers:
    """The index's standardised returns, summed with fading weights [days]: in pandas, from the raw prices."""
    index = pd.read_parquet(PRICES).set_index("day")["SP500"]
    returns = np.log(index).diff()
    fading = 0.94 ** np.arange(INDEX_SPAN - 1, -1, -1)
    variance = (returns**2).rolling(INDEX_SPAN).apply(lambda x: x @ (fading / fading.sum()), raw=True)
    moves = returns / np.sqrt(variance.shift(1))
    weights = INDEX_DECAY ** np.arange(INDEX_SPAN - 1, -1, -1)
    return np.asarray(moves.rolling(INDEX_SPAN).apply(lambda x: x @ weights, raw=True))


@dataclass
class Recount:
    """The market and the book of a workspace's lake."""

    lake: Path

    @cached_property
    def closes(self) -> pd.DataFrame:
        """Closes [days, symbols] of the stocks, from the file that the lake was made of."""
        return pd.read_parquet(PRICES).set_index("day").drop(columns=list(INDICES)).sort_index(axis=1)

    @cached_property
    def trades(self) -> pd.DataFrame:
        """All trades."""
        table = ds.dataset(self.lake / "trades", partitioning=ds.partitioning(flavor="hive")).to_table()
        trades = table.to_pandas()
        return trades.assign(
            day=pd.to_datetime(trades["day"]).dt.date,
            strike=trades["strike"].astype(float).fillna(0.0),
        )

    @cached_property
    def volatility(self) -> Numbers:
        """The volatility proxy [days, symbols]: an EWMA, moved by the index; NaN on the first days."""
        squares = np.diff(np.log(self.closes.to_numpy()), axis=0) ** 2
        weights = DECAY ** np.arange(SPAN - 1, -1, -1)
        windows = np.lib.stride_tricks.sliding_window_view(squares, SPAN, axis=0) @ (weights / weights.sum())
        smooth = np.vstack([np.full((SPAN, squares.shape[1]), np.nan), np.sqrt(252 * windows)])
        return smooth * np.exp(INDEX_SLOPE * index_shock())[:, None]

    @cached_property
    def targets(self) -> pd.DataFrame:
        """The lower and upper end of the federal funds target, in percent, by the first day of each."""
        return pd.read_csv(TARGETS, index_col="since", parse_dates=True)

    def rate(self, day: dt.date) -> float:
        """A year's, continuously compounded: what lending overnight makes of a dollar in 365 nights."""
        overnight = self.targets.loc[: pd.Timestamp(day)].iloc[-1].mean() / 100 / 360
        return float(np.log((1 + overnight) ** 365))

    def index(self, day: str) -> int:
        """The row of a day."""
        return int(self.closes.index.get_loc(dt.date.fromisoformat(day)))

    def book(self, day: dt.date) -> pd.DataFrame:
        """The positions at a day's close, by id."""
        trades = self.trades[self.trades["day"] <= day]
        closed = set(trades.loc[trades["action"] == "close", "position_id"])
        opened = trades[trades["action"] == "open"]
        expired = opened["expiry"].notna() & (opened["expiry"] <= day)
        return opened[~opened["position_id"].isin(closed) & ~expired].sort_values("position_id")

    def values(self, book: pd.DataFrame, day: dt.date, spot: Numbers, volatility: Numbers) -> Numbers:
        """US dollars a share [positions], [positions, scenarios]: the book of `day` in given states."""
        expiry = pd.to_datetime(book["expiry"])
        years = np.nan_to_num(((expiry - pd.Timestamp(day)).dt.days / 365).to_numpy())
        column = self.closes.columns.get_indexer(book["symbol"])
        rate, strike, is_put = self.rate(day), book["strike"].to_numpy(), (book["kind"] == "put").to_numpy()
        if spot.ndim == 1:
            return black_scholes(spot[column], strike, rate, years, volatility[column], is_put)
        return black_scholes(
            spot[:, column].T, strike[:, None], rate, years[:, None], volatility[:, column].T, is_put[:, None]
        )

    def pnl(self, day: str, scale: Numbers | None = None) -> tuple[pd.DataFrame, Numbers, Numbers]:
        """The book, its prices [positions], and its P&L to the cent [positions, 500], the latest move first.

        `scale` [500, symbols] multiplies the log returns of the scenarios.
        """
        at = self.index(day)
        closes = self.closes.to_numpy()[at - SCENARIOS : at + 1][::-1]
        proxy = self.volatility[at - SCENARIOS : at + 1][::-1]
        returns = np.log(closes[:-1] / closes[1:]) * (1 if scale is None else scale)
        book = self.book(self.closes.index[at])
        base = self.values(book, self.closes.index[at], closes[0], proxy[0])
        moved = self.values(
            book, self.closes.index[at], closes[0] * np.exp(returns), proxy[0] * proxy[:-1] / proxy[1:]
        )
        quantity = book["quantity"].to_numpy()[:, None]
        return book, base, np.round(quantity * (moved - base[:, None]), 2)

    def hypothetical(self, day: str) -> tuple[pd.DataFrame, Numbers]:
        """The book of the trading day before, and its P&L [positions] by the day's close."""
        at = self.index(day)
        held_on, closes = self.closes.index[at - 1], self.closes.to_numpy()
        book = self.book(held_on)
        before, after = (self.values(book, held_on, closes[i], self.volatility[i]) for i in (at - 1, at))
        return book, np.round(book["quantity"].to_numpy() * (after - before), 2)


def value_at_risk(pnl: Numbers, level: float = 0.99) -> float:
    """The largest loss of [scenarios] that the next one is beyond with a chance of 1 - level at most."""
    losses = np.sort(-pnl)[::-1]
    chances = np.arange(1, len(losses) + 1) / (len(losses) + 1)
    return float(losses[np.flatnonzero(chances <= 1 - level)[-1]])


def es_975(pnl: Numbers) -> float:
    """Expected shortfall of [scenarios]: the mean of the losses' quantile function over its last 2.5 %."""
    losses = np.sort(-pnl)
    edges = np.arange(len(losses) + 1) / len(losses)
    shares = np.clip(edges[1:], 0.975, 1) - np.clip(edges[:-1], 0.975, 1)
    return float(losses @ shares / 0.025)
