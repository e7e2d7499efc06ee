"""A night by the folder of a model that MLflow saved: by its library, by our kernel, or by MLflow itself."""

import dataclasses
import datetime as dt
import importlib.util
import re
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("mlflow")
import mlflow.pyfunc
from mlflow.models import infer_signature

from nightscore import Broken, NotYet, load, run
from nightscore.pipeline.score.open_model import open_planned_scorer
from nightscore.pipeline.steps import check_job, plan_day
from nightscore.scorers import Variant
from tests.behaviour.conftest import Build
from tests.behaviour.world import DAY, ours
from tests.scorers.mlflow.folders import NUMBERS, frame, saved
from tests.support.packages import build
from tests.support.workspace import JOB, rows_of

ROWS = 400
PATH = "data/models/churn"
PLANS = "['basic', 'plus', 'pro'][id % 3 + 1]"


def mlflow_job(outputs: str, more: str = "") -> str:
    """The job with a model of MLflow."""
    return JOB.replace("path: data/models/linear.onnx", f"kind: mlflow\n  path: {PATH}{more}").replace(
        "{score: y}", outputs
    )


def published(root: Path) -> Any:
    """The scores of the day."""
    receipt = run(load("mini", root), DAY)
    assert receipt.status == "published"
    return receipt, ours(root, "mini_scores").rows.column("score").to_numpy()


def trusted(root: Path, more: str = "") -> str:
    """The line to write, from what `check` says."""
    with pytest.raises(
        Broken, match=r"jobs/mini/job.yaml:\d+: model.path: data/models/churn: MLflow loads it"
    ) as told:
        check_job(load("mini", root))
    sha256 = re.search(r"sha256: ([0-9a-f]{64})", str(told.value))
    assert sha256
    line = f"\n  allow_pickle: true\n  sha256: {sha256[1]}{more}"
    path = root / "jobs/mini/job.yaml"
    path.write_text(path.read_text().replace(f"path: {PATH}", f"path: {PATH}{line}"))
    return sha256[1]


def test_a_night_by_a_librarys_own_file(fresh: Build) -> None:
    """What LightGBM predicts; the model's hash is that of its folder, and another file in it another day."""
    root = fresh(rows=ROWS, job=mlflow_job("{score: 'probabilities[1]'}"))
    model = saved("lightgbm", root / PATH)
    receipt, found = published(root)
    np.testing.assert_array_equal(found, model.predict(rows_of(DAY, ROWS).to_pandas()[NUMBERS]))
    assert "lightgbm" in receipt.versions
    assert run(load("mini", root), DAY).status == "unchanged"
    (root / PATH / "note.txt").write_text("x")
    again, _ = published(root)
    assert again.model.sha256 != receipt.model.sha256


def test_a_night_by_a_pickled_pipeline(fresh: Build) -> None:
    """`check` says what to write; the scores are scikit-learn's; the receipt has the worker's libraries."""
    job = mlflow_job("{score: 'prediction[1]'}").replace("features: rows", "features: features.sql")
    root = fresh(rows=ROWS, job=job)
    (root / "jobs/mini/features.sql").write_text(f"SELECT id, a, b, {PLANS} AS plan FROM rows\n")
    model = saved("sklearn", root / PATH)
    sha256 = trusted(root)
    requirements = root / PATH / "requirements.txt"
    assert check_job(load("mini", root)).startswith("ok: ")
    receipt, found = published(root)
    assert receipt.model.sha256 == sha256
    given = rows_of(DAY, ROWS).to_pandas()
    given["plan"] = [["basic", "plus", "pro"][i % 3] for i in given["id"]]
    given = given[frame().columns].astype(dict.fromkeys(NUMBERS, np.float64))  # as the signature has them
    np.testing.assert_allclose(found, model.predict_proba(given)[:, 1], rtol=0, atol=1e-12)
    assert {"model: scikit-learn", "model: mlflow-skinny"} <= set(receipt.versions)
    plan = plan_day(load("mini", root), dt.date.fromisoformat(DAY))
    planned = {**plan.versions, "model: scikit-learn": "0.1"}
    elsewhere = dataclasses.replace(plan, versions=planned, variant=Variant("mlflow"))
    with pytest.raises(NotYet, match=r"planned with scikit-learn 0\.1, and model\.python has \d"):
        open_planned_scorer(load("mini", root), elsewhere)
    requirements.write_text("scikit-learn==0.1\n")
    with pytest.raises(Broken, match=r"has sha256 [0-9a-f]{64}, but the job pins"):
        check_job(load("mini", root))
    path = root / "jobs/mini/job.yaml"
    path.write_text(path.read_text().replace(f"\n  allow_pickle: true\n  sha256: {sha256}", ""))
    trusted(root)
    assert re.search(r"; model: scikit-learn: \S+ \(logged with 0\.1\)", check_job(load("mini", root)))


