"""Jobs of this repository in a workspace of a test's."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]


def copy_model(workspace: Path, spec: Mapping[str, Any]) -> None:
    """Copy the model that a job.yaml names, and what its training expects of it."""
    path, expected = spec["model"]["path"], spec["model"]["expected"]["features"]
    for name in (path, expected.replace("{model}", Path(path).stem)):
        (workspace / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, workspace / name)
