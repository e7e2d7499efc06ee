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
    columns = ["tenure_months", "visits_90d", "spend_90d", "complaints_90d", "days_since_order"]
    values = [rows[name].to_numpy().astype("float64") for name in columns]  # a null is a NaN
    chances = session.run(["probabilities"], {"features": np.stack(values, axis=1)})[0]
    expected = dict(zip(rows["customer_id"].to_pylist(), chances[:, 1], strict=True))

    assert nightscore.run(job, DAY).status == "published"
    published = nightscore.query("SELECT customer_id, score FROM churn_scores", workspace)
    assert len(published) == len(expected) == 1_000
    for customer, score in zip(
        *(published[name].to_pylist() for name in published.column_names), strict=True
    ):
        assert abs(score - expected[customer]) < 1e-5
