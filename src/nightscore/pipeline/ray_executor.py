"""Pieces on the machines of a Ray cluster: one task a piece; the only module that imports ray.

Nothing flows through Ray but a plan and what was staged: a node reads and writes where the workspace's roots
lie, so all nodes have to reach them. Where a piece is scored is no cause of its rows: same plan, same bytes.
"""

import json
import logging
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from nightscore.common import (
    Broken,
    NightscoreError,
    NotYet,
    ProgressCallback,
    RowCounter,
    first_line,
    read_root_variables,
    silent,
)
from nightscore.job import Job, load
from nightscore.pipeline.context import refuse_versions
from nightscore.pipeline.steps import score_piece
from nightscore.store import Piece, Plan, StagedFile, job_memory_budget, plan_from_json, run_folder

ADDRESS, AUTO = "RAY_ADDRESS", "auto"
AHEAD = 2  # pieces under way for each slot of the cluster: a node is never idle, and few are lost with it
TRIES = 3  # times that a piece is tried again whose process, node or memory is gone
SAYS_AFTER = 60.0  # seconds without a slot after which a wait is told
CONNECT_SECONDS = 5.0
GPUS = ("cuda", "tensorrt")
QUIET = {  # no traceback and no log of Ray's own beside a message
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_BACKEND_LOG_LEVEL": "error",
}


@dataclass(frozen=True)
class Ray:
    """Tasks of the Ray cluster at `address`; default: RAY_ADDRESS, else the cluster of this machine."""

    address: str = ""

    def connect(self) -> None:
        """Connect this process to the cluster, so that it is known at once whether there is one.

        Raises:
            Broken: ray is not installed, or this machine, its Ray or its Python can't work with the cluster.
            NotYet: nothing answers at the address.
        """
        _connect(self.address or os.environ.get(ADDRESS) or AUTO)

    def map(
        self, job: Job, plan: Plan, pieces: Sequence[Piece], report: ProgressCallback = silent
    ) -> list[StagedFile]:
        """The staged files, in order. The first error ends the pieces that are under way."""
        if not pieces:
            return []
        self.connect()
        return _Tasks(job, plan).score(pieces, report)


def score_there(name: str, root: str, roots: Mapping[str, str], plan: str, index: int) -> StagedFile:
    """Score one piece in a task, on whichever node this is.

    Args:
        name: the job's name.
        root: the workspace's folder, the same on all nodes.
        roots: what the environment of the driver says of roots, which holds here too.
        plan: as JSON.
        index: the number of the piece in the plan.

    Raises:
        Broken: a row can't be scored, or this node has no such workspace or doesn't reach its data.
        NotYet: the job, a library or an input here is not that of the plan.
    """
    os.environ.update(roots)
    try:
        seen = json.loads(plan)  # a node with another nightscore may not know all of its fields
        refuse_versions(f"job {name}, day {seen['day']}", seen["versions"])
        made, job = plan_from_json(plan), load(name, root)
        folder = run_folder.folder_of_plan(job.workspace, made)
        if not folder.plan.exists():
            raise Broken(
                f"{folder.plan}: is not there: this node does not see the data of the machine that made the "
                "plan; put data/ where all nodes reach it: NIGHTSCORE_ROOT_DATA is a bucket or a mount"
            )
        return score_piece(job, made, made.pieces[index])
    except NightscoreError as error:
        error.args = (f"on node {socket.gethostname()}: {error}",)
        raise


