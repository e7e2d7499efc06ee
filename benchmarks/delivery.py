"""How long a delivery of 2 million rows takes, beside what one does by hand in SQL, and a look-up by key.

    python -m benchmarks.delivery postgresql://user@host:port/database [rows]

By hand: the rows as CSV, COPY into the table in one transaction after a DELETE of the day, as psql's copy
does it; without a recount, a receipt or a check. Both have the same primary key and index, and each is
measured three times, in turn. Prints medians, in seconds, and their ratio.
"""

import datetime as dt
import io
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from nightscore.common import Workspace
from nightscore.delivery.contract import Parcel
from nightscore.delivery.key_hash import hash_files
from nightscore.delivery.postgres import PostgresChannel
from nightscore.job import Postgres

DAY, TIMES, RANKS = dt.date(2026, 11, 1), 3, 10
MADE = """CREATE TABLE by_hand (household_id bigint, rank int, product_id bigint, score float8,
 price numeric(9,2), reason text, day date, PRIMARY KEY (household_id, rank, day));
 CREATE INDEX ON by_hand (day)"""


def rows_of(rows: int) -> pa.Table:
    """Recommendations: some households with ten each, sorted by key as a night publishes them."""
    rng = np.random.default_rng(1)
    return pa.table(
        {
            "household_id": np.repeat(np.arange(-(-rows // RANKS)), RANKS)[:rows],
            "rank": np.tile(np.arange(1, RANKS + 1, dtype=np.int32), -(-rows // RANKS))[:rows],
            "product_id": rng.integers(0, 90_000, rows),
            "score": rng.random(rows),
            "price": pa.array(rng.integers(0, 9_999, rows))
            .cast(pa.decimal128(21, 2))
            .cast(pa.decimal128(9, 2)),
            "reason": pa.array(rng.choice(["bought before", "goes with it", "new"], rows)),
        }
    )


def by_hand(address: str, file: Path) -> float:
    """Seconds: as a person does it."""
    began = time.perf_counter()
    with psycopg.connect(address) as session:
        session.execute("DELETE FROM by_hand WHERE day = %s", [DAY])
        with session.cursor().copy("COPY by_hand FROM STDIN (FORMAT csv)") as copy:
            with pq.ParquetFile(file) as parquet:
                for batch in parquet.iter_batches():
                    sink = io.BytesIO()
                    with_day = batch.append_column("day", pa.array([DAY] * batch.num_rows))
                    pacsv.write_csv(with_day, sink, pacsv.WriteOptions(include_header=False))
                    copy.write(sink.getvalue())
    return time.perf_counter() - began


def ours(parcel: Parcel, number: int) -> float:
    """Seconds: by the channel, proof and receipt included."""
    import dataclasses

    channel = PostgresChannel(Postgres(connection="bench", table="ours", key=["household_id", "rank"]))
    began = time.perf_counter()
    channel.deliver(dataclasses.replace(parcel, run_id=f"run{number}", run_number=number))
    return time.perf_counter() - began


def look_up(address: str, households: int) -> float:
    """The median of 1,000 look-ups of a household's ten rows, in milliseconds."""
    asked = "SELECT * FROM ours WHERE household_id = %s AND day = %s ORDER BY rank"
    took = []
    with psycopg.connect(address, autocommit=True) as session:
        for one in np.random.default_rng(2).integers(0, households, 1_000).tolist():
            began = time.perf_counter()
            assert len(session.execute(asked, [one, DAY]).fetchall()) == RANKS  # noqa: S101
            took.append(time.perf_counter() - began)
    return 1_000 * statistics.median(took)


def main() -> None:
    """Measure both in turn."""
    address, rows = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 2_000_000
    os.environ["NIGHTSCORE_CONNECTION_BENCH"] = address
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "data").mkdir()
        table = rows_of(rows)
        file = folder / "rows.parquet"
        pq.write_table(table, file, write_page_checksum=True, compression="zstd")
        space = Workspace(folder)
        parcel = Parcel(
            "bench", "bench", DAY, "", 0, rows, table.schema, (file,),
            lambda key: hash_files(space, [file], table.schema, key),
        )  # fmt: skip
        with psycopg.connect(address) as session:
            session.execute("DROP TABLE IF EXISTS by_hand, ours, nightscore_receipts")
            session.execute(MADE)
        hand, own = [], []
        for number in range(1, TIMES + 1):
            hand.append(by_hand(address, file))
            own.append(ours(parcel, number))
            print(f"by hand {hand[-1]:.1f} s, delivered {own[-1]:.1f} s, load {os.getloadavg()[0]:.1f}")
        first, second = statistics.median(hand), statistics.median(own)
        print(f"{rows:,} rows: by hand {first:.1f} s, delivered {second:.1f} s: {second / first:.2f} times")
        print(f"look-up of a household's {RANKS} rows: {look_up(address, rows // RANKS):.2f} ms")


if __name__ == "__main__":
    main()
