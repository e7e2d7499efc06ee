"""Two month ends of the credit job: each loan counted once more, a movement that adds up, and what fails."""

import shutil
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightscore import features, load, query, run
from nightscore.common.errors import Broken
from nightscore.scorers.model_file import read_model
from nightscore.scorers.onnx import runtime
from tests.workspace.finance.credit import (
    DAYS,
    MODELS,
    REPOSITORY,
    Assumptions,
    losses,
    make_credit_workspace,
    open_loans,
    reasons,
)

FOLDER = REPOSITORY / "jobs/finance/credit_loss"
STEPS = (
    "opening", "model_change", "new", "repaid", "written_off", "transfer", "remeasurement", "closing",
)  # fmt: skip


@pytest.fixture(scope="module")
def credit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace after both days. Not to be written to."""
    root = make_credit_workspace(tmp_path_factory.mktemp("credit"))
    for day in DAYS:
        run(load("credit_loss", workspace=root), day)
    return root


def published(root: Path, table: str, day: str) -> pd.DataFrame:
    """A table of a day, money as whole cents."""
    frame = query(f"SELECT * EXCLUDE (run_id, day) FROM {table} WHERE day = DATE '{day}'", root).to_pandas()
    for name in [one for one in frame if one in ("exposure", "loss") or one.startswith("loss_")]:
        frame[name] = [int(value * 100) for value in frame[name]]
    return frame


def by_the_graph(root: Path, day: str, *names: str) -> list[Any]:
    """Outputs of the graph for what a run of the day scores, in the order of the key."""
    rows = features(load("credit_loss", workspace=root), day)
    session = runtime.open_session(read_model(MODELS / "credit_loss.onnx", "credit_loss.onnx"), "cpu", 1)
    feeds = {one.name: rows[one.name].to_numpy() for one in session.get_inputs()}
    return list(runtime.run_session(session, list(names), feeds, "cpu"))


def test_scores_are_the_graph_s_to_the_bit(credit: Path) -> None:
    """All that the model itself gives; the scorer around it adds reasons alone."""
    names = ["score", "pd", "pd_lifetime", "loss", "loss_12_months", "loss_lifetime"]
    table = query(
        f"SELECT * FROM credit_loss_scores WHERE day = DATE '{DAYS[1]}' ORDER BY loan_id, as_of", credit
    )
    *columns, points, losses_ = by_the_graph(credit, DAYS[1], *names, "points_lost", "scenario_losses")
    for name, wanted in zip(names, columns, strict=True):
        assert np.array_equal(table[name].to_numpy(), wanted), name
    assert np.array_equal(np.array(table["points_lost"].to_pylist()), points)
    assert np.array_equal(np.array(table["scenario_losses"].to_pylist()), losses_)
    assert {len(one) for one in table["reason_points"].to_pylist()} == {3}


def scorecard(root: Path, day: str) -> Any:
    """The scorecard's PD of each open loan of a day, by loan_id, straight from the model."""
    rows = features(load("credit_loss", workspace=root), day)
    rows = rows.filter(pa.compute.equal(rows["as_of"], pa.scalar(pd.Timestamp(day).date())))
    session = runtime.open_session(read_model(MODELS / "credit_loss.onnx", "credit_loss.onnx"), "cpu", 1)
    feeds = {one.name: rows[one.name].to_numpy() for one in session.get_inputs()}
    return runtime.run_session(session, ["scorecard_pd"], feeds, "cpu")[0]


@pytest.mark.parametrize("day", DAYS)
def test_every_loan_s_loss_is_a_recount_s(credit: Path, day: str) -> None:
    """Days late, stage, PD and all losses from the raw Parquet, month by month; to half a cent."""
    found = published(credit, "credit_loss", day).set_index("loan_id").sort_index()
    book = open_loans(credit, day)
    expected = losses(book, scorecard(credit, day))
    assert list(found.index) == list(book.index)
    assert (found["days_late"] == book["days_late"]).all()
    assert (found["stage"] == book["stage"]).all()
    for name in ("pd", "pd_lifetime"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-12, err_msg=name)
    assert (found["exposure"] == (book["balance"] * 100).round()).all()
    for name in ("loss", "loss_12_months", "loss_lifetime", "loss_downturn", "loss_base", "loss_upturn"):
        np.testing.assert_allclose(found[name], expected[name] * 100, atol=0.5 + 1e-4, err_msg=name)