class _Tasks:
    """The tasks of one plan."""

    def __init__(self, job: Job, plan: Plan) -> None:
        import ray

        self.ray: Any = ray  # its functions have no types
        self.plan = plan
        self.cpus = plan.variant.threads
        self.gpus = 1 if plan.variant.device in GPUS else 0
        self.there = self.ray.remote(
            num_cpus=self.cpus, num_gpus=self.gpus, memory=self.memory(job), max_retries=TRIES,
            max_calls=0,  # a process scores many pieces: else one with a GPU would load its model for each
        )(score_there)  # fmt: skip
        roots, text = read_root_variables(), self.ray.put(plan.to_json())
        self.arguments = (job.name, str(job.workspace.root), roots, text)

    def submit(self, piece: Piece) -> Any:
        return self.there.remote(*self.arguments, piece.index)

    def memory(self, job: Job) -> int:
        """Bytes for one piece: what it takes of the budget, but no more than the largest node has."""
        wanted = job_memory_budget(job).process
        largest = max((node["Resources"].get("memory", 0) for node in self.nodes()), default=0)
        return int(min(wanted, largest or wanted))

    def nodes(self) -> list[dict[str, Any]]:
        return [node for node in self.ray.nodes() if node["Alive"]]

    def slots(self) -> int:
        """Pieces that the nodes of now can score at once."""
        return sum(self.slots_of(node["Resources"]) for node in self.nodes())

    def slots_of(self, resources: Mapping[str, float]) -> int:
        cpus = int(resources.get("CPU", 0)) // self.cpus
        return min(cpus, int(resources.get("GPU", 0))) if self.gpus else cpus

    def score(self, pieces: Sequence[Piece], report: ProgressCallback) -> list[StagedFile]:
        count = RowCounter("score", sum(piece.rows for piece in pieces), report)
        waiting, done = list(enumerate(pieces)), dict[int, StagedFile]()
        with self.under_way() as tasks:
            while waiting or tasks:
                for place, piece in _taken(waiting, AHEAD * max(1, self.slots()) - len(tasks)):
                    tasks[self.submit(piece)] = place
                for task in self.finished(list(tasks), report):
                    place = tasks.pop(task)
                    done[place] = self.result(task, pieces[place])
                    count(pieces[place].rows)
        return [done[place] for place in range(len(pieces))]

    @contextmanager
    def under_way(self) -> Iterator[dict[Any, int]]:
        """Tasks, by which piece; those that are left at the end are stopped."""
        tasks: dict[Any, int] = {}
        try:
            yield tasks
        finally:
            for task in tasks:
                self.ray.cancel(task, force=True)

    def finished(self, tasks: list[Any], report: ProgressCallback) -> list[Any]:
        """A task that has ended, if one does within a minute; new nodes are seen after that."""
        done, _ = self.ray.wait(tasks, num_returns=1, timeout=SAYS_AFTER)
        if not done and not self.slots():
            needed = f"{self.cpus} CPU" + (" and a GPU" if self.gpus else "")
            report(f"score: waiting, no node of the cluster has {needed}", 0, 0)
        return list(done)

    def result(self, task: Any, piece: Piece) -> StagedFile:
        """What a task staged.

        Raises:
            Broken, NotYet: as the piece did.
            NotYet: its process, node or memory was gone, each time that it was tried.
        """
        from ray.exceptions import RayError, RayTaskError

        try:
            staged: StagedFile = self.ray.get(task)
        except RayTaskError as error:
            if isinstance(error.cause, NightscoreError):
                raise error.cause from None
            raise
        except RayError as error:
            raise NotYet(
                f"job {self.plan.job}, day {self.plan.day}: piece {piece.index} was lost {TRIES + 1} times: "
                f"{type(error).__name__}: {first_line(error)}"
            ) from None
        return staged


def _taken(waiting: list[tuple[int, Piece]], most: int) -> list[tuple[int, Piece]]:
    """The first of what waits, which then waits no longer."""
    taken = waiting[: max(0, most)]
    del waiting[: len(taken)]
    return taken


def _connect(address: str) -> None:
    os.environ.setdefault("RAY_task_oom_retries", str(TRIES))  # else a piece too large is tried for ever
    for quiet, value in QUIET.items():
        os.environ.setdefault(quiet, value)
    try:
        import ray
    except ImportError as error:
        raise Broken(f"--on ray: Ray is not installed; pip install 'nightscore[ray]' ({error})") from error
    if ray.is_initialized():
        return
    if address != AUTO:
        _refuse_unreachable(address)
    try:
        ray.init(address, namespace="nightscore", log_to_driver=False, logging_level=logging.ERROR)
    except ConnectionError as error:
        raise _unconnected(address, error) from None
    except (RuntimeError, ValueError) as error:
        raise Broken(f"{ADDRESS}={address}: {first_line(error)}") from error


def _unconnected(address: str, error: Exception) -> NightscoreError:
    if address == AUTO:
        return Broken(
            f"--on ray: {ADDRESS} is not set, and this machine is no node of a Ray cluster; set it "
            "(head:6379), or join one: ray start --address=head:6379"
        )
    return NotYet(f"{ADDRESS}={address}: {first_line(error)}")


def _refuse_unreachable(address: str) -> None:
    """Ray would try for half a minute, and end the process.

    Raises:
        Broken: the address is none of a cluster's head.
        NotYet: nothing listens there.
    """
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdigit():
        raise Broken(
            f"{ADDRESS}={address}: is no address of a cluster's head; allowed: HOST:PORT, as head:6379, or "
            "auto (from a machine outside of the cluster, submit the command as a Ray job)"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except OSError as error:
        raise NotYet(f"{ADDRESS}={address}: no Ray cluster answers there: {error}") from error
