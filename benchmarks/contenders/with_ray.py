"""Ray Data: `map_batches` of a class, an actor a core, Arrow batches of 16,384 rows, one-thread sessions."""

import os
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

os.environ.setdefault("RAY_DEDUP_LOGS", "0")
import ray
from task import BATCH, done, predicted, read_task, session

task = read_task()
ray.init(num_cpus=task.cores, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
ray.data.DataContext.get_current().enable_progress_bars = False
started = time.perf_counter()


class Score:
    """The model, opened once by an actor."""

    def __init__(self, model: Path) -> None:
        self.session = session(model, 1)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """A batch of rows -> keys and scores."""
        matrix = np.stack([batch[name].to_numpy() for name in task.columns], axis=1)
        return pa.table({"id": batch["id"], "score": predicted(self.session, matrix)})


rows = ray.data.read_parquet(task.files, partitioning=None)
scores = rows.map_batches(
    Score, fn_constructor_args=(task.model,), batch_format="pyarrow", batch_size=BATCH, zero_copy_batch=True,
    compute=ray.data.ActorPoolStrategy(size=task.cores), num_cpus=0.5,
)  # fmt: skip
scores.write_parquet(str(task.out), compression="zstd", ray_remote_args={"num_cpus": 0.25})
done(started, "ray", "pyarrow", "onnxruntime")
