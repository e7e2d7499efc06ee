"""`nightscore init`: a workspace that runs at once, whose days are what the model gives by hand."""

# ruff: noqa: E501 - a case is one line

import io
import itertools
import json
import math
import os
import re
import shlex
import subprocess
import sys
from importlib.metadata import distribution, version
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from onnx import numpy_helper
from PIL import Image
from tokenizers import Tokenizer

from nightscore.cli.main import call
from nightscore.start.messages import MESSAGES
from nightscore.store.published.catalog import query

ROOT = Path(__file__).parents[2]
DAY = "2026-01-07"
TEMPLATES = ("trees", "onnx", "image", "text", "topk", "python")


def init(folder: Path, template: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Make a workspace by the command; gives the commands of ours that it says to go on with."""
    assert call(["init", str(folder), "--template", template]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert f"cd {shlex.quote(str(folder))}" in lines
    return [line for line in lines if line.startswith("nightscore ")]


def customers(root: Path) -> pd.DataFrame:
    """The sample rows of the day, as pandas reads them, with the days since the last order."""
    rows = pq.read_table(
        root / f"data/lake/customers/day={DAY}/customers.parquet", partitioning=None
    ).to_pandas()
    since = pd.Timestamp(DAY) - pd.to_datetime(rows["last_order"])
    return rows.assign(days_since_order=since.dt.days)


def chances_of_trees(root: Path) -> dict[int, float]:
    rows = customers(root)
    names = ["tenure_months", "visits_90d", "spend_90d", "complaints_90d", "days_since_order"]
    session = onnxruntime.InferenceSession((root / "data/models/churn.onnx").read_bytes())
    given = session.run(["probabilities"], {"features": rows[names].to_numpy("float64")})[0][:, 1]
    return dict(zip(rows["customer_id"], given, strict=True))


def chances_of_onnx(root: Path) -> dict[int, float]:
    rows = customers(root).fillna({"complaints_90d": 0})
    texts, numbers = ["region", "plan"], ["tenure_months", "visits_90d", "spend_90d", "complaints_90d"]
    feeds = {name: rows[[name]].to_numpy(object) for name in texts}
    feeds |= {name: rows[[name]].to_numpy("float32") for name in numbers}
    session = onnxruntime.InferenceSession((root / "data/models/churn.onnx").read_bytes())
    return dict(zip(rows["customer_id"], session.run(["probabilities"], feeds)[0][:, 1], strict=True))


def scans(root: Path) -> dict[int, bytes]:
    """The files of the day by their scan_id."""
    rows = pq.read_table(root / f"data/lake/scans/day={DAY}/scans.parquet", partitioning=None)
    return dict(zip(*(column.to_pylist() for column in rows.columns), strict=True))


def confidences_of_image(root: Path) -> dict[int, float]:
    """By Pillow, and by NumPy with the weights of the network; without the damaged scan."""
    files = scans(root)
    files.pop(max(files))
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(file))) for file in files.values()])
    weights = {
        one.name: numpy_helper.to_array(one)
        for one in onnx.load(root / "data/models/digits.onnx").graph.initializer
    }
    hidden = np.maximum(pixels.reshape(-1, 64) / 255 @ weights["first"] + weights["bias"], 0)
    chances = np.exp(hidden @ weights["second"] + weights["last_bias"])
    return dict(zip(files, chances.max(axis=1) / chances.sum(axis=1), strict=True))


def messages(root: Path) -> dict[int, str | None]:
    """The texts of the day by their message_id."""
    rows = pq.read_table(root / f"data/lake/messages/day={DAY}/messages.parquet", partitioning=None)
    return dict(zip(*(column.to_pylist() for column in rows.columns), strict=True))


def chances_of_languages(root: Path) -> dict[int, npt.NDArray[np.float64]]:
    """By tokenizers, and by NumPy with the table of the model; without the message that has no text."""
    tokenizer = Tokenizer.from_file(str(root / "data/models/languages/tokenizer.json"))
    graph = onnx.load(root / "data/models/languages/model.onnx").graph
    weights = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    given = {}
    for message, text in messages(root).items():
        if text is not None:
            logits = weights["table"][tokenizer.encode(text).ids].mean(axis=0) + weights["bias"]
            given[message] = np.exp(logits) / np.exp(logits).sum()
    return given


def confidences_of_text(root: Path) -> dict[int, float]:
    return {message: chances.max() for message, chances in chances_of_languages(root).items()}


def values_of_python(root: Path) -> dict[int, float]:
    rows = customers(root)
    expected = {}
    for who, spend, days in zip(
        rows["customer_id"], rows["spend_90d"], rows["days_since_order"], strict=True
    ):
        stays = math.exp(-(20 + days) / 400)
        expected[who] = 0.3 * spend / 3 * stays * (1 - stays**12) / (1 - stays)  # the sum in closed form
    return expected


BY_HAND = {
    "trees": (chances_of_trees, "SELECT customer_id, score FROM churn_scores"),
    "onnx": (chances_of_onnx, "SELECT customer_id, score FROM churn_scores"),
    "image": (confidences_of_image, "SELECT scan_id, confidence FROM readings"),
    "text": (confidences_of_text, "SELECT message_id, confidence FROM desks"),
    "python": (values_of_python, "SELECT customer_id, value FROM customer_value_scores"),
}


ROWS = {"image": 298, "text": 349}  # of 299 and 350, one of them damaged, or without a text


@pytest.mark.runs
@pytest.mark.parametrize("template", BY_HAND)
def test_what_is_published_is_what_the_model_gives_by_hand(
    template: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All that init says to go on with works; the scores are those of ONNX Runtime, or of the formula."""
    monkeypatch.delenv("NIGHTSCORE_WORKSPACE", raising=False)
    commands = init(tmp_path / "a space", template, capsys)
    monkeypatch.chdir(tmp_path / "a space")
    assert [shlex.split(command)[1] for command in commands] == ["check", "run", "query"]
    assert [call(shlex.split(command)[1:]) for command in commands] == [0, 0, 0]
    expect, sql = BY_HAND[template]
    expected = expect(tmp_path / "a space")
    published = dict(zip(*query(sql, tmp_path / "a space").to_pydict().values(), strict=True))
    assert published.keys() == expected.keys() and len(published) == ROWS.get(template, 1_000)
    assert np.allclose([published[who] for who in expected], list(expected.values()), rtol=1e-5, atol=1e-6)
    assert len({round(value, 6) for value in published.values()}) > 10  # no constant


@pytest.mark.runs
@pytest.mark.slow  # a fresh process, and pytest in it, for each template
@pytest.mark.parametrize("template", TEMPLATES)
def test_the_tests_of_a_new_workspace_pass_and_can_fail(
    template: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`pytest` in it passes; with another chance, formula or threshold it fails."""
    space = tmp_path / "space"
    init(space, template, capsys)
    assert pytest_in(space) == 0
    file = (
        space / "scorers/customer_value.py" if template == "python" else next(space.glob("jobs/*/job.yaml"))
    )
    text = file.read_text()
    file.write_text(
        text.replace("MARGIN = 0.3", "MARGIN = 0.4")
        .replace("probabilities[1]", "probabilities[0]")
        .replace("default: 0.9", "default: 0.7")
        .replace("default: 0.8", "default: 0.7")
    )
    assert file.read_text() != text and pytest_in(space) == 1


def pytest_in(space: Path) -> int:
    """The exit code of pytest in a workspace, in a process of its own: 1 where a test fails."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "0", str(space)]
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "NIGHTSCORE"))}
    return subprocess.run(command, cwd=space, env=env, capture_output=True, check=False).returncode


