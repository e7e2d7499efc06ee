"""Six models, each exported by one call, as six jobs that publish and are held to training.

From an empty folder, with a built wheel, by the code of docs/export.md as it stands there. The truth is what
the library itself gives the rows of the published day.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.test_wheel import PIP, ROOT, Environment, built

pytestmark = pytest.mark.slow  # a gigabyte is installed, the first time; six trainings and twelve nights

DAY = "2026-01-07"
TORCH = "torch==2.13.0"
PACKAGES = ROOT / ".venv-export"  # kept from run to run: a gigabyte with torch
QUICK = ("--quiet", "--no-deps", "--disable-pip-version-check")
MODELS = {
    "scikit-learn": "churn_sklearn",
    "XGBoost": "churn_xgboost",
    "LightGBM": "churn_lightgbm",
    "CatBoost": "churn_catboost",
    "PyTorch": "churn_torch",
    "Sentence models": "notes",
}
# What the library gives the rows of the day, written by the training script's own process.
ASKED = f"""
import sys
import numpy, pandas
from customers import read
given = features(read({DAY!r}))
if type(model).__module__.startswith("torch"):
    with torch.no_grad():
        scores = model.eval()(torch.tensor(given.to_numpy())).numpy()[:, 0]
else:
    scores = model.predict_proba(given)[:, 1]
pandas.DataFrame({{"customer_id": given.index, "score": scores}}).to_parquet(sys.argv[1])
"""
NOTES = """
import pathlib, sys
folder = pathlib.Path("data/lake/notes")
texts = [f"{note} {number}" for number, note in enumerate([*notes["note"]] * 5)]
with torch.no_grad():
    encoded = [tokenizer.encode(text).ids for text in texts]
    ones = [torch.ones(1, len(ids), dtype=torch.int64) for ids in encoded]
    vectors = [model(torch.tensor([ids]), mask)[0].tolist() for ids, mask in zip(encoded, ones)]
for day in ("2026-01-06", "2026-01-07"):
    (folder / f"day={day}").mkdir(parents=True)
    pd.DataFrame({"note_id": range(len(texts)), "note": texts}).to_parquet(folder / f"day={day}/a.parquet")
pd.DataFrame({"note_id": range(len(texts)), "embedding": vectors}).to_parquet(sys.argv[1])
"""


def blocks() -> dict[str, str]:
    """The Python of docs/export.md by heading; the first one stands above all headings."""
    parts = re.split(r"^## (.+)$", (ROOT / "docs/export.md").read_text(), flags=re.MULTILINE)
    named = dict(zip(["", *parts[1::2]], parts[::2], strict=True))
    found = {name: re.findall(r"```python\n(.*?)```", text, re.DOTALL) for name, text in named.items()}
    return {name: code[0] for name, code in found.items() if code}


def install(folder: Path, *what: object) -> None:
    command = [sys.executable, "-m", "pip", "install", *QUICK, "--target", folder, *what]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def torch_for_cpu() -> str:
    """The wheel of torch that pip would take, where it is one for the CPU; else empty."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        *QUICK,
        "--ignore-installed",
        "--dry-run",
        "--report",
        "-",
        TORCH,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return ""
    found = json.loads(done.stdout)["install"][0]
    is_cpu = "+cpu" in found["metadata"]["version"] or "x86_64" not in found["download_info"]["url"]
    return TORCH if is_cpu else ""


@pytest.fixture(scope="module")
def libraries() -> Path:
    """The packages of requirements/export.lock, and torch where there is a build for the CPU."""
    lock = ROOT / "requirements/export.lock"
    done = PACKAGES / f"{sys.version_info[1]}-{lock.stat().st_mtime_ns}-{TORCH}"
    if not done.exists():
        shutil.rmtree(PACKAGES, ignore_errors=True)
        install(PACKAGES, "--require-hashes", "-r", lock)
        if torch := torch_for_cpu():
            install(PACKAGES, torch)
        done.touch()
    return PACKAGES


@pytest.fixture(scope="module")
def demo(libraries: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Environment, Path]]:
    """A workspace that the built wheel has made in an empty folder, and the wheel's environment."""
    source, empty = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("empty")
    for name in ("src", "pyproject.toml", "README.md", "LICENSE"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    environment = Environment(tmp_path_factory.mktemp("environment"))
    environment.pip("install", *PIP, built(source, tmp_path_factory.mktemp("wheel")))
    (environment.packages / "export.pth").write_text(f"{libraries}\n")
    environment.nightscore("init", "demo", cwd=empty)
    (empty / "demo/customers.py").write_text(blocks()[""])
    yield environment, empty / "demo"


@pytest.mark.parametrize("heading", MODELS)
def test_a_model_of_each_library_is_a_job_by_one_call(demo: tuple[Environment, Path], heading: str) -> None:
    environment, folder = demo
    if heading in ("PyTorch", "Sentence models") and not (PACKAGES / "torch").exists():
        pytest.skip(f"pip finds no build of {TORCH} for the CPU alone")
    name, truth = MODELS[heading], folder / f"{MODELS[heading]}.parquet"
    is_text = heading == "Sentence models"
    (folder / f"train_{name}.py").write_text(blocks()[heading] + (NOTES if is_text else ASKED))
    printed = environment.run(environment.python, f"train_{name}.py", truth, cwd=folder, OMP_NUM_THREADS=1)
    if os.environ.get("SHOW_EXPORTS"):
        sys.__stdout__.write(f"\n{heading}\n{printed}")
    assert f"# data/models/{name}.onnx: held to the library on " in printed
    if is_text:
        (folder / f"jobs/{name}").mkdir()
        inputs = (
            "inputs:\n  notes: {path: data/lake/notes, partition: day}\nfeatures: notes\nkey: [note_id]\n"
        )
        (folder / f"jobs/{name}/job.yaml").write_text(f"job: {name}\n{inputs}{printed}")
    else:
        environment.nightscore(
            "new", name, "--model", f"data/models/{name}.onnx", "--input", "data/lake/customers", cwd=folder
        )
    published = environment.nightscore("run", name, "--day", DAY, cwd=folder)
    assert ": published" in published and "not held to training" not in published
    expected = pd.read_parquet(truth).set_index("note_id" if is_text else "customer_id").sort_index()
    sql = f"SELECT * FROM {name}_scores ORDER BY {expected.index.name}"
    rows = json.loads(environment.nightscore("query", sql, "--format", "json", cwd=folder))
    scores = np.array([row[expected.columns[0]] for row in rows], np.float64)
    assert [row[expected.index.name] for row in rows] == expected.index.tolist()
    assert abs(scores - np.array(expected.iloc[:, 0].tolist())).max() < 1e-6
    # Whatever is not what training gave is not published: a file of scores that are others, by 1e-3.
    file = folder / f"data/models/{name}_expected.parquet"
    wrong = pd.read_parquet(file)
    wrong[expected.columns[0]] = wrong[expected.columns[0]].map(lambda score: np.asarray(score) + 1e-3)
    wrong.to_parquet(file)
    assert "training" in environment.nightscore("run", name, "--day", "2026-01-06", cwd=folder, code=1)
