"""A folder of MLflow whose model is in its library's own file: no MLflow, and the same as that file alone."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

pytest.importorskip("mlflow")
import mlflow.pyfunc

from nightscore.scorers import (
    ModelError,
    Options,
    check_scorer,
    open_scorer,
    read_model_folder,
    variants_of_kind,
)
from nightscore.scorers.files.model_file import read_model
from nightscore.scorers.mlflow.signature import input_columns
from tests.scorers.mlflow.folders import NUMBERS, chunk, copied, frame, read, rewrite, saved

FILES = {"lightgbm": "model.lgb", "xgboost": "model.ubj", "onnx": "model.onnx"}
OUTPUTS = {"lightgbm": "probabilities[1]", "xgboost": "probabilities[1]", "onnx": "probabilities[1]"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Any]]:
    """Each model in its folder, and the library's own object."""
    root = tmp_path_factory.mktemp("models")
    return {kind: (root / kind, saved(kind, root / kind)) for kind in FILES}


@pytest.mark.parametrize("kind", FILES)
def test_it_scores_as_the_file_alone(folders: Any, kind: str) -> None:
    """To the bit; it keeps to the contract, and so does our own kernel on the same folder."""
    folder, _ = folders[kind]
    rows, options = chunk(frame()[NUMBERS]), Options({"score": OUTPUTS[kind]}, columns=NUMBERS)
    scorer = open_scorer("mlflow", read(folder), options)
    check_scorer(scorer, rows, 1e-6 if kind == "onnx" else 0)
    alone = open_scorer(kind, read_model(folder / FILES[kind], FILES[kind]), options)
    assert scorer.score(rows).equals(alone.score(rows))
    if kind != "onnx":
        assert open_scorer("trees", read(folder), options).score(rows).equals(scorer.score(rows))


@pytest.mark.parametrize("kind", FILES)
def test_it_is_what_the_library_gives(folders: Any, kind: str) -> None:
    """The columns are those of the signature, where the job names none."""
    folder, model = folders[kind]
    columns = NUMBERS if kind == "onnx" else None  # its signature has a matrix, without names
    scorer = open_scorer("mlflow", read(folder), Options({"score": OUTPUTS[kind]}, columns=columns))
    found = scorer.score(chunk(frame()[[*reversed(NUMBERS)]])).column("score").to_numpy()
    x = frame()[NUMBERS]
    truth = model.predict(x) if kind == "lightgbm" else model.predict_proba(x.to_numpy())[:, 1]
    np.testing.assert_allclose(found, truth, rtol=0, atol=0 if kind != "onnx" else 1e-6)
    if kind == "lightgbm":
        np.testing.assert_array_equal(found, mlflow.pyfunc.load_model(str(folder)).predict(x))


def test_a_folder_of_catboost_is_what_catboost_gives(tmp_path: Path) -> None:
    """With a column of texts as a category, in the order of the signature; to the bit, and without MLflow."""
    pytest.importorskip("catboost", reason="catboost is not installed: pip install 'nightscore[catboost]'")
    model = saved("catboost", tmp_path / "model")
    options = Options({"chance": "probabilities[1]", "margin": "margin"})
    scorer = open_scorer("mlflow", read(tmp_path / "model"), options)
    given = frame()[["plan", "b", "a"]].assign(
        plan=lambda rows: rows["plan"].where(rows["a"] < 1, "never seen")
    )
    check_scorer(scorer, chunk(given), 0)
    found, asked = scorer.score(chunk(given)), given[[*NUMBERS, "plan"]].astype({"plan": object})
    np.testing.assert_array_equal(found.column("chance").to_numpy(), model.predict_proba(asked)[:, 1])
    margin = model.predict(asked, prediction_type="RawFormulaVal")
    np.testing.assert_array_equal(found.column("margin").to_numpy(), margin)
    alone = open_scorer("catboost", read_model(tmp_path / "model/model.cb", "model.cb"), options)
    assert found.equals(alone.score(chunk(given)))
    assert "catboost" in scorer.libraries


