"""What the book of loans itself says of two assumptions of the job `credit_loss`: figures for the card.

- `prepayment`: how many loans were repaid early, and what that is a month.
- `bad_in_default`: how much of what the scorecard calls bad (written off, or 21 days late and more) is in
  default as stage 3 has it (written off, or more than 90 days late), or will be by what the lender expects.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.optimize import brentq

SNAPSHOT = 6  # the month at whose end the book was seen
MONTHS = {"Jan-2018": 1, "Feb-2018": 2, "Mar-2018": 3}
BAD, DEFAULT = 21, 91  # days late from which on
# By status: the least and the most days late, and the share that the lender expects to write off.
LATE = {
    "In Grace Period": (1, 15, 0.23),
    "Late (16-30 days)": (16, 30, 0.58),
    "Late (31-120 days)": (31, 120, 0.75),
}

Numbers = npt.NDArray[Any]


def book_figures(table: pa.Table) -> dict[str, Any]:
    """Both figures of `data/sources/loans.parquet`, as the card's `book` has them."""
    return {"repaid_early": repaid_early(table), "bad_in_default": bad_in_default(table)}


def repaid_early(table: pa.Table) -> dict[str, float]:
    """How many loans were repaid, and the share a month of which that many is expected."""
    repaid = np.array(table["loan_status"].to_pylist()) == "Fully Paid"
    age = SNAPSHOT - _issued(table)

    def too_many(share: float) -> float:
        return float(np.sum(1 - (1 - share) ** age) - repaid.sum())

    return {"loans": len(repaid), "repaid": int(repaid.sum()), "a_month": round(brentq(too_many, 0, 0.5), 4)}


def bad_in_default(table: pa.Table) -> dict[str, float]:
    """Loans that are bad, those of them in default, and the share of them that is or is expected to be."""
    status, days = table["loan_status"].to_pylist(), days_late(table)
    written_off = np.array(status) == "Charged Off"
    is_bad, is_default = written_off | (days >= BAD), written_off | (days >= DEFAULT)
    expected = np.where(is_default, 1.0, [LATE[one][2] if one in LATE else 0.0 for one in status])
    return {
        "bad": int(is_bad.sum()),
        "in_default": int(is_default.sum()),
        "share": round(float(expected[is_bad].mean()), 3),
    }


def days_late(table: pa.Table) -> Numbers:
    """Days late as the job has them: the least of the status's range that fits the instalments missed."""
    paid, instalment = (np.array(table[name].to_pylist(), float) for name in ("paid_total", "installment"))
    missed = np.maximum(SNAPSHOT - _issued(table) - np.round(paid / instalment), 1)
    least, most = np.array([LATE.get(one, (0, 0, 0))[:2] for one in table["loan_status"].to_pylist()]).T
    found: Numbers = np.clip(30 * (missed - 1) + 1, least, most)
    return found


def _issued(table: pa.Table) -> Numbers:
    return np.array([MONTHS[one] for one in table["issue_month"].to_pylist()])
