"""Limits of desks, made up, since no bank publishes its own; and acknowledgements of their breaches.

``data/sources/limits.csv`` holds the limits for the book of 10,000 positions, dated: of a desk and a measure
the latest ``since`` up to a day holds. A smaller book has smaller ones. A person acknowledges a breach by

    python -m data.lakes.limits --desk options --measure vega_per_point --from 2022-12-28
        --until 2023-01-31 --by "Ada Lovelace" --because "hedges expire on 20 January"

which adds a file to ``data/lake/finance/acknowledgements``, for the next run of the job ``limit_breaches``.
"""

import argparse
import csv
import hashlib
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data.lakes import lake
from data.lakes.book import POSITIONS

SOURCE = Path(__file__).parents[1] / "sources/limits.csv"
LAKE = Path("data/lake/finance")
MONEY = pa.decimal128(18, 2)
LIMITS = pa.schema(
    [
        ("since", pa.date32()),
        ("desk", pa.string()),
        ("measure", pa.string()),
        ("amber", MONEY),
        ("red", MONEY),
    ]
)
ACKNOWLEDGEMENTS = pa.schema(
    [
        ("acknowledged_at", pa.timestamp("us", "UTC")),
        ("desk", pa.string()),
        ("measure", pa.string()),
        ("from_day", pa.date32()),
        ("until", pa.date32()),
        ("acknowledged_by", pa.string()),
        ("because", pa.string()),
    ]
)


def make_limits(positions: int) -> pa.Table:
    """The limits of a book of so many positions: ``since``, ``desk``, ``measure``, ``amber`` and ``red``.

    The last two are decimal(18, 2), in the unit of the measure, and bounds of its absolute value.
    """
    with SOURCE.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return pa.Table.from_pylist(
        [
            row
            | {"since": date.fromisoformat(row["since"])}
            | {
                name: (Decimal(row[name]) * positions / POSITIONS).quantize(Decimal("0.01"))
                for name in ("amber", "red")
            }
            for row in rows
        ],
        LIMITS,
    )


def write_limits(workspace: Path, positions: int) -> None:
    """``limits.parquet``, and a file of ``acknowledgements`` without a row, so that the folder is there.

    Written again when the source has changed, whatever else of the lake is there.
    """
    digest = hashlib.sha256(SOURCE.read_bytes()).hexdigest()
    stamp = f"limits {digest}, {positions} positions".encode()
    lake.write(workspace / LAKE / "limits.parquet", make_limits(positions), stamp)
    lake.write(workspace / LAKE / "acknowledgements/none.parquet", ACKNOWLEDGEMENTS.empty_table(), stamp)


def acknowledge(workspace: Path, row: dict[str, object]) -> Path:
    """Add an acknowledgement, a row of `ACKNOWLEDGEMENTS` without its time; returns the new file."""
    row = {"acknowledged_at": datetime.now(UTC), **row}
    table = pa.Table.from_pylist([row], ACKNOWLEDGEMENTS)
    name = hashlib.sha256(repr(sorted(row.items())).encode()).hexdigest()[:16]
    path = workspace / LAKE / "acknowledgements" / f"{row['from_day']}-{name}.parquet"
    with lake.whole(path) as temporary:
        pq.write_table(table, temporary, write_page_checksum=True)
    return path


def main(arguments: list[str] | None = None) -> int:
    """Write what was said on the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m data.lakes.limits",
        description="Acknowledge a breach of a limit, for the next run of limit_breaches.",
    )
    known = make_limits(POSITIONS)
    parser.add_argument("--desk", required=True, choices=sorted(set(known["desk"].to_pylist())))
    parser.add_argument("--measure", required=True, choices=sorted(set(known["measure"].to_pylist())))
    parser.add_argument(
        "--from",
        required=True,
        type=_day,
        dest="from_day",
        metavar="DAY",
        help="a day of the breach, YYYY-MM-DD",
    )
    parser.add_argument(
        "--until", required=True, type=_day, metavar="DAY", help="the last day that it counts"
    )
    parser.add_argument(
        "--by", required=True, dest="acknowledged_by", metavar="NAME", help="who acknowledges it"
    )
    parser.add_argument("--because", required=True, metavar="TEXT", help="why it may stand until then")
    parser.add_argument(
        "--workspace", type=Path, default=Path(__file__).resolve().parents[2], help="default: this repository"
    )
    options = vars(parser.parse_args(arguments))
    workspace = options.pop("workspace")
    if not options["acknowledged_by"].strip() or not options["because"].strip():
        parser.error("--by and --because: a name and a reason are not optional")
    if options["until"] < options["from_day"]:
        parser.error(f"--until {options['until']} is before --from {options['from_day']}")
    if not (workspace / LAKE / "acknowledgements").is_dir():
        parser.error(f"{workspace / LAKE} holds no limits; `python -m data.lakes finance` writes them")
    try:
        print(acknowledge(workspace, options).relative_to(workspace))
    except OSError as error:
        print(f"broken: {error}", file=sys.stderr)
        return 1
    print(f"it counts from the next `nightscore run limit_breaches --day {options['from_day']}` on")
    return 0


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no day; a day is YYYY-MM-DD") from None


if __name__ == "__main__":
    raise SystemExit(main())
