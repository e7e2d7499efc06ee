"""nightscore: `features: rows`; the light network by `kind: networks`, the trees by `auto`, chosen once."""

import argparse
import datetime as dt
import json
import time
from importlib.metadata import version
from pathlib import Path

from nightscore import load
from nightscore.pipeline.executors import LOCAL_THREADS
from nightscore.pipeline.request import RunRequest
from nightscore.pipeline.score.open_model import close_models
from nightscore.pipeline.steps import plan_day, publish_day

DAY = "2020-01-01"
parser = argparse.ArgumentParser()
parser.add_argument("--job", required=True)
parser.add_argument("workspace", type=Path)
options = parser.parse_args()

started = time.perf_counter()
job = load(options.job, options.workspace)
plan = plan_day(job, dt.date.fromisoformat(DAY), RunRequest(force=True))
planned = time.perf_counter()
close_models()  # the model is opened again, as the others do within their time
staged = LOCAL_THREADS.map(job, plan, plan.pieces)
scored = time.perf_counter()
receipt = publish_day(job, plan, staged)
ended = time.perf_counter()
packages = ("nightscore", "duckdb", "pyarrow", "onnxruntime", "numba")
result = {
    "seconds": scored - planned,
    "night": ended - started,
    "stages": {**plan.seconds, "score": scored - planned, **receipt.seconds},
    "variant": str(plan.variant),
    "files": [str(options.workspace / file.path) for file in staged],
    "versions": {name: version(name) for name in packages},
}
print(json.dumps(result))
