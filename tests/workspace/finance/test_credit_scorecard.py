"""The scorecard: ONNX held to pandas, scikit-learn and the raw Parquet."""

import json
import sys
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score
from yaml import safe_load as load_yaml

from data.lakes.loans import LOANS
from nightscore.scorers.files.model_file import read_model
from nightscore.scorers.onnx import runtime
from tests.workspace.finance.credit import MODELS, reasons

sys.path.insert(0, str(MODELS))  # where its programs are run

import train_credit
from credit_graph import LOAN, Scorecard

METRICS = json.loads((MODELS / "credit_metrics.json").read_text())
SESSION = runtime.open_session(read_model(MODELS / "credit_loss.onnx", "credit_loss.onnx"), "cpu", 1)
OUTPUTS = ["scorecard_pd", "pd", "score", "points_lost"]
NEUTRAL = {
    "balance": 1.0, "months": 36.0, "monthly_rate": 0.01, "lgd": 0.9, "bad_in_default": 1.0,
    "late_months": 9.0, "stage_by_arrears": 1.0, "stage_held": 1.0, "stage_2_times": 2.5,
}  # fmt: skip


@pytest.fixture(scope="module")
def card() -> Scorecard:
    """Trained once more."""
    return train_credit.trained(*train_credit.training_set(pq.read_table(train_credit.OUTCOMES)))


def scored(values: dict[str, Any], **loan: float) -> dict[str, Any]:
    """The model's outputs, by name."""
    rows = len(next(iter(values.values())))
    given = {name: np.full(rows, (NEUTRAL | loan).get(name, 0.0)) for name in LOAN}
    found = runtime.run_session(SESSION, OUTPUTS, {**values, **given}, "cpu")
    return dict(zip(OUTPUTS, found, strict=True))


def test_the_committed_model_is_the_one_that_training_makes(card: Scorecard) -> None:
    """On the whole book: bins by pandas, weights summed by hand, the logistic function; ONNX to 1e-12."""
    values = train_credit.book_sample(pq.read_table(LOANS)).values
    log_odds = np.full(10_000, card.intercept)
    for name, edges, weights in zip(card.features, card.edges, card.weights, strict=True):
        which = pd.cut(pd.Series(values[name]), [-np.inf, *edges, np.inf], labels=False).fillna(
            len(edges) + 1
        )
        log_odds += weights[which.astype(int)]
    found = scored(values)
    np.testing.assert_allclose(found["scorecard_pd"], 1 / (1 + np.exp(-log_odds)), rtol=1e-12)
    np.testing.assert_allclose(found["pd"], found["scorecard_pd"])
    odds_of_good = 30 * 2 ** ((found["score"] - 600) / 20)
    np.testing.assert_allclose(1 / (1 + odds_of_good), found["scorecard_pd"], rtol=1e-9)


def test_points_lost_are_what_a_loan_lacks_to_the_best(card: Scorecard) -> None:
    """A loan in the best bin of each feature has the score plus all the points that are lost."""
    values = train_credit.book_sample(pq.read_table(LOANS)).values
    found = scored(values)
    best = found["score"] + found["points_lost"].sum(axis=1)
    np.testing.assert_allclose(best, best[0])
    assert found["points_lost"].min() == 0
    best_log_odds = card.intercept + sum(weights.min() for weights in card.weights)
    assert best[0] == pytest.approx(600 - 20 / np.log(2) * (best_log_odds + np.log(30)))


def test_the_model_says_the_order_of_its_points() -> None:
    """In its metadata: the features of the card, and for each in its place why it costs points."""
    model = onnx.load(MODELS / "credit_loss.onnx")
    features = json.loads({p.key: p.value for p in model.metadata_props}["features"])
    assert features == list(METRICS["scorecard"])
    expected = {
        "sub_grade": "grade",
        "inquiries_12m": "inquiries",
        "instalment_accounts": "instalment loans",
        "employment_years": "years in the present job",
        "income_verification": "verified",
        "instalment_to_income": "instalments",
    }
    assert [expected[name] in text for name, text in zip(features, reasons(), strict=True)] == [True] * 6


def test_training_writes_the_committed_model(card: Scorecard) -> None:
    """The same operators and the same metadata; its numbers are held to another computation above."""
    made = train_credit.credit_loss(card, train_credit.REASONS)
    committed = onnx.load(MODELS / "credit_loss.onnx")
    assert made.metadata_props == committed.metadata_props
    assert made.graph.node == committed.graph.node


def test_bins_are_closed_on_the_right_and_nan_has_its_own(card: Scorecard) -> None:
    """At an edge, a hair above it, and NaN, feature by feature."""
    usual = dict.fromkeys(card.features, 1.0)
    for i, (name, edges) in enumerate(zip(card.features, card.edges, strict=True)):
        tried = np.array([*edges, *np.nextafter(edges, np.inf), np.nan])
        values = {other: np.full(len(tried), usual[other]) for other in usual} | {name: tried}
        lost, count = card.points_lost(i), len(edges)
        expected = [*lost[:count], *lost[1 : count + 1], lost[-1]]
        np.testing.assert_allclose(scored(values)["points_lost"][:, i], expected, atol=1e-12)


def test_a_feature_counts_in_one_direction(card: Scorecard) -> None:
    """A worse grade or more inquiries never cost fewer points; more years in a job never cost more."""
    for i, name in enumerate(card.features):
        direction = train_credit.BINS[name][0]
        assert (direction * np.diff(card.points_lost(i)[:-1]) >= 0).all(), name


