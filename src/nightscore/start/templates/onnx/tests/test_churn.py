"""The job churn on the sample rows: what it publishes is what ONNX Runtime gives of its features by hand."""

import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import nightscore

ROOT = Path(__file__).parents[1]
DAY = "2026-01-07"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A copy, so that a test publishes nothing in the workspace itself."""
    for name in ("jobs", "scorers", "data/lake", "data/models"):
        shutil.copytree(ROOT / name, tmp_path / name)
    return tmp_path


def test_scores(workspace: Path) -> None:
    job = nightscore.load("churn", workspace)
    rows = nightscore.features(job, DAY)
    session = onnxruntime.InferenceSession((ROOT / "data/models/churn.onnx").read_bytes())
    feeds = {}
    for one in session.get_inputs():
        kind = object if one.type == "tensor(string)" else np.float32
        feeds[one.name] = rows[one.name].to_numpy().astype(kind).reshape(-1, 1)
    chances = session.run(["probabilities"], feeds)[0]
    expected = dict(zip(rows["customer_id"].to_pylist(), chances[:, 1], strict=True))

    assert nightscore.run(job, DAY).status == "published"
    published = nightscore.query("SELECT customer_id, score FROM churn_scores", workspace)
    assert len(published) == len(expected) == 1_000
    for customer, score in zip(
        *(published[name].to_pylist() for name in published.column_names), strict=True
    ):
        assert abs(score - expected[customer]) < 1e-5


def test_offers(workspace: Path) -> None:
    """They go to those with the most to lose."""
    nightscore.run(nightscore.load("churn", workspace), DAY, params={"offers": 10})
    scores = nightscore.query("SELECT customer_id, score * spend_90d AS at_risk FROM churn_scores", workspace)
    offers = nightscore.query("SELECT customer_id FROM churn_offers ORDER BY rank", workspace)
    most = sorted(scores.to_pylist(), key=lambda row: (-row["at_risk"], row["customer_id"]))[:10]
    assert offers["customer_id"].to_pylist() == [row["customer_id"] for row in most]