RATES = """\
import mlflow
import rates


class ByRates(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return model_input["a"].to_numpy() * rates.FACTOR


mlflow.models.set_model(ByRates())
"""


def rates(folder: Path, version: int) -> Path:
    """A package of somebody's, installed into a folder by pip: rates, whose factor is its version."""
    project = f'[project]\nname = "rates"\nversion = "{version}.0"\n'
    project += '[tool.setuptools]\npy-modules = ["rates"]\n'
    return build(folder, {"rates.py": f"FACTOR = {version}\n", "pyproject.toml": project})


def environment(folder: Path, *packages: Path) -> str:
    """The Python of an environment of its own: these packages first, then those that are here."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    [own] = folder.glob("lib/python*/site-packages")
    (own / "beside.pth").write_text("\n".join(map(str, [*packages, sysconfig.get_path("purelib")])))
    return str(folder / "bin/python")


@pytest.mark.slow
@pytest.mark.disk_only(
    reason="where a model's process finds its libraries does not depend on where tables lie"
)
@pytest.mark.filterwarnings("ignore:.*:UserWarning:mlflow")
def test_a_night_by_an_environment_of_the_models_own(
    fresh: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its library is there alone, in a version of its own; the receipt has that, and the one of logging."""
    root = fresh(rows=ROWS, job=mlflow_job("{score: prediction}"))
    (tmp_path / "by_rates.py").write_text(RATES)
    with monkeypatch.context() as logging:
        logging.syspath_prepend(rates(tmp_path / "one", 1))
        x = frame()[NUMBERS]
        mlflow.pyfunc.save_model(
            root / PATH, python_model=tmp_path / "by_rates.py", pip_requirements=["rates==1.0", "pandas"],
            signature=infer_signature(x, x["a"].to_numpy()),
        )  # fmt: skip
    monkeypatch.delitem(sys.modules, "rates")
    trusted(root)
    with pytest.raises(Broken, match=r"can't load it: .*No module named 'rates'"):
        run(load("mini", root), DAY)
    path, python = root / "jobs/mini/job.yaml", environment(tmp_path / "env", rates(tmp_path / "three", 3))
    path.write_text(path.read_text().replace("  allow_pickle", f"  python: {python}\n  allow_pickle"))
    receipt, found = published(root)
    given = rows_of(DAY, ROWS).column("a").to_numpy().astype(np.float64)
    np.testing.assert_array_equal(found, given * 3)
    assert receipt.versions["model: rates"] == "3.0 (logged with 1.0)"
    assert importlib.util.find_spec("rates") is None


@pytest.mark.disk_only(reason="what the model does does not depend on where tables lie")
def test_a_model_that_ends_its_process_ends_the_night(fresh: Build) -> None:
    """With what it wrote last; nothing is published; a file that is not there is to be tried again."""
    job = mlflow_job("{score: prediction}").replace("features: rows", "features: features.sql")
    root = fresh(rows=20, job=job)
    saved("code", root / PATH)
    features = root / "jobs/mini/features.sql"
    features.write_text("SELECT id, a, -2.0::DOUBLE AS b FROM rows\n")
    trusted(root)
    with pytest.raises(Broken, match=r"ended with 7; it wrote last: .*the heap is damaged"):
        run(load("mini", root), DAY)
    features.write_text("SELECT id, a, -7.0::DOUBLE AS b FROM rows\n")
    with pytest.raises(NotYet, match="/no/such/file"):
        run(load("mini", root), DAY)
    assert not (root / "data/tables/mini_scores").exists()


@pytest.mark.disk_only(reason="job.yaml is read before anything else")
def test_what_is_not_of_the_kind_is_refused(fresh: Build) -> None:
    """`python` and `allow_pickle` of another kind, a relative path, and a name of a registry."""
    root = fresh(rows=20)
    path = root / "jobs/mini/job.yaml"
    for key, value in (("python", "/usr/bin/python3"), ("allow_pickle", "true")):
        path.write_text(JOB.replace("outputs: {score", f"{key}: {value}\n  outputs: {{score"))
        with pytest.raises(Broken, match=rf"model.{key}: is of kind mlflow alone; the kind is auto"):
            load("mini", root)
    path.write_text(mlflow_job("{score: prediction}", "\n  python: env/bin/python"))
    with pytest.raises(Broken, match=r"model.python: 'env/bin/python' is not allowed: the absolute path"):
        load("mini", root)
    path.write_text(mlflow_job("{score: prediction}").replace(PATH, "models:/churn@champion"))
    with pytest.raises(
        Broken, match=r"takes a folder of the workspace; to have it there:  mlflow artifacts download"
    ):
        check_job(load("mini", root))
