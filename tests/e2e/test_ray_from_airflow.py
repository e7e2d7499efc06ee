"""The pieces of a night on a Ray cluster, from Airflow: over HTTP, deferred, stopped and found again."""

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

pytest.importorskip("ray")

from airflow.sdk.exceptions import TaskDeferred

from nightscore import load
from nightscore.airflow.local import PARTS
from nightscore.airflow.on_ray import jobs as ray_jobs
from nightscore.airflow.on_ray.jobs import ADDRESS, LOST, TOKEN, RayJobs
from nightscore.airflow.standalone import Local, healthy, hold_lock, start_airflow
from nightscore.airflow.tasks import ScoreShare
from nightscore.common.errors import Broken, NotYet
from nightscore.common.units import as_day
from nightscore.common.workspace import Workspace
from nightscore.pipeline.steps import plan_day
from nightscore.store import Plan
from tests.behaviour.world import staged
from tests.e2e.airflow import Airflow
from tests.e2e.conftest import READY_SECONDS
from tests.e2e.servers import launched, own_port, until
from tests.e2e.test_ray import SLOW, slow_workspace
from tests.e2e.world import loop, published, receipts
from tests.support.ray_cluster import Cluster
from tests.support.workspace import JOB, make_workspace, write_day

DAG, ROWS, PIECES, SECONDS = "mini", 8_000, 8, 1.5
SAME, KILLED, RETRIED, HEADLESS, CHANGED, ALONE = DAYS = tuple(f"2020-01-0{number}" for number in range(1, 7))
SECRET = "of-tests-only-" + "0" * 32


@dataclass
class World:
    """An Airflow, and the cluster that its score tasks go to."""

    airflow: Airflow
    cluster: Cluster
    leader: int  # the process that leads Airflow's
    servers: ExitStack  # what is started later, and ends with all

    @property
    def root(self) -> Path:
        return self.airflow.root

    @property
    def jobs(self) -> RayJobs:
        return RayJobs(self.cluster.http)

    def listed(self, day: str) -> dict[str, dict[str, Any]]:
        """The cluster's jobs of a day, by name."""
        headers = {"Authorization": f"Bearer {SECRET}"}
        found = httpx.get(f"{self.cluster.http}/api/jobs/", headers=headers, timeout=30).json()
        named = {job["submission_id"]: job for job in found if job["submission_id"]}
        return {name: named[name] for name in sorted(named) if named[name]["metadata"].get("day") == day}

    def statuses(self, day: str) -> list[str]:
        return [str(job["status"]) for job in self.listed(day).values()]

    def begin(self, day: str, pieces: int = 2) -> str:
        """A run of a day, its score task deferred, some of its pieces staged."""
        run = self.airflow.trigger(DAG, partition_key=day)
        self.score(run, "deferred")
        until(lambda: len(self.staged_of(day)) >= pieces, 120, "pieces are staged", pause=0.1)
        return run

    def staged_of(self, day: str) -> dict[Path, tuple[int, int]]:
        return {path: mark for path, mark in staged(self.root).items() if day in path.parts}

    def score(self, run: str, state: str, seconds: float = 120) -> dict[str, Any]:
        """The score task of a run, once it is in a state."""

        def look() -> dict[str, Any] | None:
            return next((t for t in self.airflow.tasks(DAG, run, "score") if t["state"] == state), None)

        return until(look, seconds, f"the score task is {state}", pause=0.1)


