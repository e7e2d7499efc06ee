"""Scorers of a workspace: a file that is loaded by its path, and held to the contract of scorers."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from nightscore.scorers import ModelFile, Options, Variant, check_scorer, open_scorer
from nightscore.scorers.errors import ChunkError, ContractError, ModelError, ScorerFileError
from nightscore.scorers.registry import BUILT_IN_KINDS, scorer_kinds, variants_of_kind
from nightscore.scorers.workspace import ScorerFile, load_scorer_module, read_scorer_file

KIND = "scorers/mine.py"
MINE = """\
import numpy as np
import pyarrow as pa
from nightscore.scorers import ModelError, Options, Signature, Variant, as_numpy

KIND = "scorers/mine.py"


class Sum:
    def __init__(self, options):
        if set(options.outputs.values()) != {"sum"}:
            raise ModelError("gives sum alone")
        self.signature = Signature(
            pa.schema([("a", pa.float32()), ("b", pa.float32())]),
            pa.schema([(name, pa.float32()) for name in options.outputs]),
        )

    def score(self, chunk):
        found = as_numpy(chunk["a"], "a") + 2 * as_numpy(chunk["b"], "b")
        return pa.RecordBatch.from_arrays([pa.array(found)], schema=self.signature.outputs)


def open_scorer(model, options):
    return Sum(options)
"""
OPTIONS = Options({"score": "sum"})
ROWS = pa.RecordBatch.from_pydict({"a": np.arange(9, dtype=np.float32), "b": np.ones(9, np.float32)})


def written(root: Path, text: str, name: str = KIND) -> ScorerFile:
    """A file of a workspace's scorers, read."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return read_scorer_file(path, name)


def test_a_file_scores_and_keeps_the_contract(tmp_path: Path) -> None:
    """As any other kind does."""
    scorer = open_scorer(KIND, None, OPTIONS, written(tmp_path, MINE))
    check_scorer(scorer, ROWS)
    assert scorer.score(ROWS)["score"].to_pylist() == [a + 2.0 for a in range(9)]


def test_a_file_is_found_from_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For its author's own tests."""
    written(tmp_path, MINE)
    monkeypatch.chdir(tmp_path)
    assert open_scorer(KIND, None, OPTIONS).signature.inputs.names == ["a", "b"]
    with pytest.raises(ScorerFileError, match=r"^scorers/none\.py: can't be read: No such file"):
        open_scorer("scorers/none.py", None, OPTIONS)


