"""What a desk may write into the trades, and what a night makes of it: held to dates counted by hand."""

import datetime as dt
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from nightscore import Restate, load, query, run
from nightscore.common.errors import Broken
from tests.workspace.finance.world import DAYS, REPOSITORY

pytestmark = pytest.mark.slow  # real nights of whole jobs

FOLDER = REPOSITORY / "jobs/finance"
TODAY = DAYS[1]
READERS = ("historical_simulation", "market_risk", "pnl_explain", "stress")  # of trades
AGAIN = Restate("trades that were booked late", by="a test")


def book(root: Path, day: str, position: int, action: str, quantity: int, **terms: Any) -> None:
    """Add a trade in AAPL to those of a day."""
    file = root / f"data/lake/finance/trades/day={day}/part-0.parquet"
    table = pq.read_table(file, partitioning=None)
    row = {"position_id": position, "action": action, "quantity": quantity, "symbol": "AAPL"}
    row |= {"desk": "cash equity", "kind": "stock", "strike": None, "expiry": None} | terms
    pq.write_table(pa.concat_tables([table, pa.Table.from_pylist([row], table.schema)]), file)


@pytest.mark.parametrize(
    ("job", "opened", "is_closed"),
    [*((job, "2022-06-16", False) for job in READERS), ("pnl_explain", "2022-05-27", True)],
)
def test_a_position_that_the_trades_read_do_not_reach_holds_the_night(
    explained: Path, tmp_path: Path, job: str, opened: str, is_closed: bool
) -> None:
    """Of 200 days: while it is still seen, and, where it was not, as it closes."""
    days = (dt.date.fromisoformat(TODAY) - dt.date.fromisoformat(opened)).days
    assert (days >= 200) == is_closed and days > 192
    root = tmp_path / "w"
    shutil.copytree(explained, root)
    book(root, opened, 10**6, "open", 100_000)
    if is_closed:
        book(root, TODAY, 10**6, "close", -100_000)
    with pytest.raises(Broken, match="was opened within the trades that are read"):
        run(load(job, workspace=root), TODAY, restate=AGAIN if job != "stress" else None)


@pytest.mark.parametrize(
    ("trades", "terms"),
    [
        ([("open", 1_000), ("close", -400)], {}),
        ([("OPEN", 1_000)], {}),
        ([("open", 1_000)], {"kind": "PUT", "strike": 100, "expiry": dt.date(2023, 3, 17)}),
        ([("open", 1_000)], {"kind": "call", "strike": 100}),
        ([("open", 1_000)], {"kind": "put", "expiry": dt.date(2023, 3, 17)}),
        ([("open", 1_000)], {"kind": "future"}),
    ],
    ids=["a part is closed", "another word", "another word for a put", "no expiry", "no strike", "a future"],
)
def test_a_trade_that_the_jobs_would_take_for_another_holds_the_night(
    whole: Path, tmp_path: Path, trades: list[tuple[str, int]], terms: dict[str, Any]
) -> None:
    """A position of which a part is closed was gone, one with another word for its action was not there."""
    root = tmp_path / "w"
    shutil.copytree(whole, root)
    for action, quantity in trades:
        book(root, TODAY, 10**6, action, quantity, **terms)
    with pytest.raises(Broken, match="every trade opens a position or closes all of it"):
        run(load("pnl_explain", workspace=root), TODAY, restate=AGAIN)


def test_all_readers_of_trades_ask_the_same_of_them() -> None:
    """Each job holds its own night, so that none goes by what another has looked at."""
    asked = [
        {audit["sql"] for audit in yaml.safe_load((FOLDER / job / "job.yaml").read_text())["audit"]}
        for job in READERS
    ]
    assert len(set.intersection(*asked)) == 2


def test_trades_that_come_and_go_within_a_day_leave_nothing_behind(whole: Path, tmp_path: Path) -> None:
    """An option that expires on its day, shares sold again, an option on nothing: no line moves."""
    root = tmp_path / "w"
    shutil.copytree(whole, root)
    today = dt.date.fromisoformat(TODAY)
    later = today + dt.timedelta(days=30)
    book(root, TODAY, 10**6, "open", 1_000, kind="call", strike=100, expiry=today)
    book(root, TODAY, 10**6 + 1, "open", 500)
    book(root, TODAY, 10**6 + 1, "close", -500)
    book(root, TODAY, 10**6 + 2, "open", 0, kind="put", strike=100, expiry=later)
    sql = f"SELECT * EXCLUDE (run_id, positions) FROM pnl_explain WHERE day = DATE '{TODAY}' ORDER BY ALL"
    before = query(sql, root)
    receipt = run(load("pnl_explain", workspace=root), TODAY, restate=AGAIN)
    assert receipt.status == "published" and query(sql, root).equals(before)
