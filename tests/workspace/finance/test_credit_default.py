"""The boosted credit model: ONNX held to LightGBM, a day of the job to pandas, and what its card says."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import brier_score_loss, roc_auc_score

from data.lakes.loans import LOANS, write_lake
from nightscore import features, load, query, run
from nightscore.common.errors import Broken
from nightscore.scorers.contract import Options
from nightscore.scorers.files.model_file import read_model
from nightscore.scorers.registry import open_scorer
from nightscore.scorers.testing import check_scorer
from tests.workspace.finance.credit import MODELS, REPOSITORY, open_loans

sys.path.insert(0, str(MODELS))  # where its programs are run

import train_default

METRICS = json.loads((MODELS / "credit_default_metrics.json").read_text())
MODEL = read_model(MODELS / "credit_default.onnx", "credit_default.onnx")
DAY = "2018-06-30"
NAMES = ["low", "medium", "high", "very high"]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with the loans, the job and its model; nothing has run. Not to be written to."""
    root = tmp_path_factory.mktemp("default")
    write_lake(root)
    shutil.copytree(REPOSITORY / "jobs/finance/credit_default", root / "jobs/finance/credit_default")
    (root / "data/models/finance").mkdir(parents=True)
    for name in ("credit_default.onnx", "credit_default_expected.parquet"):
        shutil.copy(MODELS / name, root / "data/models/finance")
    return root


