"""Seconds that the driver takes for a task that does nothing, by how many are under way: its own loop."""

import argparse
import json
import os
import time

import ray

from nightscore.common import silent
from nightscore.pipeline.on_ray.executor import AHEAD, Ray, _Call, _Tasks

TASKS = 2_000


class Nothing(_Tasks):
    """The executor's loop over tasks that do nothing, as many at once as a larger cluster would have."""

    def __init__(self, under_way: int) -> None:
        self.ray, self.under_way_here, self.stage = ray, under_way, "nothing"
        self.head, self.answered, self.is_headless = ray.get_runtime_context().gcs_address, 0.0, False
        self.cpus, self.gpus = 1, 0

    def slots(self) -> int:
        """What the nodes of now have is asked, and then not believed."""
        super().slots()
        return self.under_way_here // AHEAD


def do_nothing(*arguments: object) -> int:
    """Gives back something small."""
    return len(arguments)


def measured(under_way: int, count: int) -> dict[str, float]:
    """Seconds, and CPU seconds of the driver, of a task."""
    there = ray.remote(num_cpus=1, max_retries=3, max_calls=0)(do_nothing)
    calls = [
        _Call(lambda: there.remote("a job", "/a/workspace", {}, "a plan", 1), "a piece", 1)
        for _ in range(count)
    ]
    before, began = time.process_time(), time.perf_counter()
    Nothing(under_way).all(calls, lambda _: None, silent)
    return {
        "seconds": (time.perf_counter() - began) / count,
        "cpu": (time.process_time() - before) / count,
    }


parser = argparse.ArgumentParser()
parser.add_argument("under_way", type=int, nargs="+")
options = parser.parse_args()
Ray().connect()
measured(8, 100)
print(json.dumps({"load": os.getloadavg()[0], "tasks": {n: measured(n, TASKS) for n in options.under_way}}))