def test_the_scans_are_real_and_one_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pillow sees the ink of scikit-learn's digits, all 1,797; the damaged one is set aside with its reason."""
    from sklearn.datasets import load_digits

    init(tmp_path, "image", capsys)
    days = [pq.read_table(file, partitioning=None) for file in sorted(tmp_path.glob("data/lake/scans/*/*"))]
    files = pa.concat_tables(days).sort_by("scan_id")["scan"].to_pylist()
    truth = load_digits()
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(file))) for file in files[:-1]])
    np.testing.assert_array_equal(255 - 15 * truth.images[:-1], pixels)
    known = pq.read_table(tmp_path / "data/lake/digits.parquet")["digit"].to_numpy()
    np.testing.assert_array_equal(known, truth.target[: len(known)])
    monkeypatch.setenv("NIGHTSCORE_WORKSPACE", str(tmp_path))
    assert call(["run", "digits", "--day", DAY]) == 0
    rejected = query("SELECT scan_id, message FROM digits_rejects", tmp_path).to_pylist()
    assert [row["scan_id"] for row in rejected] == [1_797] == [len(files)]
    assert "column 'scan': the image is damaged" in rejected[0]["message"]
    read = query("SELECT scan_id, digit FROM readings ORDER BY 1", tmp_path)
    right = read["digit"].to_numpy() == truth.target[read["scan_id"].to_numpy() - 1]
    assert right.mean() > 0.85  # of writers that training did not see