def test_the_share_of_late_loans_is_one_of_its_own_months(credit: Path) -> None:
    """75 % within nine months; from then on a loan is as likely to default as its application says.

    Spread over all months that are left, the losses of stage 2 are those that a validator counted by hand.
    """
    found = published(credit, "credit_loss", DAYS[1]).set_index("loan_id").sort_index()
    book = open_loans(credit, DAYS[1])
    by_application = scorecard(credit, DAYS[1])
    late = ((book["days_late"] > 30) & (book["stage"] == 2)).to_numpy()
    survives = 0.25 * (1 - by_application[late]) ** (3 / 12)
    np.testing.assert_allclose(found["pd"][late], 1 - survives, rtol=1e-9)
    assert (found["pd_lifetime"][late] < 0.9).all()
    whole = losses(book, by_application, Assumptions(late_months=60))
    assert whole["loss"][late].sum() == pytest.approx(388_412.35, abs=0.01)
    assert found["loss"][late].sum() == pytest.approx(62_053_747, abs=50)


def test_the_reasons_are_the_three_largest(credit: Path) -> None:
    """Of the six that the scores hold, in order; equal ones in the model's order; none that costs nothing."""
    texts = reasons()
    rows = query(
        f"SELECT * FROM credit_loss JOIN credit_loss_scores USING (loan_id, day) WHERE as_of = day "
        f"AND day = DATE '{DAYS[1]}'",
        credit,
    ).to_pylist()
    assert len(rows) == 9_545
    for row in rows:
        lost = [round(points, 1) for points in row["points_lost"]]
        order = sorted(range(6), key=lambda i: (-lost[i], i))[:3]
        assert [row[f"points_lost_{n}"] for n in (1, 2, 3)] == [Decimal(str(lost[i])) for i in order]
        expected = [texts[i] if lost[i] > 0 else None for i in order]
        assert [row[f"reason_{n}"] for n in (1, 2, 3)] == expected


@pytest.mark.parametrize(("second", "third"), [(30, 90), (0, 30), (60, 60)])
def test_stages_follow_the_thresholds(credit: Path, second: int, third: int) -> None:
    """More days late than the one or the other, on the last day."""
    given = {"stage_2_after": second, "stage_3_after": third}
    rows = features(load("credit_loss", workspace=credit), DAYS[1], params=given).to_pandas()
    rows = rows[pd.to_datetime(rows["as_of"]) == pd.Timestamp(DAYS[1])]
    late = open_loans(credit, DAYS[1])["days_late"].reindex(rows["loan_id"]).to_numpy()
    expected = np.where(late > third, 3, np.where(late > second, 2, 1))
    assert (rows["stage"].to_numpy() == expected).all()


def test_the_summary_is_a_pivot_of_the_loans(credit: Path) -> None:
    """By grade and stage with their margins, by pandas in cents."""
    loans = published(credit, "credit_loss", DAYS[1])
    found = published(credit, "credit_loss_summary", DAYS[1]).set_index(["grade", "stage"])
    loans = pd.concat([loans, loans.assign(stage=0)])
    loans = pd.concat([loans, loans.assign(grade="all")])
    names = ["exposure", "loss", "loss_downturn", "loss_base", "loss_upturn"]
    expected = loans.groupby(["grade", "stage"])[names].sum()
    assert found[names].sort_index().equals(expected.sort_index().astype(found[names].dtypes.to_dict()))
    assert found.loc[("all", 0), "exposure"] == 14_458_916_610


def test_the_movement_is_that_of_the_two_days(credit: Path) -> None:
    """Each line by pandas from the two days' loans, in cents; without a change of the model there is none."""
    before, now = (published(credit, "credit_loss", day).set_index("loan_id") for day in DAYS)
    found = published(credit, "credit_loss_movement", DAYS[1])
    total = found.groupby("line")[["loans", "exposure", "loss"]].sum()
    assert tuple(total.loc["opening"]) == (len(before), before["exposure"].sum(), before["loss"].sum())
    assert tuple(total.loc["closing"]) == (len(now), now["exposure"].sum(), now["loss"].sum())
    assert tuple(total.loc["model_change"]) == (0, 0, 0)
    assert tuple(total.loc["transfer"]) == (0, 0, 0)
    gone = before.drop(index=now.index, errors="ignore")
    ended = total.loc["repaid"] + total.loc["written_off"]
    assert tuple(ended) == (-len(gone), -gone["exposure"].sum(), -gone["loss"].sum())
    stayed = now.index.intersection(before.index)
    other = stayed[now.loc[stayed, "stage"] != before.loc[stayed, "stage"]]
    both = before.loc[other].assign(loans=1)[["grade", "stage", "loans", "exposure", "loss"]]
    left = both.groupby(["grade", "stage"]).sum()
    came = both.assign(stage=now.loc[other, "stage"]).groupby(["grade", "stage"]).sum()
    net = came.sub(left, fill_value=0).astype(int)
    lines = found[found["line"] == "transfer"].set_index(["grade", "stage"])[list(net)]
    assert (lines.sort_index() == net.sort_index()).all(axis=None)
    assert len(other) > 20
    assert -total.loc["written_off", "loans"] == 7
    each = found.assign(sign=np.where(found["line"] == "closing", -1, 1))
    for name in ("loans", "exposure", "loss"):
        assert ((each[name] * each["sign"]).groupby([each["grade"], each["stage"]]).sum() == 0).all()


