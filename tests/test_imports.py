"""What a scheduler reads at parse time is light, and the small Python API is there."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import jobs
import scorers
from tests.mini import make_workspace

HEAVY = {"duckdb", "pyarrow", "numpy", "onnxruntime", "pandas", "deltalake"}


def python(code: str, workspace: Path | None = None) -> str:
    """What a fresh interpreter prints."""
    env = {**os.environ, "NIGHTSCORE_WORKSPACE": str(workspace)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


LOADED = f"import sys; print(*sorted({HEAVY!r} & {{name.partition('.')[0] for name in sys.modules}}))"


@pytest.mark.parametrize(
    "module", ["jobs", "jobs.job", "jobs.spec", "jobs.workspace", "jobs.errors", "jobs.schema"]
)
def test_reading_jobs_is_light(module: str) -> None:
    """Importing it in a fresh interpreter loads none of the heavy libraries."""
    assert python(f"import {module}; {LOADED}") == ""


def test_loading_every_job_is_light(tmp_path: Path) -> None:
    """Reading all jobs of a workspace, and their SQL, loads none of the heavy libraries either."""
    root = make_workspace(tmp_path, rows=1, days=("2020-01-01",))
    code = "from jobs import load; from jobs.job import load_all; job = load('mini'); "
    assert python(f"{code} load_all(job.workspace); print(job.name, job.hash[:0]); {LOADED}", root) == "mini"


def test_the_instrument_sees_what_is_loaded() -> None:
    """A module that needs them is seen to load them."""
    assert set(python(f"import jobs.night; {LOADED}").split()) >= {"duckdb", "pyarrow", "numpy", "deltalake"}


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
    packages = [Path(path) for one in (jobs, scorers) for path in one.__path__]
    files = [file for package in packages for file in package.rglob("*.py")]
    assert len(files) > 100
    assert [file for file in files if name in names_of(file.read_text(encoding="utf-8"))] == []


ORDERS = {
    "first": "from jobs import load, run",
    "after its module": "import jobs.night; from jobs import load, run",
    "after the module's own run": "from jobs.night import run as first; from jobs import load, run",
    "after all of it": "import jobs.cli, jobs.night, jobs.job, jobs.receipt; from jobs import load, run",
    "by the package's name": "import jobs.night; import jobs; load, run = jobs.load, jobs.run",
}


@pytest.mark.parametrize("imports", ORDERS.values(), ids=ORDERS.keys())
def test_load_and_run_are_functions_in_any_order_of_imports(imports: str) -> None:
    """No module of the package shadows a name of the API, whatever was imported before."""
    assert python(f"{imports}; print(load.__module__, run.__module__)") == "jobs.job jobs.night"


def test_every_name_of_the_api_is_there() -> None:
    """What the package lists it has, and nothing else by accident."""
    assert set(jobs.__all__) >= {
        "Broken",
        "Job",
        "NotYet",
        "Receipt",
        "backfill",
        "features",
        "load",
        "query",
        "run",
    }
    assert all(callable(getattr(jobs, name)) for name in jobs.__all__)
    with pytest.raises(AttributeError, match="module 'jobs' has no attribute 'nope'"):
        jobs.nope  # noqa: B018 - the access is what fails
