"""Several workers: the pieces of a day are scored by two of them, and one is killed."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest

from nightscore.airflow.dag import POOL
from nightscore.airflow.standalone import Local, healthy, members
from nightscore.common.workspace import Workspace
from tests.e2e.airflow import Airflow, process_of
from tests.e2e.conftest import READY_SECONDS
from tests.e2e.names import NAME
from tests.e2e.servers import binary, launched, own_port, redis, until
from tests.e2e.world import HEAVY_DAYS, HEAVY_ROWS, REPOSITORY, loop, published, receipts

DAG = "shared"
POOL_NAME = "nights"
WORKERS = ("one", "two")


@dataclass(frozen=True)
class Cluster:
    """An Airflow and its workers, by name."""

    airflow: Airflow
    workers: dict[str, "Popen[bytes]"]


@pytest.fixture(scope="module")
def cluster(
    world: Path, database: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """Airflow's parts, each a process of its own, and two workers of one task at a time."""
    binary("redis-server")
    home, address = tmp_path_factory.mktemp("celery"), database("celery")
    with ExitStack() as stack:
        settings = {
            "CORE__EXECUTOR": "CeleryExecutor",
            "CORE__HOSTNAME_CALLABLE": "tests.e2e.names.of_this_process",
            "DATABASE__SQL_ALCHEMY_CONN": address,
            "CELERY__BROKER_URL": stack.enter_context(redis(home)),
            "CELERY__RESULT_BACKEND": f"db+{address}",
            "CELERY__WORKER_CONCURRENCY": "1",
            "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",  # a dead worker is seen then; default 300
            "SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": "5",
        }
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv(POOL, POOL_NAME)
        local = Local(Workspace(world), home, own_port(8280), settings)
        airflow = Airflow(local)
        airflow.command("db", "migrate")
        airflow.command("pools", "set", POOL_NAME, "4", "as many score tasks as there may be at once")
        # The names of the workers come from a module of these tests.
        environment = local.environment() | {"PYTHONPATH": str(REPOSITORY)}

        def start(name: str, *arguments: str) -> "Popen[bytes]":
            command: list[Any] = [sys.executable, "-m", "airflow", *arguments]
            variables = environment | {NAME: name}
            return stack.enter_context(launched(command, home / f"{name}.log", env=variables, cwd=world))

        for part in ("api-server", "scheduler", "dag-processor"):
            start(part, part)
        worker = ("celery", "worker", "--skip-serve-logs", "--without-mingle", "--without-gossip")
        workers = {name: start(name, *worker, "--celery-hostname", f"{name}@%h") for name in WORKERS}
        for part in ("metadatabase", "scheduler", "dag_processor"):
            until(lambda part=part: healthy(local, part), READY_SECONDS, f"{part} is healthy: {home}")  # type: ignore[misc]
        airflow.unpause(DAG)
        yield Cluster(airflow, workers)


@pytest.fixture(scope="module")
def plain(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which the plain loop has published the same days."""
    root = tmp_path_factory.mktemp("loop") / "workspace"
    for day in HEAVY_DAYS:
        loop(world, root, DAG, day)
    return root


def test_two_workers_share_the_pieces_of_a_day(cluster: Cluster, plain: Path) -> None:
    """Each of them scored some, and the files are those of the loop, byte for byte but for the run's name."""
    airflow, day = cluster.airflow, HEAVY_DAYS[0]
    run = airflow.trigger(DAG, partition_key=day)
    assert airflow.ended(DAG, run) == "success"
    scored = airflow.tasks(DAG, run, "score")
    assert len(scored) == 4 and {one["hostname"] for one in scored} == set(WORKERS)
    assert {one["pool"] for one in scored} == {POOL_NAME}
    assert receipts(airflow.root, DAG) == {day: 1}
    assert airflow.receipt(DAG, run)["rows"]["published"] == HEAVY_ROWS
    found = published(airflow.root, DAG, day)
    assert found == published(plain, DAG, day) and len(found) == 9


def test_a_worker_killed_in_mid_task_leaves_the_day_right(cluster: Cluster, plain: Path) -> None:
    """Kill -9 of a worker and all its processes; its task runs again, on the one that is left."""
    airflow, day = cluster.airflow, HEAVY_DAYS[1]
    run = airflow.trigger(DAG, partition_key=day)

    def caught() -> dict[str, Any] | None:
        running = [t for t in airflow.tasks(DAG, run, "score") if t["state"] == "running"]
        return next((t for t in running if t["hostname"] == "two" and process_of(t)), None)

    task = until(caught, 120, "the second worker scores", pause=0.1)
    worker = cluster.workers["two"]
    killed = members(worker.pid)
    assert process_of(task).pid in killed  # type: ignore[union-attr]
    for pid in killed:
        os.kill(pid, signal.SIGKILL)

    assert airflow.ended(DAG, run, 400) == "success"
    scored = airflow.tasks(DAG, run, "score")
    again = scored[task["map_index"]]
    assert (again["hostname"], again["try_number"]) == ("one", 2)
    assert receipts(airflow.root, DAG)[day] == 1
    assert airflow.receipt(DAG, run)["rows"]["published"] == HEAVY_ROWS
    assert published(airflow.root, DAG, day) == published(plain, DAG, day)
