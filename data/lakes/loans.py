"""Real consumer loans as a lake of Parquet files by month end: one day as it was, five before it rolled back.

- ``loans/day=D``: 10,000 Lending Club loans that were issued in January to March 2018, and what is still
  owed. They lie in ``data/sources/loans.parquet``, which ``data/sources/loans.py`` made from a
  package; its metadata names package, version, licence and sha256. The source is one snapshot. It does not
  say of which day: those of its January loans that are current have paid five instalments, those of March
  three, so it is the end of June 2018. **2018-06-30 is that snapshot, unchanged. The days before it are
  made** (``_rolled_back``).
- ``loan_ledger/day=D``: how many loans are open and what is owed, by grade: the totals that the day is held
  to.
- ``loss_given_default.parquet``: by grade; an assumption, no data.
"""

import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data.lakes import lake
from nightscore.common.progress import ProgressCallback, silent

LAKE = Path("data/lake/finance")
LAYOUT = "1"  # raise it when a type, an order or the roll-back changes, and the files are written again
LOANS = Path(__file__).parents[1] / "sources/loans.parquet"
SNAPSHOT = date(2018, 6, 30)
DAYS = (
    date(2018, 1, 31),
    date(2018, 2, 28),
    date(2018, 3, 31),
    date(2018, 4, 30),
    date(2018, 5, 31),
    SNAPSHOT,
)
SEED = 20_180_630
# The lender calls what it gets back from loans that it has charged off infrequent, and says no more.
LOSS_GIVEN_DEFAULT = dict.fromkeys("ABCDEFG", Decimal("0.9000"))
MONEY, TOTAL = pa.decimal128(11, 2), pa.decimal128(18, 2)
CURRENT, PAID, CHARGED_OFF = "Current", "Fully Paid", "Charged Off"
LATE = ("Late (16-30 days)", "Late (31-120 days)")  # with one instalment missed, and with more
MONTHS = {"Jan-2018": 1, "Feb-2018": 2, "Mar-2018": 3}
NAMES = {  # the source's, where the lake has another one
    "homeownership": "home_ownership",
    "loan_purpose": "purpose",
    "installment": "instalment",
    "emp_length": "employment_years",
    "verified_income": "income_verification",
    "inquiries_last_12m": "inquiries_12m",
    "current_installment_accounts": "instalment_accounts",
    "delinq_2y": "delinquencies_2y",
    "loan_status": "status",
}
KEPT = (
    "loan_id", "grade", "sub_grade", "loan_amount", "term", "interest_rate", "instalment", "purpose",
    "application_type", "state", "home_ownership", "annual_income", "annual_income_joint",
    "income_verification", "employment_years", "inquiries_12m", "instalment_accounts", "delinquencies_2y",
)  # fmt: skip

Numbers = npt.NDArray[Any]


def write_lake(workspace: Path, report: ProgressCallback = silent) -> None:
    """Write the loans under ``workspace/data/lake/finance``, or do nothing where they are complete.

    ``report(stage, done, total)`` is called after each day. A file appears under its name whole or not at
    all, and what was cut short is completed.
    """
    folder, stamp = workspace / LAKE, _stamp()
    if lake.is_complete(folder / "loans", stamp):
        return
    source = pq.read_table(LOANS)
    for done, day in enumerate(DAYS, 1):
        book = book_of(source, day)
        lake.write(folder / f"loan_ledger/day={day}/part-0.parquet", _ledger(book), stamp)
        lake.write(folder / f"loans/day={day}/part-0.parquet", book, stamp)
        report("loans", done, len(DAYS))
    lgd = pa.array(LOSS_GIVEN_DEFAULT.values(), pa.decimal128(5, 4))
    assumed = pa.table({"grade": pa.array(LOSS_GIVEN_DEFAULT), "loss_given_default": lgd})
    lake.write(folder / "loss_given_default.parquet", assumed, stamp)
    lake.completed(folder / "loans", stamp)


def _stamp() -> bytes:
    source = json.loads(pq.read_metadata(LOANS).metadata[b"source"])
    return f"{source['package']} {source['version']}, layout {LAYOUT}".encode()


