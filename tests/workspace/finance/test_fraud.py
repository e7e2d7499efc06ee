"""The queue of frauds and what it was worth: a made-up day held to pandas, the real one where it is there.

The real transactions (76 MB, `make fraud`) are in no repository: tests of them are skipped where they are
not there.
"""

import hashlib
import json
import math
import shutil
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import average_precision_score

from data.lakes import fraud
from nightscore import load, query, run
from nightscore.common.errors import Broken
from tests.workspace.finance.credit import MODELS, REPOSITORY
from tests.workspace.finance.world import add_jobs

sys.path.insert(0, str(MODELS))  # where its programs are run

import train_fraud
from fraud_card import fraud_card

METRICS = json.loads((MODELS / "fraud_metrics.json").read_text())
FILES = (
    "fraud.onnx", "fraud_expected.parquet", "fraud_contributions.parquet", "fraud_score_bins.parquet",
    "fraud_metrics.json",
)  # fmt: skip
COMPONENTS = [name.lower() for name in fraud.COMPONENTS]
DAY, ROWS, HANDLING = "2013-09-02", 1_500, 100.0
is_there = pytest.mark.skipif(
    not (REPOSITORY / fraud.LAKE / "_complete").exists(), reason="needs the transactions: make fraud"
)


def made_up() -> tuple[pa.Table, pa.Table]:
    """A day of 1,500 transactions: 60 look like frauds, of which 50 are; nine stand in it twice or thrice."""
    random = np.random.default_rng(14)
    values = random.normal(0, 1, (ROWS, 28))
    like = random.choice(ROWS, 60, replace=False)
    for number, shift in {3: -6.0, 4: 5.0, 10: -6.0, 11: 4.0, 12: -8.0, 14: -8.0, 17: -8.0}.items():
        values[like, number - 1] += shift
    source = {"Time": np.sort(random.integers(86_400, 172_800, ROWS)).astype(float)}
    source |= {name: values[:, i] for i, name in enumerate(fraud.COMPONENTS)}
    cents = random.integers(0, 200_000, ROWS).tolist()
    amounts = pa.array([Decimal(one).scaleb(-2) for one in cents], fraud.MONEY)
    is_fraud = np.zeros(ROWS, np.int8)
    is_fraud[like[:50]] = 1
    table = pa.table({**source, "Amount": amounts, "Class": is_fraud})
    twice = [*like[:5], *like[:2], *range(1, 5)]
    return fraud.tables_of(pa.concat_tables([table, table.take(pa.array(twice))]))


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with the made-up day, and both jobs run. Not to be written to."""
    root = workspace(tmp_path_factory.mktemp("fraud"))
    run(load("fraud_alerts", workspace=root), DAY)
    run(load("fraud_outcome", workspace=root), DAY)
    return root


def workspace(root: Path) -> Path:
    for name, table in zip(("transactions", "labels"), made_up(), strict=True):
        folder = root / f"data/lake/fraud/{name}/day={DAY}"
        folder.mkdir(parents=True)
        pq.write_table(table, folder / "part-0.parquet")
    add_jobs(root, "fraud_alerts", "fraud_outcome")
    (root / "data/models/finance").mkdir(parents=True)
    for file in FILES:
        shutil.copy(MODELS / file, root / "data/models/finance")
    return root


def rows_of(root: Path, table: str) -> pd.DataFrame:
    return query(f"SELECT * FROM {table} WHERE day = $1", root, values=[DAY]).to_pandas()


def lake_of(root: Path) -> pd.DataFrame:
    """The day's transactions with their labels, by pandas."""
    folders = [root / f"data/lake/fraud/{name}/day={DAY}" for name in ("transactions", "labels")]
    transactions, labels = (pq.read_table(folder, partitioning=None).to_pandas() for folder in folders)
    return transactions.merge(labels, on="transaction_id")


def expected(root: Path) -> pd.DataFrame:
    """The day's different transactions by falling expected loss: chances by ONNX Runtime alone."""
    day = lake_of(root)
    matrix = day[[*COMPONENTS, "amount"]].astype(np.float32).to_numpy()
    session = onnxruntime.InferenceSession(MODELS / "fraud.onnx")
    day["chance"] = session.run(["probabilities"], {"features": matrix})[0][:, 1]
    day["lost"] = day["amount"].where(day["is_fraud"], Decimal(0))
    groups = day.groupby(["transaction_time", "amount", *COMPONENTS], sort=False)
    one = groups.agg(
        transaction_id=("transaction_id", "min"), transactions=("transaction_id", "size"),
        chance=("chance", "max"), is_fraud=("is_fraud", "any"), lost=("lost", "sum"),
    ).reset_index()  # fmt: skip
    one["value"] = one["amount"].astype(float) * one["transactions"]
    one["loss"] = one["chance"].astype(float) * (one["value"] + HANDLING)
    return one.sort_values(["loss", "transaction_id"], ascending=[False, True]).reset_index(drop=True)


