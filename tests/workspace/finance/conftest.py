"""Two nights of the jobs, run once for all tests of this folder, whichever worker runs them."""

import shutil
from pathlib import Path

import pytest

from tests.support.shared import made_once
from tests.workspace.finance.recount import Recount
from tests.workspace.finance.world import DAYS, LATER, MARKET, add_jobs, make_workspace, run_jobs


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with the lake, the jobs, and both days of those up to market_risk. Not to be written to."""

    def make(root: Path) -> None:
        make_workspace(root)
        for day in DAYS:
            run_jobs(root, day, MARKET)

    return made_once(tmp_path_factory, "finance", make)


@pytest.fixture(scope="session")
def whole(workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with both days of all jobs. Not to be written to."""

    def make(root: Path) -> None:
        shutil.copytree(workspace, root, dirs_exist_ok=True)
        for day in DAYS:
            run_jobs(root, day, LATER)

    return made_once(tmp_path_factory, "finance-whole", make)


@pytest.fixture(scope="session")
def explained(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with the job stress. Written to by its tests alone."""
    root = tmp_path_factory.mktemp("explained") / "w"
    shutil.copytree(whole, root)
    add_jobs(root, "stress")
    return root


@pytest.fixture(scope="session")
def recount(workspace: Path) -> Recount:
    """The market and the book of the workspace, for a recount in NumPy."""
    return Recount(workspace / "data/lake/finance")