def test_mlflow_is_not_imported(folders: Any) -> None:
    """Neither here nor in another process."""
    folder, _ = folders["lightgbm"]
    code = (
        "import sys; from pathlib import Path; from nightscore.scorers import *\n"
        f"folder = Path({str(folder)!r}); files = [f for f in folder.rglob('*') if f.is_file()]\n"
        "open_scorer('mlflow', read_model_folder(folder, 'm', files), Options({'s': 'margin'}))\n"
        "assert not {name for name in sys.modules if name.split('.')[0] == 'mlflow'}\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_trees_stand_beside_it() -> None:
    """Among the variants that a night may choose from."""
    kinds = [variant.kind for variant in variants_of_kind("mlflow", "cpu")]
    assert kinds[0] == "mlflow"
    assert "trees" in kinds


def test_the_hash_is_of_all_files(folders: Any, tmp_path: Path) -> None:
    """As the shell says it; another byte, name or file is another model."""
    folder, _ = folders["xgboost"]
    line = "find . -type f -printf '%P\\0' | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum"
    said = subprocess.run(
        ["/bin/sh", "-c", line], cwd=folder, check=True, capture_output=True, text=True
    ).stdout
    first = read(folder).sha256
    assert said.split()[0] == first
    other = copied(folder, tmp_path / "other")
    assert read(other).sha256 == first
    (other / "note.txt").write_text("x")
    assert read(other).sha256 != first


MISTAKES = {
    "another name": ("lightgbm", '"name": "a"', '"name": "z"', r"MLmodel\) .*\[z, b\]|the model's own"),
    "a text": (
        "xgboost",
        '"double", "name": "a"',
        '"string", "name": "a"',
        "'a' is string by the signature in",
    ),
    "no JSON": ("lightgbm", '"type": "double"', '"type" "double"', "that are no JSON"),
    "an odd type": ("xgboost", '"double", "name": "a"', '"map", "name": "a"', "is map; allowed: boolean, "),
    "no columns": ("lightgbm", '"name": "a"', '"nome": "a"', "several columns, and one of no name"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_contradiction_is_refused(folders: Any, tmp_path: Path, case: str) -> None:
    """What MLmodel says and the model's file does not."""
    kind, was, now, message = MISTAKES[case]
    folder = copied(folders[kind][0], tmp_path / kind)
    rewrite(folder, was, now)
    with pytest.raises(ModelError, match=message):
        open_scorer("mlflow", read(folder), Options({"score": "probabilities[1]"}))


@pytest.mark.parametrize("kind", ["lightgbm", "xgboost"])
def test_a_signature_in_another_order_is_blamed_itself(folders: Any, tmp_path: Path, kind: str) -> None:
    """And not the job's model.columns, where the job has none; what mends it is said."""
    folder = copied(folders[kind][0], tmp_path / kind)
    for was, now in (
        ('"name": "a"', '"name": "c"'),
        ('"name": "b"', '"name": "a"'),
        ('"name": "c"', '"name": "b"'),
    ):
        rewrite(folder, was, now)
    with pytest.raises(ModelError) as told:
        open_scorer("mlflow", read(folder), Options({"score": "probabilities[1]"}))
    said = str(told.value)
    assert (
        "data/models/churn: the columns of the signature in its MLmodel are [b, a], and the model's own"
        in said
    )
    assert "are [a, b]; they differ first in number 1: b and a; save it again with the signature" in said
    assert "model.columns" not in said
    own = Options({"score": "probabilities[1]"}, columns=["b", "a"])
    with pytest.raises(ModelError, match=r"the job's model\.columns are \[b, a\], and the model's own"):
        open_scorer("mlflow", read(folder), own)


def test_a_folder_without_mlmodel_is_refused(tmp_path: Path) -> None:
    """And so are one that is not there, a link out of it, and a flavour that nobody can open."""
    with pytest.raises(ModelError, match="no folder with a file MLmodel"):
        read_model_folder(tmp_path / "none", "m", [])
    folder = tmp_path / "m"
    folder.mkdir()
    (tmp_path / "outside").write_text("x")
    (folder / "data").symlink_to(tmp_path / "outside")
    with pytest.raises(ModelError, match="data is a link that leaves the model's folder"):
        read(folder)
    (folder / "data").unlink()
    (folder / "MLmodel").write_text("flavours: {onnx: {data: x}}\n")
    with pytest.raises(ModelError, match="its MLmodel names no flavors"):
        read(folder)
    (folder / "MLmodel").write_text("flavors: {h2o: {data: x}}\n")
    with pytest.raises(ModelError, match=r"has the flavours h2o; allowed: one of onnx, lightgbm"):
        open_scorer("mlflow", read(folder), Options({"s": "y"}))


@pytest.mark.parametrize(
    "spec",
    [
        {"type": "tensor"},
        {"type": "tensor", "tensor-spec": {"dtype": "nope", "shape": [-1, 2]}},
        {"type": "array", "name": "a", "items": 3},
    ],
    ids=["no shape", "no dtype", "no items"],
)
def test_a_signature_that_mlflow_does_not_write_is_refused(spec: Any) -> None:
    """By what it says; never a KeyError of ours."""
    with pytest.raises(ModelError, match=r"of the signature in its MLmodel is (tensor|array); allowed: "):
        input_columns("m", {"inputs": json.dumps([spec])})


def test_a_python_function_of_another_file_is_another_model(folders: Any, tmp_path: Path) -> None:
    """MLflow would score that file, so the flavour's own is not taken for it."""
    folder = copied(folders["xgboost"][0], tmp_path / "m")
    about = yaml.safe_load((folder / "MLmodel").read_text())
    about["flavors"]["python_function"]["data"] = "other.ubj"
    (folder / "MLmodel").write_text(yaml.safe_dump(about))
    with pytest.raises(ModelError, match="allow_pickle"):
        open_scorer("mlflow", read(folder), Options({"p": "probabilities[1]"}))
