"""Other people's packages, really installed: pip builds them from their sources into a folder of the test."""

import subprocess
import sys
from pathlib import Path

PYPROJECT = """\
[project]
name = "{name}"
version = "1.0"

[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[tool.setuptools]
py-modules = ["{module}"]

[project.entry-points."nightscore.scorers"]
{points}
"""


def installed(folder: Path, module: str, code: str, kinds: dict[str, str]) -> Path:
    """The folder into which a package of one module was installed; `kinds` are its entry points."""
    points = "\n".join(f'{kind} = "{module}:{name}"' for kind, name in kinds.items())
    text = PYPROJECT.format(name=module.replace("_", "-"), module=module, points=points)
    return build(folder, {f"{module}.py": code, "pyproject.toml": text})


def build(folder: Path, files: dict[str, str]) -> Path:
    """The folder into which a package of these files was installed."""
    source, target = folder / "source", folder / "installed"
    source.mkdir(parents=True)
    for name, text in files.items():
        (source / name).write_text(text)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--no-index"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(target), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    return target