@pytest.fixture(scope="module")
def published(workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same after one day."""
    root = shutil.copytree(workspace, tmp_path_factory.mktemp("published") / "w")
    run(load("credit_default", workspace=root), DAY)
    return root


@pytest.fixture(scope="module")
def booster() -> lgb.Booster:
    """Trained once more."""
    values, is_bad = train_default.training_set(pq.read_table(train_default.OUTCOMES))
    return train_default.trained(train_default.matrix(values), is_bad)


def scored(rows: Any, kind: str = "onnx") -> Any:
    """The model's PD of rows of its matrix."""
    columns = [pa.array(column) for column in rows.T]
    chunk = pa.RecordBatch.from_arrays(columns, list(train_default.DIRECTIONS))
    scorer = open_scorer(kind, MODEL, Options({"pd": "probabilities[1]"}))
    return scorer.score(chunk)["pd"].to_numpy()


@pytest.mark.slow
def test_the_committed_model_is_the_one_that_training_makes(booster: lgb.Booster) -> None:
    """On the whole book and on rows of infinities and missing values: LightGBM's own predictions, to 1e-6."""
    rows = train_default.matrix(train_default.book_sample(pq.read_table(LOANS)).values)
    random = np.random.default_rng(3)
    odd = random.choice(np.array([np.nan, np.inf, -np.inf, 0, 1, 36], np.float32), (500, rows.shape[1]))
    for given in (rows, odd):
        wanted = booster.predict(given)
        for kind in ("onnx", "trees"):
            np.testing.assert_allclose(scored(given, kind), wanted, rtol=0, atol=1e-6)
    assert MODEL.data == train_default.to_onnx(booster)


def test_a_feature_counts_in_one_direction() -> None:
    """A worse grade or a higher rate never makes a loan safer; more years in a job never riskier."""
    rows = train_default.matrix(train_default.book_sample(pq.read_table(LOANS)).values)[:300]
    for i, direction in enumerate(train_default.DIRECTIONS.values()):
        values = np.unique(rows[:, i][~np.isnan(rows[:, i])])[:: max(1, len(rows) // 30)]
        if direction and len(values) > 1:
            grid = np.repeat(rows[:40], len(values), axis=0)
            grid[:, i] = np.tile(values, 40)
            steps = np.diff(scored(grid).reshape(40, -1), axis=1)
            assert (direction * steps >= -1e-7).all(), list(train_default.DIRECTIONS)[i]


def test_the_job_s_features_are_those_of_training(workspace: Path) -> None:
    """The SQL over the lake, and NumPy over the book: the same bits, loan by loan."""
    rows = features(load("credit_default", workspace=workspace), DAY).to_pandas().sort_values("loan_id")
    book = pq.read_table(LOANS)
    wanted = pd.DataFrame(
        train_default.matrix(train_default.book_sample(book).values),
        index=book["loan_id"].to_numpy(), columns=list(train_default.DIRECTIONS),
    )  # fmt: skip
    found = rows.set_index("loan_id")[list(wanted)]
    pd.testing.assert_frame_equal(found, wanted.loc[found.index], check_names=False, check_index_type=False)


def test_a_day_has_every_open_loan_in_its_tier(published: Path) -> None:
    """A row for each loan that owes, LightGBM's PD, and the tier by pandas; none of it for one in arrears."""
    found = query(f"SELECT * FROM credit_default WHERE day = DATE '{DAY}'", published).to_pandas()
    found = found.set_index("loan_id").sort_index()
    book = open_loans(published, DAY)
    assert list(found.index) == list(book.index)
    assert (found["status"] == book["status"]).all()
    is_late = book["days_late"] > 0
    assert is_late.sum() == 171
    assert (found["tier"][is_late] == "in arrears").all()
    assert found["pd"][is_late].isna().all()
    rest = found[~is_late]
    tiers = pd.cut(rest["pd"], [-np.inf, 0.02, 0.05, 0.1, np.inf], right=False, labels=NAMES)
    assert (rest["tier"] == tiers.astype(str)).all()
    counts = rest["tier"].value_counts()
    assert set(counts.index) == set(NAMES)
    assert counts.min() > 100


def test_by_the_application_alone_most_loans_in_arrears_would_look_better(published: Path) -> None:
    """Of 171, 111 would not be in the highest tier and 20 in the lowest, 6 of those over 30 days late."""
    scores = (
        query("SELECT loan_id, pd FROM credit_default_scores", published).to_pandas().set_index("loan_id")
    )
    late = open_loans(published, DAY)["days_late"]
    pds = scores["pd"].reindex(late.index[late > 0])
    assert len(pds) == 171
    assert (pds < 0.1).sum() == 111
    assert (pds < 0.02).sum() == 20
    assert (pds[late[late > 0] > 30] < 0.02).sum() == 6
    expected = {"loans": 171, "not_in_the_highest_tier": 111, "in_the_lowest": 20}
    assert METRICS["book"]["in_arrears"] == expected


def test_a_loan_in_arrears_in_another_tier_holds_the_day(workspace: Path, tmp_path: Path) -> None:
    """As it was before they had one: the audit finds it, and nothing is published."""
    root = shutil.copytree(workspace, tmp_path / "w")
    sql = root / "jobs/finance/credit_default/tiers.sql"
    wrong = sql.read_text().replace("WHEN status <> 'Current' THEN 'in arrears'", "")
    assert wrong != sql.read_text()
    sql.write_text(wrong)
    with pytest.raises(Broken, match="every loan in arrears is in the tier in arrears"):
        run(load("credit_default", workspace=root), DAY)
    assert not (root / "data/tables/credit_default").exists()


@pytest.mark.slow
def test_thresholds_are_parameters(workspace: Path, tmp_path: Path) -> None:
    """With one threshold at 1 the highest tier is empty; out of order they hold the day."""
    root = shutil.copytree(workspace, tmp_path / "w")
    run(load("credit_default", workspace=root), DAY, params={"very_high_from": 1})
    tiers = query("SELECT DISTINCT tier FROM credit_default", root).to_pydict()["tier"]
    assert sorted(tiers) == sorted([*NAMES[:3], "in arrears"])
    with pytest.raises(Broken, match="tiers rise with their thresholds"):
        run(load("credit_default", workspace=root), DAY, params={"medium_from": 0.5})


def test_a_loan_that_is_left_out_holds_the_day(workspace: Path, tmp_path: Path) -> None:
    """A mistake in the decision's own SQL: the audit finds it, and nothing is published."""
    root = shutil.copytree(workspace, tmp_path / "w")
    sql = root / "jobs/finance/credit_default/tiers.sql"
    sql.write_text(sql.read_text() + "WHERE loan_id > 3\n")
    with pytest.raises(Broken, match="every open loan of the book is in it"):
        run(load("credit_default", workspace=root), DAY)
    assert not (root / "data/tables/credit_default").exists()


@pytest.mark.parametrize("kind", ["onnx", "trees"])
@pytest.mark.sample(1)
def test_the_model_keeps_the_contract_of_scorers(kind: str, workspace: Path) -> None:
    """On rows of the day."""
    rows = features(load("credit_default", workspace=workspace), DAY).combine_chunks().to_batches()[0]
    scorer = open_scorer(kind, MODEL, Options({"pd": "probabilities[1]"}))
    check_scorer(scorer, rows.slice(0, 200), 1e-6)


def test_the_card_s_figures_out_of_time_are_a_recount_s() -> None:
    """AUC by scikit-learn of the model's PDs, by who of the raw book is late."""
    book = pq.read_table(LOANS)
    is_bad = book["loan_status"].to_pandas().isin(["Late (16-30 days)", "Late (31-120 days)", "Charged Off"])
    found = scored(train_default.matrix(train_default.book_sample(book).values))
    figures = METRICS["book"]["out_of_time"]["boosted trees"]
    assert figures["auc"] == pytest.approx(roc_auc_score(is_bad, found), abs=1e-4)
    assert METRICS["book"]["mean_pd"] == pytest.approx(found.mean(), abs=1e-4)


@pytest.mark.slow
def test_the_card_s_figures_out_of_fold_are_a_recount_s() -> None:
    """Trained in five folds once more: AUC and Brier score by scikit-learn; tenths add up to the loans."""
    values, is_bad = train_default.training_set(pq.read_table(train_default.OUTCOMES))
    found = train_default.held_out(train_default.matrix(values), is_bad, train_default.SEED)
    assert METRICS["out_of_fold"]["boosted trees"]["auc"] == pytest.approx(
        roc_auc_score(is_bad, found), abs=1e-4
    )
    assert METRICS["brier"]["boosted trees"] == pytest.approx(brier_score_loss(is_bad, found), abs=1e-5)
    assert sum(one["loans"] for one in METRICS["deciles"]) == METRICS["loans"] == len(is_bad)
    assert sum(one["bad"] for one in METRICS["deciles"]) == METRICS["bad"] == is_bad.sum()
