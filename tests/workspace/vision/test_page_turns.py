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

from data.lakes.pages import DAYS, EXPECTED, LAKE, MODEL
from nightscore import Broken, load, query, run

REPOSITORY = Path(__file__).parents[3]
JOB = Path("jobs/vision/page_turns")
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
pytestmark = pytest.mark.skipif(
    not all((REPOSITORY / path).exists() for path in (LAKE / "_complete", EXPECTED)),
    reason="needs the weights, the scans, and what the job is held to: make pages",
)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with both days published."""
    root = tmp_path_factory.mktemp("pages")
    for folder in (LAKE, JOB):
        shutil.copytree(REPOSITORY / folder, root / folder)
    (root / MODEL).parent.mkdir(parents=True)
    for path in (MODEL, EXPECTED):
        shutil.copy(REPOSITORY / path, root / path)
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


def test_what_the_job_is_held_to(workspace: Path) -> None:
    """Scans as they were and small ones, of a colour or not; ONNX Runtime gives the same."""
    rows = pq.read_table(workspace / EXPECTED).to_pylist()
    images = [Image.open(io.BytesIO(row["scan"])) for row in rows]
    assert len({row["scan"] for row in rows}) == len(rows) == 32
    assert (
        sum(min(image.size) == 256 for image in images) == sum(image.mode == "RGB" for image in images) == 16
    )
    for row in rows:
        np.testing.assert_allclose(row["probabilities"], by_hand(row["scan"]), atol=1e-5)
    receipt = run(load("page_turns", workspace=workspace), str(min(DAYS)))
    assert receipt.training is not None and receipt.training.rows == 32 and not receipt.training.little


@pytest.mark.parametrize(
    ("step", "other", "rows"),
    [
        ("colour: bgr", "colour: rgb", 16),  # those of a colour
        ("resample: lanczos", "resample: bilinear", 16),  # those that are resized
        ("scale: 1/255", "scale: 0.00390625", 2),
        ("mean: [0.485, 0.456, 0.406]", "mean: [0.406, 0.456, 0.485]", 32),
    ],
)
def test_other_steps_are_refused(workspace: Path, tmp_path: Path, step: str, other: str, rows: int) -> None:
    """Than those that the network was trained with: nothing is published."""
    shutil.copytree(workspace, tmp_path / "w", ignore=shutil.ignore_patterns("tables", "runs", "choices"))
    spec = tmp_path / "w" / JOB / "job.yaml"
    assert step in spec.read_text()
    spec.write_text(spec.read_text().replace(step, other))
    with pytest.raises(Broken, match="of 32 rows are not scored as training expects") as refused:
        run(load("page_turns", workspace=tmp_path / "w"), str(min(DAYS)))
    found = int(str(refused.value).split(" of 32 rows")[0].split()[-1])
    assert found >= rows and not (tmp_path / "w/data/tables").exists()
