"""Pieces on the machines of a Ray cluster: one task a piece; the only module that imports ray.

The variant is chosen by a task, too: on a node with a GPU, where there is one and the job may use it. Of
features that are made in parts there is one task a part before that, and one for the whole query that a part
is held to, which runs beside the pieces.

Nothing flows through Ray but a plan and what was staged: a node reads and writes where the workspace's roots
lie, so all nodes have to reach them. Where a piece is scored is no cause of its rows: same plan, same bytes.
"""

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

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
from nightscore.job import Job
from nightscore.pipeline.on_ray.address import ADDRESS, AUTO, answers, refuse_unreachable, unconnected
from nightscore.pipeline.on_ray.there import Asked, choose_there, compare_there, make_there, score_there
from nightscore.pipeline.score.canary import choose_here
from nightscore.store import InputFile, Piece, Plan, StagedFile, job_memory_budget, plan_from_json

AHEAD = 2  # pieces under way for each slot of the cluster: a node is never idle, and few are lost with it
TRIES = 3  # times that a piece is tried again whose process, node or memory is gone
SAYS_AFTER = 60.0  # seconds without a slot after which a wait is told
LOOKS_AFTER = 1.0  # seconds without a result after which it is seen whether the head answers
PATIENCE = 20.0  # seconds in which it may not
GPUS = ("cuda", "tensorrt")
Verb = Callable[..., Any]  # what a task does
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

    def choose(
        self, job: Job, plan: Plan, source: Sequence[InputFile], report: ProgressCallback = silent
    ) -> Plan:
        """The plan with its variant, as a node of those that may score it chooses; that one is waited for."""
        if job.spec.model.is_none:
            return choose_here(job, plan, source)
        self.connect()
        tasks = _Tasks(job, plan, "choose", 1)
        tasks.gpus = 1 if plan.device in GPUS or (plan.device == "auto" and tasks.has_gpus()) else 0
        memory = job_memory_budget(job).process
        call = tasks.call(choose_there, memory, "the choice of a variant", 0, tuple(source))
        [chosen] = tasks.all([call], lambda _: None, report)
        return plan_from_json(chosen)

    def map(
        self, job: Job, plan: Plan, pieces: Sequence[Piece], report: ProgressCallback = silent
    ) -> list[StagedFile]:
        """The staged files, in order. The first error ends the pieces that are under way."""
        if not pieces:
            return []
        self.connect()
        gpus = 1 if plan.variant.device in GPUS else 0
        tasks = _Tasks(job, plan, "score", plan.variant.threads, gpus)
        memory = job_memory_budget(job).process
        calls = [
            tasks.call(score_there, memory, f"piece {piece.index}", piece.rows, piece.index)
            for piece in pieces
        ]
        beside = _comparison(job, plan)
        count = RowCounter("score", sum(piece.rows for piece in pieces), report)
        return tasks.all([*beside, *calls], count, report)[len(beside) :]

    def map_parts(
        self, job: Job, plan: Plan, numbers: Sequence[int], report: ProgressCallback = silent
    ) -> list[StagedFile]:
        """The snapshots of the parts, in order. The first error ends the parts that are under way."""
        self.connect()
        tasks = _of_sql(job, plan)
        calls = [_sql_call(job, tasks, make_there, f"part {number}", number) for number in numbers]
        return tasks.all(calls, RowCounter("features", len(numbers), report), report)


def _of_sql(job: Job, plan: Plan) -> "_Tasks":
    """Tasks with the CPUs that the job's SQL has threads: one, where it has as many as there are cores."""
    threads = job.spec.scoring.sql_threads
    return _Tasks(job, plan, "features", 1 if threads == "auto" else threads)


def _sql_call(job: Job, tasks: "_Tasks", verb: Verb, shown: str, number: int = -1) -> "_Call":
    at_once = max(1, *(tasks.slots_of(node["Resources"]) for node in tasks.nodes()))
    memory = job_memory_budget(job).sql // at_once
    counts = 0 if number < 0 else 1
    return tasks.call(verb, memory, shown, counts, Asked(number, at_once, tasks.cpus))


def _comparison(job: Job, plan: Plan) -> "list[_Call]":
    """What is to be done beside the pieces, where the features were made in parts and are to be published."""
    if plan.parts is None or plan.limit is not None:
        return []
    return [_sql_call(job, _of_sql(job, plan), compare_there, "the whole query")]


class _Call(NamedTuple):
    """One task to be done: what starts it, what it is called, and how much of the stage is done with it."""

    start: Callable[[], Any]
    shown: str
    counts: int


