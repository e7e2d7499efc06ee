"""Two month ends of the credit job: each loan counted once more, a movement that adds up, and what fails."""

import dataclasses
import shutil
import sys
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightscore import Restate, features, load, query, report, run
from nightscore.common.errors import Broken
from nightscore.scorers.files.model_file import read_model
from nightscore.scorers.onnx import runtime
from tests.workspace.finance.credit import (
    DAYS,
    MODELS,
    REPOSITORY,
    Assumptions,
    altered,
    cut_to,
    losses,
    make_credit_workspace,
    open_loans,
    read_book,
    reasons,
    write,
)

sys.path.insert(0, str(MODELS))  # where its programs are run

from credit_graph import OUTPUTS

pytestmark = pytest.mark.slow  # real nights of whole jobs

FOLDER = REPOSITORY / "jobs/finance/credit_loss"
MONEY = (
    "exposure_at_default", "loss", "loss_12_months", "loss_lifetime", "loss_downturn", "loss_base",
    "loss_upturn",
)  # fmt: skip
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
    for name in [one for one in frame if one.startswith(("exposure", "loss"))]:
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
    names = [one for one in OUTPUTS if one != "scorecard_pd"]
    table = query(
        f"SELECT * FROM credit_loss_scores WHERE day = DATE '{DAYS[1]}' ORDER BY loan_id, as_of, moved",
        credit,
    )
    *columns, points, losses_ = by_the_graph(credit, DAYS[1], *names, "points_lost", "scenario_losses")
    for name, wanted in zip(names, columns, strict=True):
        assert np.array_equal(table[name].to_numpy(), wanted), name
    assert np.array_equal(np.array(table["points_lost"].to_pylist()), points)
    assert np.array_equal(np.array(table["scenario_losses"].to_pylist()), losses_)
    assert pc.unique(pc.list_value_length(table["reason_points"])).to_pylist() == [3]


def as_they_are(root: Path, day: str, **params: float) -> pa.Table:
    """The features of each open loan of a day, by loan_id, no assumption being moved."""
    rows = features(load("credit_loss", workspace=root), day, params=params or None)
    today = pc.equal(rows["as_of"], pa.scalar(pd.Timestamp(day).date()))
    return rows.filter(pc.and_(today, pc.equal(rows["moved"], "nothing")))


def scorecard(root: Path, day: str) -> Any:
    """The scorecard's PD of each open loan of a day, by loan_id, straight from the model."""
    rows = as_they_are(root, day)
    session = runtime.open_session(read_model(MODELS / "credit_loss.onnx", "credit_loss.onnx"), "cpu", 1)
    feeds = {one.name: rows[one.name].to_numpy() for one in session.get_inputs()}
    return runtime.run_session(session, ["scorecard_pd"], feeds, "cpu")[0]


def recounted(root: Path, day: str) -> pd.DataFrame:
    """The losses of a day from the raw Parquet; the second day has a past, the first none."""
    held = None
    if day == DAYS[1]:
        held = losses(open_loans(root, DAYS[0]), scorecard(root, DAYS[0]))["stage_without_cure"]
    return losses(open_loans(root, day), scorecard(root, day), held=held)


@pytest.mark.parametrize("day", DAYS)
def test_every_loan_s_loss_is_a_recount_s(credit: Path, day: str) -> None:
    """Days late, stages, PDs and all losses from the raw Parquet, month by month; to half a cent."""
    found = published(credit, "credit_loss", day).set_index("loan_id").sort_index()
    book = open_loans(credit, day)
    expected = recounted(credit, day)
    assert list(found.index) == list(book.index)
    for name, counted in (("days_late", book), ("stage", expected), ("stage_without_cure", expected)):
        assert (found[name] == counted[name]).all(), name
    for name in ("pd_at_origination", "pd", "pd_lifetime"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-12, err_msg=name)
    assert (found["exposure"] == (book["balance"] * 100).round()).all()
    for name in MONEY:
        np.testing.assert_allclose(found[name], expected[name] * 100, atol=0.5 + 1e-4, err_msg=name)
    late = {1: None, 2: "days late", 3: "days late"}
    by_days = found["stage"] == book["by_arrears"]
    assert found["staged_by"][by_days].tolist() == found["stage"][by_days].map(late).tolist()
    assert set(found["staged_by"][~by_days]) == {"risk since origination"}


