"""Deliveries held to the columns of their tables, before anything is run."""

from collections.abc import Mapping

import pyarrow as pa

from nightscore.common import Broken
from nightscore.delivery.contract import sent_schema
from nightscore.delivery.registry import open_channel
from nightscore.job import Job


def check_deliveries(job: Job, schemas: Mapping[str, pa.Schema]) -> list[str]:
    """Hold each delivery of a job to the columns of its table; gives a line for each.

    Raises:
        Broken: one does not fit, names its line in job.yaml.
    """
    lines = []
    for number, delivery in enumerate(job.spec.deliver):
        try:
            channel = open_channel(job.workspace, delivery)
            unknown = channel.check(sent_schema(schemas[job.spec.delivered_table(delivery)]))
        except Broken as error:
            job.raise_broken(("deliver", number), str(error))
        lines.append(f"{channel.target}{f' ({unknown})' if unknown else ''}")
    return lines
