"""Real prices and a made-up book of positions, as a lake of Parquet files by trading day.

- ``prices/day=D``: what 20 large US stocks, the S&P 500 and (2014 to 2018) the VIX closed at. They lie in
  ``data/sources/prices.parquet``, which ``data/sources/prices.py`` made from two packages; its metadata
  name package, version, licence and sha256.
- ``trades/day=D``: the trades of a book that a seeded generator makes (``data.lakes.book``): no bank
  publishes its positions.
- ``limits.parquet`` and ``acknowledgements/``: limits of desks, made up (``data.lakes.limits``).
- ``rates.parquet``: one short interest rate by day, the federal funds target (``data.lakes.rates``).
"""

import json
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data.lakes import lake
from data.lakes.book import FIRST_DAY, POSITIONS, make_trades
from data.lakes.limits import write_limits
from data.lakes.rates import make_rates
from nightscore.common.progress import ProgressCallback, silent

LAKE = Path("data/lake/finance")
LAYOUT = "3"  # raise it when a type, an order or the book changes, and every lake is written again
PRICES = Path(__file__).parents[1] / "sources/prices.parquet"
INDICES = ("SP500", "VIX")


def write_lake(
    workspace: Path,
    report: ProgressCallback = silent,
    *,
    positions: int = POSITIONS,
    since: date = date(1990, 1, 1),
) -> None:
    """Write the sample under ``workspace/data/lake/finance``, or do nothing where it is complete.

    ``report(stage, done, total)`` is called after each file. A file appears under its name whole or not at
    all, and a lake that was cut short is completed. ``positions`` are those that are held on each day; days
    before ``since`` are left out.
    """
    write_limits(workspace, positions)
    folder, stamp = workspace / LAKE, _stamp(positions, since)
    if lake.is_complete(folder, stamp):
        return
    lake.write(folder / "rates.parquet", make_rates(), stamp)
    closes = pq.read_table(PRICES)
    _write_prices(closes, folder / "prices", stamp, since, report)
    _write_trades(closes, folder / "trades", stamp, (positions, since), report)
    lake.completed(folder, stamp)


def _stamp(positions: int, since: date) -> bytes:
    sources = json.loads(pq.read_metadata(PRICES).metadata[b"sources"])
    read = ", ".join(f"{source['package']} {source['version']}" for source in sources[::2])
    return f"{read}, layout {LAYOUT}, {positions} positions, since {since}".encode()


def _write_prices(closes: pa.Table, root: Path, stamp: bytes, since: date, report: ProgressCallback) -> None:
    """``root/day=YYYY-MM-DD/part-0.parquet``, rows by symbol."""
    names = sorted(closes.column_names[1:])
    symbols = pa.array(names)
    kinds = pa.array(["index" if name in INDICES else "stock" for name in names])
    values = np.column_stack([closes[name].to_numpy() for name in names])  # [days, symbols], NaN: no VIX
    days = closes["day"].to_pylist()
    for done, (day, row) in enumerate(zip(days, values, strict=True), 1):
        if day >= since:
            table = pa.table({"symbol": symbols, "kind": kinds, "close": row})
            has_close = pa.array(~np.isnan(row))
            lake.write(root / f"day={day}" / "part-0.parquet", table.filter(has_close), stamp)
        report("prices", done, len(days))


def _write_trades(
    closes: pa.Table, root: Path, stamp: bytes, book: tuple[int, date], report: ProgressCallback
) -> None:
    """``root/day=YYYY-MM-DD/part-0.parquet``, rows by position; a trading day without trades has no row."""
    positions, since = book
    first = max(since, FIRST_DAY)
    trades = make_trades(closes.drop_columns(list(INDICES)), first, positions)
    days = [day for day in closes["day"].to_pylist() if day >= first]
    edges = np.searchsorted(trades["day"].to_numpy(), np.array([*days, date.max], "datetime64[D]"))
    rest = trades.drop_columns(["day"])
    for done, day in enumerate(days, 1):
        part = rest.slice(int(edges[done - 1]), int(edges[done] - edges[done - 1]))
        lake.write(root / f"day={day}" / "part-0.parquet", part, stamp)
        report("trades", done, len(days))
