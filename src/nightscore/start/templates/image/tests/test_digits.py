"""The job digits on the sample scans: what Pillow and ONNX Runtime give of them by hand."""

import io
from pathlib import Path

import numpy as np
import onnxruntime
import pyarrow.parquet as pq
import pytest
from PIL import Image

import nightscore

DAY = "2026-01-07"


def test_readings(workspace: Path) -> None:
    scans = pq.read_table(workspace / f"data/lake/scans/day={DAY}/scans.parquet", partitioning=None)
    files = dict(zip(scans["scan_id"].to_pylist(), scans["scan"].to_pylist(), strict=True))
    broken = max(files)
    with pytest.raises(OSError):
        Image.open(io.BytesIO(files.pop(broken))).load()
    pixels = [np.asarray(Image.open(io.BytesIO(file)), np.float32) / 255 for file in files.values()]
    session = onnxruntime.InferenceSession((workspace / "data/models/digits.onnx").read_bytes())
    chances = dict(zip(files, session.run(None, {"pixels": np.stack(pixels)})[0], strict=True))

    assert nightscore.run(nightscore.load("digits", workspace), DAY).status == "published"
    readings = nightscore.query(
        "SELECT scan_id, digit, confidence, review FROM readings", workspace
    ).to_pylist()
    assert {row["scan_id"] for row in readings} == set(files)
    for row in readings:
        given = chances[row["scan_id"]]
        assert row["digit"] == given.argmax() and abs(row["confidence"] - given.max()) < 1e-5
        assert row["review"] == (row["confidence"] < 0.9)
    rejected = nightscore.query("SELECT scan_id FROM digits_rejects", workspace)
    assert rejected["scan_id"].to_pylist() == [broken]
