"""One short interest rate by day: what the Federal Reserve aimed its overnight rate at.

The facts are those of the Board of Governors (federalreserve.gov, Open market operations: the target for the
federal funds rate, since 16 December 2008 a range) in ``data/sources/fed_funds.csv``. It is one rate for all
terms: there is no curve in it.
"""

import csv
import math
from datetime import date
from pathlib import Path

import pyarrow as pa

SOURCE = Path(__file__).parents[1] / "sources/fed_funds.csv"
MONEY_MARKET_YEAR, YEAR = (
    360,
    365,
)  # days; the overnight rate is quoted on the one, years are counted by the other


def make_rates() -> pa.Table:
    """The rates, sorted: ``since`` date, the first day on which one held; ``rate`` float64, a year.

    The middle of the target range, an overnight rate on 360 days, as it compounds from day to day:
    365 ln(1 + r / 360), the continuously compounded rate of a year of 365 days.
    """
    with SOURCE.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    middles = [(float(row["lower"]) + float(row["upper"])) / 200 for row in rows]
    return pa.table(
        {
            "since": pa.array([date.fromisoformat(row["since"]) for row in rows]),
            "rate": pa.array([YEAR * math.log1p(r / MONEY_MARKET_YEAR) for r in middles]),
        }
    )
