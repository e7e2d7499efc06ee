"""nightscore: `run --on ray`, a piece a task; a whole night, of which the scoring is measured by itself."""

import argparse
import dataclasses
import datetime as dt
import json
import os
import time
from functools import partial
from pathlib import Path

from spending import Spending, read_owners

from nightscore import load
from nightscore.common import silent
from nightscore.pipeline.on_ray.executor import Ray
from nightscore.pipeline.request import RunRequest
from nightscore.pipeline.steps import plan_day, publish_day

DAY = "2020-01-01"
parser = argparse.ArgumentParser()
parser.add_argument("--job", required=True)
parser.add_argument("--owners", nargs="+", required=True)
parser.add_argument("workspace", type=Path)
options = parser.parse_args()

started = time.perf_counter()
job, cluster = load(options.job, options.workspace), Ray()
cluster.connect()
choose = partial(cluster.choose, report=silent)
plan = plan_day(job, dt.date.fromisoformat(DAY), RunRequest(force=True), choose=choose)
began = time.time()
with Spending({**read_owners(options.owners), "driver": [os.getpid()]}) as spent:
    staged = cluster.map(job, plan, plan.pieces)
receipt = publish_day(job, plan, staged)
print(
    json.dumps(
        {
            "seconds": spent.seconds,
            "began": began,
            "cpu": spent.cpu,
            "waited": spent.waited,
            "pieces": [dataclasses.asdict(file) for file in staged],
            "night": time.perf_counter() - started,
            "stages": {**plan.seconds, "score": spent.seconds, **receipt.seconds},
            "variant": str(plan.variant),
            "rows": receipt.rows.published,
        }
    )
)
