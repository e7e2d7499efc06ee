"""Workspaces for whole nights: made once, copied for each test."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.behaviour.processes import night
from tests.behaviour.world import DAY, copy
from tests.support.workspace import JOB, make_workspace

ROWS = 2_000
MANY = 99_000  # three pieces
Build = Callable[..., Path]


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_workspace(tmp_path_factory.mktemp("nights") / "published", ROWS)
    assert night(root, DAY).status == "published"
    return root


@pytest.fixture(scope="session")
def large_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_workspace(tmp_path_factory.mktemp("nights") / "large", MANY, days=(DAY,))
    assert night(root, DAY).status == "published"
    return root


@pytest.fixture
def published(template: Path, tmp_path: Path) -> Path:
    """A workspace with `mini` published for DAY: 2,000 rows, weights (1, 2), n 10."""
    return copy(template, tmp_path / "w")


@pytest.fixture
def large(large_template: Path, tmp_path: Path) -> Path:
    """The same with 99,000 rows in three pieces."""
    return copy(large_template, tmp_path / "w")


@pytest.fixture
def fresh(tmp_path: Path) -> Build:
    """Makes a workspace in which nothing is published: `fresh(rows=…, job=…, days=…)`."""

    def build(rows: int = ROWS, job: str = JOB, **options: object) -> Path:
        return make_workspace(tmp_path / "w", rows, job, **options)  # type: ignore[arg-type]

    return build
