"""docs/analyst.ipynb: its cells run, on the sample workspace, and give what the file shows."""

import json
from pathlib import Path

import pytest

from tests.support.notebook import kept_outputs, outputs_of, publish_sample

NOTEBOOK = Path(__file__).parents[1] / "docs/analyst.ipynb"


@pytest.mark.runs
def test_the_notebook_shows_what_its_cells_give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the letter; `python -m tests.support.notebook docs/analyst.ipynb` writes what they give now."""
    monkeypatch.delenv("NIGHTSCORE_WORKSPACE", raising=False)
    monkeypatch.chdir(publish_sample(tmp_path / "demo"))
    notebook = json.loads(NOTEBOOK.read_text())
    assert outputs_of(notebook) == kept_outputs(notebook)
    assert len(kept_outputs(notebook)) > 5 and "AUC" in "".join(kept_outputs(notebook))
