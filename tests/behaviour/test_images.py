"""Nights on images and texts as they come: from SQL to tables, a real network, and what it can't read."""

import io
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from nightscore import Broken, load, query, run
from nightscore.common.workspace import Workspace
from nightscore.review.verify import verify_days
from tests.behaviour.conftest import Build
from tests.behaviour.world import DAY
from tests.scorers.test_text_folders import SENTENCE, hidden
from tests.scorers.texts import descriptions, tokenizer_json

DIGITS = Path(__file__).parents[2] / "data/models/vision/digits.onnx"
ROWS = 300
JOB = """\
job: mini
about: The digit that each scan shows
owner: tests
inputs:
  scans: {path: data/lake/scans, partition: day}
features: features.sql
key: [id]
model:
  kind: image
  path: data/models/digits.onnx
  columns: [scan]
  image: {colour: grey}
  outputs: {probabilities: "probabilities[*]"}
decide:
  mini_top: top.sql
"""
TOP = "SELECT id, list_position(probabilities, list_max(probabilities)) - 1 AS digit FROM scores\n"
REJECT = "policy: {bad_row: reject, max_rejected: 10%}\n"
TEXTS = """\
job: mini
about: What each description is like
owner: tests
inputs:
  scans: {path: data/lake/scans, partition: day}
features: features.sql
key: [id]
model:
  kind: text
  path: data/models/mini
  columns: [about]
  outputs: {embedding: "last_hidden_state[*]"}
decide:
  mini_top: top.sql
"""


def png(levels: np.ndarray) -> bytes:
    """A scan as a PNG."""
    file = io.BytesIO()
    Image.fromarray(levels.astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def workspace(fresh: Build, job: str, features: str, top: str, **columns: pa.Array) -> Path:
    """One day of an input with some columns, and the job."""
    root = fresh(rows=10, job=job)
    (root / "jobs/mini/features.sql").write_text(features)
    (root / "jobs/mini/top.sql").write_text(top)
    folder = root / f"data/lake/scans/day={DAY}"
    folder.mkdir(parents=True)
    ids = pa.array(range(len(next(iter(columns.values())))), pa.int64())
    pq.write_table(pa.table({"id": ids, **columns}), folder / "part-0.parquet")
    return root


def scans(fresh: Build, job: str = JOB, bad: dict[int, bytes] | None = None) -> Path:
    """A workspace with real digits as PNG files, some of them replaced."""
    files = [png(image) for image in load_digits().images[:ROWS]]
    for row, data in (bad or {}).items():
        files[row] = data
    root = workspace(fresh, job, "SELECT id, scan FROM scans\n", TOP, scan=pa.array(files, pa.binary()))
    (root / "data/models/digits.onnx").write_bytes(DIGITS.read_bytes())
    return root


def truth() -> np.ndarray:
    """By ONNX Runtime alone, on scikit-learn's own arrays."""
    session = ort.InferenceSession(DIGITS.read_bytes(), providers=["CPUExecutionProvider"])
    images = load_digits().images[:ROWS].astype(np.uint8)
    [found] = session.run(["probabilities"], {"image": images})
    return np.asarray(found)


def test_a_night_of_images_is_what_the_network_gives(fresh: Build) -> None:
    """Every digit, in the published tables; the day is verified, and a second run is none."""
    root = scans(fresh)
    assert run(load("mini", root), DAY).status == "published"
    scores = query("SELECT id, probabilities FROM mini_scores ORDER BY id", root)
    np.testing.assert_allclose(np.array(scores["probabilities"].to_pylist()), truth(), atol=1e-6)
    found = query("SELECT digit FROM mini_top ORDER BY id", root)["digit"].to_numpy()
    np.testing.assert_array_equal(found, truth().argmax(axis=1))
    assert (found == load_digits().target[:ROWS]).mean() > 0.9
    verified = list(verify_days(Workspace(root)))
    assert {one.day for one in verified} == {DAY} and not any(one.differences for one in verified)
    assert run(load("mini", root), DAY).status == "unchanged"


def test_bad_images_are_rejects_with_their_reasons(fresh: Build) -> None:
    """Truncated, no image, of another size: never a score; without the policy nothing is published."""
    bad = {7: png(np.zeros((8, 8)))[:-30], 100: b"no image", 299: png(np.zeros((9, 8)))}
    root = scans(fresh, JOB + REJECT, bad)
    assert run(load("mini", root), DAY).status == "published"
    rejects = query("SELECT id, message FROM mini_rejects ORDER BY id", root).to_pylist()
    assert [row["id"] for row in rejects] == sorted(bad)
    for row, said in zip(rejects, ("is damaged", "is no PNG and no JPEG", "has 9 x 8 pixels"), strict=True):
        assert f"column 'scan': the image {said}" in row["message"]
    scores = query("SELECT id, probabilities FROM mini_scores ORDER BY id", root)
    good = [i for i in range(ROWS) if i not in bad]
    assert scores["id"].to_pylist() == good
    np.testing.assert_allclose(np.array(scores["probabilities"].to_pylist()), truth()[good], atol=1e-6)
    (root / "jobs/mini/job.yaml").write_text(JOB)
    with pytest.raises(Broken, match=r"column 'scan': the image is "):
        run(load("mini", root), DAY)


def test_a_night_by_a_folder_of_texts(fresh: Build) -> None:
    """The embeddings are those of the folder; another file in it is another day, another word is refused."""
    texts = descriptions()[:50]
    features = "SELECT id, lower(about) AS about FROM scans\n"
    root = workspace(fresh, TEXTS, features, "SELECT id FROM scores\n", about=pa.array(texts))
    for name, value in SENTENCE.items():
        (root / "data/models/mini" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "data/models/mini" / name).write_text(json.dumps(value))
    (root / "data/models/mini/tokenizer.json").write_text(tokenizer_json())
    onnx.save(hidden(), root / "data/models/mini/model.onnx")
    receipt = run(load("mini", root), DAY)
    assert receipt.status == "published" and receipt.model and receipt.model.path == "data/models/mini"
    found = query("SELECT embedding FROM mini_scores ORDER BY id", root)["embedding"].to_pylist()
    np.testing.assert_allclose(np.linalg.norm(np.array(found), axis=1), 1, atol=1e-6)
    assert run(load("mini", root), DAY).status == "unchanged"
    longer = root / "data/models/mini/sentence_bert_config.json"
    longer.write_text(longer.read_text().replace("16", "8"))
    assert run(load("mini", root), DAY).status == "published"
    job = root / "jobs/mini/job.yaml"
    job.write_text(TEXTS.replace("columns: [about]", "columns: [about]\n  text: {pooling: cls}"))
    with pytest.raises(Broken, match=r"job.yaml:\d+: model.text: .*pooling is cls, and .* say mean"):
        run(load("mini", root), DAY)