def test_a_late_loan_has_the_share_of_its_lateness() -> None:
    """Within its months, never less than by the application, which counts alone afterwards; 1 in stage 3."""
    values = {name: np.array([1.0]) for name in METRICS["scorecard"]}
    usual = scored(values)["scorecard_pd"]
    assert scored(values, late_share=0.58, late_months=12.0)["pd"] == pytest.approx(0.58)
    assert scored(values, late_share=0.58, late_months=12.0, months=5.0)["pd"] == pytest.approx(0.58)
    nine = 1 - 0.42 * (1 - usual) ** (3 / 12)
    assert scored(values, late_share=0.58)["pd"] == pytest.approx(nine)
    assert scored(values, late_share=1e-9)["pd"] == pytest.approx(usual)
    assert scored(values, stage_by_arrears=3.0, late_share=0.75)["pd"] == [1.0]


def test_the_card_s_figures_out_of_time_are_a_recount_s() -> None:
    """AUC by scikit-learn: of the model's PDs and of the sub-grade, by who of the raw book is late."""
    book = pq.read_table(LOANS)
    is_bad = book["loan_status"].to_pandas().isin(["Late (16-30 days)", "Late (31-120 days)", "Charged Off"])
    found = scored(train_credit.book_sample(book).values)
    figures = METRICS["book"]["out_of_time"]
    assert METRICS["book"]["bad"] == is_bad.sum() == 111
    assert figures["scorecard"]["auc"] == pytest.approx(
        roc_auc_score(is_bad, found["scorecard_pd"]), abs=1e-4
    )
    by_grade = roc_auc_score(is_bad, pd.factorize(book["sub_grade"].to_pandas(), sort=True)[0])
    assert figures["lender's sub-grade"]["auc"] == pytest.approx(by_grade, abs=1e-4)


def test_the_card_says_what_training_measures() -> None:
    """Out of fold the scorecard is within the noise of the sub-grade, and no grade is off by p < 0.007."""
    figures = METRICS["out_of_fold"]
    low, high = figures["scorecard"]["against_sub_grade_interval"]
    assert low < 0 < high
    outcomes = pq.read_table(train_credit.OUTCOMES).to_pandas()
    baseline = roc_auc_score(outcomes["Class"] == "bad", pd.factorize(outcomes["sub_grade"], sort=True)[0])
    assert figures["lender's sub-grade"]["auc"] == pytest.approx(baseline, abs=1e-4)
    assert all(one["p"] > 0.05 / 7 for one in METRICS["calibration"].values())
    assert sum(one["bad"] for one in METRICS["calibration"].values()) == METRICS["bad"] == 517


def test_what_the_book_says_of_the_loss_is_a_recount_s() -> None:
    """Early repayment by the months that each loan had; bad loans and those in default by pandas.

    The job's parameter is the one, to a tenth of a percent; where its sensitivity moves to is the other.
    """
    book = pq.read_table(LOANS).to_pandas()
    age = book["issue_month"].map({"Jan-2018": 5, "Feb-2018": 4, "Mar-2018": 3})
    found = METRICS["book"]["repaid_early"]
    expected = sum(1 - (1 - found["a_month"]) ** months for months in age)
    assert found["repaid"] == (book["loan_status"] == "Fully Paid").sum() == 447
    assert expected == pytest.approx(447, abs=2)
    missed = age - (book["paid_total"] / book["installment"].astype(float)).round()
    late = book["loan_status"]
    beyond_90 = (late == "Late (31-120 days)") & (missed >= 4)
    between = (late == "Late (31-120 days)") & (missed < 4)
    from_21 = (late == "Late (16-30 days)") & (missed >= 2)
    default = (late == "Charged Off").sum() + beyond_90.sum()
    share = (default + 0.75 * between.sum() + 0.58 * from_21.sum()) / (
        default + between.sum() + from_21.sum()
    )
    figures = METRICS["book"]["bad_in_default"]
    assert figures["bad"] == default + between.sum() + from_21.sum() == 77
    assert figures["in_default"] == default == 17
    assert figures["share"] == pytest.approx(share, abs=5e-4)
    job = load_yaml((MODELS.parents[2] / "jobs/finance/credit_loss/job.yaml").read_text())
    assert job["params"]["prepayment"]["default"] == round(found["a_month"], 3) == 0.011
    assert "('bad_in_default', 0.8)" in (MODELS.parents[2] / "jobs/finance/credit_loss/loans.sql").read_text()
    assert round(figures["share"], 1) == 0.8


def test_the_population_is_stable_as_the_card_says() -> None:
    """The index of inquiries from the training loans to the book, by pandas."""
    cuts = [-np.inf, *METRICS["scorecard"]["inquiries_12m"]["edges"], np.inf]
    then = pq.read_table(train_credit.OUTCOMES)["inq_last_12m"].to_pandas()
    now = pq.read_table(LOANS)["inquiries_last_12m"].to_pandas()
    before, after = (pd.cut(one, cuts).value_counts(normalize=True, sort=False) for one in (then, now))
    found = ((after - before) * np.log(after / before)).sum()
    assert METRICS["book"]["psi"]["inquiries_12m"] == pytest.approx(found, abs=1e-4)
    assert max(METRICS["book"]["psi"].values()) < 0.1