def test_the_messages_are_real_and_one_has_no_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each is a sentence of Airflow's pages under its language; most of days that training did not see are found."""
    truth = {
        (" ".join(text.split()), language)
        for language in ("de", "en", "es", "fr", "nl", "pl")
        for text in pages_of_airflow(language)
    }
    found = pq.read_table(MESSAGES)
    rows = list(zip(found["text"].to_pylist(), found["language"].to_pylist(), strict=True))
    source = json.loads(found.schema.metadata[b"source"])
    there = sum(row in truth for row in rows)
    assert there == len(rows) == 2_052 or (
        source["version"] != version("apache-airflow-core") and there > 1_800
    )

    init(tmp_path, "text", capsys)
    days = [
        pq.read_table(file, partitioning=None) for file in sorted(tmp_path.glob("data/lake/messages/*/*"))
    ]
    lake = pa.concat_tables(days).sort_by("message_id")["text"].to_pylist()
    assert lake == [*(text for text, _ in rows[:-1]), None]
    known = pq.read_table(tmp_path / "data/lake/languages.parquet")["language"].to_pylist()
    assert known == [language for _, language in rows[: len(known)]]
    monkeypatch.setenv("NIGHTSCORE_WORKSPACE", str(tmp_path))
    assert call(["run", "languages", "--day", DAY]) == 0
    rejected = query("SELECT message_id, message FROM languages_rejects", tmp_path).to_pylist()
    assert [row["message_id"] for row in rejected] == [len(rows)]
    assert "column 'text' (string) has 1 null value" in rejected[0]["message"]
    desks = query("SELECT message_id, language, desk FROM desks", tmp_path).to_pylist()
    names = sorted({language for _, language in rows})
    by_hand = {who: names[chances.argmax()] for who, chances in chances_of_languages(tmp_path).items()}
    assert {row["message_id"]: row["language"] for row in desks} == by_hand
    right = [row["language"] == rows[row["message_id"] - 1][1] for row in desks]
    sure = [is_right for is_right, row in zip(right, desks, strict=True) if row["desk"] != "person"]
    assert np.mean(right) > 0.85 and np.mean(sure) > 0.95 and len(sure) > 200


def pages_of_airflow(language: str) -> list[str]:
    """The texts in Airflow's own files of a language."""
    folder = Path(str(distribution("apache-airflow-core").locate_file("airflow/ui/dist/i18n/locales")))
    texts: list[str] = []
    for file in (folder / language).glob("*.json"):
        json.loads(file.read_text(), object_hook=lambda one: texts.extend(one.values()))  # type: ignore[func-returns-value]
    return [text for text in texts if isinstance(text, str)]


