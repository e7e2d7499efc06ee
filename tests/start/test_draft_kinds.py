"""`nightscore new` for models of texts and of images, and for folders of MLflow's: what it writes runs."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import yaml
from onnx import TensorProto
from PIL import Image
from tokenizers import Tokenizer

from nightscore.cli.main import call
from nightscore.store.published.catalog import query
from tests.scorers.mlflow.folders import frame, saved
from tests.scorers.test_images import encoded, network, photo
from tests.scorers.texts import MAX_LENGTH, descriptions, file, tiny, tokenizer_json

DAY = "2026-01-07"
LAKE = "data/lake/c"
TEXTS = ["", *descriptions()[:20]]
Said = Callable[..., str]


@pytest.fixture
def space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace without a job."""
    for folder in ("jobs", "data/models", f"{LAKE}/day={DAY}"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.setenv("NIGHTSCORE_WORKSPACE", str(tmp_path))
    return tmp_path


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Said:
    """What a command says, and that it ends with the code."""

    def of(*command: str, code: int = 0) -> str:
        assert call(list(command)) == code
        done = capsys.readouterr()
        return done.out + done.err

    return of


def lake(space: Path, **columns: Any) -> None:
    """The rows of the day, numbered, with some columns."""
    [first, *_] = columns.values()
    table = pa.table({"row_id": pa.array(range(len(first))), **columns})
    pq.write_table(table, space / LAKE / f"day={DAY}/a.parquet")


def new(said: Said, model: str) -> str:
    return said("new", "first", "--model", model, "--input", LAKE)


def job(space: Path) -> dict[str, Any]:
    """The job.yaml that was written."""
    read: dict[str, Any] = yaml.safe_load((space / "jobs/first/job.yaml").read_text())
    return read


def scores(space: Path, said: Said) -> list[Any]:
    """What the job publishes as it was written, checked first, by the number of the row."""
    said("check", "first")
    said("run", "first", "--day", DAY)
    return query("SELECT score FROM first_scores ORDER BY row_id", space)["score"].to_pylist()


def text_model(space: Path, **metadata: str | None) -> str:
    """A model of texts in one file; its path."""
    (space / "data/models/m.onnx").write_bytes(file(tiny(), **metadata).data)
    return "data/models/m.onnx"


def embeddings() -> Any:
    """Of TEXTS, by tokenizers and ONNX Runtime, each alone."""
    tokenizer = Tokenizer.from_str(tokenizer_json())
    tokenizer.enable_truncation(MAX_LENGTH)
    session = onnxruntime.InferenceSession(tiny().SerializeToString())
    tokens = [np.array([tokenizer.encode(text).ids]) for text in TEXTS]
    return [
        session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0][0] for ids in tokens
    ]


@pytest.mark.runs
@pytest.mark.parametrize(
    ("metadata", "sql", "columns"),
    [("null", "    about\n", ["about"]), ('["description"]', "    about AS description\n", None)],
    ids=["no name", "another name"],
)
def test_the_one_column_of_texts_is_taken(
    metadata: str, sql: str, columns: list[str] | None, space: Path, said: Said
) -> None:
    """Not the id, nor what a folder is called; under the name that the model has for it, if it has one."""
    lake(
        space,
        about=TEXTS,
        article_no=[f"A{number}" for number in range(len(TEXTS))],
        price=[1.0] * len(TEXTS),
    )
    assert "matched   1 of 1 columns" in new(said, text_model(space, columns=metadata))
    assert sql in (space / "jobs/first/features.sql").read_text()
    assert (job(space)["model"]["kind"], job(space)["model"].get("columns")) == ("text", columns)
    np.testing.assert_allclose(scores(space, said), embeddings(), atol=1e-6)


@pytest.mark.runs
def test_a_folder_of_hugging_face_is_a_model_of_texts(space: Path, said: Said) -> None:
    """Its files say all; the lake is CSV below folders of regions, which are no texts."""
    folder = space / "data/models/mini"
    (folder / "onnx").mkdir(parents=True)
    (folder / "onnx/model.onnx").write_bytes(tiny().SerializeToString())
    (folder / "tokenizer.json").write_text(tokenizer_json())
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": MAX_LENGTH}))
    rows = pa.table({"row_id": range(1, len(TEXTS)), "about": TEXTS[1:]})
    (space / f"data/lake/d/region=eu/day={DAY}").mkdir(parents=True)
    pyarrow.csv.write_csv(rows, space / f"data/lake/d/region=eu/day={DAY}/a.csv")
    said("new", "first", "--model", "data/models/mini/", "--input", "data/lake/d")
    assert job(space)["model"]["path"] == "data/models/mini"
    np.testing.assert_allclose(scores(space, said), embeddings()[1:], atol=1e-6)


def test_an_export_names_its_outputs(space: Path, said: Said) -> None:
    """As `nightscore.export` writes them into the file."""
    lake(space, about=TEXTS)
    new(said, text_model(space, columns='["about"]', outputs='{"meaning": "embedding[*]"}'))
    assert job(space)["model"]["outputs"] == {"meaning": "embedding[*]"}
    said("check", "first")


