"""A notebook's cells run in order, as Jupyter runs them; what they print and give is what the file keeps.

python -m tests.support.notebook docs/analyst.ipynb     writes the outputs into it
"""

import ast
import contextlib
import io
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

DAYS = ("2025-10-01", "2026-01-05", "2026-01-06", "2026-01-07")


def outputs_of(notebook: dict[str, Any]) -> list[str]:
    """What each cell of code prints, and then what its last line gives, in the current folder."""
    world: dict[str, Any] = {"__name__": "__main__"}
    return [_output("".join(cell["source"]), world) for cell in code_cells(notebook)]


def code_cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    """The cells that run."""
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def kept_outputs(notebook: dict[str, Any]) -> list[str]:
    """What the file says that they print and give."""
    return ["".join(text for out in cell["outputs"] for text in out["text"]) for cell in code_cells(notebook)]


def publish_sample(folder: Path) -> Path:
    """The workspace that `nightscore init` makes, with all its days published."""
    from nightscore import load, run
    from nightscore.start import make_workspace

    make_workspace(folder, "onnx")
    for day in DAYS:
        assert run(load("churn", folder), day).status == "published"
    return folder


def _output(source: str, world: dict[str, Any]) -> str:
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(tree, "cell", "exec"), world)  # noqa: S102 - our own notebook
        given = eval(compile(ast.Expression(last.value), "cell", "eval"), world) if last else None  # noqa: S307
        if given is not None:
            print(given)  # noqa: T201
    return printed.getvalue()


def _write(path: Path) -> None:
    notebook = json.loads(path.read_text())
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(publish_sample(Path(folder) / "demo")):
        outputs = outputs_of(notebook)
    for number, (cell, text) in enumerate(zip(code_cells(notebook), outputs, strict=True), 1):
        stream = {"name": "stdout", "output_type": "stream", "text": text.splitlines(keepends=True)}
        cell.update(execution_count=number, outputs=[stream] if text else [])
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    os.environ.pop("NIGHTSCORE_WORKSPACE", None)
    _write(Path(sys.argv[1]).absolute())
