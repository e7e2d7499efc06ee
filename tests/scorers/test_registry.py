"""Kinds of scorers: ours by name, other packages' by their entry points, plain functions by their place."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from nightscore.scorers.contract import Options
from nightscore.scorers.errors import ChunkError, ContractError, ModelError
from nightscore.scorers.files.model_file import ModelFile
from nightscore.scorers.functions.python import open_python, read_python_model
from nightscore.scorers.none import NO_MODEL
from nightscore.scorers.registry import (
    BUILT_IN_KINDS,
    hash_package,
    hash_package_of_kind,
    open_scorer,
    scorer_kinds,
)
from nightscore.scorers.testing import check_scorer
from tests.scorers.models import COLUMNS, file, floats, mlp
from tests.support.packages import build

DOCS = Path(__file__).parents[2] / "docs/scorers.md"
CHURN = re.search(r"```python\n# my_models/churn.py.*?\n(.*?)```", DOCS.read_text(), re.DOTALL)
LINEAR = re.search(r"```python\n# linear_scorer.py\n(.*?)```", DOCS.read_text(), re.DOTALL)
PROJECT = re.search(r"```toml\n# pyproject.toml\n(.*?)```", DOCS.read_text(), re.DOTALL)
TWO = pa.RecordBatch.from_pydict({"a": np.arange(20.0), "b": np.arange(20.0)[::-1]})
BAD = """
import pyarrow as pa
from nightscore.scorers import scorer

def plain(chunk):
    return chunk

@scorer(inputs={"a": pa.float64()}, outputs={"y": pa.float64()})
def another_type(chunk):
    return pa.RecordBatch.from_arrays([chunk["a"].cast(pa.float32())], ["y"])

@scorer(inputs={"a": pa.float64()}, outputs={"y": pa.float64()})
def fewer(chunk):
    return pa.RecordBatch.from_arrays([chunk["a"].slice(1)], ["y"])

@scorer(inputs={"a": pa.float64()}, outputs={"y": pa.float64()})
def raises(chunk):
    raise KeyError("no such thing")

@scorer(inputs={"a": pa.float64()}, outputs={"y": pa.float64()})
def no_batch(chunk):
    return 5
"""


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The two examples of docs/scorers.md, and one of mistakes, installed by pip."""
    assert CHURN and LINEAR and PROJECT
    folder = tmp_path_factory.mktemp("packages")
    modules = 'py-modules = ["linear_scorer", "churn", "bad"]'
    files = {"linear_scorer.py": LINEAR[1], "churn.py": CHURN[1], "bad.py": BAD}
    project = PROJECT[1].replace('py-modules = ["linear_scorer"]', modules) + 'gone = "no_such_module:open"\n'
    target = build(folder, {**files, "pyproject.toml": project})
    sys.path.insert(0, str(target))
    yield target
    sys.path.remove(str(target))


def test_the_example_is_short() -> None:
    """A kind of one's own takes less than 30 lines."""
    assert LINEAR and len(LINEAR[1].strip().splitlines()) < 30


def test_an_installed_kind_scores(packages: Path) -> None:
    """By the name of its entry point; it keeps the contract, and its package's code has a hash."""
    model = ModelFile("weights.json", "0" * 64, b'{"a": 1.0, "b": 2.0}')
    scorer = open_scorer("linear", model, Options({"score": "y"}))
    check_scorer(scorer, TWO)
    assert scorer.score(TWO).column("score").to_pylist() == [a + 2 * (19 - a) for a in range(20)]
    assert "linear" in scorer_kinds() and len(hash_package_of_kind("linear")) == 64
    with pytest.raises(ModelError, match="kind linear runs on the cpu alone, not on cuda"):
        open_scorer("linear", model, Options({"score": "y"}, device="cuda"))


def test_our_kinds_are_there_and_need_no_hash() -> None:
    """Their version is nightscore's own."""
    assert list(BUILT_IN_KINDS) == scorer_kinds()[: len(BUILT_IN_KINDS)]
    assert [hash_package_of_kind(kind) for kind in BUILT_IN_KINDS] == [""] * len(BUILT_IN_KINDS)
    check_scorer(open_scorer("onnx", file(mlp(), COLUMNS), Options({"p": "y[0]"})), floats(50), 1e-6)