@pytest.mark.runs
def test_texts_may_be_the_key_themselves(space: Path, said: Said) -> None:
    """Where nothing else tells the rows apart."""
    pq.write_table(pa.table({"about": TEXTS}), space / LAKE / f"day={DAY}/a.parquet")
    assert "matched   1 of 1 columns" in new(said, text_model(space, columns=None))
    assert (job(space)["key"], job(space)["model"]["columns"]) == (["about"], ["about"])
    said("check", "first")
    said("run", "first", "--day", DAY)
    given = query("SELECT about, score FROM first_scores", space).to_pylist()
    by_text = {row["about"]: row["score"] for row in given}
    np.testing.assert_allclose([by_text[text] for text in TEXTS], embeddings(), atol=1e-6)


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        (
            {"about": ["a"], "title": ["b"]},
            "the input has about, title: say the one that the model was trained",
        ),
        ({"price": [1.0]}, "the input has no column of texts"),
    ],
)
def test_texts_that_could_be_several_are_not_guessed(
    columns: dict[str, Any], says: str, space: Path, said: Said
) -> None:
    """By command, in features.sql, and by `check`."""
    lake(space, **columns)
    printed = new(said, text_model(space, columns=None))
    assert "matched   0 of 1 columns" in printed and f"missing   text (string): {says}" in printed
    assert f"    -- text (string): {says}" in (space / "jobs/first/features.sql").read_text()
    assert "the model needs column 'text'" in said("check", "first", code=1)


@pytest.mark.runs
def test_an_image_model_that_takes_pixels_as_they_are_runs(space: Path, said: Said) -> None:
    """Its column is the one of bytes, and its numbers are those of Pillow."""
    (space / "data/models/m.onnx").write_bytes(network([4, 6, 3], TensorProto.UINT8).data)
    files = [encoded(photo(4, 6, seed)) for seed in range(5)]
    lake(space, name=["a"] * 5, photo=pa.array(files, pa.binary()))
    assert "open " not in new(said, "data/models/m.onnx")
    pixels = [np.asarray(Image.open(io.BytesIO(one))).ravel() for one in files]
    np.testing.assert_array_equal(scores(space, said), pixels)


@pytest.mark.runs
def test_what_an_image_model_does_not_say_is_asked(space: Path, said: Said) -> None:
    """In the words of `check`, which refuses the job until a person says it; then it runs."""
    (space / "data/models/m.onnx").write_bytes(network([1, 4, 6]).data)
    files = [encoded(photo(4, 6, seed).convert("L")) for seed in range(5)]
    lake(space, photo=pa.array(files, pa.binary()))
    printed = new(said, "data/models/m.onnx")
    [ask] = [line.removeprefix("open      ") for line in printed.splitlines() if line.startswith("open ")]
    assert (
        "say model.image.scale: 1/255, or 1" in ask and "say what is open in jobs/first/job.yaml" in printed
    )
    place = space / "jobs/first/job.yaml"
    assert f"  # open: {ask}\n" in place.read_text() and ask in said("check", "first", code=1)
    place.write_text(place.read_text().replace("{colour: grey}", "{colour: grey, scale: 1/255}"))
    pixels = [np.asarray(Image.open(io.BytesIO(one)), np.float32).ravel() / 255 for one in files]
    np.testing.assert_allclose(scores(space, said), pixels, rtol=1e-6)


@pytest.mark.runs
def test_a_job_of_a_template_drafted_again_is_held_to_its_training(
    space: Path, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The outputs are those that training expects, by their names."""
    said("init", str(space / "demo"), "--template", "text")
    monkeypatch.setenv("NIGHTSCORE_WORKSPACE", str(space / "demo"))
    said("new", "first", "--model", "data/models/languages", "--input", "data/lake/messages")
    assert job(space / "demo")["model"]["outputs"] == {"language": "language", "confidence": "confidence"}
    assert "100 rows: the model is held to training" in said("check", "first")


@pytest.mark.runs
def test_a_folder_of_mlflow_with_a_librarys_file_runs(space: Path, said: Said) -> None:
    """The scores are those of the library."""
    model = saved("lightgbm", space / "data/models/churn")
    rows = frame(30)
    lake(space, **{name: rows[name].to_numpy() for name in rows})
    assert "matched   2 of 2 columns" in new(said, "data/models/churn")
    np.testing.assert_allclose(scores(space, said), model.predict(rows[["a", "b"]]), rtol=1e-12)


def test_no_code_of_a_folder_runs_before_a_person_says_so(space: Path, said: Said) -> None:
    """The columns are the signature's; `check` asks for what `new` asks for, and takes it."""
    saved("code", space / "data/models/churn")
    [code] = (space / "data/models/churn").glob("*.py")
    code.write_text(f"open({str(space / 'ran')!r}, 'w').close()\n{code.read_text()}")
    rows = frame(30)
    lake(space, **{name: rows[name].to_numpy() for name in rows})
    printed = new(said, "data/models/churn")
    assert "matched   2 of 2 columns" in printed and job(space)["model"]["outputs"] == {"score": "prediction"}
    [ask] = [line.removeprefix("open      ") for line in printed.splitlines() if line.startswith("open ")]
    assert "allow_pickle: true  and  sha256: " in ask and ask in said("check", "first", code=1)
    assert not (space / "ran").exists()
    place = space / "jobs/first/job.yaml"
    trusted = f"  allow_pickle: true\n  sha256: {ask.rpartition(' ')[2]}\n"
    place.write_text(place.read_text().replace("  outputs:", f"{trusted}  outputs:"))
    said("check", "first")
    assert (space / "ran").exists()


def test_a_folder_that_is_none_is_refused(space: Path, said: Said) -> None:
    """With what a folder of a model has."""
    lake(space, about=["a"])
    (space / "data/models/empty").mkdir()
    says = said("new", "first", "--model", "data/models/empty", "--input", LAKE, code=1)
    assert "--model data/models/empty: is a folder without model.onnx or onnx/model.onnx" in says
    assert not (space / "jobs/first").exists()
