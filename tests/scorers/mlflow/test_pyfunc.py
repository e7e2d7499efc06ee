"""MLflow's python_function in processes of their own: what it gives, what it may not do, and how it ends."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

pytest.importorskip("mlflow")
from nightscore.scorers import (
    ChunkError,
    ContractError,
    MissingValueError,
    ModelError,
    ModelFile,
    Options,
    check_scorer,
    open_scorer,
)
from tests.scorers.mlflow.folders import NUMBERS, chunk, copied, frame, read, rewrite, saved

PYFUNCS = ("sklearn", "labels", "class", "code")
TWO = {"twice": "twice", "word": "word"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Any]]:
    """Each model in its folder, and the library's own object."""
    root = tmp_path_factory.mktemp("models")
    return {kind: (root / kind, saved(kind, root / kind)) for kind in PYFUNCS}


@pytest.fixture(scope="module")
def odd(folders: Any) -> Any:
    """A model whose rows say what it does."""
    return opened(read(folders["code"][0]), {"y": "prediction"})


def opened(model: ModelFile, outputs: dict[str, str], **options: Any) -> Any:
    """A scorer of a model that is trusted."""
    return open_scorer("mlflow", model, Options(outputs, **{"trusted": model.sha256, **options}))


def asks(what: int, rows: int = 3) -> pa.RecordBatch:
    """Rows that say what the odd model is to do."""
    return chunk(pd.DataFrame({"a": np.arange(rows, dtype=float), "b": [float(what)] * rows}))


def children(of: int) -> set[int]:
    """The processes that a process has started and that live."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(parent) == of and state != "Z":
            found.add(int(stat.parent.name))
    return found


def wait(until: Callable[[], bool]) -> bool:
    """Whether something is so in a minute."""
    end = time.monotonic() + 60
    while time.monotonic() < end and not until():
        time.sleep(0.1)
    return until()


def test_a_pipeline_gives_its_probabilities(folders: Any) -> None:
    """A text among its columns, a matrix as its output; each class is to be had, and all of them."""
    folder, model = folders["sklearn"]
    scorer = opened(read(folder), {"p": "prediction[1]", "all": "prediction[*]"})
    rows = chunk(frame())
    check_scorer(scorer, rows, 1e-12)
    found, truth = scorer.score(rows), model.predict_proba(frame())
    np.testing.assert_array_equal(found.column("p").to_numpy(), truth[:, 1])
    np.testing.assert_array_equal(np.stack(found.column("all").to_numpy(zero_copy_only=False)), truth)
    assert scorer.libraries["model: scikit-learn"] == __import__("sklearn").__version__


def test_labels_are_texts_of_a_matrix(folders: Any) -> None:
    """Of a model that was trained on a matrix the job names the columns."""
    folder, model = folders["labels"]
    found = opened(read(folder), {"plan": "prediction"}, columns=NUMBERS).score(chunk(frame()))
    assert found.column("plan").to_pylist() == model.predict(frame()[NUMBERS].to_numpy()).tolist()
    with pytest.raises(ModelError, match="nothing says which columns it is made of"):
        opened(read(folder), {"plan": "prediction"})
    with pytest.raises(ModelError, match="takes 2 columns; 1 are named"):
        opened(read(folder), {"plan": "prediction"}, columns=["a"])


def test_a_class_gives_columns_by_their_names(folders: Any) -> None:
    """A frame's columns are the outputs."""
    found = opened(read(folders["class"][0]), TWO).score(chunk(frame()))
    assert found.column("twice").to_pylist() == (frame()["a"] * 2).tolist()
    assert found.column("word").to_pylist() == (frame()["plan"] + "!").tolist()


def test_what_is_not_trusted_does_not_run(folders: Any, tmp_path: Path) -> None:
    """The message has the hash to write; that of other bytes does not do."""
    mark = tmp_path / "ran"
    folder = copied(folders["code"][0], tmp_path / "model")
    code = next(folder.glob("*.py"))
    code.write_text(f"open({str(mark)!r}, 'w').close()\n{code.read_text()}")
    model = read(folder)
    for trusted in ("", "0" * 64, read(folders["code"][0]).sha256):
        with pytest.raises(ModelError, match=rf"allow_pickle: true  and  sha256: {model.sha256}"):
            open_scorer("mlflow", model, Options({"y": "prediction"}, trusted=trusted))
    assert not mark.exists()


