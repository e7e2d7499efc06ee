"""The job recommendations on the sample rows: its scores by hand, and the lists that follow from them."""

from pathlib import Path

import numpy as np
import onnxruntime

import nightscore

DAY = "2026-01-07"
COLUMNS = ["times_bought", "days_since", "buyers", "times_category", "price"]


def test_scores_and_lists(workspace: Path) -> None:
    job = nightscore.load("recommendations", workspace)
    rows = nightscore.features(job, DAY)
    session = onnxruntime.InferenceSession((workspace / "data/models/ranker.onnx").read_bytes())
    values = [rows[name].to_numpy().astype("float32") for name in COLUMNS]  # a null is a NaN
    chances = session.run(["probabilities"], {"features": np.stack(values, axis=1)})[0][:, 1]

    assert nightscore.run(job, DAY).status == "published"
    keys = "customer_id, product_id"
    scores = nightscore.query(f"SELECT {keys}, score FROM recommendations_scores ORDER BY {keys}", workspace)
    assert np.abs(scores["score"].to_numpy() - chances).max() < 1e-5  # both sorted by key

    lists: dict[int, list[tuple[float, int]]] = {}
    for row in scores.to_pylist():
        lists.setdefault(row["customer_id"], []).append((-row["score"], row["product_id"]))
    expected = [(who, product) for who in sorted(lists) for _, product in sorted(lists[who])[:3]]
    top = nightscore.query(
        "SELECT customer_id, product_id FROM top_products ORDER BY customer_id, rank", workspace
    )
    assert [tuple(row.values()) for row in top.to_pylist()] == expected
