"""Train the scorecard of the job `credit_loss`, and measure it.

    python data/models/finance/train_credit.py      # half a minute

Six features that the loans with an outcome (data/sources/loan_outcomes.parquet) and the book that is scored
(data/sources/loans.parquet) have in common; each is cut into bins by a tree that is monotone in it, a bin has
its weight of evidence, and a logistic regression weighs the features (Siddiqi, Intelligent Credit Scoring,
2017). The log-odds are calibrated by a line (Platt, 1999) that is fitted to predictions out of fold, so that
the scorecard's own optimism is taken back. Binning, weights and calibration are made again in each fold when
it is measured.

What stays, beside this script, is credit_loss.onnx, credit_loss_expected.parquet (rows and what they cost,
counted in plain Python, which the job is held to), credit_metrics.json and credit_card.md.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from credit_book import book_figures
from credit_card import Sample, credit_card, evaluate
from credit_graph import Scorecard, bins, credit_loss
from credit_recount import count_outputs, draw_rows
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.tree import DecisionTreeClassifier

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))  # the root, for data.models

from data.models.expected import write_expected

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[2]
OUTCOMES = REPOSITORY / "data/sources/loan_outcomes.parquet"
BOOK = REPOSITORY / "data/sources/loans.parquet"
SEED, FOLDS, REPEATS = 7, 5, 10
FEW = 30  # loans: of fewer in a bin no weight is learnt
# What the log-odds do as a feature grows, as a lender expects it; how many bins; the least share in one.
RISING, FALLING = 1, -1
BINS: dict[str, tuple[int, int, float]] = {
    "sub_grade": (RISING, 12, 0.02),
    "inquiries_12m": (RISING, 5, 0.05),
    "instalment_accounts": (RISING, 4, 0.05),
    "employment_years": (FALLING, 4, 0.05),
    "income_verification": (RISING, 3, 0.05),
    "instalment_to_income": (RISING, 5, 0.05),
}
REASONS = {  # why a feature costs a loan points, as its borrower is told
    "sub_grade": "the lender's own grade of the loan",
    "inquiries_12m": "credit inquiries in the last 12 months",
    "instalment_accounts": "instalment loans that run already",
    "employment_years": "years in the present job, or not known",
    "income_verification": "the lender had the income verified",
    "instalment_to_income": "instalments are high for the income, or no income",
}
VERIFICATION = {"Not Verified": 0, "Source Verified": 1, "Verified": 2}

Numbers = npt.NDArray[Any]


def main() -> int:
    """Train, export, measure and write; returns the exit code."""
    values, is_bad = training_set(pq.read_table(OUTCOMES))
    book = pq.read_table(BOOK)
    card = trained(values, is_bad)
    model = credit_loss(card, REASONS).SerializeToString(deterministic=True)
    (HERE / "credit_loss.onnx").write_bytes(model)
    rows = draw_rows(card)
    write_expected(HERE / "credit_loss_expected.parquet", rows, count_outputs(card, REASONS, rows))
    out_of_fold = [held_out(values, is_bad, SEED + repeat) for repeat in range(REPEATS)]
    applicant = [name for name in BINS if name != "sub_grade"]
    without = [held_out(values, is_bad, SEED + repeat, applicant) for repeat in range(REPEATS)]
    metrics = evaluate(card, Sample(values, is_bad), out_of_fold, without, book_sample(book))
    metrics["book"] |= book_figures(book)
    metrics["scorecard"] = {
        name: {
            "edges": [round(float(edge), 6) for edge in card.edges[i]],
            "points_lost": [round(float(lost), 1) for lost in card.points_lost(i)],
        }
        for i, name in enumerate(card.features)
    }
    (HERE / "credit_metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
    (HERE / "credit_card.md").write_text(credit_card(metrics, len(model)))
    return 0


def training_set(table: pa.Table) -> tuple[dict[str, Numbers], Numbers]:
    """The features of the loans with an outcome, by name, float64 [loans]; and whether each went bad."""
    terms = np.array([int(term.removeprefix("term_")) for term in table["term"].to_pylist()])
    amount, income = _numbers(table, "funded_amnt"), _numbers(table, "annual_inc")
    growth = 1 + _numbers(table, "int_rate") / 1200
    instalment = amount * (growth - 1) / (1 - growth**-terms)
    years = {"emp_unk": np.nan, "emp_lt_1": 0.0, "emp_ge_10": 10.0}
    years |= {f"emp_{n}": float(n) for n in range(1, 10)}
    checked = [VERIFICATION[one.replace("_", " ")] for one in table["verification_status"].to_pylist()]
    values = {
        "sub_grade": sub_grades(table),
        "inquiries_12m": _numbers(table, "inq_last_12m"),
        "instalment_accounts": _numbers(table, "open_il_6m"),  # "currently active", as open_act_il later
        "employment_years": np.array([years[one] for one in table["emp_length"].to_pylist()]),
        "income_verification": np.array(checked, np.float64),
        "instalment_to_income": to_income(instalment, income),
    }
    return values, np.array(table["Class"].to_pylist()) == "bad"


def book_sample(table: pa.Table) -> Sample:
    """The same of the book: for figures; for a run the job's own SQL makes the features.

    Bad is who is 16 days late or more, or charged off, after three to five months.
    """
    income, joint = _numbers(table, "annual_income"), _numbers(table, "annual_income_joint")
    checked = [VERIFICATION[one] for one in table["verified_income"].to_pylist()]
    values = {
        "sub_grade": sub_grades(table),
        "inquiries_12m": _numbers(table, "inquiries_last_12m"),
        "instalment_accounts": _numbers(table, "current_installment_accounts"),
        "employment_years": _numbers(table, "emp_length"),
        "income_verification": np.array(checked, np.float64),
        "instalment_to_income": to_income(
            _numbers(table, "installment"), np.where(np.isnan(joint), income, joint)
        ),
    }
    status = table["loan_status"].to_pylist()
    return Sample(values, np.array([one.startswith("Late") or one == "Charged Off" for one in status]))


def sub_grades(table: pa.Table) -> Numbers:
    """A1 to G5 as 1 to 35."""
    given = table["sub_grade"].to_pylist()
    return np.array([(ord(letter) - ord("A")) * 5 + int(digit) for letter, digit in given], float)


def to_income(instalment: Numbers, income: Numbers) -> Numbers:
    """A year's instalments over a year's income; NaN without an income."""
    share: Numbers = 12 * instalment / np.where(income > 0, income, np.nan)
    return share


def _numbers(table: pa.Table, name: str) -> Numbers:
    values: Numbers = table[name].cast(pa.float64()).to_numpy()
    return values


def trained(values: dict[str, Numbers], is_bad: Numbers, seed: int = SEED) -> Scorecard:
    """A calibrated scorecard of these loans."""
    card = fitted(values, is_bad)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    raw = np.empty(len(is_bad))
    for seen, unseen in folds.split(np.zeros(len(is_bad)), is_bad):
        of_seen = fitted(_of(values, seen), is_bad[seen])
        raw[unseen] = of_seen.log_odds(_of(values, unseen))
    line = LogisticRegression(C=np.inf).fit(raw[:, None], is_bad)
    slope, shift = float(line.coef_[0, 0]), float(line.intercept_[0])
    weights = tuple(slope * one for one in card.weights)
    return Scorecard(card.features, card.edges, weights, shift + slope * card.intercept)


def held_out(
    values: dict[str, Numbers], is_bad: Numbers, seed: int, features: list[str] | None = None
) -> Numbers:
    """The probability of default of each loan by a scorecard that was trained without it, [loans]."""
    kept = {name: values[name] for name in (features or values)}
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    found = np.empty(len(is_bad))
    for seen, unseen in folds.split(np.zeros(len(is_bad)), is_bad):
        card = trained(_of(kept, seen), is_bad[seen], seed)
        found[unseen] = card.log_odds(_of(kept, unseen))
    return 1 / (1 + np.exp(-found))


def _of(values: dict[str, Numbers], loans: Numbers) -> dict[str, Numbers]:
    return {name: column[loans] for name, column in values.items()}


def fitted(values: dict[str, Numbers], is_bad: Numbers) -> Scorecard:
    """Bins, weights of evidence and a logistic regression over them; not calibrated."""
    edges, evidence = [], []
    for name, column in values.items():
        cuts = edges_of(column, is_bad, BINS[name])
        edges.append(cuts)
        evidence.append(evidence_of(bins(column, cuts), is_bad, len(cuts) + 2))
    columns = np.column_stack(
        [
            weights[bins(values[name], cuts)]
            for name, cuts, weights in zip(values, edges, evidence, strict=True)
        ]
    )
    model = LogisticRegression(C=np.inf).fit(columns, is_bad)
    # A feature that would count the wrong way round beside the others does not count.
    slopes = np.maximum(model.coef_[0], 0)
    weights = tuple(slope * one for slope, one in zip(slopes, evidence, strict=True))
    return Scorecard(tuple(values), tuple(edges), weights, float(model.intercept_[0]))


def edges_of(column: Numbers, is_bad: Numbers, settings: tuple[int, int, float]) -> Numbers:
    """Where a tree, monotone in the direction that is expected, cuts a feature; NaN is left out."""
    direction, most, least = settings
    known = ~np.isnan(column)
    tree = DecisionTreeClassifier(
        criterion="entropy",
        max_leaf_nodes=most,
        min_samples_leaf=least,
        monotonic_cst=[direction],
        random_state=0,
    )
    tree.fit(column[known, None], is_bad[known])
    cuts: Numbers = np.sort(tree.tree_.threshold[tree.tree_.feature >= 0]).astype(np.float64)
    return cuts


def evidence_of(bin_of: Numbers, is_bad: Numbers, count: int) -> Numbers:
    """The weight of evidence of each bin, log(share of the bad / share of the good), [bins].

    A bin that hardly a loan is in, as that of missing incomes, has 0, as the average: nothing is known of it.
    """
    bad, good = np.bincount(bin_of, is_bad, count), np.bincount(bin_of, ~is_bad, count)
    evidence = np.log((bad + 0.5) / (good + 0.5)) - np.log(bad.sum() / good.sum())
    found: Numbers = np.where(bad + good >= FEW, evidence, 0.0)
    return found


if __name__ == "__main__":
    sys.exit(main())
