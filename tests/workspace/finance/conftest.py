"""Two nights of the jobs, run once for all tests of this folder."""

import shutil
from pathlib import Path

import pytest

from tests.workspace.finance.recount import Recount
from tests.workspace.finance.world import DAYS, add_jobs, make_workspace, run_chain


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with the lake, the jobs and both days of all of them. Not to be written to."""
    root = make_workspace(tmp_path_factory.mktemp("finance"))
    for day in DAYS:
        run_chain(root, day)
    return root


@pytest.fixture(scope="session")
def explained(workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with the job stress. Written to by its tests alone."""
    root = tmp_path_factory.mktemp("explained") / "w"
    shutil.copytree(workspace, root)
    add_jobs(root, "stress")
    return root


@pytest.fixture(scope="session")
def recount(workspace: Path) -> Recount:
    """The market and the book of the workspace, for a recount in NumPy."""
    return Recount(workspace / "data/lake/finance")