@pytest.mark.slow
def test_a_harder_downturn_is_a_change_of_the_model(credit: Path, tmp_path: Path) -> None:
    """The same loans of the day before, counted once more with the new parameter, less what was published."""
    root = shutil.copytree(credit, tmp_path / "w")
    run(load("credit_loss", workspace=root), DAYS[1], params={"shift_downturn": 1.0})
    found = published(root, "credit_loss_movement", DAYS[1])
    change = found[found["line"] == "model_change"]["loss"].sum()
    book, pds = open_loans(root, DAYS[0]), scorecard(credit, DAYS[0])
    again = losses(book, pds, Assumptions(shifts=(1.0, 0.0, -0.3)))["loss"]
    first = losses(book, pds)["loss"]
    assert change == pytest.approx((again.round(2) - first.round(2)).sum() * 100, abs=5)
    assert change > 0
    assert found[found["line"] == "model_change"]["exposure"].sum() == 0


def test_the_first_day_has_nothing_but_new_loans(credit: Path) -> None:
    """All of its lines are new, or the closing that they make."""
    found = published(credit, "credit_loss_movement", DAYS[0])
    assert set(found["line"]) == {"new", "closing"}
    new, closing = (found[found["line"] == one].drop(columns=["line", "step"]) for one in ("new", "closing"))
    key = ["grade", "stage"]
    assert new.set_index(key).sort_index().equals(closing.set_index(key).sort_index())


LOAN = st.tuples(
    st.sampled_from("AB"),
    st.integers(1, 3),
    st.integers(1, 10**9),
    st.integers(0, 10**7),
    st.integers(0, 10**7),
)
BOOKS = st.dictionaries(st.integers(1, 12), LOAN, max_size=8)


def moved(opening: list[Any], scores: list[Any], loans: list[Any]) -> list[tuple[Any, ...]]:
    """What movement.sql makes of these rows."""
    loan = "loan_id INT, grade VARCHAR, stage SMALLINT, exposure DECIMAL(11,2)"
    with duckdb.connect() as con:
        con.execute("SET VARIABLE day = DATE '2020-02-29'")
        con.execute(f"CREATE TABLE before ({loan}, loss DECIMAL(18,2), day DATE)")
        con.execute(f"CREATE TABLE scores ({loan}, loss DOUBLE, as_of DATE)")
        con.execute("CREATE TABLE loans (loan_id INT, status VARCHAR, day DATE)")
        for table, rows in (("before", opening), ("scores", scores), ("loans", loans)):
            if rows:
                con.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(rows[0]))})", rows)
        return con.sql((FOLDER / "movement.sql").read_text()).fetchall()


@settings(max_examples=25, deadline=None)
@given(BOOKS, BOOKS, st.sets(st.integers(1, 12)))
def test_a_movement_adds_up(before: dict[int, Any], today: dict[int, Any], charged_off: set[int]) -> None:
    """Of any two books, to the cent: movement.sql itself on loans that come, go, move and are revalued."""
    opening, again, now, known = [], [], [], []
    for loan, (grade, stage, owed, loss, revalued) in before.items():
        row = [loan, grade, stage, Decimal(owed).scaleb(-2)]
        opening.append([*row, Decimal(loss).scaleb(-2), "2020-01-31"])
        again.append([*row, revalued / 100, "2020-01-31"])
        known.append([loan, "Charged Off" if loan in charged_off else "Fully Paid", "2020-02-29"])
    for loan, (grade, stage, owed, loss, _) in today.items():
        now.append([loan, grade, stage, Decimal(owed).scaleb(-2), loss / 100, "2020-02-29"])
    lines = moved(opening, again + now, known)
    sums: dict[tuple[str, int], list[Decimal]] = {}
    for grade, stage, step, line, *amounts in lines:
        assert STEPS[step - 1] == line
        sign = -1 if line == "closing" else 1
        total = sums.setdefault((grade, stage), [Decimal(0)] * 3)
        sums[grade, stage] = [a + sign * b for a, b in zip(total, amounts, strict=True)]
    assert all(value == 0 for total in sums.values() for value in total)
    closing = sum(line[5] for line in lines if line[3] == "closing")
    assert closing == sum(Decimal(owed).scaleb(-2) for _, _, owed, _, _ in today.values())
    written_off = -sum(line[4] for line in lines if line[3] == "written_off")
    assert written_off == len((before.keys() - today.keys()) & charged_off)


