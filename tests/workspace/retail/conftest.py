"""The real lake is written once for all tests of this folder, and the features of one day are made once."""

from pathlib import Path

import pyarrow as pa
import pytest

from data.lakes.retail import write_lake
from nightscore import features, load
from tests.support.shared import made_once
from tests.workspace.retail.world import DAY, JOB, add_job, make_slice


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with the whole year, the job and its model. Not to be written to."""
    return made_once(tmp_path_factory, "retail", lambda root: (write_lake(root), add_job(root)))


@pytest.fixture(scope="session")
def lake(workspace: Path) -> Path:
    """The folder of the whole year."""
    return workspace / "data/lake/retail"


@pytest.fixture(scope="session")
def rows(workspace: Path) -> pa.Table:
    """What the job scores on 2017-11-01: about half a million rows."""
    return features(load(JOB, workspace=workspace), DAY)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A workspace with the slice, the job and its model."""
    return make_slice(tmp_path / "w")