# The job as it was when reviewers counted: shares of twelve months, no instalment unpaid, days late alone.
AS_IT_WAS = Assumptions(late_months=12, unpaid=0, prepayment=0.0, stage_2_times=1000.0)


def test_one_step_after_the_other_the_loss_is_what_reviewers_counted(credit: Path) -> None:
    """Their figures and ours of 2018-06-30, by the recount: what each mended assumption is worth."""
    book, by_application = open_loans(credit, DAYS[1]), scorecard(credit, DAYS[1])
    second = (book["by_arrears"] == 2).to_numpy()

    def loss(**moved: Any) -> pd.Series:
        return losses(book, by_application, dataclasses.replace(AS_IT_WAS, **moved))["loss"].round(2)

    all_months = loss(late_months=60)[second].sum()
    assert all_months == pytest.approx(388_412.35, abs=0.05)
    assert loss()[~second].sum() + all_months == pytest.approx(6_264_056.07, abs=0.05)
    steps = [
        ({"late_months": 9}, 6_533_335.83),
        ({"stage_2_times": 2.5}, 6_567_714.04),
        ({"unpaid": 3}, 7_146_295.29),
        ({"prepayment": 0.011}, 7_156_770.04),
    ]
    given: dict[str, Any] = {}
    for step, total in steps:
        given |= step
        assert loss(**given).sum() == pytest.approx(total, abs=0.05), step
    assert published(credit, "credit_loss", DAYS[1])["loss"].sum() == 715_677_004


def test_the_share_of_late_loans_is_one_of_its_own_months(credit: Path) -> None:
    """75 % within nine months; from then on a loan is as likely to default as its application says."""
    found = published(credit, "credit_loss", DAYS[1]).set_index("loan_id").sort_index()
    late = ((found["days_late"] > 30) & (found["stage"] == 2)).to_numpy()
    assert late.sum() == 56
    stays = 0.989 ** np.arange(12)
    rest = (1 - found["pd_at_origination"][late]) ** (stays[9:].sum() / stays.sum())
    np.testing.assert_allclose(found["pd"][late], 1 - 0.25 * rest, rtol=1e-9)
    assert (found["pd_lifetime"][late] < 0.9).all()


MOVES: dict[str, dict[str, Any]] = {
    "stage_2_times": {"stage_2_times": 2.0},
    "stage_2_from": {"stage_2_from": 0.25},
    "pd_in_grace": {"late_shares": (0.33, 0.58, 0.75)},
    "pd_late": {"late_shares": (0.23, 0.68, 0.75)},
    "pd_later": {"late_shares": (0.23, 0.58, 0.85)},
    "late_months": {"late_months": 60},
    "bad_in_default": {"bad_in_default": 0.8},
    "unpaid_instalments": {"unpaid": 0},
    "prepayment": {"prepayment": 0.0},
    "shift_downturn": {"shifts": (1.0, 0.0, -0.3)},
    "shift_upturn": {"shifts": (0.5, 0.0, 0.0)},
    "weight_downturn": {"weights": (0.5, 0.25, 0.25)},
    "weight_upturn": {"weights": (0.25, 0.25, 0.5)},
    "loss_given_default": {"lgd": 0.8},
}


