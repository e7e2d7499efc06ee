"""Images in Parquet, scored from their bytes: a night on real digits, and the figures of the card."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import load_digits

from data.lakes.digits import DAYS, DIGITS, LAKE, write_lake
from nightscore import load, query, run

REPOSITORY = Path(__file__).parents[3]
JOB = Path("jobs/vision/digits")
MODEL = Path("data/models/vision/digits.onnx")
METRICS = json.loads((REPOSITORY / MODEL).with_name("digits_metrics.json").read_text())
DAY = "2024-01-06"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with the lake, the job and its model; the last day is published."""
    root = tmp_path_factory.mktemp("digits")
    write_lake(root)
    shutil.copytree(REPOSITORY / JOB, root / JOB)
    (root / MODEL).parent.mkdir(parents=True)
    for file in (MODEL, MODEL.with_name("digits_expected.parquet")):
        shutil.copy(REPOSITORY / file, root / file)
    receipt = run(load("digits", workspace=root), DAY)
    assert receipt.status == "published" and all(audit.passed for audit in receipt.audits)
    return root


def test_the_lake_holds_the_images_of_scikit_learn(workspace: Path) -> None:
    """All of them, pixel by pixel, in order, over six days; labels apart."""
    found = [pq.read_table(workspace / LAKE / "images" / f"day={day}", partitioning=None) for day in DAYS]
    images = np.frombuffer(b"".join(b for day in found for b in day["image"].to_pylist()), np.uint8)
    np.testing.assert_array_equal(images.reshape(-1, 8, 8), load_digits().images)
    labels = [pq.read_table(workspace / LAKE / "labels" / f"day={day}", partitioning=None) for day in DAYS]
    assert [n for day in labels for n in day["digit"].to_pylist()] == load_digits().target.tolist()
    assert [day.num_rows for day in found] == [300] * 5 + [297]
    assert found[0].column_names == ["image_id", "image"]


def test_the_lake_is_written_once(workspace: Path) -> None:
    """A second call touches nothing; a file that is gone is written again, to the byte."""
    file = workspace / LAKE / "images" / f"day={DAYS[0]}" / "part-0.parquet"
    before = {path: path.stat().st_mtime_ns for path in (workspace / LAKE).rglob("*.parquet")}
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    write_lake(workspace)
    assert {path: path.stat().st_mtime_ns for path in (workspace / LAKE).rglob("*.parquet")} == before
    file.unlink()
    (workspace / LAKE / "_complete").unlink()
    write_lake(workspace)
    assert hashlib.sha256(file.read_bytes()).hexdigest() == digest


def test_the_file_says_where_it_comes_from() -> None:
    """Package, version, licence and hash."""
    source = json.loads(pq.read_metadata(DIGITS).metadata[b"source"])
    assert source["package"] == "scikit-learn" and source["licence"] == "BSD-3-Clause"
    assert len(source["sha256"]) == 64 and "CC BY 4.0" in source["origin"]


def test_a_night_decides_as_onnx_runtime_alone_does(workspace: Path) -> None:
    """Digit, confidence and who looks at it, of every image."""
    table = pq.read_table(workspace / LAKE / "images" / f"day={DAY}", partitioning=None)
    images = np.frombuffer(b"".join(table["image"].to_pylist()), np.uint8).reshape(-1, 8, 8)
    [wanted] = ort.InferenceSession(str(REPOSITORY / MODEL)).run(None, {"image": images})
    found = query(f"SELECT * FROM digits WHERE day = DATE '{DAY}' ORDER BY image_id", workspace)
    assert found["image_id"].to_pylist() == table["image_id"].to_pylist()
    assert found["digit"].to_pylist() == wanted.argmax(axis=1).tolist()
    best = wanted.max(axis=1)
    np.testing.assert_allclose(found["confidence"], best, atol=1e-6)
    tiers = np.select([best >= 0.95, best >= 0.6], ["none", "one person"], "two people")
    assert found["review"].to_pylist() == tiers.tolist()
    assert set(tiers) == {"none", "one person", "two people"}


def test_the_card_says_how_good_it_is(workspace: Path) -> None:
    """The held-out day's figures are those of the published table, held to the labels."""
    asked = f"SELECT digit, review FROM digits WHERE day = DATE '{DAY}' ORDER BY image_id"
    found = query(asked, workspace)
    labels = pq.read_table(workspace / LAKE / "labels" / f"day={DAY}", partitioning=None)["digit"].to_numpy()
    right, nobody = found["digit"].to_numpy() == labels, np.array(found["review"].to_pylist()) == "none"
    said = METRICS["held_out"][DAY]
    assert round(right.mean(), 4) == said["accuracy"] > 0.9
    assert round(nobody.mean(), 4) == said["seen_by_nobody"]
    assert round(right[nobody].mean(), 4) == said["accuracy_of_those"] > said["accuracy"]
    card = (REPOSITORY / MODEL).with_name("digits_card.md").read_text()
    assert f"| {DAY} | 297 | {said['accuracy']:.2%} |" in card