def test_no_model_keeps_the_contract_and_gives_no_column() -> None:
    """As many rows as it is given, for any chunking; it needs no column, so every schema fits."""
    scorer = open_scorer("none", NO_MODEL, Options({}))
    check_scorer(scorer, floats(50))
    given = scorer.score(floats(50))
    assert (given.num_rows, given.num_columns, scorer.signature.inputs.names) == (50, 0, [])
    assert NO_MODEL.sha256 == "" and NO_MODEL.name == "none"


def test_a_kind_that_is_not_there_suggests_the_nearest(packages: Path) -> None:
    """Among those that are installed; one whose package is broken says what is wrong with it."""
    model = ModelFile("m", "0" * 64, b"{}")
    with pytest.raises(ModelError, match=r"unknown kind of scorer 'linnear'; did you mean linear\?"):
        open_scorer("linnear", model, Options({}))
    with pytest.raises(
        ModelError,
        match=r"unknown kind of scorer 'xyz'; kinds here: onnx, image, text, trees, networks, topk, ",
    ):
        open_scorer("xyz", model, Options({}))
    with pytest.raises(
        ModelError, match=r"kind 'gone' \(no_such_module:open\) can't be imported: ModuleNotFound"
    ):
        open_scorer("gone", model, Options({}))


def test_a_function_of_a_package_scores(packages: Path) -> None:
    """It gets its columns in the types that it names, and its outputs are called as the job says."""
    scorer = open_python(read_python_model("churn:predict"), Options({"risk": "score"}))
    check_scorer(scorer, TWO)
    ints = pa.RecordBatch.from_pydict({"a": np.arange(20), "b": np.arange(20)[::-1]})
    assert scorer.score(ints).to_pylist() == [{"risk": a + 2.0 * (19 - a)} for a in range(20)]


MISTAKES = {
    "no package": ("nothing_here:f", "no installed package 'nothing_here'"),
    "no function": ("churn:predikt", "churn:predikt can't be imported: AttributeError"),
    "no signature": (
        "bad:plain",
        "bad:plain: has no signature; decorate it with nightscore.scorers.scorer",
    ),
    "no such output": ("churn:predict", "churn:predict: gives no 'y'; its outputs: score"),
}


@pytest.mark.parametrize(("entry", "says"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_function_that_does_not_fit_says_why(packages: Path, entry: str, says: str) -> None:
    """When it is opened, before a row is read."""
    with pytest.raises(ModelError, match=re.escape(says)):
        open_python(read_python_model(entry), Options({"p": "y"}))
    with pytest.raises(ModelError, match="a Python function has no device 'cuda'; allowed: cpu"):
        open_python(ModelFile("churn:predict", "", b"churn:predict"), Options({"p": "score"}, device="cuda"))


WRONG = {
    "another_type": "gives y: float; its signature says y: double",
    "fewer": "gives 19 rows for 20 rows",
    "raises": "KeyError: 'no such thing'",
    "no_batch": "gives int; allowed: a NumPy array, a pandas or Polars Series",
}


@pytest.mark.parametrize(("name", "says"), WRONG.items(), ids=WRONG.keys())
def test_what_a_function_gives_is_held_to_its_signature(packages: Path, name: str, says: str) -> None:
    """A function that gives something else is told, not believed."""
    scorer = open_python(read_python_model(f"bad:{name}"), Options({"p": "y"}))
    kind = ChunkError if name == "raises" else ContractError
    with pytest.raises(kind, match=f"^bad:{name}: {re.escape(says)}"):
        scorer.score(TWO)


def test_code_has_another_hash_when_it_changes(packages: Path) -> None:
    """Any file of the package; so that a day scored by the old code is not taken for unchanged."""
    before = hash_package("churn")
    assert before == read_python_model("churn:predict").sha256
    place = packages / "churn.py"
    text = place.read_text()
    place.write_text(text + "\n")
    assert hash_package("churn") != before
    place.write_text(text)
    assert hash_package("churn") == before
