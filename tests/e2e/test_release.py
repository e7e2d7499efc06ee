"""What would be uploaded: built twice, held to a list, run where nobody developed it (`make release`)."""

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / ".venv-release/bin"
NEEDED = pytest.mark.skipif(not (TOOLS / "uv").exists(), reason="its tools are installed by make release")
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
PLATFORMS = ("x86_64-manylinux_2_28", "aarch64-manylinux_2_28")
DAY = "2026-01-07"


def run(*command: object, cwd: Path) -> str:
    """What a program prints; it inherits no setting of ours, and fails the test where it fails."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "NIGHTSCORE"))}
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=own, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def copy_of_the_commit(folder: Path) -> Path:
    """The files that git has, with times of change of now, as a clone has them."""
    names = run("git", "ls-files", "-z", cwd=ROOT).rstrip("\0").split("\0")
    for name in names:
        if name.startswith(("src/", "requirements/")) or "/" not in name:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    return folder


def python_of(version: str) -> str | None:
    """A Python of this machine, on the path or of pyenv, whose stand-ins on the path may fail."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = [shutil.which(f"python{version}"), *sorted(pyenv.glob(f"versions/{version}.*/bin/python"))]
    asked = ("-c", "import venv")
    return next(
        (str(one) for one in found if one and not subprocess.call([one, *asked], stderr=subprocess.DEVNULL)),
        None,
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that is built from it; kept in $RELEASE."""
    folder = tmp_path_factory.mktemp("release")
    source = copy_of_the_commit(folder / "source")
    run(TOOLS / "python", "-m", "build", "-o", folder / "dist", source, cwd=folder)
    if kept := os.environ.get("RELEASE"):
        shutil.copytree(folder / "dist", kept, dirs_exist_ok=True)
    return folder / "dist"


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    """The wheel."""
    return next(built.glob("*.whl"))


@NEEDED
def test_two_builds_are_the_same_bytes_and_an_index_takes_them(built: Path, tmp_path: Path) -> None:
    """Of two copies of the files, made at different times in different folders."""
    source = copy_of_the_commit(tmp_path / "elsewhere")
    for file in source.rglob("*.py"):
        os.utime(file, (1_600_000_000, 1_600_000_000))
    run(TOOLS / "python", "-m", "build", "-o", tmp_path / "dist", source, cwd=tmp_path)
    first, second = (
        {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}
        for folder in (built, tmp_path / "dist")
    )
    assert first == second and len(first) == 2
    assert run(TOOLS / "twine", "check", "--strict", *built.iterdir(), cwd=tmp_path).count("PASSED") == 2


@NEEDED
def test_they_hold_what_is_on_the_list(built: Path, wheel: Path) -> None:
    """The sdist: what a wheel is built from, and no data, job or test; the wheel: the same package."""
    package = set(run("git", "ls-files", "src", cwd=ROOT).split("\n")) - {""}
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    about = {
        "LICENSE",
        "README.md",
        "CHANGELOG.md",
        "SECURITY.md",
        "pyproject.toml",
        ".gitignore",
        "PKG-INFO",
    }
    assert names == package | about
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == {name.removeprefix("src/") for name in package}


@NEEDED
@pytest.mark.parametrize("version", PYTHONS)
def test_it_is_installed_and_publishes_a_day(version: str, wheel: Path, tmp_path: Path) -> None:
    """With the pinned packages and their hashes, in an environment without anything of ours."""
    python = python_of(version)
    if python is None:
        pytest.skip(f"there is no Python {version} here")
    run(python, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    installed = tmp_path / "venv/bin"
    lock = ("--require-hashes", "-r", ROOT / "requirements/run.lock")
    run(TOOLS / "uv", "pip", "install", "-q", "--python", installed / "python", *lock, cwd=tmp_path)
    run(
        TOOLS / "uv",
        "pip",
        "install",
        "-q",
        "--python",
        installed / "python",
        "--no-deps",
        wheel,
        cwd=tmp_path,
    )
    command = installed / "nightscore"
    run(command, "init", "demo", cwd=tmp_path)
    demo = tmp_path / "demo"
    run(command, "check", "churn", cwd=demo)
    run(command, "test", cwd=demo)
    assert "published" in run(command, "run", "churn", "--day", DAY, cwd=demo)
    counted = run(command, "query", "SELECT count(*) AS n FROM churn_scores", "--format", "json", cwd=demo)
    assert json.loads(counted) == [{"n": 1_000}]
    assert run(command, "verify", "churn", "--day", DAY, cwd=demo)


@NEEDED
@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("version", PYTHONS)
def test_each_dependency_has_a_wheel(version: str, platform: str, tmp_path: Path) -> None:
    """For Pythons and machines that are not here: resolved by wheels alone, with all that Airflow needs."""
    asked = ("--only-binary", ":all:", "--python-version", version, "--python-platform", platform)
    extras = ("--extra", "airflow", "--extra", "report", "--extra", "objects", "--extra", "text")
    pins = run(TOOLS / "uv", "pip", "compile", "-q", *asked, *extras, ROOT / "pyproject.toml", cwd=tmp_path)
    assert "onnxruntime==" in pins and "apache-airflow==" in pins