def book_of(source: pa.Table, day: date) -> pa.Table:
    """The loans that were issued by the end of a month, by loan_id, and what is owed on each at its close.

    Of ``SNAPSHOT`` the values are the source's; ``instalments_paid`` is what was paid over the instalment,
    rounded.
    """
    months = pa.array([MONTHS[name] for name in source["issue_month"].to_pylist()])
    issued = pa.array([date(2018, month, 1) for month in months.to_pylist()])
    state = _as_it_was(source) if day == SNAPSHOT else _rolled_back(source, months.to_numpy(), day.month)
    renamed = source.rename_columns([NAMES.get(name, name) for name in source.column_names])
    book = renamed.select(KEPT).add_column(1, "issued_on", issued)
    for name, values in state.items():
        book = book.append_column(name, values)
    is_issued = pc.less_equal(issued, pa.scalar(day))
    return book.filter(is_issued).sort_by("loan_id")


def _as_it_was(source: pa.Table) -> dict[str, pa.Array]:
    return {
        "status": source["loan_status"],
        "balance": source["balance"],
        "paid_principal": source["paid_principal"],
        "instalments_paid": pa.array(_instalments_paid(source), pa.int32()),
    }


def _rolled_back(source: pa.Table, issued: Numbers, month: int) -> dict[str, pa.Array]:
    """What loans may have looked like at the end of an earlier month: made, from snapshot and contract.

    - Of the instalments that had fallen due by then, those are paid that were paid in the snapshot: who has
      paid three of five paid the first three. A current loan paid each of its.
    - The principal that was repaid by the snapshot is spread over its instalments as the contract's annuity
      spreads it, so a prepayment is spread, too.
    - Status follows from the instalments missed: none, one, or more.
    - Of a loan that is fully paid in the snapshot the month in which that happened is drawn, each since its
      issue being as likely; until then it pays its instalments. One that is charged off is late before.
    """
    status = np.array(source["loan_status"].to_pylist())
    due_last, due = SNAPSHOT.month - issued, month - issued
    paid_last = np.where(status == CURRENT, due_last, np.minimum(_instalments_paid(source), due_last))
    random = np.random.default_rng(SEED)
    paid_off = random.integers(1, due_last + 1)  # the instalment with which a fully paid loan was paid off
    is_open = (status != PAID) | (due < paid_off)
    paid = np.where(status == PAID, np.minimum(due, paid_off), np.minimum(due, paid_last)).clip(min=0)
    amount, repaid_last = _numbers(source, "loan_amount"), _numbers(source, "paid_principal")
    share_last = _repaid_share(source, paid_last)
    spread = repaid_last * _repaid_share(source, paid) / np.where(share_last > 0, share_last, 1)
    repaid = np.where(status == PAID, amount * _repaid_share(source, paid), spread)
    repaid = np.where(is_open, np.minimum(np.round(repaid, 2), amount), repaid_last)
    missed = np.where(status == PAID, 0, due - paid)
    was = np.choose(np.clip(missed, 0, 2), [CURRENT, *LATE])
    owed = np.where(is_open, amount - repaid, 0.0)
    return {
        "status": pa.array(np.where(is_open, was, PAID)),
        "balance": _money(owed),
        "paid_principal": _money(repaid),
        "instalments_paid": pa.array(paid, pa.int32()),
    }


def _instalments_paid(source: pa.Table) -> Numbers:
    paid: Numbers = np.round(_numbers(source, "paid_total") / _numbers(source, "installment")).astype(
        np.int64
    )
    return paid


def _repaid_share(source: pa.Table, paid: Numbers) -> Numbers:
    """Which share of an annuity loan's principal is repaid after `paid` instalments, 0 to 1, [loans]."""
    growth = 1 + _numbers(source, "interest_rate") / 1200
    share: Numbers = (growth**paid - 1) / (growth ** _numbers(source, "term") - 1)
    return share


def _numbers(source: pa.Table, name: str) -> Numbers:
    values: Numbers = source[name].cast(pa.float64()).to_numpy()
    return values


def _money(values: Numbers) -> pa.Array:
    return pa.array(
        [Decimal(cents).scaleb(-2) for cents in np.round(values * 100).astype(int).tolist()], MONEY
    )


def _ledger(book: pa.Table) -> pa.Table:
    """What is owed on open loans by grade: columns grade, loans int32, balance decimal(18, 2)."""
    owed = book.filter(pc.greater(book["balance"], pa.scalar(Decimal(0)).cast(MONEY)))
    totals = owed.group_by("grade").aggregate([("loan_id", "count"), ("balance", "sum")]).sort_by("grade")
    return pa.table(
        {
            "grade": totals["grade"],
            "loans": totals["loan_id_count"].cast(pa.int32()),
            "balance": totals["balance_sum"].cast(TOTAL),
        }
    )
