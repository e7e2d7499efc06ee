"""What the tests of this workspace share."""

import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A copy, so that a test publishes nothing in the workspace itself."""
    for name in ("jobs", "scorers", "data/lake", "data/models"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tmp_path / name)
    return tmp_path
