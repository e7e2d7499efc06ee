"""The job churn on the sample rows: what it publishes is what ONNX Runtime gives of its features by hand."""

from pathlib import Path

import numpy as np
import onnxruntime

import nightscore

DAY = "2026-01-07"


def test_scores(workspace: Path) -> None:
    job = nightscore.load("churn", workspace)
    rows = nightscore.features(job, DAY)
    session = onnxruntime.InferenceSession((workspace / "data/models/churn.onnx").read_bytes())
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
