"""Workers that share a bucket and nothing else: a network, a file system and a clock of its own each."""

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import Any

import obstore
import pytest

from nightscore import query
from nightscore.airflow.standalone import Local, healthy
from nightscore.common.workspace import Workspace
from nightscore.store.storage import homes
from tests.e2e.airflow import Airflow
from tests.e2e.conftest import READY_SECONDS
from tests.e2e.names import NAME
from tests.e2e.servers import binary, launched, own_port, redis, until
from tests.e2e.world import HEAVY_DAYS, HEAVY_ROWS, REPOSITORY, add_heavy, column_bytes, loop
from tests.support.hidden import hiding
from tests.support.networks import Network, networks
from tests.support.s3 import BUCKET, become_client, into_bucket, start_server

DAG, PREFIX, PIECES = "shared", "celery", 8
WORKERS = {"east": "+90m", "west": "-90m"}  # three hours apart
LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
OWN = 'mount --bind "$0" "$1" && shift && exec "$@"'  # its own jobs/ and dags/, where others have theirs

pytestmark = pytest.mark.skipif(not LIBRARIES, reason="NOT TESTED: no libfaketime; apt-get install faketime")


@dataclass(frozen=True)
class Site:
    """An Airflow, its workers' networks by name, and the bucket."""

    airflow: Airflow
    networks: dict[str, Network]
    scratch: dict[str, Path]
    folder: Path

    def receipts(self) -> dict[str, int]:
        """How many receipts each day has."""
        sql = f"SELECT day, count(*) AS n FROM receipts WHERE job = '{DAG}' GROUP BY day ORDER BY day"
        homes._bucket.cache_clear()
        return {str(row["day"]): row["n"] for row in query(sql, self.airflow.root).to_pylist()}

    def published(self, day: str) -> dict[str, list[bytes]]:
        """A day's files in the bucket, as `published` of tests.e2e.world gives those of a folder."""
        store = obstore.store.from_url(f"s3://{BUCKET}/{PREFIX}")
        found = {}
        for batch in obstore.list(store, "tables"):
            for path in (Path(one["path"]) for one in batch):
                if path.parts[1].startswith(DAG) and path.suffix == ".parquet" and f"day={day}" in path.parts:
                    file = self.folder / path.name
                    file.write_bytes(obstore.get(store, path.as_posix()).bytes())
                    found[f"{path.parts[1]} {path.stem.rpartition('-')[2]}"] = column_bytes(file)
        return found


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The job, in four tasks, with its model and its days, on disk; and what the plain loop makes of them."""
    root = tmp_path_factory.mktemp("source") / "workspace"
    (root / "data/lake").mkdir(parents=True)
    add_heavy(root)
    shutil.copytree(REPOSITORY / "dags", root / "dags", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.rmtree(root / "jobs/heavy")
    for day in HEAVY_DAYS:
        loop(root, root.parent / "loop", DAG, day)
    return root


@pytest.fixture(scope="module")
def site(
    source: Path, database: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """Airflow's parts on this machine, and a worker in each network; data/ is in a bucket, not on a disk."""
    binary("redis-server")
    home, folder = tmp_path_factory.mktemp("airflow"), tmp_path_factory.mktemp("machines")
    hiding(folder)  # else the workers can't have file systems of their own
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        (folder / "s3").mkdir()
        server = start_server(folder / "s3", signed=False)  # else it would refuse such clocks, and rightly
        stack.callback(server.kill)
        become_client(patch, server.port, folder / "scratch")
        patch.setenv("AWS_SKIP_SIGNATURE", "true")
        address = f"s3://{BUCKET}/{PREFIX}"
        root = folder / "workspace"
        shutil.copytree(source, root)
        into_bucket(root, address, folder / "writer")
        shutil.rmtree(root / "was-data")
        patch.setenv("NIGHTSCORE_ROOT_DATA", address)
        broker, base = stack.enter_context(redis(home)), database("celery_bucket")
        local = Local(Workspace(root), home, own_port(8480), settings(broker, base))
        airflow = Airflow(local)
        airflow.command("db", "migrate")

        def start(name: str, *command: Any, environment: dict[str, str]) -> "Popen[bytes]":
            return stack.enter_context(
                launched([*command], home / f"{name}.log", env=environment, cwd=folder)
            )

        run = (sys.executable, "-m", "airflow")
        for part in ("api-server", "scheduler", "dag-processor"):
            start(part, *run, part, environment=local.environment() | {"PYTHONPATH": str(REPOSITORY)})
        found = dict(zip(WORKERS, stack.enter_context(networks(len(WORKERS), server.port)), strict=True))
        scratch = {}
        for name, network in found.items():
            own = folder / name
            shutil.copytree(root, own / "workspace")
            scratch[name] = own / "scratch"
            reached = {port: stack.enter_context(network.reach(port)) for port in ports(local, broker, base)}
            environment = of_worker(local, network, reached, broker, base) | {
                NAME: name, "NIGHTSCORE_SCRATCH": str(scratch[name]),
                "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY}/tests/e2e/clock",
                "LD_PRELOAD": str(LIBRARIES[0]), "FAKETIME": WORKERS[name], "DONT_FAKE_MONOTONIC": "1",
            }  # fmt: skip
            alone = (*network.inside, "unshare", "--mount", "sh", "-c", OWN, own / "workspace", root)
            worker = ("celery", "worker", "--skip-serve-logs", "--without-mingle", "--without-gossip")
            named = ("--celery-hostname", f"{name}@%h")
            start(name, *alone, *run, *worker, *named, environment=environment)
        for part in ("metadatabase", "scheduler", "dag_processor"):
            until(lambda part=part: healthy(local, part), READY_SECONDS, f"{part} is healthy: {home}")  # type: ignore[misc]
        airflow.unpause(DAG)
        yield Site(airflow, found, scratch, folder)
    homes._bucket.cache_clear()


