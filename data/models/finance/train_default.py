"""Train the boosted model of the job `credit_default`, and measure it against the scorecard.

    python data/models/finance/train_default.py      # two minutes

Trees instead of the scorecard's bins, on the same loans with an outcome and by the same protocol as
`train_credit.py`: the features that those loans and the book have in common, five more than the scorecard's;
boosting with the directions that a lender expects (monotone constraints); log-odds calibrated by a line
(Platt, 1999) that is fitted to predictions out of fold. Training and calibration are made again in each fold
when the model is measured. Its settings were written down before and not tuned.

What stays, beside this script, is credit_default.onnx, credit_default_expected.parquet,
credit_default_metrics.json and credit_default_card.md.
"""

import json
import sys
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import train_credit
from credit_card import Sample
from default_card import default_card, evaluate
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))  # the root, for data.models

from data.models.expected import edge_rows, write_expected
from data.models.trees import REPEATABLE, classifier_to_onnx
from nightscore.evaluation.recipes.distil import exact_in_float32

HERE, OUTCOMES, BOOK = train_credit.HERE, train_credit.OUTCOMES, train_credit.BOOK
SEED, FOLDS, REPEATS = train_credit.SEED, train_credit.FOLDS, 5
TREES = 200
LOWEST, HIGHEST = (
    0.02,
    0.1,
)  # where the job's lowest tier ends and its highest begins, unless its parameters move
# What the log-odds do as a feature grows, as a lender expects it; 0 where nothing is expected.
DIRECTIONS = {
    **{name: settings[0] for name, settings in train_credit.BINS.items()},
    "interest_rate": 1,
    "loan_amount": 0,
    "term": 0,
    "annual_income": 0,
    "delinquencies_2y": 1,
}
PARAMETERS: dict[str, Any] = {
    "objective": "binary",
    "num_leaves": 8,
    "learning_rate": 0.03,
    "min_data_in_leaf": 100,
    "lambda_l2": 10.0,
    "feature_fraction": 0.5,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "monotone_constraints": list(DIRECTIONS.values()),
    "seed": SEED,
    **REPEATABLE,
}

Numbers = npt.NDArray[Any]


