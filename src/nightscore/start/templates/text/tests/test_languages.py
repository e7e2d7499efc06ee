"""The job languages on the sample messages: what tokenizers and ONNX Runtime give of them by hand."""

from pathlib import Path

import numpy as np
import onnxruntime
import pyarrow.parquet as pq
from tokenizers import Tokenizer

import nightscore

DAY = "2026-01-07"


def test_desks(workspace: Path) -> None:
    rows = pq.read_table(workspace / f"data/lake/messages/day={DAY}/messages.parquet", partitioning=None)
    texts = dict(zip(rows["message_id"].to_pylist(), rows["text"].to_pylist(), strict=True))
    silent = max(texts)
    assert texts.pop(silent) is None
    model = workspace / "data/models/languages"
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    session = onnxruntime.InferenceSession((model / "model.onnx").read_bytes())
    expected = {}
    for message, text in texts.items():
        tokens = np.array([tokenizer.encode(text).ids])
        feeds = {"input_ids": tokens, "attention_mask": np.ones_like(tokens)}
        expected[message] = [one[0] for one in session.run(["language", "confidence"], feeds)]

    assert nightscore.run(nightscore.load("languages", workspace), DAY).status == "published"
    desks = nightscore.query(
        "SELECT message_id, language, confidence, desk FROM desks", workspace
    ).to_pylist()
    assert {row["message_id"] for row in desks} == set(texts)
    for row in desks:
        language, confidence = expected[row["message_id"]]
        assert row["language"] == language and abs(row["confidence"] - confidence) < 1e-5
        assert row["desk"] == (language if row["confidence"] >= 0.8 else "person")
    rejected = nightscore.query("SELECT message_id FROM languages_rejects", workspace)
    assert rejected["message_id"].to_pylist() == [silent]
