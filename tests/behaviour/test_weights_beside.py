"""A model whose weights lie in a file beside it: both are the day's cause, on disk and in a bucket."""

import subprocess
from pathlib import Path

import onnx
import pytest

from nightscore import Broken, load, run
from tests.behaviour.conftest import Build
from tests.behaviour.world import DAY, Truth, ours

BOTH = "(sha256sum < linear.onnx; sha256sum linear.onnx.data) | sha256sum"


def write_beside(root: Path, weights: tuple[float, float]) -> Path:
    """Make these weights the job's model's, in a file beside it; gives that file."""
    Truth(0, weights).write_model(root)
    path = root / "data/models/linear.onnx"
    options = {"save_as_external_data": True, "location": "linear.onnx.data", "size_threshold": 0}
    path.with_name("linear.onnx.data").unlink(missing_ok=True)  # onnx appends to it
    onnx.save(onnx.load(path), path, **options)
    return path.with_name("linear.onnx.data")


def test_both_files_of_a_model_are_the_cause(fresh: Build) -> None:
    """Scores are NumPy's, the sha256 is coreutils'; other weights are another day, none are none."""
    root = fresh(rows=300)
    data = write_beside(root, (1.0, 2.0))
    receipt = run(load("mini", root), DAY)
    assert ours(root, "mini_scores").is_(Truth(300), "mini_scores")
    found = subprocess.run(
        ["/bin/sh", "-c", BOTH], cwd=data.parent, capture_output=True, check=True, text=True
    )
    assert receipt.model is not None
    assert receipt.model.sha256 == found.stdout.split()[0]
    assert run(load("mini", root), DAY).status == "unchanged"

    before = data.with_name("linear.onnx").read_bytes()
    write_beside(root, (4.0, 2.0))
    assert data.with_name("linear.onnx").read_bytes() == before
    assert run(load("mini", root), DAY).status == "published"
    assert ours(root, "mini_scores").is_(Truth(300, (4.0, 2.0)), "mini_scores")

    data.write_bytes(data.read_bytes()[:-1])
    with pytest.raises(
        Broken, match=r"job.yaml:\d+: .*tensor 'W' .* of linear.onnx.data, which has 7: not cop"
    ):
        run(load("mini", root), DAY)
    data.unlink()
    with pytest.raises(Broken, match=r"some of its weights lie in linear.onnx.data, .* can't be read"):
        run(load("mini", root), DAY)
    assert ours(root, "mini_scores").is_(Truth(300, (4.0, 2.0)), "mini_scores")
