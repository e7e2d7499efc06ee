"""Scanned pages by a real network: what the night says, and Pillow, NumPy and ONNX Runtime say beside it.

The weights and the scans are in no repository: the tests are skipped where they are not.
"""

import io
import shutil
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pyarrow.parquet as pq
import pytest
from PIL import Image

from data.lakes.pages import DAYS, LAKE, MODEL
from nightscore import load, query, run

REPOSITORY = Path(__file__).parents[3]
JOB = Path("jobs/vision/page_turns")
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
pytestmark = pytest.mark.skipif(
    not (REPOSITORY / LAKE / "_complete").exists(), reason="needs the weights and the scans: make pages"
)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with both days published."""
    root = tmp_path_factory.mktemp("pages")
    for folder in (LAKE, JOB):
        shutil.copytree(REPOSITORY / folder, root / folder)
    (root / MODEL).parent.mkdir(parents=True)
    shutil.copy(REPOSITORY / MODEL, root / MODEL)
    for day in DAYS:
        assert run(load("page_turns", workspace=root), str(day)).status == "published"
    return root


def by_hand(scan: bytes) -> np.ndarray:
    """The chances of a scan: nothing of ours."""
    image = Image.open(io.BytesIO(scan)).convert("RGB")
    width, height = image.size
    size = (256, 256 * height // width) if width <= height else (256 * width // height, 256)
    pixels = np.asarray(image.resize(size, Image.Resampling.LANCZOS), np.float32)
    top, left = (size[1] - 224) // 2, (size[0] - 224) // 2
    pixels = (pixels[top : top + 224, left : left + 224, ::-1] / 255 - MEAN) / STD
    session = ort.InferenceSession(REPOSITORY / MODEL, providers=["CPUExecutionProvider"])
    feeds = {"x": pixels.transpose(2, 0, 1)[None].astype(np.float32)}
    return np.asarray(session.run(None, feeds)[0][0])


def test_the_chances_are_those_of_the_network(workspace: Path) -> None:
    """Of each scan, in the published table."""
    found = dict(query("SELECT scan_id, probabilities FROM page_turns_scores", workspace).to_pydict().items())
    by_id = dict(zip(found["scan_id"], found["probabilities"], strict=True))
    assert len(by_id) == 8
    for day in DAYS:
        for row in pq.read_table(workspace / LAKE / f"scans/day={day}", partitioning=None).to_pylist():
            np.testing.assert_allclose(by_id[row["scan_id"]], by_hand(row["scan"]), atol=1e-4)


def test_the_card_says_what_is_right(workspace: Path) -> None:
    """Each turn of the printed page, surely; of the few large words one, and a person looks at all four."""
    rows = query("SELECT scan_id, turned, confidence, review FROM page_turns", workspace).to_pylist()
    card = (REPOSITORY / MODEL).with_name("page_turns_card.md").read_text()
    for image in DAYS.values():
        own = [row for row in rows if row["scan_id"].startswith(image)]
        right = sum(int(row["scan_id"].split("-")[1]) == row["turned"] for row in own)
        least = min(row["confidence"] for row in own)
        line = next(line for line in card.splitlines() if line.startswith(f"| `{image}.png`"))
        assert f"| {right} of 4 | {least:.2f} |" in line
        assert {row["review"] for row in own} == {image == "text"}