class _Tasks:
    """Tasks of one plan that need as many CPUs and GPUs each."""

    def __init__(self, job: Job, plan: Plan, stage: str, cpus: int, gpus: int = 0) -> None:
        import ray

        self.ray: Any = ray  # its functions have no types
        self.head, self.answered, self.is_headless = ray.get_runtime_context().gcs_address, 0.0, False
        self.plan, self.stage, self.cpus, self.gpus = plan, stage, cpus, gpus
        self.remotes: dict[tuple[Verb, int], Any] = {}
        roots, text = read_root_variables(), self.ray.put(plan.to_json())
        self.arguments = (job.name, str(job.workspace.root), roots, text)

    def call(self, verb: Verb, memory: int, shown: str, counts: int, asked: object) -> _Call:
        """A task of `memory` bytes, but no more than the largest node has."""
        there = self.remotes.get((verb, memory)) or self.remote(verb, memory)
        return _Call(lambda: there.remote(*self.arguments, asked), shown, counts)

    def remote(self, verb: Verb, memory: int) -> Any:
        """What Ray makes of a verb, once: each one made is sent to each node."""
        largest = max((node["Resources"].get("memory", 0) for node in self.nodes()), default=0)
        made = self.ray.remote(
            num_cpus=self.cpus, num_gpus=self.gpus, memory=int(min(memory, largest or memory)),
            max_retries=TRIES,
            max_calls=0,  # a process scores many pieces: else one with a GPU would load its model for each
        )(verb)  # fmt: skip
        return self.remotes.setdefault((verb, memory), made)

    def nodes(self) -> list[dict[str, Any]]:
        self.wait_for_head()
        return [node for node in self.ray.nodes() if node["Alive"]]

    def wait_for_head(self) -> None:
        """Return once the cluster's head answers; Ray would wait for a minute, and end the process then.

        Raises:
            NotYet: it has not for long.
        """
        if time.monotonic() < self.answered + LOOKS_AFTER:
            return
        end = time.monotonic() + PATIENCE
        while not answers(self.head):
            if time.monotonic() > end:
                self.is_headless = True
                raise NotYet(
                    f"job {self.plan.job}, day {self.plan.day}: the head of the Ray cluster, {self.head}, "
                    "does not answer any more; what is finished is kept"
                )
            time.sleep(1)
        self.answered = time.monotonic()

    def has_gpus(self) -> bool:
        return any(node["Resources"].get("GPU", 0) >= 1 for node in self.nodes())

    def slots(self) -> int:
        """Pieces that the nodes of now can score at once."""
        return sum(self.slots_of(node["Resources"]) for node in self.nodes())

    def slots_of(self, resources: Mapping[str, float]) -> int:
        cpus = int(resources.get("CPU", 0)) // self.cpus
        return min(cpus, int(resources.get("GPU", 0))) if self.gpus else cpus

    def all(
        self, calls: Sequence[_Call], count: Callable[[int], object], report: ProgressCallback
    ) -> list[Any]:
        """What some tasks give, in order; `count` is told how much of the stage is done with each."""
        waiting, done = list(enumerate(calls)), dict[int, Any]()
        with self.under_way() as tasks:
            while waiting or tasks:
                for place, call in _taken(waiting, AHEAD * max(1, self.slots()) - len(tasks)):
                    tasks[call.start()] = place
                for task in self.finished(list(tasks), report):
                    place = tasks.pop(task)
                    done[place] = self.result(task, calls[place].shown)
                    count(calls[place].counts)
        return [done[place] for place in range(len(calls))]

    @contextmanager
    def under_way(self) -> Iterator[dict[Any, int]]:
        """Tasks, by which piece; those that are left at the end are stopped."""
        tasks: dict[Any, int] = {}
        try:
            yield tasks
        finally:
            for task in () if self.is_headless else tasks:
                self.ray.cancel(task, force=True)

    def finished(self, tasks: list[Any], report: ProgressCallback) -> list[Any]:
        """The tasks that have ended, once one has; none after a minute, for there may be new nodes."""
        end = time.monotonic() + SAYS_AFTER
        while time.monotonic() < end:
            if self.ray.wait(tasks, num_returns=1, timeout=LOOKS_AFTER)[0]:
                return list(self.ray.wait(tasks, num_returns=len(tasks), timeout=0)[0])
            self.wait_for_head()
        needed = f"{self.cpus} CPU" + (" and a GPU" if self.gpus else "")
        if not self.slots():
            report(f"{self.stage}: waiting, no node of the cluster has {needed}", 0, 0)
        elif self.stage == "choose":  # takes seconds once it has begun
            report(f"{self.stage}: waiting for {needed}, all of the cluster are taken", 0, 0)
        return []

    def result(self, task: Any, shown: str) -> Any:
        """What a task gives.

        Raises:
            Broken, NotYet: as the task did.
            NotYet: its process, node or memory was gone, each time that it was tried.
        """
        from ray.exceptions import RayError, RayTaskError

        try:
            return self.ray.get(task)
        except RayTaskError as error:
            if isinstance(error.cause, NightscoreError):
                raise error.cause from None
            raise error.cause or error from error  # as it would be here: its text alone, and no traceback
        except RayError as error:
            raise NotYet(
                f"job {self.plan.job}, day {self.plan.day}: {shown} was lost {TRIES + 1} times: "
                f"{type(error).__name__}: {first_line(error)}"
            ) from None


def _taken(waiting: list[tuple[int, _Call]], most: int) -> list[tuple[int, _Call]]:
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
        refuse_unreachable(address)
    try:
        ray.init(address, namespace="nightscore", log_to_driver=False, logging_level=logging.ERROR)
    except ConnectionError as error:
        raise unconnected(address, error) from None
    except (RuntimeError, ValueError) as error:
        raise Broken(f"{ADDRESS}={address}: {first_line(error)}") from error
