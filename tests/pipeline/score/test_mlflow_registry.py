"""Models by their names in a registry: a real MLflow store on disk, resolved when a day is planned."""

import logging
import pickle
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

pytest.importorskip("mlflow")
from mlflow import MlflowClient

from nightscore.common.errors import Broken, NotYet
from nightscore.common.files import file_sha256
from nightscore.common.workspace import open_workspace
from nightscore.job.loader import load
from nightscore.pipeline import executors
from nightscore.pipeline.score.mlflow_registry import fetch_model
from nightscore.pipeline.steps import check_job
from nightscore.store.published.catalog import query
from tests.support.workspace import DAYS, JOB, linear_model, make_workspace

URI = "models:/ranker@champion"
PATH = "path: data/models/linear.onnx"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A store with `ranker`: version 1 (y = a + 2b) and 2 (y = 3a - b); champion is 1, next is 2."""
    folder = tmp_path_factory.mktemp("mlflow")
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    store = f"sqlite:///{folder}/registry.sqlite"
    client = MlflowClient(tracking_uri=store, registry_uri=store)
    client.create_registered_model("ranker")
    for number, weights in (("1", (1.0, 2.0)), ("2", (3.0, -1.0))):
        linear_model(folder / number / "model.onnx", weights)
        (folder / number / "MLmodel").write_text("flavors: {onnx: {data: model.onnx}}\n")
        client.create_model_version("ranker", (folder / number).as_uri())
    client.set_registered_model_alias("ranker", "champion", "1")
    client.set_registered_model_alias("ranker", "next", "2")
    return client, store, folder


@pytest.fixture
def registry(made, monkeypatch):
    client, store, _ = made
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", store)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    yield client
    client.set_registered_model_alias("ranker", "champion", "1")


def workspace(root: Path, uri: str = URI) -> Path:
    return make_workspace(root, rows=50, job=JOB.replace(PATH, f'path: "{uri}"'))


@pytest.mark.slow
def test_a_plan_names_a_file_and_a_hash_and_the_receipt_the_uri_and_the_version(tmp_path, registry):
    """An alias that moves is another cause: the day is scored again, by the other version."""
    root = workspace(tmp_path)
    receipt = executors.run(load("mini", root), DAYS[0])
    model = receipt.model
    assert model is not None
    assert (model.path, model.uri, model.version) == ("data/models/.registry/ranker/1/model.onnx", URI, "1")
    assert model.sha256 == file_sha256(root / model.path) == file_sha256(root / "data/models/linear.onnx")
    assert executors.run(load("mini", root), DAYS[0]).status == "unchanged"
    registry.set_registered_model_alias("ranker", "champion", "2")
    again = executors.run(load("mini", root), DAYS[0])
    assert again.model is not None
    assert (again.status, again.model.version) == ("published", "2")


@pytest.mark.slow
def test_champion_and_challengers_may_both_be_of_a_registry(tmp_path, registry):
    """Their columns are called by name and alias; one that the registry has not costs its columns alone."""
    text = JOB.replace(PATH, f'champion: "{URI}"\n  challengers: ["models:/ranker@next", "models:/gone/7"]')
    root = make_workspace(tmp_path, rows=50, job=text)
    there, gone = executors.run(load("mini", root), DAYS[0]).challengers
    assert (there.name, there.uri, there.rows) == ("ranker_next", "models:/ranker@next", 50)
    assert (gone.name, gone.rows) == ("gone_7", 0)
    assert "the registry has no such model" in gone.reason


def test_a_version_that_is_here_needs_no_registry(tmp_path, registry, monkeypatch):
    """An alias does: where it points is known to the registry alone."""
    root = workspace(tmp_path, "models:/ranker/2")
    executors.run(load("mini", root), DAYS[0])
    unreachable(monkeypatch)
    assert executors.run(load("mini", root), DAYS[1]).status == "published"
    (root / "jobs/mini/job.yaml").write_text(JOB.replace(PATH, f'path: "{URI}"'))
    with pytest.raises(NotYet, match="models:/ranker@champion: the registry does not answer"):
        executors.run(load("mini", root), DAYS[1])


def test_weights_beside_a_model_come_with_it(tmp_path, registry, made):
    """Both files are copied, and the copies are held to what was copied."""
    folder = made[2] / "3"
    linear_model(folder / "model.onnx", (5.0, 6.0))
    whole = onnx.load(folder / "model.onnx")
    options = {"save_as_external_data": True, "location": "model.onnx.data", "size_threshold": 0}
    onnx.save(whole, folder / "model.onnx", **options)
    (folder / "MLmodel").write_text("flavors: {onnx: {data: model.onnx}}\n")
    version = registry.create_model_version("ranker", folder.as_uri()).version
    root = workspace(tmp_path, f"models:/ranker/{version}")
    executors.run(load("mini", root), DAYS[0])
    data = root / f"data/models/.registry/ranker/{version}/model.onnx.data"
    assert data.read_bytes() == (folder / "model.onnx.data").read_bytes()
    data.chmod(0o644)
    data.write_bytes(bytes(8))
    with pytest.raises(Broken, match="not the file that was copied from the registry"):
        executors.run(load("mini", root), DAYS[1])


FUNCTION = """\
import pickle
from nightscore.scorers import scorer

@scorer(inputs={"a": "float64"}, outputs={"y": "float64"}, frame="numpy", load=pickle.load)
def times(rows, factor):
    return rows[:, 0] * factor