MISTAKES = {
    "empty": ("", r"^scorers/mine\.py: the file is empty$"),
    "syntax": ("x = 1\ndef open_scorer(:\n", r"^scorers/mine\.py:2: is no Python: invalid syntax"),
    "a null byte": ("x = '\0'\n", r"^scorers/mine\.py:1: is no Python: "),
    "an import that is not there": (
        "import numpy\n\nimport numpi\n",
        r"^scorers/mine\.py:3: can't be loaded: ModuleNotFoundError: No module named 'numpi'$",
    ),
    "an error while it runs": ("y = 1\nx = 1 / 0\n", r"^scorers/mine\.py:2: can't be loaded: ZeroDiv"),
    "an error further down": (
        "def f():\n    return z\n\nf()\n", r"^scorers/mine\.py:2: can't be loaded: NameError: name 'z'"
    ),
    "it exits": ("import sys\nsys.exit(3)\n", r"^scorers/mine\.py:2: can't be loaded: SystemExit: 3$"),
    "no open_scorer": (
        "import json\ndef open(m, o): ...\n",
        r"^scorers/mine\.py: has no function open_scorer\(model, options\), and none with @scorer; "
        r"it has: open$",
    ),
    "another signature": (
        "def open_scorer(model): ...\n",
        r"^scorers/mine\.py: open_scorer is called as open_scorer\(model, options\), which does not fit: ",
    ),
    "no function": ("open_scorer = 3\n", r"^scorers/mine\.py: open_scorer is called as .*: 3 is not a call"),
    "it fails to open": (
        "def open_scorer(model, options):\n    return options.outputs['x']\n",
        r"^scorers/mine\.py:2: open_scorer fails: KeyError: 'x'$",
    ),
    "it gives nothing": (
        "def open_scorer(model, options): ...\n",
        r"^scorers/mine\.py: open_scorer gives NoneType, which is no scorer: a scorer has `signature`",
    ),
    "another signature's type": (
        MINE.replace("return Sum(options)", "s = Sum(options); s.signature = (1, 2); return s"),
        r"^scorers/mine\.py: open_scorer gives Sum, which is no scorer",
    ),
    "other columns": (
        MINE.replace("for name in options.outputs])", "for name in ['other']])"),
        r"^scorers/mine\.py: its signature gives the columns other; the job's outputs are score$",
    ),
    "a relative import": ("from . import shared\n", r"^scorers/mine\.py:1: imports '\.' from beside itself"),
    "a neighbour": ("import shared\n", r"^scorers/mine\.py:1: imports 'shared' from beside itself; a scor"),
    "a neighbour by the folder": (
        "def open_scorer(model, options):\n    from scorers.shared import f\n",
        r"^scorers/mine\.py:2: imports 'scorers\.shared' from beside itself",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "says"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_said_with_its_line(tmp_path: Path, text: str, says: str) -> None:
    """When the file is opened, before a row is read; and a failed file leaves nothing loaded."""
    (tmp_path / "scorers").mkdir()
    (tmp_path / "scorers/shared.py").write_text("f = 1\n")
    before = set(sys.modules)
    with pytest.raises(ScorerFileError, match=says):
        open_scorer(KIND, None, OPTIONS, written(tmp_path, text))
    left = {name for name in set(sys.modules) - before if name.startswith("_nightscore")}
    assert all(hasattr(sys.modules[name], "open_scorer") or "has no function" in says for name in left)


def test_what_a_scorer_refuses_is_its_own_word(tmp_path: Path) -> None:
    """A ModelError of the file's, with the file's name, and no mistake of the file."""
    with pytest.raises(ModelError, match=r"^scorers/mine\.py: gives sum alone$") as caught:
        open_scorer(KIND, None, Options({"score": "product"}), written(tmp_path, MINE))
    assert not isinstance(caught.value, ScorerFileError)


WRONG = {
    "exits": ("raise SystemExit(0)", ChunkError, r"^scorers/mine\.py:18: SystemExit: 0$"),
    "raises": ("raise KeyError('gone')", ChunkError, r"^scorers/mine\.py:18: KeyError: 'gone'$"),
    "fewer rows": ("return WHOLE(self, chunk).slice(1)", ContractError, "gives 8 rows for 9 rows$"),
    "another type": (
        "return pa.RecordBatch.from_arrays([pa.array([1] * chunk.num_rows)], ['score'])",
        ContractError,
        r"gives score: int64; its signature says score: float",
    ),
    "no batch": ("return 5", ContractError, r"^scorers/mine\.py: gives int; its signature says score: float"),
}


@pytest.mark.parametrize(("body", "kind", "says"), WRONG.values(), ids=WRONG.keys())
def test_what_it_gives_is_held_to_its_signature(tmp_path: Path, body: str, kind: Any, says: str) -> None:
    """At every call."""
    text = MINE.replace("    def score(self, chunk):\n", f"    def score(self, chunk):\n        {body}\n")
    if "WHOLE" in text:
        text = text.replace(
            "        return WHOLE(self, chunk).slice(1)\n", "        chunk = chunk.slice(1)\n"
        )
    scorer = open_scorer(KIND, None, OPTIONS, written(tmp_path, text))
    with pytest.raises(kind, match=says):
        scorer.score(ROWS)


def test_a_model_file_is_handed_on(tmp_path: Path) -> None:
    """Where the job names one; a kind of ours needs one."""
    text = MINE.replace("    return Sum(options)", "    assert model.data == b'w'\n    return Sum(options)")
    file, model = written(tmp_path, text), ModelFile("w.bin", "0" * 64, b"w")
    check_scorer(open_scorer(KIND, model, OPTIONS, file), ROWS)
    with pytest.raises(ScorerFileError, match=r"mine\.py:23: open_scorer fails: AttributeError"):
        open_scorer(KIND, None, OPTIONS, file)
    with pytest.raises(ModelError, match="kind onnx takes a model file, and none is named"):
        open_scorer("onnx", None, OPTIONS)


def test_the_same_bytes_run_once_and_others_are_another_module(tmp_path: Path) -> None:
    """In one process: two workspaces with the same file share it; a changed file is loaded beside the old."""
    first, same = written(tmp_path / "a", MINE), written(tmp_path / "b", MINE)
    other = written(tmp_path / "a", MINE + "\nMORE = 1\n")
    assert load_scorer_module(first) is load_scorer_module(same)
    assert load_scorer_module(other) is not load_scorer_module(first)
    assert hasattr(load_scorer_module(other), "MORE") and not hasattr(load_scorer_module(first), "MORE")


TEAM = """
import sys
from pathlib import Path
root = Path(sys.argv[1])
sys.path.insert({place}, str(root))
import scorers
from nightscore.scorers import Options, open_scorer
from nightscore.scorers.workspace import read_scorer_file
file = read_scorer_file(root / sys.argv[2], "scorers/mine.py")
scorer = open_scorer("scorers/mine.py", None, Options({{"score": "sum"}}), file)
import scorers.helpers
print(scorers.MARK, scorers.helpers.MARK, sorted(n for n in sys.modules if n.partition(".")[0] == "scorers"))
"""


def run(*command: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment or None)


@pytest.mark.parametrize("place", [0, 99])
def test_a_team_s_own_package_called_scorers_is_left_alone(tmp_path: Path, place: int) -> None:
    """In front of all on sys.path, or behind: theirs is theirs, and a scorer's file is no part of it."""
    written(tmp_path, MINE)
    (tmp_path / "scorers/__init__.py").write_text("MARK = 'team'\n")
    (tmp_path / "scorers/helpers.py").write_text("MARK = 'helpers'\n")
    (tmp_path / "scorers/helped.py").write_text("from scorers.helpers import MARK")
    command = [sys.executable, "-P", "-c", TEAM.format(place=place), str(tmp_path)]
    done = run(*command, KIND)
    assert done.stdout.strip() == "team helpers ['scorers', 'scorers.helpers']", done.stderr
    done = run(*command, "scorers/helped.py")
    assert "mine.py:1: imports 'scorers.helpers' from beside itself" in done.stderr


COMPILED = """\
import pyarrow as pa
from nightscore.scorers import Signature, as_numpy
from nightscore.scorers.compiled import numba_compiled

FACTOR = 3.0

@numba_compiled
def inner(x):
    return FACTOR * x

@numba_compiled
def kernel(values):
    total = 0.0
    for x in values:
        total += inner(x)
    return total

class Scorer:
    signature = Signature(pa.schema([("a", pa.float64())]), pa.schema([("y", pa.float64())]))
    def score(self, chunk):
        total = [kernel(as_numpy(chunk.slice(i, 1)["a"], "a")) for i in range(chunk.num_rows)]
        return pa.RecordBatch.from_arrays([pa.array(total, pa.float64())], ["y"])

def open_scorer(model, options):
    return Scorer()
"""
CHILD = """
import sys
from pathlib import Path
import pyarrow as pa
from nightscore.scorers import Options, open_scorer
from nightscore.scorers.workspace import load_scorer_module, read_scorer_file
file = read_scorer_file(Path(sys.argv[1]) / "scorers/mine.py", "scorers/mine.py")
scorer = open_scorer("scorers/mine.py", None, Options({"y": "y"}), file)
found = scorer.score(pa.RecordBatch.from_pydict({"a": [2.0, 5.0]}))["y"].to_pylist()
print(found, sum(load_scorer_module(file).kernel.stats.cache_hits.values()))
"""


@pytest.mark.slow
def test_compiled_code_is_kept_for_the_next_process_and_in_a_copy(tmp_path: Path) -> None:
    """Numba finds what it kept under the module's name; a changed constant is compiled again."""
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}

    def scored(root: Path) -> str:
        done = run(sys.executable, "-c", CHILD, str(root), **environment)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    first = tmp_path / "first"
    written(first, COMPILED)
    assert scored(first) == "[6.0, 15.0] 0"
    copy = shutil.copytree(first, tmp_path / "copy")
    assert scored(copy) == "[6.0, 15.0] 1"
    time = (copy / KIND).stat()
    written(copy, COMPILED.replace("3.0", "4.0"))
    os.utime(copy / KIND, ns=(time.st_atime_ns, time.st_mtime_ns))  # as in an image whose files have one time
    assert scored(copy) == "[8.0, 20.0] 0"


WAYS = "\ndef variants(device):\n    return {}\n"


def test_a_file_says_in_which_ways_it_computes(tmp_path: Path) -> None:
    """The plain one first; without a word there is no other."""
    assert variants_of_kind(KIND, "auto", written(tmp_path, MINE)) == [Variant(KIND)]
    more = "[Variant(KIND, 'cpu', 4), Variant(KIND), Variant(KIND, 'cuda')] if device == 'auto' else []"
    file = written(tmp_path, MINE + WAYS.format(more))
    assert variants_of_kind(KIND, "auto", file) == [
        Variant(KIND),
        Variant(KIND, "cpu", 4),
        Variant(KIND, "cuda"),
    ]
    assert variants_of_kind(KIND, "cuda", file) == [Variant(KIND, "cuda")]


def test_a_device_that_no_variant_offers_is_refused(tmp_path: Path) -> None:
    """A receipt would name it, and nothing would have run there."""
    options = Options({"score": "sum"}, device="cuda")
    with pytest.raises(ScorerFileError, match="has no device 'cuda' here; allowed: auto, cpu"):
        open_scorer(KIND, None, options, written(tmp_path, MINE))
    offers = "[Variant(KIND, 'cuda')] if device == 'auto' else []"
    assert open_scorer(KIND, None, options, written(tmp_path, MINE + WAYS.format(offers)))


@pytest.mark.parametrize("given", ["5", "[Variant('onnx')]", "[Variant(KIND, 'cpu', 0)]", "['cpu']", "1 / 0"])
def test_what_is_no_variant_of_it_is_refused(tmp_path: Path, given: str) -> None:
    """Of another kind, of no threads, of another type; or it fails."""
    file = written(tmp_path, MINE + WAYS.format(given))
    says = (
        "variants fails: ZeroDivisionError" if "/" in given else r"allowed: a list of Variant\('scorers/mine"
    )
    with pytest.raises(ScorerFileError, match=says):
        variants_of_kind(KIND, "auto", file)


def test_kinds_are_ours_then_packages_then_the_workspace_s(tmp_path: Path) -> None:
    """Names are no paths, so that none can stand in another's place; what defines no scorer is not listed."""
    written(tmp_path, MINE)
    written(tmp_path, MINE, "scorers/finance/other.py")
    written(tmp_path, "def helper(): ...", "scorers/helper.py")
    found = scorer_kinds(tmp_path)
    assert found[: len(BUILT_IN_KINDS)] == list(BUILT_IN_KINDS)
    assert found[-2:] == ["scorers/finance/other.py", KIND]
    assert not any(re.search(r"[/.]", name) for name in found[:-2])
    assert scorer_kinds() == found[:-2]