FAULTS = {
    -1: (ChunkError, r"data/models/churn: ValueError: a is 0\.0"),
    -2: (ContractError, r"ended with 7; it wrote last: .*the heap is damaged"),
    -3: (MemoryError, r"ended by signal SIGKILL"),
    -4: (ContractError, r"gives 2 rows for 3 rows"),
    -5: (ContractError, r"another index than they came with, 0 to 2: 2, 1, 0"),
    -6: (ContractError, r"'prediction' is string; declared is double"),
    -7: (FileNotFoundError, r"/no/such/file"),
    -8: (ContractError, r"gives the columns other, prediction; its declared outputs are prediction"),
    -9: (ContractError, r"gives float"),
    -10: (ContractError, r"gives the columns other; its declared outputs are prediction"),
    -11: (ChunkError, r"Wordless: it has no text"),
}


@pytest.mark.parametrize("what", FAULTS)
def test_what_goes_wrong_is_told_and_passes(odd: Any, what: int) -> None:
    """By its kind; what comes after it is scored, by another process if need be."""
    error, message = FAULTS[what]
    with pytest.raises(error, match=message):
        odd.score(asks(what))
    assert odd.score(asks(1)).column("y").to_pylist() == [2.0, 3.0, 4.0]


@pytest.mark.parametrize("what", [-20, -21])
def test_the_pipes_are_out_of_its_reach(odd: Any, what: int) -> None:
    """A forked process that forgets to end answers nothing; what the model reads is nothing."""
    for seen in (what, 1, 2, what, 3):
        wanted = [2.0 * seen + i for i in range(3)]
        assert odd.score(asks(seen)).column("y").to_pylist() == wanted