def test_the_sensitivities_are_a_recount_s(credit: Path) -> None:
    """Each assumption once; of the moved one a recount of the whole book, to half a cent a loan."""
    found = query(f"SELECT * FROM credit_loss_sensitivity WHERE day = DATE '{DAYS[1]}'", credit).to_pandas()
    found = found.set_index("assumption")
    params = set(load("credit_loss", workspace=credit).spec.params)
    assert set(found.index) == params | {"loss_given_default"}
    as_it_is = recounted(credit, DAYS[1])["loss"].sum()
    before = open_loans(credit, DAYS[0]), scorecard(credit, DAYS[0])
    held = losses(*before)["stage_without_cure"]  # what was published, whatever is moved now
    book, by_application = open_loans(credit, DAYS[1]), scorecard(credit, DAYS[1])
    for name, moved in MOVES.items():
        loss = losses(book, by_application, Assumptions(**moved), held)["loss"].sum()
        assert float(found.loc[name, "loss"]) == pytest.approx(loss, abs=5), name
        assert float(found.loc[name, "difference"]) == pytest.approx(loss - as_it_is, abs=10), name
        assert found.loc[name, "share"] == pytest.approx(loss / as_it_is - 1, abs=2e-6), name
    late = book["days_late"]
    for name, stages in (
        ("stage_2_after", 1 + (late > 0) + (late > 90)),
        ("stage_3_after", 1 + (late > 20) + (late > 20)),
        ("cure_months", book["by_arrears"]),
    ):
        past = None if name == "cure_months" else held
        loss = losses(book.assign(by_arrears=stages), by_application, held=past)["loss"].sum()
        assert float(found.loc[name, "loss"]) == pytest.approx(loss, abs=5), name
    assert found["from_value"]["loss_given_default"] == 0.9
    page = report("credit_loss", DAYS[1], credit)
    assert "All 17 rows, by key" in page
    assert all(f"<td>{name}</td>" in page for name in found.index)
    assert (found["from_value"] != found["to_value"]).all()


