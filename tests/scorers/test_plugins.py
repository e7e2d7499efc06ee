"""Plug-in execution providers: wheels of their own, which may be broken, and must never cost a night."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from nightscore.job.loader import load
from nightscore.pipeline.executors import run
from nightscore.pipeline.score import autotune
from nightscore.scorers.contract import Options
from nightscore.scorers.errors import ChunkError, ModelError
from nightscore.scorers.hardware import find_installed_devices, read_hardware
from nightscore.scorers.onnx import runtime
from nightscore.scorers.onnx.scorer import OnnxScorer
from tests.faults.marks import mostly_slow
from tests.scorers.models import COLUMNS, file, floats, mlp, trees
from tests.support.packages import build
from tests.support.workspace import make_workspace

openvino = pytest.mark.skipif(
    not find_spec("onnxruntime_ep_openvino"),
    reason="needs the wheel onnxruntime-ep-openvino (extra openvino)",
)
INTEL = any(one.device.vendor_id == 0x8086 for one in ort.get_ep_devices())  # before a plug-in is registered
intel = pytest.mark.skipif(
    not INTEL, reason=f"NOT TESTED: OpenVINO runs on Intel's processors; this is {read_hardware().processor}"
)
elsewhere = pytest.mark.skipif(INTEL, reason="of other processors than Intel's, and this is one of Intel's")
DAY = "2020-01-01"
NAMES = "def get_ep_names(): return ['X']\n"
BROKEN = {
    "an import error": "raise ImportError('libtbb.so.12: cannot open shared object file')",
    "no library": f"{NAMES}def get_library_path(): return '/nowhere/libnothing.so'",
    "a library of something else": f"import sys\n{NAMES}def get_library_path(): return sys.executable",
    "another interface": "",
}
PROJECT = """
[project]
name = "onnxruntime-ep-broken"
version = "1"

[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[tool.setuptools]
py-modules = ["onnxruntime_ep_broken"]
"""
CHILD = """
import json, sys
sys.path.insert(0, sys.argv[1])
from nightscore import load, run
from nightscore.pipeline.score import autotune
from nightscore.scorers.onnx import runtime
autotune.WORTH_IT, autotune.SECONDS = 0.0, 60.0
receipt = run(load("mini", sys.argv[2]), sys.argv[3])
tried = {one.variant: one.refused for one in receipt.tried}
devices = [device.name for device in runtime.find_devices()]
print(json.dumps([receipt.status, tried, runtime.find_plugin_problems(), devices]))
"""


@openvino
@intel
def test_the_real_plug_in_is_a_device() -> None:
    """With the provider and the processor that it found."""
    assert "openvino" in find_installed_devices()
    [found] = [one for one in runtime.find_devices() if one.name == "openvino"]
    assert (found.provider, found.kind) == ("OpenVINOExecutionProvider", "CPU")
    assert "openvino" not in runtime.find_plugin_problems()


@openvino
@intel
@pytest.mark.parametrize("model", ["network", "trees"])
def test_the_real_plug_in_scores_right_or_says_why_not(model: str) -> None:
    """As ONNX Runtime's CPU does, within its own rounding; or an error of ours, at opening or at scoring."""
    made = {"network": file(mlp(), COLUMNS), "trees": file(trees()[1], COLUMNS)}[model]
    outputs = {"network": {"p": "y[0]"}, "trees": {"p": "probabilities[1]"}}[model]
    chunk = floats(100)
    wanted = OnnxScorer(made, Options(outputs)).score(chunk).column("p").to_numpy()
    try:
        found = OnnxScorer(made, Options(outputs, device="openvino")).score(chunk)
    except (ModelError, ChunkError) as error:
        assert "m.onnx" in str(error)
    else:
        np.testing.assert_allclose(found.column("p").to_numpy(), wanted, rtol=0.02)


@openvino
def test_a_night_goes_on_where_the_real_plug_in_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried like any other device; what came of it stands in the receipt."""
    monkeypatch.setattr(autotune, "WORTH_IT", 0.0)
    monkeypatch.setattr(autotune, "SECONDS", 60.0)
    found = run(load("mini", make_workspace(tmp_path, 2_000, days=(DAY,))), DAY)
    assert found.status == "published" and found.rows.published == 2_000
    assert "onnx on openvino" in {one.variant for one in found.tried}
    assert not list((tmp_path / "data/choices").glob("*.openvino"))


@openvino
@elsewhere
def test_the_real_plug_in_is_no_device_of_another_makers_processor() -> None:
    """It says so, and what names it is refused with the same words."""
    if "openvino" not in runtime.find_plugin_problems():
        pytest.skip("OpenVINO has a device of another kind here")
    assert runtime.find_plugin_problems()["openvino"] == "it registers no device of this machine"
    assert "openvino" not in {one.name for one in runtime.find_devices()}
    line = "device 'openvino': its plug-in can't be loaded: it registers no device of this machine"
    with pytest.raises(ModelError, match=line):
        OnnxScorer(file(mlp(), COLUMNS), Options({"p": "y[0]"}, device="openvino"))


@pytest.mark.parametrize("kind", mostly_slow(BROKEN, ["another interface"]))
def test_a_broken_plug_in_costs_a_line(tmp_path: Path, kind: str) -> None:
    """A wheel whose library is not there, is none, or can't be imported: the night is scored by another."""
    target = build(
        tmp_path / "package", {"onnxruntime_ep_broken.py": BROKEN[kind], "pyproject.toml": PROJECT}
    )
    root = make_workspace(tmp_path / "ws", 2_000, days=(DAY,))
    command = [sys.executable, "-c", CHILD, str(target), str(root), DAY]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    status, tried, problems, devices = json.loads(done.stdout.splitlines()[-1])
    assert status == "published" and "broken" not in devices
    assert tried["onnx on broken"].startswith("device 'broken': its plug-in can't be loaded: ")
    assert problems["broken"] and "Traceback" not in done.stderr
