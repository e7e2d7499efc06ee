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
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data.lakes.loans import _ledger, write_lake
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
    for name in ("credit_loss.onnx", "credit_loss_expected.parquet"):
        shutil.copy(MODELS / name, root / "data/models/finance")
    copy_scorers(root)
    return root


def cut_to(root: Path, loans: int) -> Path:
    """The workspace with the first loans alone, and ledgers that know no others."""
    lake = root / "data/lake/finance"
    for path in lake.glob("loans/day=*/part-0.parquet"):
        table = pq.read_table(path, partitioning=None)
        table = table.filter(pc.less_equal(table["loan_id"], loans))
        write(path, table)
        write(lake / "loan_ledger" / path.parent.name / path.name, _ledger(table))
    return root


def write(path: Path, table: pa.Table) -> None:
    """A file of the lake once more; pages have checksums, as the job asks for."""
    pq.write_table(table, path, write_page_checksum=True)


def altered(root: Path, day: str, loan: int, **values: Any) -> None:
    """Give a loan other values on a day."""
    path = root / f"data/lake/finance/loans/day={day}/part-0.parquet"
    table = pq.read_table(path, partitioning=None)
    at = table["loan_id"].to_pylist().index(loan)
    for name, value in values.items():
        column = table[name].to_pylist()
        column[at] = value
        field = table.schema.field(name)
        table = table.set_column(table.schema.get_field_index(name), field, pa.array(column, field.type))
    write(path, table)


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
    """The loans on which something is owed, with days late, the stage by them (30, 90) and months left."""
    book = read_book(root, day)
    book = book[book["balance"] > 0].copy()
    date = dt.date.fromisoformat(day)
    due = np.array([(date.year - i.year) * 12 + date.month - i.month for i in book["issued_on"]])
    least, most = np.array([LATE[one] for one in book["status"]]).T
    missed = np.maximum(due - book["instalments_paid"].to_numpy(), 1)
    book["days_late"] = np.clip(30 * (missed - 1) + 1, least, most)
    book["by_arrears"] = 1 + (book["days_late"] > 30) + (book["days_late"] > 90)
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
    bad_in_default: float = 1.0
    unpaid: int = 3
    prepayment: float = 0.011
    stage_2_times: float = 2.5
    stage_2_from: float = 0.01


def losses(
    book: pd.DataFrame, scorecard_pd: Any, given: Assumptions = Assumptions(), held: pd.Series | None = None
) -> pd.DataFrame:
    """Expected losses of loans: month after month, a balance that is paid down and a share that survives.

    `book` is that of `open_loans`, `held` the least stage that their past allows, by loan. Columns: both
    stages, the probabilities, and the losses, that of each scenario among them. Nothing here is a closed form
    or a hazard, unlike the model's graph.
    """
    late, owed = book["days_late"].to_numpy(), book["balance"].to_numpy()
    origin = scorecard_pd * given.bad_in_default
    in_grace, later, latest = given.late_shares
    share = np.select([late > 30, late > 15, late > 0], [latest, later, in_grace], 0.0)
    each = [_months(book, _shifted(origin, shift), _shifted(share, shift), given) for shift in given.shifts]
    base = each[given.shifts.index(0)]
    risen = (base["pd"] >= given.stage_2_times * origin) & (base["pd"] >= given.stage_2_from)
    without_cure = np.maximum(book["by_arrears"].to_numpy(), 1 + risen)
    past = np.ones(len(book)) if held is None else held.reindex(book.index).fillna(1).to_numpy()
    stage = np.maximum(without_cure, past)
    found: dict[str, Any] = {"stage_without_cure": without_cure, "stage": stage, "pd_at_origination": origin}
    found["exposure_at_default"] = owed * (1 + book["interest_rate"].to_numpy() / 1200) ** given.unpaid
    for name in ("pd", "pd_lifetime"):
        found[name] = np.where(stage == 3, 1.0, base[name])
    in_default = given.lgd * found["exposure_at_default"]
    for name, one in zip(("loss_downturn", "loss_base", "loss_upturn"), each, strict=True):
        year, life = given.lgd * one["loss_12_months"], given.lgd * one["loss_lifetime"]
        found[name] = np.select([stage == 1, stage == 2], [year, life], in_default)
    for name in ("loss_12_months", "loss_lifetime"):
        weighted = [weight * one[name] for weight, one in zip(given.weights, each, strict=True)]
        found[name] = given.lgd * sum(weighted)
    whole = [found["loss_12_months"], found["loss_lifetime"]]
    found["loss"] = np.select([stage == 1, stage == 2], whole, in_default)
    return pd.DataFrame(found, index=book.index)


def _shifted(probability: Any, shift: float) -> Any:
    odds = probability / (1 - probability) * np.exp(shift)
    return odds / (1 + odds)


def _months(book: pd.DataFrame, probability: Any, share: Any, given: Assumptions) -> dict[str, Any]:
    """Loans that may default each month: how likely it is, and what is owed then, discounted.

    `probability` is that of twelve months by the application, `share` what defaults of late ones in theirs.
    """
    growth, months = 1 + book["interest_rate"].to_numpy() / 1200, book["months"].to_numpy()
    payment = book["balance"].to_numpy() * (growth - 1) / (1 - growth ** -months.astype(float))
    balances = [book["balance"].to_numpy()]  # by how many instalments have been paid
    counted = np.minimum(given.late_months, months)
    while_late = (1 - share) ** (1 / counted)
    not_repaid = [(1 - given.prepayment) ** month for month in range(60)]
    alive = np.ones(len(book))
    found = dict.fromkeys(("pd", "pd_lifetime", "loss_12_months", "loss_lifetime"), np.zeros(len(book)))
    for month in range(1, 61):
        stays = (1 - probability) ** (not_repaid[month - 1] / sum(not_repaid[:12]))
        stays = np.where(month <= counted, np.minimum(stays, while_late), stays)
        defaults = np.where(month <= months, alive * (1 - stays), 0.0)
        owed = balances[max(month - 1 - given.unpaid, 0)]
        for _ in range(min(month, given.unpaid)):
            owed = owed * growth
        lost = defaults * owed / growth**month
        for name, value in (("pd", defaults), ("loss_12_months", lost)):
            found[name] = found[name] + (value if month <= 12 else 0.0)
        for name, value in (("pd_lifetime", defaults), ("loss_lifetime", lost)):
            found[name] = found[name] + value
        alive = alive * stays
        balances.append(balances[-1] * growth - payment)
    return found