def test_the_reasons_are_the_three_largest(credit: Path) -> None:
    """Of the six that the scores hold, in order; equal ones in the model's order; none that costs nothing."""
    texts = reasons()
    rows = query(
        f"SELECT * FROM credit_loss JOIN credit_loss_scores USING (loan_id, day) WHERE as_of = day "
        f"AND moved = 'nothing' "
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
    rows = as_they_are(credit, DAYS[1], **given)
    late = open_loans(credit, DAYS[1])["days_late"].to_numpy()
    expected = np.where(late > third, 3, np.where(late > second, 2, 1))
    assert (rows["stage_by_arrears"].to_numpy() == expected).all()


def test_a_loan_whose_risk_has_risen_is_in_stage_2_before_it_is_31_days_late(credit: Path) -> None:
    """Its PD now is 2.5 times that of its application: so most loans that are late, and none that is paid."""
    found = published(credit, "credit_loss", DAYS[1]).set_index("loan_id")
    early = found[(found["days_late"] > 0) & (found["days_late"] <= 30)]
    risen = early["pd"] >= 2.5 * early["pd_at_origination"]
    assert (len(early), risen.sum()) == (105, 87)
    assert (early["stage_without_cure"] == np.where(risen, 2, 1)).all()
    paid = found[found["days_late"] == 0]
    np.testing.assert_allclose(paid["pd"], paid["pd_at_origination"], rtol=1e-12)
    assert (paid["stage_without_cure"] == 1).all()
    assert found["pd_at_origination"][risen[~risen].index].min() > 0.08  # bad from the beginning


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A workspace of its own, with the first loans alone; nothing has run."""
    return cut_to(make_credit_workspace(tmp_path / "small"), 60)


@pytest.mark.slow
def test_a_loan_is_cured_three_months_after_the_first_good_close(small: Path) -> None:
    """Of two that are paid again one was late and one in default: each stays where it was for that time."""
    closes = ["2018-02-28", "2018-03-31", "2018-04-30", "2018-05-31", "2018-06-30"]
    first = read_book(small, closes[0])
    paid = [read_book(small, day)["status"].loc[first.index] == "Current" for day in closes]
    in_january = first["issued_on"] == date(2018, 1, 1)  # four instalments are due by the fourth close
    late, default = (int(loan) for loan in first.index[np.all(paid, axis=0) & in_january][:2])
    altered(small, closes[0], late, status="Late (31-120 days)", instalments_paid=0)
    altered(small, closes[3], default, status="Late (31-120 days)", instalments_paid=0)
    job = load("credit_loss", workspace=small)
    for day in closes:
        run(job, day)
    columns = "loan_id, stage, stage_without_cure, staged_by, pd"
    found = query(f"SELECT {columns} FROM credit_loss ORDER BY day", small).to_pylist()
    assert [tuple(row.values())[1:4] for row in found if row["loan_id"] == late] == [
        (2, 2, "days late"), (2, 1, "not cured"), (2, 1, "not cured"), (2, 1, "not cured"), (1, 1, None),
    ]  # fmt: skip
    other = [row for row in found if row["loan_id"] == default]
    assert [row["stage"] for row in other] == [1, 1, 1, 3, 3]
    assert [row["pd"] for row in other[3:]] == [1, 1]
    moved = query("SELECT * FROM credit_loss_sensitivity WHERE assumption = 'cure_months'", small).to_pandas()
    assert (moved.sort_values("day")["difference"] < 0).tolist() == [False, True, True, True, True]


def test_a_loan_that_the_lender_calls_in_default_is_in_stage_3(small: Path) -> None:
    """More than 120 days late and not written off yet, which no day of the sample has: its loss by hand."""
    loan = first_open(small, DAYS[1])
    altered(small, DAYS[1], int(loan.name), status="Default", instalments_paid=0)
    assert run(load("credit_loss", workspace=small), DAYS[1]).status == "published"
    found = query(f"SELECT * FROM credit_loss WHERE loan_id = {loan.name}", small).to_pylist()[0]
    assert (found["stage"], found["days_late"] > 120, found["pd"], found["staged_by"]) == (
        3,
        True,
        1,
        "days late",
    )
    owed = float(loan["balance"]) * (1 + float(loan["interest_rate"]) / 1200) ** 3
    assert float(found["exposure_at_default"]) == pytest.approx(owed, abs=0.0051)
    assert float(found["loss"]) == pytest.approx(0.9 * owed, abs=0.0051)


def test_a_loan_that_is_cured_too_soon_holds_the_day(small: Path) -> None:
    """A mistake in the features' own SQL: the audit looks at the closes themselves."""
    loan = int(open_loans(small, DAYS[0]).index[0])
    altered(small, DAYS[0], loan, status="Late (31-120 days)", instalments_paid=0)
    run(load("credit_loss", workspace=small), DAYS[0])
    sql = small / "jobs/finance/credit_loss/loans.sql"
    sql.write_text(sql.read_text().replace("coalesce(stage_held, 1)", "1"))
    with pytest.raises(Broken, match="no loan is in a better stage than"):
        run(load("credit_loss", workspace=small), DAYS[1])


@pytest.mark.slow
def test_a_published_day_is_closed(small: Path) -> None:
    """Other causes are refused, and a restatement moves nothing that a later day reads."""
    job = load("credit_loss", workspace=small)
    for day in DAYS:
        run(job, day)
    assert run(job, DAYS[1]).status == "unchanged"
    with pytest.raises(Broken, match="is closed"):
        run(job, DAYS[0], params={"shift_downturn": 1.0})
    opening = "SELECT sum(loss) AS loss FROM credit_loss_movement WHERE line = 'opening'"
    before = query(opening, small).to_pylist()
    run(job, DAYS[0], params={"shift_downturn": 1.0}, restate=Restate("a harder downturn", by="Ada"))
    assert run(job, DAYS[1]).status == "unchanged"
    assert query(opening, small).to_pylist() == before


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


def test_a_harder_downturn_is_a_change_of_the_model(small: Path) -> None:
    """The same loans of the day before, counted once more with the new parameter, less what was published."""
    run(load("credit_loss", workspace=small), DAYS[0])
    run(load("credit_loss", workspace=small), DAYS[1], params={"shift_downturn": 1.0})
    found = published(small, "credit_loss_movement", DAYS[1])
    change = found[found["line"] == "model_change"]["loss"].sum()
    book, pds = open_loans(small, DAYS[0]), scorecard(small, DAYS[0])
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


NAMES = {
    "before": ("loan_id", "grade", "stage", "exposure", "loss", "day"),
    "scores": ("loan_id", "grade", "stage", "exposure", "loss", "as_of"),
    "loans": ("loan_id", "status", "day"),
}


def moved(opening: list[Any], scores: list[Any], loans: list[Any]) -> list[tuple[Any, ...]]:
    """What movement.sql makes of these rows."""
    loan = "loan_id INT, grade VARCHAR, stage SMALLINT, exposure DECIMAL(11,2)"
    with duckdb.connect() as con:
        con.execute("SET VARIABLE day = DATE '2020-02-29'")
        con.execute(f"CREATE TABLE before ({loan}, loss DECIMAL(18,2), day DATE)")
        con.execute(f"CREATE TABLE scores ({loan}, loss DOUBLE, as_of DATE, moved VARCHAR DEFAULT 'nothing')")
        con.execute("CREATE TABLE loans (loan_id INT, status VARCHAR, day DATE)")
        for table, rows in (("before", opening), ("scores", scores), ("loans", loans)):
            if rows:
                names = ", ".join(NAMES[table])
                con.executemany(
                    f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' * len(rows[0]))})", rows
                )
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


def first_open(root: Path, day: str) -> pd.Series:
    """The first loan of a day that owes something."""
    return open_loans(root, day).iloc[0]


def test_a_cent_more_than_the_ledger_holds_the_day(small: Path) -> None:
    """One loan owes a cent more than the ledger knows: nothing is published."""
    loan = first_open(small, DAYS[1])
    altered(small, DAYS[1], loan.name, balance=Decimal(str(loan["balance"])) + Decimal("0.01"))
    with pytest.raises(Broken, match="exposure ties to the ledger by grade"):
        run(load("credit_loss", workspace=small), DAYS[1])
    assert not (small / "data/tables/credit_loss").exists()


def test_sql_that_loses_a_cent_holds_the_day(small: Path) -> None:
    """A mistake in the movement's own SQL: the audit finds it."""
    run(load("credit_loss", workspace=small), DAYS[0])
    sql = small / "jobs/finance/credit_loss/movement.sql"
    wrong = sql.read_text().replace("today.loss - again.loss", "today.loss - again.loss - 0.01")
    assert wrong != sql.read_text()
    sql.write_text(wrong)
    with pytest.raises(Broken, match="the movement adds up"):
        run(load("credit_loss", workspace=small), DAYS[1])


def test_an_assumption_that_nobody_moves_holds_the_day(small: Path) -> None:
    """A parameter without a row among the sensitivities, or a difference to another loss."""
    folder = small / "jobs/finance/credit_loss"
    sql = folder / "loans.sql"
    sql.write_text(sql.read_text().replace("        ('prepayment', 0),\n", ""))
    with pytest.raises(Broken, match="each assumption is moved once"):
        run(load("credit_loss", workspace=small), DAYS[1])
    shutil.copytree(FOLDER, folder, dirs_exist_ok=True)
    sql = folder / "sensitivity.sql"
    sql.write_text(sql.read_text().replace("losses.loss - as_it_is.loss AS DEC", "losses.loss AS DEC"))
    with pytest.raises(Broken, match="each assumption is moved once"):
        run(load("credit_loss", workspace=small), DAYS[1])


@pytest.mark.parametrize(
    ("column", "value", "said"), [("status", "Unknown", "stage"), ("sub_grade", "Z9", "sub_grade")]
)
def test_a_loan_that_is_not_what_it_has_to_be_stops_the_run(
    small: Path, column: str, value: str, said: str
) -> None:
    """A status or a sub-grade that nobody knows: the message names the column, and nothing is published."""
    altered(small, DAYS[1], first_open(small, DAYS[1]).name, **{column: value})
    with pytest.raises(Broken, match=said):
        run(load("credit_loss", workspace=small), DAYS[1])
    assert not (small / "data/tables/credit_loss").exists()


def test_a_loan_that_disappears_holds_the_day(small: Path) -> None:
    """A loan of the day before that is not in the book, and not in the ledger either."""
    run(load("credit_loss", workspace=small), DAYS[0])
    lake = small / "data/lake/finance"
    path = lake / f"loans/day={DAYS[1]}/part-0.parquet"
    gone = first_open(small, DAYS[1])
    table = pq.read_table(path, partitioning=None)
    write(path, table.filter(pc.not_equal(table["loan_id"], gone.name)))
    ledger = lake / f"loan_ledger/day={DAYS[1]}/part-0.parquet"
    rows = pq.read_table(ledger, partitioning=None)
    owed = Decimal(str(gone["balance"]))
    less = [{**row, "loans": row["loans"] - 1, "balance": row["balance"] - owed}
            if row["grade"] == gone["grade"] else row for row in rows.to_pylist()]  # fmt: skip
    write(ledger, pa.Table.from_pylist(less, rows.schema))
    with pytest.raises(Broken, match="every loan that was last published is still in the book"):
        run(load("credit_loss", workspace=small), DAYS[1])
