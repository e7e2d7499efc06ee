"""The finance lake: real prices as they came, and a book that adds up."""

import datetime as dt
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from data.lakes.book import FIRST_DAY, make_trades
from data.lakes.finance import INDICES, PRICES, write_lake
from tests.workspace.finance.recount import Recount
from tests.workspace.finance.world import POSITIONS

CLOSES = pq.read_table(PRICES)
WHOLE_LAKE = pytest.mark.slow  # 8,313 days of closes, trades and loans are written for them


@pytest.fixture(scope="module")
def trades() -> pd.DataFrame:
    """Every trade of the whole book."""
    return make_trades(CLOSES.drop_columns(list(INDICES)), FIRST_DAY).to_pandas()


def test_prices_say_where_they_come_from() -> None:
    """20 stocks and the S&P 500 on 8,313 days, the VIX on some; each source with version, licence, hash."""
    assert (CLOSES.num_rows, len(CLOSES.column_names)) == (8313, 23)
    assert str(CLOSES["day"][0]) == "1990-01-02"
    assert str(CLOSES["day"][-1]) == "2022-12-28"
    assert all(pc.min(CLOSES[name]).as_py() > 0 for name in CLOSES.column_names[1:])
    assert [name for name in CLOSES.column_names if CLOSES[name].null_count] == ["VIX"]
    sources = json.loads(CLOSES.schema.metadata[b"sources"])
    assert [one["package"] for one in sources] == ["skfolio", "skfolio", "arch"]
    assert all(len(one["sha256"]) == 64 and one["version"] and one["licence"] for one in sources)


@WHOLE_LAKE
def test_a_partition_holds_the_closes_of_its_day(workspace: Path, recount: Recount) -> None:
    """20 stocks and the index, to the bit; 2022 has no VIX."""
    table = pq.read_table(recount.lake / "prices/day=2022-12-28/part-0.parquet", partitioning=None)
    found = dict(zip(*(table[name].to_pylist() for name in ("symbol", "close")), strict=True))
    expected = {name: CLOSES[name][-1].as_py() for name in CLOSES.column_names[1:]}
    assert expected.pop("VIX") is None
    assert found == expected
    assert table["kind"].to_pylist().count("index") == 1


def test_the_book_holds_ten_thousand_positions_on_every_day(trades: pd.DataFrame) -> None:
    """Opened less closed less expired, counted on each trading day from 2015 to 2022."""
    days = CLOSES["day"].to_numpy().astype("datetime64[D]")
    days = days[days >= np.datetime64(FIRST_DAY)]
    opened = trades[trades["action"] == "open"]
    closed = trades[trades["action"] == "close"]
    ended = opened.merge(closed[["position_id", "day"]], how="left", on="position_id", suffixes=("", "_end"))
    end = pd.to_datetime(ended["day_end"]).fillna(pd.to_datetime(ended["expiry"])).dropna()
    starts, ends = np.sort(pd.to_datetime(ended["day"]).to_numpy()), np.sort(end.to_numpy())
    live = np.searchsorted(starts, days, "right") - np.searchsorted(ends, days, "right")
    assert (live == 10_000).all()


def test_positions_are_what_the_readme_says(trades: pd.DataFrame) -> None:
    """Opened once, closed at most once with the quantity turned; options expire in their life or after it."""
    opened = trades[trades["action"] == "open"].set_index("position_id")
    closed = trades[trades["action"] == "close"].set_index("position_id")
    assert opened.index.is_unique
    assert closed.index.is_unique
    assert (opened.loc[closed.index, "quantity"] == -closed["quantity"]).all()
    life = (pd.to_datetime(closed["day"]) - pd.to_datetime(opened.loc[closed.index, "day"])).dt.days
    assert life.min() > 0
    assert life.max() < 180  # within the lookback of market_risk
    stock = opened["kind"] == "stock"
    assert opened.loc[stock, ["strike", "expiry"]].isna().all(axis=None)
    assert (opened.loc[~stock, "strike"].astype(float) >= 0.5).all()
    assert (pd.to_datetime(opened.loc[~stock, "expiry"]) > pd.to_datetime(opened.loc[~stock, "day"])).all()
    assert set(opened["desk"]) == {"cash equity", "hedging", "market making", "options"}


def test_the_book_is_the_same_each_time() -> None:
    """Seeded: nothing in it depends on the machine or on the day on which it is made."""
    closes = CLOSES.drop_columns(list(INDICES))
    twice = [make_trades(closes, dt.date(2022, 1, 3), 50) for _ in range(2)]
    assert twice[0].equals(twice[1])


@WHOLE_LAKE
def test_a_lake_that_was_cut_short_is_completed(workspace: Path, tmp_path: Path) -> None:
    """What is there is kept, what is missing or broken is written again; then nothing is left to do."""
    since = dt.date(2022, 12, 1)
    write_lake(tmp_path, positions=POSITIONS, since=since)
    lake = tmp_path / "data/lake/finance"
    whole = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in lake.rglob("*.parquet")}
    assert len(whole) == 2 * 19 + 3  # and the rates, the limits and their acknowledgements
    (lake / "_complete").unlink()
    lost, broken = sorted(whole)[3], sorted(whole)[-2]
    lost.unlink()
    broken.write_bytes(b"PAR1")
    seen: list[str] = []
    write_lake(tmp_path, lambda stage, *_: seen.append(stage), positions=POSITIONS, since=since)
    assert {path: path.read_bytes() for path in lake.rglob("*.parquet")} == {
        p: b for p, (b, _) in whole.items()
    }
    assert {p for p in whole if p.stat().st_mtime_ns != whole[p][1]} == {lost, broken}
    assert set(seen) == {"prices", "trades"}
    seen.clear()
    write_lake(tmp_path, lambda stage, *_: seen.append(stage), positions=POSITIONS, since=since)
    assert seen == []


@WHOLE_LAKE
def test_rates_are_the_federal_funds_targets(recount: Recount) -> None:
    """The middle of the target, compounded overnight, by the days since which it held; from 1990 to 2022."""
    table = pq.read_table(recount.lake / "rates.parquet")
    assert table.schema.equals(pa.schema({"since": pa.date32(), "rate": pa.float64()}))
    days = table["since"].to_pylist()
    assert days == sorted(set(days))
    assert (str(days[0]), str(days[-1])) == ("1990-12-18", "2022-12-15")
    found = [recount.rate(day) for day in days]
    np.testing.assert_allclose(table["rate"], found, rtol=1e-9)
    known = {
        "2000-06-01": 0.065,
        "2008-12-15": 0.01,
        "2015-01-02": 0.00125,
        "2019-06-03": 0.02375,
        "2022-12-28": 0.04375,
    }
    for day, target in known.items():
        assert recount.rate(dt.date.fromisoformat(day)) == pytest.approx(target * 365 / 360, rel=1e-4)


@WHOLE_LAKE
def test_trades_are_typed_for_money(workspace: Path, recount: Recount) -> None:
    """Strikes are decimals, quantities integers; rows are sorted by position."""
    table = pq.read_table(next((recount.lake / "trades").iterdir()) / "part-0.parquet", partitioning=None)
    assert table.schema.field("strike").type == pa.decimal128(9, 2)
    assert table.schema.field("quantity").type == pa.int32()
    ids = table["position_id"].to_pylist()
    assert ids == sorted(ids)