def altered(root: Path, day: str, name: str, value: Any) -> None:
    """Give the first open loan of a day another value."""
    path = root / f"data/lake/finance/loans/day={day}/part-0.parquet"
    table = pq.read_table(path, partitioning=None)
    values = table[name].to_pylist()
    at = next(i for i, owed in enumerate(table["balance"].to_pylist()) if owed > 0)
    values[at] = value(values[at])
    column = table.schema.get_field_index(name)
    field = table.schema.field(column)
    pq.write_table(
        table.set_column(column, field, pa.array(values, field.type)), path, write_page_checksum=True
    )


def test_a_cent_more_than_the_ledger_holds_the_day(tmp_path: Path) -> None:
    """One loan owes a cent more than the ledger knows: nothing is published."""
    root = make_credit_workspace(tmp_path)
    altered(root, DAYS[1], "balance", lambda owed: owed + Decimal("0.01"))
    with pytest.raises(Broken, match="exposure ties to the ledger by grade"):
        run(load("credit_loss", workspace=root), DAYS[1])
    assert not (root / "data/tables/credit_loss").exists()


def test_sql_that_loses_a_cent_holds_the_day(credit: Path, tmp_path: Path) -> None:
    """A mistake in the movement's own SQL: the audit finds it."""
    root = shutil.copytree(credit, tmp_path / "w")
    sql = root / "jobs/finance/credit_loss/movement.sql"
    wrong = sql.read_text().replace("today.loss - again.loss", "today.loss - again.loss - 0.01")
    assert wrong != sql.read_text()
    sql.write_text(wrong)
    with pytest.raises(Broken, match="the movement adds up"):
        run(load("credit_loss", workspace=root), DAYS[1])


@pytest.mark.parametrize(
    ("column", "value", "said"), [("status", "Unknown", "stage"), ("sub_grade", "Z9", "sub_grade")]
)
def test_a_loan_that_is_not_what_it_has_to_be_stops_the_run(
    tmp_path: Path, column: str, value: str, said: str
) -> None:
    """A status or a sub-grade that nobody knows: the message names the column, and nothing is published."""
    root = make_credit_workspace(tmp_path)
    altered(root, DAYS[1], column, lambda _: value)
    with pytest.raises(Broken, match=said):
        run(load("credit_loss", workspace=root), DAYS[1])
    assert not (root / "data/tables/credit_loss").exists()


def test_a_loan_that_disappears_holds_the_day(credit: Path, tmp_path: Path) -> None:
    """A loan of the day before that is not in the book, and not in the ledger either."""
    root = shutil.copytree(credit, tmp_path / "w")
    lake = root / "data/lake/finance"
    path = lake / f"loans/day={DAYS[1]}/part-0.parquet"
    table = pq.read_table(path, partitioning=None)
    gone = next(row for row in table.select(["grade", "balance"]).to_pylist() if row["balance"] > 0)
    at = table["balance"].to_pylist().index(gone["balance"])
    pq.write_table(
        pa.concat_tables([table.slice(0, at), table.slice(at + 1)]), path, write_page_checksum=True
    )
    ledger = lake / f"loan_ledger/day={DAYS[1]}/part-0.parquet"
    rows = pq.read_table(ledger, partitioning=None)
    less = [{**row, "loans": row["loans"] - 1, "balance": row["balance"] - gone["balance"]}
            if row["grade"] == gone["grade"] else row for row in rows.to_pylist()]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(less, rows.schema), ledger, write_page_checksum=True)
    with pytest.raises(Broken, match="every loan that was last published is still in the book"):
        run(load("credit_loss", workspace=root), DAYS[1])
