"""Waiting for a job of a Ray cluster without holding a worker."""

from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from nightscore.airflow.on_ray.jobs import SECONDS, RayJobs


class RayJobTrigger(BaseTrigger):
    """Fires when a job has ended; its event is the fields of a `JobState`.

    The job's lines go to the task's log. The triggerer has to reach the cluster, and has the token of it in
    its own environment: what is serialized here lies in Airflow's database.
    """

    def __init__(self, *, address: str, name: str, seconds: float = SECONDS) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.address, self.name, self.seconds = address, name, seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """What the triggerer makes it from."""
        names = ("address", "name", "seconds")
        return f"{__name__}.{type(self).__name__}", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Follow the job to its end."""
        state = await RayJobs(self.address).follow(self.name, self.log.info, self.seconds)
        yield TriggerEvent(asdict(state))  # type: ignore[no-untyped-call]

    async def on_kill(self) -> None:
        """Stop the job: a person has cleared the task, or marked it; not so where the triggerer ends."""
        await RayJobs(self.address).stop(self.name)