def settings(broker: str, database: str) -> dict[str, str]:
    """Airflow's, as in docs/deploy.md; a worker that is away is seen soon."""
    return {
        "CORE__EXECUTOR": "CeleryExecutor",
        "CORE__HOSTNAME_CALLABLE": "tests.e2e.names.of_this_process",
        "DATABASE__SQL_ALCHEMY_CONN": database,
        "CELERY__BROKER_URL": broker,
        "CELERY__RESULT_BACKEND": f"db+{database}",
        "CELERY__WORKER_CONCURRENCY": "1",
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": "5",
    }


def port_of(address: str) -> int:
    """The port in an address of a server of this machine."""
    return int(address.partition("127.0.0.1:")[2].partition("/")[0])


def ports(local: Local, broker: str, database: str) -> tuple[int, ...]:
    """What a worker needs to reach beside the bucket."""
    return local.port, port_of(broker), port_of(database)


def of_worker(
    local: Local, network: Network, reached: dict[int, int], broker: str, database: str
) -> dict[str, str]:
    """The environment of a worker, with every address as it is seen from its network."""

    def moved(address: str) -> str:
        port = port_of(address)
        return address.replace(f"127.0.0.1:{port}", f"{network.address}:{reached[port]}")

    seen = {address: moved(address) for address in (local.url, broker, database)}
    return local.environment() | {
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{seen[local.url]}/execution/",
        "AIRFLOW__CELERY__BROKER_URL": seen[broker],
        "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{seen[database]}",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": seen[database],
        "AWS_ENDPOINT_URL": network.endpoint,
    }


def test_two_machines_share_a_day_by_the_bucket_alone(site: Site, source: Path) -> None:
    """Each scored some of its pieces, and the files are those of the loop on a disk, byte for byte."""
    from tests.e2e.world import published

    airflow, day = site.airflow, HEAVY_DAYS[0]
    run = airflow.trigger(DAG, partition_key=day)
    assert airflow.ended(DAG, run) == "success"
    scored = airflow.tasks(DAG, run, "score")
    assert len(scored) == 4 and {one["hostname"] for one in scored} == set(WORKERS)
    assert airflow.receipt(DAG, run)["rows"]["published"] == HEAVY_ROWS
    assert site.receipts() == {day: 1}
    found = site.published(day)
    assert found == published(source.parent / "loop", DAG, day) and len(found) == PIECES + 1
    assert all(any(path.rglob("*.parquet")) for path in site.scratch.values()), "both fetched what they read"
    assert not (site.airflow.root / "data").exists()
    assert not any((site.folder / name / "workspace/data").exists() for name in WORKERS)


@pytest.mark.slow
def test_a_machine_that_is_cut_off_costs_no_day(site: Site, source: Path) -> None:
    """Its cable is pulled while it scores: its task is tried again on the other, the day is published once.

    Joined again it works on.
    """
    from tests.e2e.world import published

    airflow, day = site.airflow, HEAVY_DAYS[1]
    run = airflow.trigger(DAG, partition_key=day)

    def caught() -> dict[str, Any] | None:
        running = [t for t in airflow.tasks(DAG, run, "score") if t["state"] == "running"]
        return next((t for t in running if t["hostname"] == "west"), None)

    task = until(caught, 120, "the west scores", pause=0.1)
    site.networks["west"].cut()
    assert airflow.ended(DAG, run, 400) == "success"
    site.networks["west"].join()
    again = airflow.tasks(DAG, run, "score")[task["map_index"]]
    assert (again["hostname"], again["try_number"]) == ("east", 2)
    assert site.receipts()[day] == 1
    assert airflow.receipt(DAG, run)["rows"]["published"] == HEAVY_ROWS
    assert site.published(day) == published(source.parent / "loop", DAG, day)