def test_init_says_which_extra_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the commands that need it; with the package there, and for models without one, it says nothing."""
    for template, is_there in itertools.product(("image", "text", "trees"), (True, False)):
        with monkeypatch.context() as changed:
            for package in () if is_there else ("PIL", "tokenizers"):
                changed.setitem(sys.modules, package, None)  # as Python knows a package that is not there
            assert call(["init", str(tmp_path / f"{template}{is_there}"), "--template", template]) == 0
        says = not is_there and template != "trees"
        line = f"  pip install 'nightscore[{template}]'\n  nightscore check"
        assert capsys.readouterr().out.count(line) == says


def test_nothing_is_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is there is named, and then nothing is written at all; a call that was cut short is ended."""
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags/nightly.py").write_text("mine\n")
    assert call(["init", str(tmp_path)]) == 1
    assert f"{tmp_path / 'dags/nightly.py'} is there already" in capsys.readouterr().err
    assert [path.name for path in tmp_path.rglob("*")] == ["dags", "nightly.py"]
    assert (tmp_path / "dags/nightly.py").read_text() == "mine\n"
    (tmp_path / "dags/nightly.py").unlink()
    init(tmp_path, "trees", capsys)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for lost in ("jobs/churn/job.yaml", "data/models/churn.onnx", "data/lake/left.parquet"):
        (tmp_path / lost).unlink()
    init(tmp_path, "trees", capsys)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("folder", "says"), [("a=b", "must not contain any of"), ("file/space", "is no folder")]
)
def test_a_folder_that_can_be_none_is_refused(
    folder: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert call(["init", str(tmp_path / folder)]) == 1
    assert says in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_package_brings_the_schema_and_the_dags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same as the repository's; a DAG file that is another's stays."""
    for of in ("job", "case", "workspace"):
        assert call(["schema", of]) == 0
        assert capsys.readouterr().out == (ROOT / f"docs/{of}.schema.json").read_text()
    assert call(["dags", str(tmp_path / "dags")]) == 0
    assert {p.name: p.read_text() for p in (tmp_path / "dags").iterdir()} == {
        p.name: p.read_text() for p in (ROOT / "dags").glob("*.py")
    }
    assert call(["dags", str(tmp_path / "dags")]) == 0
    assert "has them already" in capsys.readouterr().out
    (tmp_path / "dags/nightly.py").write_text("mine\n")
    assert call(["dags", str(tmp_path / "dags")]) == 1
    assert (tmp_path / "dags/nightly.py").read_text() == "mine\n"


def test_an_editor_finds_the_schema(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By the first line of job.yaml and of a case, and by the settings of VS Code; both keep to it."""
    import jsonschema
    import yaml

    for template in TEMPLATES:
        init(tmp_path / template, template, capsys)
        for file in [next((tmp_path / template / "jobs").glob(one)) for one in ("*/job.yaml", "*/tests/*")]:
            first = file.read_text().splitlines()[0]
            assert first.startswith("# yaml-language-server: $schema=")
            schema = json.loads((file.parent / first.partition("$schema=")[2]).read_text())
            document = json.loads(json.dumps(yaml.safe_load(file.read_text()), default=str))
            jsonschema.Draft202012Validator(schema).validate(document)
        settings = json.loads((tmp_path / template / ".vscode/settings.json").read_text())
        assert [(tmp_path / template / name).is_file() for name in settings["yaml.schemas"]] == [True] * 2


def test_every_command_has_a_place_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    """Each is under a heading that says what one wants to do; none is left under Commands but the two flags."""
    assert call(["--help"]) == 0
    text = capsys.readouterr().out
    loose = text[text.index("Commands ─") : text.index("Begin ─")]
    assert re.findall(r"^│ (\S+)", loose, re.MULTILINE) == ["--help", "--version"]
    assert text.index("Begin ─") < text.index("Run days ─") < text.index("Read what is published ─")


def test_the_shell_completes_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What --install-completion writes is a script by which bash gives the commands that begin so."""
    script = tmp_path / "nightscore.bash"
    code = "from nightscore.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "--install-completion", "--shell", "bash", "-o", str(script)],
        env={**os.environ, "HOME": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    bash = f"source {script}; COMP_WORDS=(nightscore rec); COMP_CWORD=1; COMP_LINE='nightscore rec'; COMP_POINT=14; "
    bash += "eval $(complete -p nightscore | sed 's/.*-F \\([^ ]*\\).*/\\1/'); echo ${COMPREPLY[@]}"
    found = subprocess.run(["/bin/bash", "-c", bash], capture_output=True, text=True, check=False)
    assert set(found.stdout.split()) == {"receipts", "recheck"}, found.stderr