"""


def test_a_function_opens_the_file_that_is_not_mlflows_own(tmp_path, registry, made):
    """As MLflow's flavour of scikit-learn lays it out; two such files are refused, and this one as ONNX."""
    folder = made[2] / "pickled"
    folder.mkdir()
    for name in ("MLmodel", "conda.yaml", "python_env.yaml", "requirements.txt", "input_example.json"):
        (folder / name).write_text("x: 1")
    (folder / "model.pkl").write_bytes(pickle.dumps(2.5))
    version = registry.create_model_version("ranker", folder.as_uri()).version
    function = f'kind: scorers/times.py\n  path: "models:/ranker/{version}"'
    root = make_workspace(tmp_path / "w", rows=50, job=JOB.replace(PATH, function))
    (root / "scorers").mkdir()
    (root / "scorers/times.py").write_text(FUNCTION)
    model = executors.run(load("mini", root), DAYS[0]).model
    assert (model.path, model.version) == (f"data/models/.registry/ranker/{version}/model.pkl", str(version))
    assert model.sha256 == file_sha256(folder / "model.pkl")
    scores = query("SELECT a, score FROM mini_scores", root)
    assert scores["score"].to_pylist() == [2.5 * a for a in scores["a"].to_pylist()]
    with pytest.raises(Broken, match=r"has to have one .onnx file among its artifacts; it has none"):
        fetch_model(open_workspace(workspace(tmp_path / "other")), f"models:/ranker/{version}", "auto")
    (folder / "scaler.pkl").write_bytes(b"x")
    again = registry.create_model_version("ranker", folder.as_uri()).version
    with pytest.raises(Broken, match=r"has to have one model file .* it has model.pkl, scaler.pkl"):
        fetch_model(open_workspace(root), f"models:/ranker/{again}", "scorers/times.py")


def unreachable(monkeypatch):
    for name in ("MLFLOW_REGISTRY_URI", "MLFLOW_TRACKING_URI"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # the port of discard, where nobody listens


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("models:/nobody/1", "models:/nobody/1: the registry has no such model"),
        ("models:/ranker/9", "models:/ranker/9: the registry has no such model"),
        ("models:/ranker@nobody", "models:/ranker@nobody: the registry has no such model"),
    ],
)
def test_what_is_not_there_is_broken_and_names_the_line(tmp_path, registry, uri, message):
    root = workspace(tmp_path, uri)
    with pytest.raises(Broken) as error:
        check_job(load("mini", root))
    assert message in str(error.value)
    assert "jobs/mini/job.yaml:10: model.path: " in str(error.value)


@pytest.mark.parametrize("names", [(), ("a.onnx", "b.onnx")])
def test_a_version_has_one_onnx_file(tmp_path, registry, names):
    folder = tmp_path / "artifacts"
    folder.mkdir()
    (folder / "readme.txt").write_text("a model")
    for name in names:
        linear_model(folder / name)
    version = registry.create_model_version("ranker", folder.as_uri()).version
    root = workspace(tmp_path / "workspace", f"models:/ranker/{version}")
    with pytest.raises(
        Broken, match=f"has to have one .onnx file among its artifacts; it has {', '.join(names) or 'none'}"
    ):
        check_job(load("mini", root))


def test_the_copy_is_written_once_and_a_changed_one_is_refused(tmp_path, registry):
    space = open_workspace(workspace(tmp_path))
    found = fetch_model(space, "models:/ranker/1", "auto")
    copy = tmp_path / found.path
    before = copy.stat().st_mtime_ns
    assert fetch_model(space, "models:/ranker/1", "auto") == found
    assert copy.stat().st_mtime_ns == before
    linear_model(copy, (9.0, 9.0))
    with pytest.raises(Broken, match="not the file that was copied from the registry"):
        fetch_model(space, "models:/ranker/1", "auto")


@pytest.mark.parametrize(
    "uri", ["models:/../1", "models:/r", "models:/r@", "models:/r/0", "models:/a/b/1", "models:r/1"]
)
def test_what_is_no_uri_is_refused_before_any_registry(tmp_path, uri):
    with pytest.raises(Broken, match="names no model of a registry; allowed: models:/NAME/VERSION or"):
        load("mini", workspace(tmp_path, uri))
    with pytest.raises(Broken, match="names no model of a registry"):
        fetch_model(open_workspace(tmp_path), uri, "auto")


def test_without_mlflow_the_message_names_the_extra_and_reading_a_job_needs_none(tmp_path, registry):
    """In a process in which MLflow can't be imported: what a scheduler reads is the spec alone."""
    root = workspace(tmp_path)
    code = (
        "import sys; sys.modules['mlflow'] = None\n"
        "from nightscore.job.loader import load\n"
        f"job = load('mini', {str(root)!r})\n"
        "assert not {'duckdb', 'pyarrow', 'onnxruntime'} & set(sys.modules)\n"
        "from nightscore.pipeline.steps import check_job\n"
        "check_job(job)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (
        "models:/ranker@champion: models of a registry need MLflow: pip install 'nightscore[registry]'"
        in ended.stderr
    )


@pytest.mark.slow
def test_a_job_of_files_imports_no_mlflow(tmp_path):
    root = make_workspace(tmp_path, rows=20)
    code = (
        "import sys\nfrom nightscore.pipeline import executors\nfrom nightscore.job.loader import load\n"
        f"executors.run(load('mini', {str(root)!r}), {DAYS[0]!r})\nassert 'mlflow' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
