"""What a scheduler reads at parse time is light, and the small Python API is there."""

import ast
import importlib
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

import nightscore
from tests.support.workspace import make_workspace

ROOT = Path(__file__).parents[1]
HEAVY = {"duckdb", "pyarrow", "numpy", "onnxruntime", "pandas", "deltalake"}


def python(code: str, workspace: Path | None = None) -> str:
    """What a fresh interpreter prints."""
    env = {**os.environ, "NIGHTSCORE_WORKSPACE": str(workspace)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


LOADED = f"import sys; print(*sorted({HEAVY!r} & {{name.partition('.')[0] for name in sys.modules}}))"


@pytest.mark.parametrize(
    "module",
    [
        "nightscore",
        "nightscore.job.loader",
        "nightscore.job.spec",
        "nightscore.common.workspace",
        "nightscore.common.errors",
        "nightscore.job.json_schema",
    ],
)
def test_reading_jobs_is_light(module: str) -> None:
    """Importing it in a fresh interpreter loads none of the heavy libraries."""
    assert python(f"import {module}; {LOADED}") == ""


def test_loading_every_job_is_light(tmp_path: Path) -> None:
    """Reading all jobs of a workspace, and their SQL, loads none of the heavy libraries either."""
    root = make_workspace(tmp_path, rows=1, days=("2020-01-01",))
    code = "from nightscore import load; from nightscore.job.loader import load_all; job = load('mini'); "
    assert python(f"{code} load_all(job.workspace); print(job.name, job.hash[:0]); {LOADED}", root) == "mini"


def test_the_instrument_sees_what_is_loaded() -> None:
    """A module that needs them is seen to load them."""
    assert set(python(f"import nightscore.pipeline.executors; {LOADED}").split()) >= {
        "duckdb",
        "pyarrow",
        "numpy",
        "deltalake",
    }


def names_of(source: str) -> set[str]:
    """Every name, attribute, import and text (for getattr) of some Python code."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        values = (getattr(node, at, None) for at in ("id", "attr", "name", "value"))
        found |= {value for value in values if isinstance(value, str)}
    return found


@pytest.mark.parametrize("name", ["is_deltatable"])
def test_no_module_of_ours_uses_what_holds_the_gil(name: str) -> None:
    """What a network file system that hangs would stop all threads by, signals included."""
    assert name in names_of(f"x.{name}()") & names_of(f"from x import {name}") & names_of(
        f"getattr(x, '{name}')"
    )
    files = list(Path(nightscore.__file__).parent.rglob("*.py"))
    assert len(files) > 100
    assert [file for file in files if name in names_of(file.read_text(encoding="utf-8"))] == []


API = "from nightscore import load, run"
ORDERS = {
    "first": API,
    "after its module": f"import nightscore.pipeline.executors; {API}",
    "after the module's own run": f"from nightscore.pipeline.executors import run as first; {API}",
    "after all of it": f"import nightscore.cli.main, nightscore.pipeline.steps, nightscore.job.loader; {API}",
    "by the package's name": "import nightscore.pipeline.steps; load, run = nightscore.load, nightscore.run",
}


@pytest.mark.parametrize("imports", ORDERS.values(), ids=ORDERS.keys())
@pytest.mark.sample(2)
def test_load_and_run_are_functions_in_any_order_of_imports(imports: str) -> None:
    """No module of the package shadows a name of the API, whatever was imported before."""
    assert (
        python(f"{imports}; print(load.__module__, run.__module__)")
        == "nightscore.job.loader nightscore.pipeline.executors"
    )


def test_every_name_of_the_api_is_there() -> None:
    """What the package lists it has, each with a docstring of its own; what it does not list is not there."""
    assert set(nightscore.__all__) >= {
        "Broken", "Job", "NotYet", "Receipt", "Restate", "Workspace", "backfill", "features", "load",
        "load_all", "open_workspace", "query", "report", "run",
    }  # fmt: skip
    for name in nightscore.__all__:
        value = getattr(nightscore, name)
        assert callable(value) and value.__name__ == name
        assert value.__doc__ and not value.__doc__.startswith(f"{name}("), name  # not a dataclass's own
    assert {*nightscore.__all__, "__version__"} <= set(dir(nightscore))
    with pytest.raises(AttributeError, match="module 'nightscore' has no attribute 'nope'"):
        nightscore.nope  # noqa: B018 - the access is what fails


def test_editors_and_python_are_told_the_same() -> None:
    """What a type checker reads (`__init__.pyi`) is what Python finds, in the same module."""
    tree = ast.parse(Path(nightscore.__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    told = {a.asname: f"nightscore.{node.module}" for node in imports for a in node.names if a.asname}
    assert told == {name: getattr(nightscore, name).__module__ for name in nightscore.__all__}
    assert (Path(nightscore.__file__).parent / "py.typed").is_file()


@pytest.mark.parametrize("order", ["sorted(names)", "sorted(names, reverse=True)"])
@pytest.mark.sample(1)
def test_the_whole_api_imports_in_any_order(order: str) -> None:
    """Each name after those before it and after those behind it, twice: it is the same object."""
    code = (
        f"import nightscore; names = nightscore.__all__; names = {order}; "
        "first = [getattr(nightscore, name) for name in names]; "
        "from nightscore import *; print(all(globals()[n] is v for n, v in zip(names, first)))"
    )
    assert python(code) == "True"


def test_the_version_is_read_when_it_is_asked_for() -> None:
    """That of pyproject.toml; importing the package reads no metadata of packages."""
    code = "import sys, nightscore; print('importlib.metadata' in sys.modules, nightscore.__version__)"
    expected = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert python(code) == f"False {expected}"


SOURCE = Path(nightscore.__file__).parent
ROOMS = ("common", "scorers", "job", "store", "delivery", "pipeline", "review", "evaluation")


def imported(file: Path) -> set[tuple[str, str]]:
    """What a file of ours imports from ours: (module, name)."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    froms = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    return {
        (str(n.module), a.name) for n in froms for a in n.names if str(n.module).startswith("nightscore.")
    }