def main() -> int:
    """Train, export, measure and write; returns the exit code."""
    table = pq.read_table(OUTCOMES)
    values, is_bad = training_set(table)
    booster = trained(matrix(values), is_bad)
    model = to_onnx(booster)
    (HERE / "credit_default.onnx").write_bytes(model)
    expect(booster, matrix(values))
    ours = [held_out(matrix(values), is_bad, SEED + repeat) for repeat in range(REPEATS)]
    cards = train_credit.training_set(table)[0]
    card = train_credit.held_out(cards, is_bad, SEED)
    book = book_sample(pq.read_table(BOOK))
    later = {
        "boosted trees": trained(matrix(values), is_bad).predict(matrix(book.values)),
        "scorecard": 1 / (1 + np.exp(-train_credit.trained(cards, is_bad).log_odds(book.values))),
    }
    metrics = evaluate(Sample(values, is_bad), ours, card, book, later)
    metrics["book"]["in_arrears"] = in_arrears(pq.read_table(BOOK), later["boosted trees"])
    metrics["training"] = {"trees": TREES, "parameters": PARAMETERS, "lightgbm": lgb.__version__}
    (HERE / "credit_default_metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
    (HERE / "credit_default_card.md").write_text(default_card(metrics, len(model)))
    return 0


def expect(booster: lgb.Booster, rows: Numbers) -> None:
    """Write what LightGBM gives some loans, and rows at the edges of its splits."""
    some = np.concatenate([rows[:: len(rows) // 300], edge_rows(booster, 200)])
    features = dict(zip(DIRECTIONS, some.T, strict=True))
    write_expected(HERE / "credit_default_expected.parquet", features, {"pd": booster.predict(some)})


def training_set(table: pa.Table) -> tuple[dict[str, Numbers], Numbers]:
    """The features of the loans with an outcome, by name, float64 [loans]; and whether each went bad."""
    values, is_bad = train_credit.training_set(table)
    terms = [float(term.removeprefix("term_")) for term in table["term"].to_pylist()]
    return {
        **values,
        "interest_rate": _numbers(table, "int_rate"),
        "loan_amount": _numbers(table, "funded_amnt"),
        "term": np.array(terms),
        "annual_income": _numbers(table, "annual_inc"),
        "delinquencies_2y": _numbers(table, "delinq_2yrs"),
    }, is_bad


def book_sample(table: pa.Table) -> Sample:
    """The same of the book: for figures; for a run the job's own SQL makes the features."""
    sample = train_credit.book_sample(table)
    income, joint = _numbers(table, "annual_income"), _numbers(table, "annual_income_joint")
    more = {
        "interest_rate": _numbers(table, "interest_rate"),
        "loan_amount": _numbers(table, "loan_amount"),
        "term": _numbers(table, "term"),
        "annual_income": np.where(np.isnan(joint), income, joint),
        "delinquencies_2y": _numbers(table, "delinq_2y"),
    }
    return Sample({**sample.values, **more}, sample.is_bad)


def in_arrears(table: pa.Table, pds: Numbers) -> dict[str, int]:
    """Loans of the book that are late, and of how many the application alone says otherwise."""
    late = np.array(
        [one == "In Grace Period" or one.startswith("Late") for one in table["loan_status"].to_pylist()]
    )
    found = {
        "loans": late,
        "not_in_the_highest_tier": late & (pds < HIGHEST),
        "in_the_lowest": late & (pds < LOWEST),
    }
    return {name: int(one.sum()) for name, one in found.items()}


def _numbers(table: pa.Table, name: str) -> Numbers:
    values: Numbers = table[name].cast(pa.float64()).to_numpy()
    return values


def matrix(values: dict[str, Numbers]) -> Numbers:
    """The features in the model's order, float32 [loans, features]."""
    return np.column_stack([values[name] for name in DIRECTIONS]).astype(np.float32)


def fitted(rows: Numbers, is_bad: Numbers) -> lgb.Booster:
    """Boosted trees of these loans; not calibrated."""
    data = lgb.Dataset(rows, is_bad, feature_name=list(DIRECTIONS), params={"verbose": -1})
    return lgb.train(PARAMETERS, data, TREES)


def trained(rows: Numbers, is_bad: Numbers, seed: int = SEED) -> lgb.Booster:
    """Calibrated trees of these loans: the line is put into their leaves."""
    raw = np.empty(len(is_bad))
    for seen, unseen in _folds(is_bad, seed):
        raw[unseen] = fitted(rows[seen], is_bad[seen]).predict(rows[unseen], raw_score=True)
    line = LogisticRegression(C=np.inf).fit(raw[:, None], is_bad)
    slope, shift = float(line.coef_[0, 0]), float(line.intercept_[0])
    booster = fitted(rows, is_bad)
    for tree, one in enumerate(booster.dump_model()["tree_info"]):
        for leaf in range(one["num_leaves"]):
            value = slope * booster.get_leaf_output(tree, leaf) + (shift if tree == 0 else 0)
            booster.set_leaf_output(tree, leaf, value)
    return exact_in_float32(booster)


def held_out(rows: Numbers, is_bad: Numbers, seed: int) -> Numbers:
    """The probability of default of each loan by trees that were trained without it, [loans]."""
    found = np.empty(len(is_bad))
    for seen, unseen in _folds(is_bad, seed):
        found[unseen] = trained(rows[seen], is_bad[seen], seed).predict(rows[unseen])
    return found


def _folds(is_bad: Numbers, seed: int) -> Any:
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    return folds.split(np.zeros(len(is_bad)), is_bad)


def to_onnx(booster: lgb.Booster) -> bytes:
    """The model as ONNX: `features` float32 [N, features] -> `probabilities` float32 [N, 2]."""
    about = "Chance that a loan goes bad within twelve months. See credit_default_card.md."
    return classifier_to_onnx(booster, "credit_default", list(DIRECTIONS), about)


if __name__ == "__main__":
    sys.exit(main())
