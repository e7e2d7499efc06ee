"""The wheel, installed into a fresh environment beside a team's code that has names of its own.

A team's repository has a folder `jobs/`, and often a package `jobs` or `scorers`, in front of the installed
packages (PYTHONPATH, the current folder) or behind them (Airflow appends the folder of the DAGs). Nothing of
theirs may hide anything of ours, nor ours anything of theirs.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path
from typing import Any

import onnxruntime
import pandas as pd
import pytest

from tests.support.workspace import make_workspace

pytestmark = pytest.mark.slow  # two environments, a wheel, and Airflow is imported for each situation

ROOT = Path(__file__).parents[1]
DAY = "2020-01-01"
GENERATED = (
    "__pycache__",
    "*.egg-info",
    "build",
    ".venv*",
    ".git",
    ".*_cache",
)
LARGE = {"data": {"lake", "tables", "runs"}, "benchmarks": {"work"}}
PIP = ("--quiet", "--no-deps", "--no-index", "--disable-pip-version-check")

DAILY = """\
from datetime import datetime

from airflow.sdk import DAG, task
from jobs.etl import extract
from scorers.credit import points

with DAG("team_daily", schedule=None, start_date=datetime(2020, 1, 1)):
    task(extract)() >> task(points)()
"""

# What Airflow itself makes of a folder of DAGs, and of what is installed.
AIRFLOW = """\
import json, sys
from pathlib import Path
import nightscore
from airflow import plugins_manager
from airflow.dag_processing.dagbag import BundleDagBag
folder = Path(sys.argv[1])
bag = BundleDagBag(str(folder), bundle_path=folder, bundle_name="team")
team = sys.modules.get("jobs.etl")
print("\\n" + json.dumps({
    "ours": nightscore.__file__,
    "theirs": team and team.__file__,
    "dags": sorted(bag.dags),
    "errors": bag.import_errors,
    "plugins": [plugin["name"] for plugin in plugins_manager.get_plugin_info()],
    "plugin errors": plugins_manager.get_import_errors(),
    "timetables": [name for name in plugins_manager.get_timetables_plugins() if "nightscore" in name],
}))
"""


class Environment:
    """A fresh environment that sees the dependencies of this one, and nothing of nightscore's own."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, with_pip=False)
        self.folder = folder
        self.python = folder / "bin/python"
        dependencies = folder / "dependencies"
        dependencies.mkdir()
        for one in Path(sysconfig.get_path("purelib")).iterdir():
            if one.suffix != ".pth" and "nightscore" not in one.name:
                (dependencies / one.name).symlink_to(one)
        (self.packages / "dependencies.pth").write_text(f"{dependencies}\n")

    @property
    def packages(self) -> Path:
        """Where pip installs to."""
        return self.folder / f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"

    def pip(self, *arguments: object) -> None:
        """Change what is installed."""
        command = [sys.executable, "-m", "pip", "--python", self.python, *arguments]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def run(self, *command: object, cwd: Path, code: int = 0, **variables: object) -> str:
        """What a program of the environment prints, or says where it fails as expected; inherits nothing."""
        own = {"PATH": f"{self.folder / 'bin'}:{os.defpath}", "HOME": str(self.folder), "LANG": "C.UTF-8"}
        done = subprocess.run(
            list(map(str, command)), cwd=cwd, env=own | {k: str(v) for k, v in variables.items()},
            capture_output=True, text=True, check=False, timeout=240,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done.stderr if code else done.stdout

    def nightscore(self, *arguments: object, cwd: Path, **variables: object) -> str:
        """What the installed command prints."""
        return self.run(self.folder / "bin/nightscore", *arguments, cwd=cwd, **variables)


def built(source: Path, folder: Path) -> Path:
    """The wheel of a project."""
    command = [sys.executable, "-m", "pip", "wheel", *PIP, "--no-build-isolation", "-w", folder, source]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository as a clone has it: a build leaves its files in there, and takes those of an old one."""
    folder = tmp_path_factory.mktemp("source") / "repository"

    def left_out(inside: str, names: list[str]) -> set[str]:
        large = LARGE.get(Path(inside).relative_to(ROOT).as_posix(), set())
        return shutil.ignore_patterns(*GENERATED)(inside, names) | (large & set(names))

    shutil.copytree(ROOT, folder, ignore=left_out)
    return folder


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this repository."""
    return built(source, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """A fresh environment with the wheel."""
    made = Environment(tmp_path_factory.mktemp("environment"))
    made.pip("install", *PIP, wheel)
    return made


def add_team(folder: Path, is_package: bool) -> None:
    """Modules `jobs.etl` and `scorers.credit` of a team's own in a folder."""
    for package, module, function in (("jobs", "etl", "extract"), ("scorers", "credit", "points")):
        (folder / package).mkdir(parents=True, exist_ok=True)
        (folder / package / f"{module}.py").write_text(f"def {function}():\n    return 1\n")
        if is_package:
            (folder / package / "__init__.py").touch()


def add_dags(root: Path) -> Path:
    """The team's DAG beside our two files in a workspace's dags/; the folder."""
    shutil.copytree(
        ROOT / "dags", root / "dags", ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True
    )
    (root / "dags/daily.py").write_text(DAILY)
    return root / "dags"


def seen_by_airflow(environment: Environment, dags: Path, **variables: object) -> dict[str, Any]:
    """What Airflow's own DAG bag and plug-in manager find, as a process of its own."""
    home = dags.parent / ".airflow"
    home.mkdir()
    settings = {
        "AIRFLOW_HOME": home,
        "AIRFLOW__CORE__DAGS_FOLDER": dags,
        "AIRFLOW__CORE__LOAD_EXAMPLES": False,
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
    }
    (script := home / "look.py").write_text(
        AIRFLOW
    )  # whose folder is the first on the path, as for `airflow`
    printed = environment.run(environment.python, script, dags, cwd=home, **settings, **variables)
    found: dict[str, Any] = json.loads(
        next(line for line in printed.splitlines() if line.startswith('{"ours'))
    )
    return found


def test_the_wheel_holds_the_framework_alone(wheel: Path) -> None:
    """Each file of src/nightscore, DAG files and templates of `init` among them; no job or model of ours."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        licences = {
            name.partition("/licenses/")[2]: archive.read(name) for name in names if "/licenses/" in name
        }
        [metadata] = [archive.read(name).decode() for name in names if name.endswith(".dist-info/METADATA")]
    about = {name for name in names if name.partition("/")[0].endswith(".dist-info")}
    files = [file for file in (ROOT / "src/nightscore").rglob("*") if file.is_file()]
    ours = {file.relative_to(ROOT / "src").as_posix() for file in files if "__pycache__" not in file.parts}
    assert names - about == ours
    assert {Path(name).suffix for name in ours} == {
        ".py", ".pyi", ".html", ".css", ".typed", ".sql", "", ".json", ".md", ".onnx", ".parquet", ".license",
        ".yaml",
    }  # fmt: skip
    jobs = {
        name
        for name in ours
        if Path(name).suffix in ("", ".json", ".md", ".onnx", ".parquet", ".license", ".sql", ".yaml")
    }
    assert {name for name in jobs if not name.startswith("nightscore/start/templates/")} == {
        "nightscore/job/macros.sql",
        "nightscore/job/measures.sql",
    }
    models = [file for file in files if file.suffix == ".onnx"]
    assert len(models) == 5 and max(file.stat().st_size for file in models) < 10_000
    assert {"nightscore/py.typed", "nightscore/airflow/dags/nightly.py"} < ours
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert licences == {name: (ROOT / name).read_bytes() for name in project["license-files"]}
    assert (
        f"\nLicense-Expression: {project['license']}\n" in metadata
    )  # GPL of the loans: they are in no wheel


def test_the_version_is_that_of_the_project(environment: Environment, tmp_path: Path) -> None:
    """Of pyproject.toml, and the same to the command, to Python and to pip."""
    expected = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    code = (
        "import nightscore, importlib.metadata as m; print(nightscore.__version__, m.version('nightscore'))"
    )
    assert environment.nightscore("--version", cwd=tmp_path).strip() == expected
    assert environment.run(environment.python, "-c", code, cwd=tmp_path).split() == [expected, expected]


@pytest.mark.parametrize("is_package", [True, False], ids=["package", "no __init__.py"])
@pytest.mark.parametrize("in_front", [True, False], ids=["in front", "behind"])
def test_a_teams_dags_and_ours_are_all_there(
    environment: Environment, tmp_path: Path, in_front: bool, is_package: bool
) -> None:
    """Their `jobs` and `scorers` by PYTHONPATH, or in the DAGs' folder, which Airflow appends to the path."""
    root = make_workspace(tmp_path / "team", 10)
    dags = add_dags(root)
    code = root if in_front else dags
    add_team(code, is_package)
    found = seen_by_airflow(environment, dags, **({"PYTHONPATH": root} if in_front else {}))
    assert (found["errors"], found["plugin errors"]) == ({}, {})
    assert found["dags"] == ["mini", "team_daily"]
    assert "nightscore" in found["plugins"] and found["timetables"]
    assert Path(found["ours"]).is_relative_to(environment.packages)
    assert Path(found["theirs"]) == code / "jobs/etl.py"


def test_the_command_works_in_a_teams_repository(environment: Environment, tmp_path: Path) -> None:
    """Inside it and with it in front of the path: a day is scored, published, proven, and has its report."""
    root = make_workspace(tmp_path / "team", 10)
    add_team(root, True)
    for arguments in (("jobs",), ("check",), ("run", "mini", "--day", DAY), ("verify", "mini")):
        environment.nightscore(*arguments, cwd=root, PYTHONPATH=root)
    page = environment.nightscore("report", "mini", "--day", DAY, cwd=root, PYTHONPATH=root).strip()
    assert (root / page).read_text().startswith("<!doctype html>")


def test_five_commands_lead_to_a_published_day(environment: Environment, tmp_path: Path) -> None:
    """`pip install` was the first; the scores are those of ONNX Runtime by hand, on rows of pandas."""
    environment.nightscore("init", "demo", cwd=tmp_path)
    demo = tmp_path / "demo"
    assert "published" in environment.nightscore("run", "churn", "--day", "2026-01-07", cwd=demo)
    sql = "SELECT customer_id, score FROM churn_scores ORDER BY 1"
    published = json.loads(environment.nightscore("query", sql, "--format", "json", cwd=demo))
    rows = pd.read_parquet(demo / "data/lake/customers/day=2026-01-07/customers.parquet").sort_values(
        "customer_id"
    )
    rows["since"] = (pd.Timestamp("2026-01-07") - pd.to_datetime(rows["last_order"])).dt.days
    names = ["tenure_months", "visits_90d", "spend_90d", "complaints_90d", "since"]
    session = onnxruntime.InferenceSession((demo / "data/models/churn.onnx").read_bytes())
    chances = session.run(["probabilities"], {"features": rows[names].to_numpy("float64")})[0][:, 1]
    assert [row["customer_id"] for row in published] == rows["customer_id"].tolist()
    assert abs(chances - [row["score"] for row in published]).max() < 1e-6
    schema = environment.nightscore("schema", cwd=tmp_path)
    assert json.loads(schema) == json.loads((ROOT / "docs/job.schema.json").read_text())
    environment.nightscore("dags", "here", cwd=tmp_path)
    assert (tmp_path / "here/nightly.py").read_bytes() == (ROOT / "dags/nightly.py").read_bytes()


def test_a_bakeoff_works_in_a_folder_of_any_names(environment: Environment, tmp_path: Path) -> None:
    """Its worker is a process of its own, whose modules are the installed ones, not those of this folder."""
    root = make_workspace(tmp_path / "team", 2_000)
    add_team(root, True)
    for name in ("nightscore", "duckdb", "json"):
        (root / name).mkdir()
        (root / name / "__init__.py").write_text(f"raise ImportError('{name} of the team')\n")
    options = ("--day", DAY, "--only", "engine", "--rounds", 1, "--rows", 500, "--json")
    found = json.loads(environment.nightscore("bakeoff", "mini", *options, cwd=root))
    reference = next(one for one in found["results"] if one["name"] == "reference")
    assert reference["rows_per_second"] > 0 and "of the team" not in json.dumps(found)


def test_airflow_for_one_person_starts_in_a_teams_repository(
    environment: Environment, tmp_path: Path
) -> None:
    """As far as its first question, whether the port is free; tests/e2e/test_make_airflow.py goes on."""
    root = make_workspace(tmp_path / "team", 10)
    add_team(root, True)
    code = "import nightscore; from nightscore.airflow.standalone import dags_folder; "
    code += "print(dags_folder(nightscore.open_workspace()))"
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        command = (environment.python, "-m", "nightscore.airflow.local", "--port", server.getsockname()[1])
        assert "is in use (by another Airflow?)" in environment.run(*command, cwd=root, code=1)
    packaged = Path(environment.run(environment.python, "-c", code, cwd=root).strip())
    assert (
        packaged == environment.packages / "nightscore/airflow/dags" and (packaged / "nightly.py").is_file()
    )


OTHER = """\
[project]
name = "team-tools"
version = "1.0"

[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[tool.setuptools]
packages = ["jobs", "scorers"]
"""


def test_a_distribution_with_packages_of_those_names_may_come_and_go(wheel: Path, tmp_path: Path) -> None:
    """Installed after ours and removed again, it shares no file with it."""
    add_team(tmp_path / "tools", True)
    (tmp_path / "tools/pyproject.toml").write_text(OTHER)
    both = Environment(tmp_path / "environment")
    both.pip("install", *PIP, wheel, built(tmp_path / "tools", tmp_path / "wheels"))
    code = "from nightscore import load, run; from jobs.etl import extract; print(extract())"
    assert both.run(both.python, "-c", code, cwd=tmp_path).strip() == "1"
    both.pip("uninstall", "--quiet", "--yes", "team-tools")
    both.run(both.python, "-c", "from nightscore import load, run", cwd=tmp_path)
    assert not (both.packages / "jobs").exists()


def test_a_checkout_installed_as_pip_does_it_works_in_any_workspace(source: Path, tmp_path: Path) -> None:
    """`pip install -e .`: a folder jobs/ or scorers/ that one is in hides nothing."""
    checkout = Environment(tmp_path / "environment")
    checkout.pip("install", *PIP, "--no-build-isolation", "-e", source)
    code = "import nightscore; print(nightscore.load('mini').name, nightscore.__file__)"
    for name, is_package in (("one", True), ("other", False)):
        root = make_workspace(tmp_path / name, 10)
        add_team(root, is_package)
        printed = checkout.run(checkout.python, "-c", code, cwd=root).split()
        assert printed == ["mini", str(source / "src/nightscore/__init__.py")]
        assert "published" in checkout.nightscore("run", "mini", "--day", DAY, cwd=root)