def beside_the_face(file: Path) -> set[tuple[str, str]]:
    """What a file imports from another room that is not in a face, its own or that of a part of the room."""
    own = file.relative_to(SOURCE).parts[0]
    others = {(m, n) for m, n in imported(file) if (room := m.split(".")[1]) in ROOMS and room != own}
    return {(m, n) for m, n in others if n not in getattr(importlib.import_module(m), "__all__", ())}


def test_rooms_know_each_other_by_their_faces() -> None:
    """Nothing is imported across rooms that a face does not show: `__all__`, from `__init__.pyi`."""
    files = [file for file in SOURCE.rglob("*.py") if file.parent != SOURCE]
    assert len(files) > 150
    assert {str(f.relative_to(SOURCE)): found for f in files if (found := beside_the_face(f))} == {}


def test_what_is_imported_beside_a_face_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module's own name, and a name that no face shows."""
    monkeypatch.setattr(sys.modules[__name__], "SOURCE", tmp_path)
    (tmp_path / "cli").mkdir()
    file = tmp_path / "cli/new.py"
    file.write_text(
        "from nightscore.store.sql.engine import Engine\nfrom nightscore.store import Engine as E, nope\n"
    )
    assert beside_the_face(file) == {("nightscore.store.sql.engine", "Engine"), ("nightscore.store", "nope")}


@pytest.mark.parametrize("room", ROOMS)
def test_every_name_of_a_face_is_there_and_says_what_it_is(room: str) -> None:
    """Each name can be had, no private one is shown, and none hides a module of the room."""
    face = importlib.import_module(f"nightscore.{room}")
    assert face.__all__ and not [name for name in face.__all__ if name.startswith("_")]
    for name in face.__all__:
        shown = getattr(face, name)
        assert isinstance(shown, ModuleType) or not (SOURCE / room / f"{name}.py").exists(), name