def test_what_a_killed_process_leaves_is_taken_away(
    folders: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it has forked, which holds its pipes, and its copy of the model."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    model = opened(read(folders["code"][0]), {"y": "prediction"})
    assert list(tmp_path.glob("nightscore-mlflow-*"))
    failed: list[BaseException] = []

    def ask() -> None:
        with pytest.raises(MemoryError, match="ended by signal SIGKILL") as raised:
            model.score(asks(-22))
        failed.append(raised.value)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(30)
    assert failed
    assert wait(lambda: not list(tmp_path.glob("nightscore-mlflow-*")))


HANGS = """\
import os
import time

import mlflow

if os.path.exists({mark!r}):
    time.sleep(600)
open({mark!r}, "w").close()


class Slow(mlflow.pyfunc.PythonModel):
    def predict(self, context, frame, params=None):
        time.sleep(2)
        return frame["a"].to_numpy()


mlflow.models.set_model(Slow())
"""


def hanging(folders: Any, tmp_path: Path) -> ModelFile:
    """A model of which a second process never ends loading, as one that waits for what the first has."""
    folder = copied(folders["code"][0], tmp_path / "hangs")
    [code] = [file for file in folder.rglob("*.py") if "set_model" in file.read_text()]
    code.write_text(HANGS.format(mark=str(tmp_path / "mark")))
    return read(folder)


def test_a_model_that_never_loads_is_ended(
    folders: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the folder and the setting; neither its process nor its copy is left."""
    (tmp_path / "mark").touch()
    model, before = hanging(folders, tmp_path), children(os.getpid())
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    late = r"data/models/churn: was not loaded within 3 s \(limits\.load of the job\)"
    with pytest.raises(ModelError, match=late):
        opened(model, {"y": "prediction"}, load_seconds=3)
    assert children(os.getpid()) <= before
    assert not list(tmp_path.glob("nightscore-mlflow-*"))


@pytest.mark.slow
def test_one_more_process_that_never_loads_is_ended(folders: Any, tmp_path: Path) -> None:
    """Of two threads that score at once, one has the process that is there; the other waits no longer."""
    scorer = opened(hanging(folders, tmp_path), {"y": "prediction"}, load_seconds=45)
    with ThreadPoolExecutor(2) as threads:
        errors = [one.exception() for one in [threads.submit(scorer.score, asks(1)) for _ in range(2)]]
    [error] = [error for error in errors if error]
    assert isinstance(error, ContractError)
    assert "was not loaded within 45 s (limits.load of the job)" in str(error)
    assert scorer.score(asks(1)).column("y").to_pylist() == [0.0, 1.0, 2.0]


def test_a_null_where_pandas_has_none_is_refused(folders: Any, tmp_path: Path) -> None:
    """In a column of integers; in one of floats it is NaN."""
    folder = copied(folders["code"][0], tmp_path / "model")
    rewrite(folder, '"double", "name": "a"', '"long", "name": "a"')
    rows = pa.RecordBatch.from_pydict({"a": pa.array([1, None], pa.int64()), "b": [1.0, 2.0]})
    scorer = opened(read(folder), {"y": "prediction"})
    with pytest.raises(
        MissingValueError, match=r"'a' \(int64 by the signature in MLmodel\) has a null in row 1"
    ):
        scorer.score(rows)
    rows = rows.set_column(0, "a", pa.array([1, 2])).set_column(1, "b", pa.array([1.0, None]))
    np.testing.assert_array_equal(scorer.score(rows).column("y").to_numpy(), [3.0, np.nan])


def test_features_are_held_to_the_signature(odd: Any) -> None:
    """A column that is not there, and one of another type."""
    assert odd.signature.misfits(pa.schema([("b", pa.float64())])) == [
        "the model needs column 'a'; the features have no column 'a'"
    ]
    assert "'a' is string" in odd.signature.misfits(pa.schema([("a", pa.string()), ("b", pa.float64())]))[0]


def test_a_mistake_in_the_job_starts_no_process(folders: Any) -> None:
    """Nor does a model without a signature."""
    model, before = read(folders["code"][0]), children(os.getpid())
    with pytest.raises(ModelError, match="gives no 'score'; its outputs: prediction"):
        opened(model, {"y": "score"})
    with pytest.raises(ModelError, match="takes no index"):
        opened(model, {"y": "prediction[1]"})
    with pytest.raises(ModelError, match="runs on the CPU, not on 'cuda'"):
        opened(model, {"y": "prediction"}, device="cuda")
    with pytest.raises(ModelError, match=r"/no/python: can't be run: No such file"):
        opened(model, {"y": "prediction"}, python="/no/python")
    assert children(os.getpid()) == before


def test_an_environment_without_mlflow_is_named(folders: Any, tmp_path: Path) -> None:
    """By what the interpreter says."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "env"], check=True)
    with pytest.raises(
        ModelError, match=r"env/bin/python can't load it: ModuleNotFoundError: No module named 'mlflow'"
    ):
        opened(read(folders["code"][0]), {"y": "prediction"}, python=str(tmp_path / "env/bin/python"))


def test_versions_that_differ_are_told(folders: Any, tmp_path: Path) -> None:
    """What requirements.txt pins, beside what is installed."""
    folder = copied(folders["code"][0], tmp_path / "model")
    (folder / "requirements.txt").write_text("pandas==1.0.1\nno-such-package==2\n# a word\n")
    libraries = opened(read(folder), {"y": "prediction"}).libraries
    assert libraries["model: pandas"] == f"{pd.__version__} (logged with 1.0.1)"
    assert libraries["model: no-such-package"] == "not installed (logged with 2)"
    assert "model: mlflow-skinny" in libraries


@pytest.fixture
def other(folders: Any, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process with a scorer of its own, which sleeps, with its copy of the model in `tmp_path`."""
    code = (
        "import time; from pathlib import Path; from nightscore.scorers import *\n"
        f"folder = Path({str(folders['code'][0])!r}); files = [f for f in folder.rglob('*') if f.is_file()]\n"
        "model = read_model_folder(folder, 'm', files)\n"
        "scorer = open_scorer('mlflow', model, Options({'y': 'prediction'}, trusted=model.sha256))\n"
        "print('open', flush=True); time.sleep(600)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    yield process
    process.kill()
    process.wait()


def test_a_killed_night_leaves_no_process_and_no_copy(other: subprocess.Popen[str], tmp_path: Path) -> None:
    """Its worker ends by itself and takes the copy of the model away."""
    assert other.stdout is not None
    assert other.stdout.readline() == "open\n"
    (worker,) = children(other.pid)
    assert list(tmp_path.glob("nightscore-mlflow-*"))
    other.kill()
    other.wait()
    assert wait(lambda: not Path(f"/proc/{worker}").exists())
    assert not list(tmp_path.glob("nightscore-mlflow-*"))
