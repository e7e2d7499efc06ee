"""Scores -> decision tables, one SELECT each."""

import time
from collections.abc import Mapping, Sequence

import pyarrow as pa

from nightscore.job.loader import sql_file
from nightscore.pipeline.context import Day
from nightscore.store.engine import SqlMistakes
from nightscore.store.staging import StagedFile, made, stage, staged, stamped


def decide(day: Day, scores: Sequence[StagedFile], schemas: Mapping[str, pa.Schema]) -> dict[str, StagedFile]:
    """Stage every decision table of the job, in the stored `schemas`.

    Rows are sorted by all columns: the same rows are the same bytes.

    Raises:
        Broken: the SQL fails on these rows.
    """
    job, run_id = day.job, day.plan.run_id
    found = {}
    with day.engine({"scores": scores}, threads=day.sql_threads) as engine:
        for table, sql in job.decide_sql.items():
            path, schema = day.run.decided(table), schemas[table]
            started, cpu = time.time(), time.thread_time()
            if not path.exists():
                with SqlMistakes(sql_file(job, job.spec.decide[table])):
                    batches = engine.stream(sql, order="ALL")
                    stage(path, (stamped(batch, run_id, schema) for batch in batches), schema)
            found[table] = made(staged(path, day.root), started, cpu)
    return found
