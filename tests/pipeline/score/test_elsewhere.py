"""A machine that plans and publishes need not have the device on which others score; who scores has to."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from nightscore import load
from nightscore.common.errors import Broken, NotYet
from nightscore.common.units import as_day
from nightscore.pipeline.score.elsewhere import open_to_publish
from nightscore.pipeline.score.open_model import close_models
from nightscore.pipeline.score.sample import sampled_files
from nightscore.pipeline.steps import draft_plan
from nightscore.scorers.variant import Variant
from nightscore.store.documents.plan import InputFile
from tests.support.workspace import JOB, linear_model, make_workspace

DAY = "2020-01-02"
CUDA = Variant("onnx", "cuda")


def make(root: Path, device: str) -> Path:
    return make_workspace(root, 5_000, JOB + f"scoring: {{device: {device}}}\n", days=(DAY,))


def test_a_device_that_is_not_here_is_planned_for_others_alone(tmp_path: Path) -> None:
    """`device: cuda` on a machine without: broken where it scores itself, a plan for cuda where others do."""
    job = load("mini", make(tmp_path, "cuda"))
    with pytest.raises(Broken, match="cuda"):
        draft_plan(job, as_day(DAY))
    assert draft_plan(job, as_day(DAY), scores_here=False).device == "cuda"


def test_a_model_that_opens_nowhere_is_broken(tmp_path: Path) -> None:
    """No device helps a file that is no model: that is what the message says."""
    root = make(tmp_path, "cuda")
    (root / "data/models/linear.onnx").write_bytes(b"no model")
    with pytest.raises(Broken, match=r"linear\.onnx.*model"):
        draft_plan(load("mini", root), as_day(DAY), scores_here=False)


def test_whoever_publishes_opens_it_on_the_cpu_and_says_so(tmp_path: Path) -> None:
    """The scorer gives y = a + 2 b, as the model says, and the variant that it is by is the CPU's."""
    job = load("mini", make(tmp_path, "cuda"))
    plan = draft_plan(job, as_day(DAY), scores_here=False)
    scorer, by = open_to_publish(job, plan, CUDA)
    assert by == Variant("onnx", "cpu")
    rows = {"a": np.array([1, 2], np.float32), "b": np.array([10, 20], np.float32)}
    scores = scorer.score(pa.RecordBatch.from_pydict(rows)).column("score").to_pylist()
    assert scores == [21.0, 42.0]


def test_a_model_that_has_changed_is_not_opened_to_publish(tmp_path: Path) -> None:
    """On no device: the day has to be planned again."""
    root = make(tmp_path, "cuda")
    job = load("mini", root)
    plan = draft_plan(job, as_day(DAY), scores_here=False)
    close_models()  # as a process that has not opened it
    linear_model(root / "data/models/linear.onnx", (3.0, 4.0))
    with pytest.raises(NotYet, match="changed"):
        open_to_publish(job, plan, Variant("onnx", "cuda"))


@pytest.mark.parametrize("sizes", [(10,), (0, 3, 0), (100, 1, 5_000, 0, 7), (1_000,) * 40], ids=str)
@pytest.mark.parametrize("rows", [(4,), (128, 4_096)], ids=str)
def test_a_node_fetches_the_files_that_a_choice_reads(sizes: tuple[int, ...], rows: tuple[int, ...]) -> None:
    """Those of the first row and of rows in four places from first to last, counted over all files."""
    source = [InputFile(f"{i}", size, "", "", DAY, (size,)) for i, size in enumerate(sizes)]
    owner, total = np.repeat(np.arange(len(sizes)), sizes), sum(sizes)
    needed = {owner[0]}
    for most in rows:
        each = max(1, min(most, total) // 4)
        starts = [round(place * (total - each) / 3) for place in range(4)]
        needed |= {who for start in starts for who in owner[start : start + each]}
    assert sampled_files(source, rows) == {f"{who}" for who in needed}


def test_a_day_without_rows_needs_no_file() -> None:
    """Nothing is fetched for it."""
    assert sampled_files([InputFile("0", 0, "", "", DAY, ())], (128,)) == set()
