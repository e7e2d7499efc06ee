"""The credit job in a workspace, and its losses counted once more in NumPy from the raw Parquet."""

import datetime as dt
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pyarrow.parquet as pq

from data.lakes.loans import write_lake
from tests.workspace.finance.world import copy_scorers

REPOSITORY = Path(__file__).parents[3]
MODELS = REPOSITORY / "data/models/finance"
DAYS = ("2018-05-31", "2018-06-30")
LATE = {
    "Current": (0, 0),
    "In Grace Period": (1, 15),
    "Late (16-30 days)": (16, 30),
    "Late (31-120 days)": (31, 120),
}


def make_credit_workspace(root: Path) -> Path:
    """A workspace with the loans, the job and its model; nothing has run."""
    write_lake(root)
    shutil.copytree(REPOSITORY / "jobs/finance/credit_loss", root / "jobs/finance/credit_loss")
    (root / "data/models/finance").mkdir(parents=True)
    shutil.copy(MODELS / "credit_loss.onnx", root / "data/models/finance")
    copy_scorers(root)
    return root


def reasons() -> list[str]:
    """The texts of the model's metadata, one for each column of its points, in their order."""
    model = onnx.load(MODELS / "credit_loss.onnx")
    texts: list[str] = json.loads({one.key: one.value for one in model.metadata_props}["reasons"])
    return texts


def read_book(root: Path, day: str) -> pd.DataFrame:
    """The loans of a day as the lake has them, by loan_id, money as floats."""
    path = root / f"data/lake/finance/loans/day={day}/part-0.parquet"
    frame = pq.read_table(path, partitioning=None).to_pandas().set_index("loan_id")
    for name in ("balance", "interest_rate", "instalment", "annual_income", "annual_income_joint"):
        frame[name] = frame[name].astype(float)
    return frame


def open_loans(root: Path, day: str) -> pd.DataFrame:
    """The loans on which something is owed, with days late, stage (30 and 90 days) and months left."""
    book = read_book(root, day)
    book = book[book["balance"] > 0].copy()
    date = dt.date.fromisoformat(day)
    due = np.array([(date.year - i.year) * 12 + date.month - i.month for i in book["issued_on"]])
    least, most = np.array([LATE[one] for one in book["status"]]).T
    missed = np.maximum(due - book["instalments_paid"].to_numpy(), 1)
    book["days_late"] = np.clip(30 * (missed - 1) + 1, least, most)
    book["stage"] = 1 + (book["days_late"] > 30) + (book["days_late"] > 90)
    book["months"] = book["term"] - due
    return book


@dataclass(frozen=True)
class Assumptions:
    """Parameters of the job, as job.yaml has them, and the loss given default."""

    shifts: tuple[float, ...] = (0.5, 0.0, -0.3)
    weights: tuple[float, ...] = (0.25, 0.5, 0.25)
    lgd: float = 0.9
    late_shares: tuple[float, float, float] = (0.23, 0.58, 0.75)
    late_months: int = 9


def losses(book: pd.DataFrame, scorecard_pd: Any, given: Assumptions = Assumptions()) -> pd.DataFrame:
    """Expected losses of loans: month after month, a balance that is paid down and a share that survives.

    `book` is that of `open_loans`. Columns: pd, pd_lifetime, loss, loss_12_months, loss_lifetime, and the
    loss of each scenario. Nothing here is a closed form or a hazard, unlike the model's graph.
    """
    late, stage, owed = (book[name].to_numpy() for name in ("days_late", "stage", "balance"))
    in_grace, later, latest = given.late_shares
    share = np.select([late > 30, late > 15, late > 0], [latest, later, in_grace], 0.0)
    found: dict[str, Any] = {}
    year, life = np.zeros(len(book)), np.zeros(len(book))
    for name, shift, weight in zip(
        ("loss_downturn", "loss_base", "loss_upturn"), given.shifts, given.weights, strict=True
    ):
        one = _months(book, _shifted(scorecard_pd, shift), _shifted(share, shift), given)
        first, all_ = given.lgd * one["loss_12_months"], given.lgd * one["loss_lifetime"]
        found[name] = np.select([stage == 1, stage == 2], [first, all_], given.lgd * owed)
        year, life = year + weight * first, life + weight * all_
        if shift == 0:
            found["pd"] = np.where(stage == 3, 1.0, one["pd"])
            found["pd_lifetime"] = np.where(stage == 3, 1.0, one["pd_lifetime"])
    found["loss_12_months"], found["loss_lifetime"] = year, life
    found["loss"] = np.select([stage == 1, stage == 2], [year, life], given.lgd * owed)
    return pd.DataFrame(found, index=book.index)


def _shifted(probability: Any, shift: float) -> Any:
    odds = probability / (1 - probability) * np.exp(shift)
    return odds / (1 + odds)


def _months(book: pd.DataFrame, probability: Any, share: Any, given: Assumptions) -> dict[str, Any]:
    """Loans that may default each month: how likely it is, and what is owed then, discounted.

    `probability` is that of twelve months by the application, `share` what defaults of late ones in theirs.
    """
    rate, months = book["interest_rate"].to_numpy() / 1200, book["months"].to_numpy()
    balance, alive, discount = book["balance"].to_numpy(), np.ones(len(book)), np.ones(len(book))
    payment = balance * rate / (1 - (1 + rate) ** -months.astype(float))
    usual = (1 - probability) ** (1 / 12)
    counted = np.minimum(given.late_months, months)
    while_late = (1 - share) ** (1 / counted)
    found = dict.fromkeys(("pd", "pd_lifetime", "loss_12_months", "loss_lifetime"), np.zeros(len(book)))
    for month in range(1, 61):
        discount = discount / (1 + rate)
        stays = np.where(month <= counted, np.minimum(usual, while_late), usual)
        defaults = np.where(month <= months, alive * (1 - stays), 0.0)
        lost = defaults * balance * discount
        for name, value in (("pd", defaults), ("loss_12_months", lost)):
            found[name] = found[name] + (value if month <= 12 else 0.0)
        for name, value in (("pd_lifetime", defaults), ("loss_lifetime", lost)):
            found[name] = found[name] + value
        alive = alive * stays
        balance = balance * (1 + rate) - payment
    return found