def by_lot(transaction: int) -> int:
    text = f"queue|{DAY}|{transaction}"
    return int.from_bytes(hashlib.md5(text.encode()).digest(), "little")  # noqa: S324


def reasons_of(row: Any) -> list[str]:
    """The three columns that add most, by the lines of the contributions' table."""
    known = pq.read_table(MODELS / "fraud_contributions.parquet").to_pandas()
    adds = {}
    for name, own in known.groupby("name"):
        value = float(np.float32(row[name]))
        adds[name] = own[own["since"] <= value].sort_values("since")["adds"].iloc[-1]
    most = sorted(adds, key=lambda name: (-adds[name], name))[:3]
    return [name.upper() for name in most if adds[name] > 0]


def test_the_queue_is_that_of_pandas(published: Path) -> None:
    """Ninety by expected loss, ten by lot among the rest; alike ones are one; the others are told why."""
    wanted, found = expected(published), rows_of(published, "fraud_alerts").sort_values("place")
    top, rest = wanted[:90], wanted[90:]
    drawn = rest.loc[sorted(rest.index, key=lambda i: by_lot(rest["transaction_id"][i]))[:10]].sort_index()
    queue = pd.concat([top, drawn])
    assert found["place"].tolist() == list(range(1, 101))
    for ours, theirs in (("transaction_id", "transaction_id"), ("transactions", "transactions")):
        assert found[ours].tolist() == queue[theirs].tolist()
    np.testing.assert_allclose(found["expected_loss"].astype(float), queue["loss"], rtol=1e-5)
    assert found["amount"].tolist() == [
        one * n for one, n in zip(queue["amount"], queue["transactions"], strict=True)
    ]
    assert found["why"].tolist() == ["score"] * 90 + ["chance"] * 10
    assert set(found["share"][90:]) == {10 / len(rest)} and set(found["share"][:90]) == {1.0}
    rows = lake_of(published).astype({"amount": float}).set_index("transaction_id")
    for one in found.iloc[[0, 5, 50, 89, 95]].itertuples():
        assert list(one.reasons) == reasons_of(rows.loc[one.transaction_id])
    assert found["transactions"].max() == 3
    funnel = rows_of(published, "fraud_funnel")
    counts = funnel["reason"].value_counts()
    assert counts.to_dict() == {
        "below the line": len(rows) - found["transactions"].sum(),
        "duplicate of an alert": found["transactions"].sum() - 100,
    }
    assert set(funnel["transaction_id"]) | set(found["transaction_id"]) == set(rows.index)


def test_the_outcome_is_that_of_pandas(published: Path) -> None:
    """Precision, recall and its estimate, amounts to the cent, and the stability index."""
    wanted, queue = expected(published), rows_of(published, "fraud_alerts")
    [found] = rows_of(published, "fraud_outcome").to_dict("records")
    alerts = wanted[wanted["transaction_id"].isin(queue["transaction_id"])]
    by_score = alerts["transaction_id"].isin(queue["transaction_id"][queue["why"] == "score"])
    hits, frauds = int(alerts["is_fraud"].sum()), int(wanted["is_fraud"].sum())
    drawn_hits, rest = int(alerts["is_fraud"][~by_score].sum()), len(wanted) - 90
    assert (found["alerts"], found["frauds_found"], found["frauds"]) == (100, hits, frauds) and hits > 0
    assert found["precision"] == pytest.approx(hits / 100) and found["recall"] == pytest.approx(hits / frauds)
    assert (found["saved"], found["lost"]) == (alerts["lost"].sum(), wanted["lost"].sum())
    estimated = hits - drawn_hits + rest * drawn_hits / 10
    assert found["recall_estimated"] == pytest.approx(hits / estimated)
    p, z = drawn_hits / 10, 1.959964  # Wilson 1927
    half = z * math.sqrt(p * (1 - p) / 10 + z * z / 400) / (1 + z * z / 10)
    high = (p + z * z / 20) / (1 + z * z / 10) + half
    assert found["recall_low"] == pytest.approx(hits / (hits - drawn_hits + rest * high), rel=1e-3)
    bins = pq.read_table(MODELS / "fraud_score_bins.parquet").to_pandas()
    counts = wanted.loc[wanted.index.repeat(wanted["transactions"]), "chance"].astype(float)
    share, _ = np.histogram(counts, [*bins["since"], np.inf])
    share = np.maximum(share / len(counts), 1e-6)
    psi = ((share - bins["share"]) * np.log(share / bins["share"])).sum()
    assert found["psi"] == pytest.approx(psi)


