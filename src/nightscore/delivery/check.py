"""Deliveries held to the columns of their tables, before anything is run."""

from collections.abc import Mapping

import pyarrow as pa

from nightscore.common import Broken
from nightscore.delivery.contract import sent_schema
from nightscore.delivery.registry import open_channel
from nightscore.job import BUILT_IN, Delivery, Job, load_all


def check_deliveries(job: Job, schemas: Mapping[str, pa.Schema]) -> list[str]:
    """Hold each delivery of a job to the columns of its table; gives a line for each.

    Raises:
        Broken: one does not fit, or another job delivers there; names its line in job.yaml.
    """
    lines = []
    others = _targets_of_others(job)
    for number, delivery in enumerate(job.spec.deliver):
        if other := others.get(_expanded(job, delivery)):
            job.raise_broken(
                ("deliver", number, delivery.kind),
                f"{delivery.target} is where job {other} delivers, too; one would undo the other",
            )
        try:
            channel = open_channel(job.workspace, delivery)
            unknown = channel.check(sent_schema(schemas[job.spec.delivered_table(delivery)]))
        except Broken as error:
            job.raise_broken(("deliver", number), str(error))
        lines.append(f"{channel.target}{f' ({unknown})' if unknown else ''}")
    return lines


def _targets_of_others(job: Job) -> dict[str, str]:
    """Target -> the job that delivers there, of the workspace's other jobs."""
    others = [one for one in load_all(job.workspace)[0] if one.name != job.name]
    return {_expanded(one, delivery): one.name for one in others for delivery in one.spec.deliver}


def _expanded(job: Job, delivery: Delivery) -> str:
    """A target as it differs from job to job; of a plug-in, whose targets we don't know, its job's own."""
    if delivery.kind not in BUILT_IN:
        return f"{job.name} {delivery.called}"
    table = job.spec.delivered_table(delivery)
    return delivery.target.replace("{job}", job.name).replace("{table}", table)
