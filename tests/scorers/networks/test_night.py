"""Nights of a light network: by our kernel and by ONNX Runtime, to which `auto` holds it."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from nightscore import load, run
from nightscore.pipeline.score import autotune
from tests.scorers.models import file
from tests.scorers.networks.drawn import drawn
from tests.support.workspace import DAYS, JOB, make_workspace, rows_of

ROWS = 3_001
LAYERS = [(64, "gemm", "nothing", "Relu"), (32, "gemm", "nothing", "Tanh"), (1, "gemm", "nothing", "Sigmoid")]


def night(root: Path, kind: str) -> Path:
    """A workspace whose job scores a column pair by a network of a kind."""
    job = JOB.replace("linear.onnx", f"network.onnx\n  kind: {kind}")
    made = make_workspace(root, ROWS, job, DAYS[:1])
    path = made / "data/models/network.onnx"
    path.write_bytes(file(drawn(2, LAYERS, 7).model(), ("a", "b")).data)
    return made


def scores(root: Path) -> np.ndarray:
    [table] = (root / "data/tables/mini_scores").rglob("day=*")
    read = pq.read_table(table, partitioning=None)
    return np.asarray(read["score"])[np.argsort(np.asarray(read["id"]))]


def test_a_night_by_the_kernel_gives_the_truth(tmp_path: Path) -> None:
    """Each row's score is what NumPy says in float64, and what a night by ONNX Runtime gives."""
    found = {}
    for kind in ("networks", "onnx"):
        root = night(tmp_path / kind, kind)
        receipt = run(load("mini", root), DAYS[0])
        assert receipt.variant and receipt.variant.kind == kind
        found[kind] = scores(root)
    rows = rows_of(DAYS[0], ROWS)
    truth = drawn(2, LAYERS, 7).truth(np.stack([rows["a"], rows["b"]], axis=1))[:, 0]
    np.testing.assert_allclose(found["networks"], truth, atol=1e-6)
    np.testing.assert_allclose(found["networks"], found["onnx"], atol=1e-6)


def test_auto_holds_it_to_onnx_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is measured beside ONNX Runtime, and its scores are within the job's tolerance."""
    monkeypatch.setattr(autotune, "WORTH_IT", 0.0)
    monkeypatch.setattr(autotune, "SECONDS", 60.0)
    receipt = run(load("mini", night(tmp_path, "auto")), DAYS[0])
    [tried] = [one for one in receipt.tried if one.variant == "networks on cpu"]
    assert not tried.refused and tried.rows_per_second > 0 and 0 <= tried.difference < 1e-5
    [trees] = [one for one in receipt.tried if one.variant == "trees on cpu"]
    assert "not for the kind trees" in trees.refused


def test_a_small_night_tries_nothing(tmp_path: Path) -> None:
    """A few thousand rows are scored before anything could be measured."""
    receipt = run(load("mini", night(tmp_path, "auto")), DAYS[0])
    assert not receipt.tried and receipt.variant and receipt.variant.kind == "onnx"