@pytest.mark.parametrize(
    ("was", "is_", "said"),
    [
        ("WHERE why IS NOT NULL", "WHERE why IS NOT NULL AND rank > 1", "as long as its capacity"),
        ("GROUP BY first_id", "GROUP BY first_id, transaction_id", "no two alerts"),
        ("SELECT * FROM queued WHERE", "SELECT * REPLACE ('score' AS why) FROM queued WHERE", "by chance"),
        ("    rank_all(expected_loss, transaction_id)", "    rank_all(-expected_loss, transaction_id)",
         "from the dearest expected loss down"),
        ("rank_all(expected_loss, transaction_id) AS rank", "rank_all(fraud_chance, transaction_id) AS rank",
         "nothing outside the queue"),
    ],
    ids=["capacity", "duplicate", "drawn", "order", "line"],
)  # fmt: skip
def test_a_planted_mistake_publishes_nothing(tmp_path: Path, was: str, is_: str, said: str) -> None:
    root = workspace(tmp_path)
    sql = root / "jobs/finance/fraud_alerts/queue.sql"
    text = sql.read_text()
    assert was in text
    if is_.startswith("GROUP"):
        text = text.replace("first_id AS transaction_id", "transaction_id")
    sql.write_text(text.replace(was, is_))
    with pytest.raises(Broken, match=said):
        run(load("fraud_alerts", workspace=root), DAY)
    assert not (root / "data/tables/fraud_alerts").exists()


def test_the_lake_says_of_each_row_what_the_source_does() -> None:
    """The row is the id, seconds count from a midnight, amounts are exact."""
    source = pa.table(
        {"Time": [0.0, 100_000.0], "Amount": pa.array([Decimal("0.01"), Decimal("25691.16")], fraud.MONEY)}
        | {name: [0.5, -1.25] for name in fraud.COMPONENTS}
        | {"Class": pa.array([0, 1], pa.int8())}
    )
    transactions, labels = fraud.tables_of(source)
    assert transactions["transaction_id"].to_pylist() == [0, 1]
    assert [str(one)[:19] for one in transactions["transaction_time"].to_pylist()] == [
        "2013-09-01 00:00:00", "2013-09-02 03:46:40"
    ]  # fmt: skip
    assert transactions["amount"].to_pylist() == [Decimal("0.01"), Decimal("25691.16")]
    assert labels["is_fraud"].to_pylist() == [False, True]


def test_whoever_lacks_the_package_is_told_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(Broken, match="make fraud"):
        fraud.write_lake(tmp_path)


def test_the_card_is_that_of_the_figures_and_the_goals_hold() -> None:
    """On the day after the one that trained it; the goals were set before."""
    assert (MODELS / "fraud_card.md").read_text() == fraud_card(
        METRICS, (MODELS / "fraud.onnx").stat().st_size
    )
    precision = {name: one["value"] for name, one in METRICS["average_precision"].items()}
    assert precision["boosted trees"] >= 0.78 and max(precision, key=precision.__getitem__) == "boosted trees"
    queue = METRICS["queues"]["boosted trees, x (amount + 100)"]["100"]
    assert (
        queue["share_of_amount"] >= 0.6 > METRICS["queues"]["largest amount first"]["100"]["share_of_amount"]
    )


def test_the_page_has_the_figures_of_the_card() -> None:
    """A line for each model: average precision with its interval, and what a hundred alerts hold."""
    page = (REPOSITORY / "docs/fraud.md").read_text()
    for name, one in METRICS["average_precision"].items():
        low, high = one["interval"]
        line = next(
            line
            for line in page.splitlines()
            if line.startswith(f"| {name.replace(' (no', ', no').rstrip(')')} |")
        )
        said = line.replace("*", "")
        assert f"| {one['value']:.3f} ({low:.3f} to {high:.3f}) |" in said
        assert f" {METRICS['queues'][name]['100']['share_of_amount']:.0%} ".replace("%", " %") in said
        by_loss = METRICS["queues"].get(f"{name}, x (amount + 100)")
        assert not by_loss or f" {by_loss['100']['share_of_amount']:.0%} ".replace("%", " %") in said


@is_there
@pytest.mark.slow
def test_figures_of_the_real_day_are_a_recount_s() -> None:
    """Average precision by scikit-learn, and what ninety and ten alerts hold of the frauds' amount."""
    wanted = expected(REPOSITORY)
    rows = wanted.loc[wanted.index.repeat(wanted["transactions"])]
    said = METRICS["average_precision"]["boosted trees"]["value"]
    assert average_precision_score(rows["is_fraud"], rows["chance"]) == pytest.approx(said, abs=1e-3)
    assert float(wanted["lost"][:90].sum() / wanted["lost"].sum()) >= 0.6
    assert METRICS["scored"]["fraud_amount"] == float(wanted["lost"].sum())


@is_there
@pytest.mark.slow
def test_the_committed_model_is_the_one_that_training_makes() -> None:
    """To the byte, and by LightGBM's own predictions on the day that it has not seen."""
    day, later = (train_fraud.read_alerts(one) for one in (train_fraud.TRAINED_ON, train_fraud.SCORED))
    booster = train_fraud.trained(day, train_fraud.line_of(day, train_fraud.held_out(day)))
    assert (MODELS / "fraud.onnx").read_bytes() == train_fraud.to_onnx(booster)
    session = onnxruntime.InferenceSession(MODELS / "fraud.onnx")
    found = session.run(["probabilities"], {"features": later.rows})[0][:, 1]
    np.testing.assert_allclose(found, booster.predict(later.rows), rtol=0, atol=1e-6)