@pytest.fixture(scope="module")
def world(database: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A cluster that asks for a token, two nodes of one slot each, and an Airflow that knows the token."""
    root, home = tmp_path_factory.mktemp("ray"), tmp_path_factory.mktemp("airflow")
    job = JOB.replace("  path: data/models/linear.onnx\n", "  kind: scorers/slow.py\n").replace(
        "score: y", "score: score"
    )
    more = f"scoring: {{piece_rows: {ROWS // PIECES}, device: cpu, tasks: 4}}\n"
    make_workspace(root, ROWS, job + more, days=DAYS)
    (root / "scorers").mkdir()
    (root / "scorers/slow.py").write_text(SLOW.format(log=str(root / "log"), seconds=SECONDS, broken="False"))
    cluster = Cluster({"RAY_AUTH_MODE": "token", TOKEN: SECRET}, jobs=True)
    try:
        for _ in range(2):
            cluster.add()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(ADDRESS, cluster.http)
            patch.setenv(TOKEN, SECRET)
            local = Local(
                Workspace(root), home, own_port(8380), {"DATABASE__SQL_ALCHEMY_CONN": database("ray")}
            )
            with hold_lock(home) as lock, start_airflow(local, lock) as process, ExitStack() as servers:
                for part in PARTS:
                    until(lambda part=part: healthy(local, part), READY_SECONDS, f"{part} is healthy: {home}")  # type: ignore[misc]
                airflow = Airflow(local)
                airflow.unpause(DAG)
                yield World(airflow, cluster, process.pid, servers)
    finally:
        cluster.stop()


def test_a_day_is_scored_by_a_job_of_the_cluster(world: World, tmp_path: Path) -> None:
    """One job, whatever `tasks` says; the task waits deferred, its log shows how far it is.

    The files are those of the plain loop, and the token is nowhere: not in the job, the logs, the values that
    tasks hand on, nor in Airflow's own log.
    """
    run = world.begin(SAME)
    assert world.airflow.ended(DAG, run) == "success"
    assert world.statuses(SAME) == ["SUCCEEDED"]
    assert len(world.airflow.tasks(DAG, run, "score")) == 1
    loop(world.root, tmp_path / "loop", DAG, SAME)
    found = published(world.root, DAG, SAME)
    assert found == published(tmp_path / "loop", DAG, SAME) and len(found) == PIECES + 1
    log = world.airflow.log(DAG, run, "score", index=0)
    assert "of 8,000" in log and "8 pieces are staged" in log
    values = world.airflow.api("GET", f"/dags/{DAG}/dagRuns/{run}/taskInstances/~/xcomEntries?limit=100")
    everything = (log, values, world.listed(SAME), world.airflow.local.log.read_text())
    assert all(SECRET not in str(one) for one in everything)


def test_a_task_that_is_marked_failed_stops_its_job_and_cleared_goes_on(world: World) -> None:
    """The job is stopped on the cluster; the next one scores what is left, and the day is published once."""
    run = world.begin(KILLED)
    world.airflow.set_state(DAG, run, "score", "failed", index=0)
    until(lambda: world.statuses(KILLED) == ["STOPPED"], 60, "the job is stopped")
    until(lambda: not world.cluster.workers(), 60, "its pieces are ended")
    kept = world.staged_of(KILLED)
    assert world.airflow.ended(DAG, run) == "failed" and len(kept) < PIECES
    world.airflow.clear(DAG, run, "score")
    until(lambda: world.statuses(KILLED) == ["STOPPED", "SUCCEEDED"], 240, "a second job has ended")
    assert world.airflow.ended(DAG, run) == "success"
    assert kept.items() <= world.staged_of(KILLED).items()
    assert receipts(world.root, DAG)[KILLED] == 1


@pytest.mark.slow
def test_a_triggerer_that_dies_stops_nothing(world: World) -> None:
    """Kill -9 of it: the job works on, and the triggerer that comes after waits for its end."""
    run = world.begin(ALONE, 1)
    [triggerer] = [p for p in psutil.Process(world.leader).children() if "triggerer" in " ".join(p.cmdline())]
    for process in (*triggerer.children(recursive=True), triggerer):
        process.kill()
    log, environment = world.airflow.local.home / "triggerer.log", world.airflow.local.environment()
    command = [sys.executable, "-m", "airflow", "triggerer"]
    world.servers.enter_context(launched(command, log, env=environment, cwd=world.root))
    assert world.airflow.ended(DAG, run) == "success"
    assert world.statuses(ALONE) == ["SUCCEEDED"]
    assert world.airflow.tasks(DAG, run, "score")[0]["try_number"] == 1


@pytest.mark.slow
def test_a_head_that_dies_costs_no_piece_that_is_staged(world: World) -> None:
    """Kill -9 of the head and a node: the task is tried again on the head that comes after, and goes on."""
    run = world.begin(HEADLESS, 3)
    for node in world.cluster.started:
        world.cluster.kill(node)
    kept = world.staged_of(HEADLESS)
    assert len(kept) < PIECES
    world.cluster.start_head()
    world.cluster.add()
    assert world.airflow.ended(DAG, run, 400) == "success"
    assert world.airflow.tasks(DAG, run, "score")[0]["try_number"] > 1
    assert world.statuses(HEADLESS) == ["SUCCEEDED"]  # the head that came knows nothing of the first
    assert kept.items() <= world.staged_of(HEADLESS).items()
    assert receipts(world.root, DAG)[HEADLESS] == 1
    assert "what was staged is kept" in world.airflow.log(DAG, run, "score", index=0)


@pytest.mark.slow
def test_a_plan_that_no_longer_holds_is_made_again_and_scored_there(world: World, tmp_path: Path) -> None:
    """An input is replaced meanwhile: publish plans again, and a job of the cluster scores that plan, too."""
    run = world.begin(CHANGED)
    (world.root / f"data/lake/rows/day={CHANGED}/part-0.parquet").unlink()
    write_day(world.root, CHANGED, ROWS - 1_000)
    assert world.airflow.ended(DAG, run, 400) == "success"
    assert world.statuses(CHANGED) == ["FAILED", "SUCCEEDED"]
    assert world.airflow.tasks(DAG, run, "score")[0]["try_number"] == 1
    assert world.airflow.receipt(DAG, run)["rows"]["published"] == ROWS - 1_000
    loop(world.root, tmp_path / "loop", DAG, CHANGED)
    assert published(world.root, DAG, CHANGED) == published(tmp_path / "loop", DAG, CHANGED)


def plan_there(world: World) -> Plan:
    """The plan of a day that no Airflow runs."""
    return plan_day(load(DAG, world.root), as_day(RETRIED))


def test_a_retry_finds_the_job_under_way(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that dies after it has submitted: its next try waits for the same job; a kill stops that."""
    plan = plan_there(world)
    monkeypatch.setenv(ADDRESS, world.cluster.http)
    monkeypatch.setenv(TOKEN, SECRET)
    waited_for = []
    for _ in range(2):
        task = ScoreShare(task_id="score", job=DAG, job_hash="", workspace=str(world.root), share=[*range(8)])
        monkeypatch.setattr(task, "pull_plan", lambda _: plan)
        with pytest.raises(TaskDeferred) as deferred:
            task.execute({})
        assert SECRET not in str(deferred.value.trigger.serialize()) + str(deferred.value.kwargs)
        waited_for.append(deferred.value.trigger.name)
    assert waited_for == [f"nightscore-{plan.run_id}-1"] * 2
    assert len(world.listed(RETRIED)) == 1
    task.on_kill()
    until(lambda: world.statuses(RETRIED) == ["STOPPED"], 60, "the job is stopped")


@pytest.mark.slow
def test_what_is_wrong_with_a_cluster_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """No token, another, no head: each a message; a head that does not answer for long has lost the job."""
    plan, job = plan_there(world), load(DAG, world.root)
    for token in ("", "another-" + "1" * 32):
        monkeypatch.setenv(TOKEN, token)
        with pytest.raises(Broken, match=f"refuses the token .*set {TOKEN}") as told:
            asyncio.run(world.jobs.start(job, plan))
        assert token not in str(told.value) or not token
    away = RayJobs(f"http://127.0.0.1:{own_port(9400)}")
    with pytest.raises(NotYet, match="no Ray cluster answers there"):
        asyncio.run(away.start(job, plan))
    monkeypatch.setattr(ray_jobs, "PATIENCE", 0.5)
    state = asyncio.run(away.follow("nightscore-x-1", print, 0.1))
    assert state.status == LOST and "no Ray cluster answers there" in state.message
    monkeypatch.setenv(TOKEN, SECRET)
    assert asyncio.run(world.jobs.follow("nightscore-x-1", print, 0.1)).status == LOST


@pytest.mark.slow
def test_a_row_that_can_t_be_scored_fails_the_task_for_good(world: World, tmp_path: Path) -> None:
    """The message is that of the piece, with its node, and no more of the log."""
    root = slow_workspace(tmp_path, 0.0, broken="True")
    job = load(DAG, root)
    plan = plan_day(job, as_day("2020-01-02"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(TOKEN, SECRET)
        name, lines = asyncio.run(world.jobs.start(job, plan)), list[str]()
        state = asyncio.run(world.jobs.follow(name, lines.append, 0.5))
    with pytest.raises(Broken, match=f"Ray job {name}: failed: on node .*no such row") as told:
        state.refuse_failure(name)
    assert "Running entrypoint" not in str(told.value) and "Traceback" not in str(told.value)
    assert any(line.startswith("nightscore: broken: on node") for line in lines)


@pytest.mark.slow
def test_a_token_may_lie_in_a_file(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a mounted secret of Kubernetes does."""
    monkeypatch.delenv(TOKEN, raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    with pytest.raises(Broken, match=r"RAY_AUTH_TOKEN_PATH=.*can't be read"):
        asyncio.run(world.jobs.find("nightscore-x-1"))
    (tmp_path / "token").write_text(SECRET + "\n")
    assert asyncio.run(world.jobs.find("nightscore-x-1")) is None
