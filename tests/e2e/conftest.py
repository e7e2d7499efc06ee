"""One PostgreSQL for all; one Airflow (standalone, LocalExecutor) for all tests but those of Celery."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("airflow")

from nightscore.airflow.local import PARTS
from nightscore.airflow.standalone import Local, healthy, hold_lock, start_airflow
from nightscore.common.workspace import Workspace
from tests.e2e.airflow import Airflow
from tests.e2e.servers import own_port, postgres, until
from tests.e2e.world import make_world

READY_SECONDS = 300.0
SCREENSHOTS = Path(__file__).parents[2] / "e2e-screenshots"


@pytest.hookimpl(tryfirst=True)  # before those that are not asked for are dropped by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test of this folder is end to end, and may wait for servers."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.timeout(600))


@pytest.fixture(scope="session", autouse=True)
def surroundings() -> Iterator[None]:
    """What the servers inherit: two cores, so that scoring lasts long enough for a fault; quick retries."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:2])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NIGHTSCORE_RETRY_SECONDS", "5")
        yield
    os.sched_setaffinity(0, before)


@pytest.fixture(scope="session")
def database() -> Iterator[Callable[[str], str]]:
    """Makes a database of a name in PostgreSQL; gives its address."""
    with postgres() as make:
        yield make


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace of all end-to-end tests; each of them has jobs or days of its own."""
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="session")
def airflow(
    world: Path, database: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Airflow]:
    """Airflow standalone on PostgreSQL, as `make airflow` starts it on SQLite."""
    settings = {"DATABASE__SQL_ALCHEMY_CONN": database("standalone")}
    home = tmp_path_factory.mktemp("standalone")
    local = Local(Workspace(world), home, own_port(8180), settings)
    with hold_lock(home) as lock, start_airflow(local, lock):
        for part in PARTS:
            until(lambda part=part: healthy(local, part), READY_SECONDS, f"{part} is healthy: {local.log}")  # type: ignore[misc]
        yield Airflow(local)


@pytest.fixture
def screenshots() -> Path:
    """Where pictures are kept for a person to look at; not in git."""
    SCREENSHOTS.mkdir(exist_ok=True)
    return SCREENSHOTS
