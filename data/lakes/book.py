"""A trading book, made by a seeded generator: no bank publishes its positions.

Stocks, and European calls and puts on them, of four desks. The book has as many places as positions are held
at once; each place is filled on the first day, and as soon as its position is closed or its option expires,
with another one. Positions are made at the stock's real close; strikes, dates and quantities are drawn.
"""

from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

FIRST_DAY = date(2015, 1, 2)
POSITIONS = 10_000
SEED = 20_150_102
MEAN_LIFE, LONGEST_LIFE = 40, 120  # trading days that a position is held; 120 fit into 180 calendar days
MONTHS = 9  # until an option expires, at most
NOTIONAL = 100_000.0  # US dollars; the median of a position
KINDS = ("stock", "call", "put")
# How often a desk has a stock, a call or a put, and how often it is long.
DESKS = {
    "cash equity": ((0.90, 0.05, 0.05), 0.70),
    "hedging": ((0.40, 0.10, 0.50), 0.35),
    "market making": ((0.20, 0.40, 0.40), 0.50),
    "options": ((0.00, 0.55, 0.45), 0.55),
}

Numbers = npt.NDArray[Any]


def make_trades(closes: pa.Table, first: date, positions: int = POSITIONS) -> pa.Table:
    """The trades of the book, sorted by day and position: one opens a position, another may close it.

    ``closes`` has a column ``day`` (date32, sorted) and one of float64 US dollars for each symbol. Columns of
    the result: ``day`` date; ``position_id`` int32; ``action`` (open, close), ``desk``, ``symbol``, ``kind``
    (stock, call, put) text; ``quantity`` int32, shares, or shares under option, below 0 when sold; ``strike``
    decimal(9, 2) US dollars and ``expiry`` date, null for a stock. An option that is held until it expires
    has no closing trade: from its expiry on it is held no longer.
    """
    random = np.random.default_rng(SEED)
    days = closes["day"].to_numpy().astype("datetime64[D]")
    symbols = sorted(name for name in closes.column_names if name != "day")
    prices = np.column_stack([closes[name].to_numpy() for name in symbols])
    free = np.full(positions, np.searchsorted(days, np.datetime64(first)))  # when a place is to be filled
    rounds = []
    while (free < len(days)).any():
        drawn = _drawn(random, days, prices, free[free < len(days)])
        rounds.append(drawn)
        free = drawn["ended"]
    book = {name: np.concatenate([drawn[name] for drawn in rounds]) for name in rounds[0]}
    order = np.argsort(book["opened"], kind="stable")
    return _as_trades(days, symbols, {name: column[order] for name, column in book.items()})


def _drawn(
    random: np.random.Generator, days: Numbers, prices: Numbers, opened: Numbers
) -> dict[str, Numbers]:
    """One position for each opening day's index: arrays [n] by name; from day ``ended`` on it is not held."""
    n = len(opened)
    desk = random.integers(0, len(DESKS), n)
    kinds = np.cumsum([kinds for kinds, _ in DESKS.values()], axis=1)[desk]
    kind = (random.random(n)[:, None] > kinds).sum(axis=1).clip(max=len(KINDS) - 1)
    is_long = random.random(n) < np.array([often for _, often in DESKS.values()])[desk]
    symbol = random.integers(0, prices.shape[1], n)
    spot = prices[opened, symbol]
    lots = np.maximum(1, np.round(NOTIONAL * np.exp(0.8 * random.standard_normal(n)) / spot / 100))
    expiry = _third_friday(days[opened], random.integers(1, MONTHS + 1, n))
    years = (expiry - days[opened]).astype(np.float64) / 365
    strike = spot * np.exp(0.3 * np.sqrt(years) * random.standard_normal(n))
    life = np.minimum(random.geometric(1 / MEAN_LIFE, n), LONGEST_LIFE)
    expires = np.where(kind > 0, np.searchsorted(days, expiry), len(days))  # on a holiday: the day after it
    return {
        "desk": desk,
        "symbol": symbol,
        "kind": kind,
        "quantity": np.where(is_long, 100, -100) * lots.astype(np.int64),
        "strike": np.maximum(0.5, np.round(strike * 2) / 2),
        "expiry": expiry,
        "opened": opened,
        "ended": np.minimum(opened + life, expires),
        "is_closed": opened + life < expires,
    }


def _third_friday(days: Numbers, months: Numbers) -> Numbers:
    """The third Friday of the month that many months after each day's."""
    first = (days.astype("datetime64[M]") + months).astype("datetime64[D]")
    friday: Numbers = np.busday_offset(first, 2, roll="forward", weekmask="Fri")
    return friday


def _as_trades(days: Numbers, symbols: list[str], book: dict[str, Numbers]) -> pa.Table:
    n = len(book["opened"])
    closed = np.flatnonzero(book["is_closed"] & (book["ended"] < len(days)))
    which = np.concatenate([np.arange(n), closed])
    at = np.concatenate([book["opened"], book["ended"][closed]])
    sign = np.repeat([1, -1], [n, len(closed)])
    order = np.lexsort([which, at])
    which, at, sign = which[order], at[order], sign[order]
    drawn = {name: column[which] for name, column in book.items()}
    stock = drawn["kind"] == 0
    return pa.table(
        {
            "day": pa.array(days[at]),
            "position_id": pa.array(which + 1, pa.int32()),
            "action": pa.array(np.where(sign > 0, "open", "close")),
            "desk": pa.array(np.array(list(DESKS))[drawn["desk"]]),
            "symbol": pa.array(np.array(symbols)[drawn["symbol"]]),
            "kind": pa.array(np.array(KINDS)[drawn["kind"]]),
            "quantity": pa.array(sign * drawn["quantity"], pa.int32()),
            "strike": pa.array(drawn["strike"], mask=stock).cast(pa.decimal128(9, 2)),
            "expiry": pa.array(drawn["expiry"], mask=stock),
        }
    )
