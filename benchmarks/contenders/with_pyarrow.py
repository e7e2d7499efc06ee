"""pyarrow: a plain loop in as many processes as cores, one-thread sessions, batches of 16,384 rows."""

import multiprocessing
import time
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from task import BATCH, Task, done, predicted, read_task, session


def score(task: Task, path: str) -> None:
    """One file -> one file."""
    model = session(task.model, 1)
    schema = pa.schema([("id", pa.int64()), ("score", pa.float32())])
    with (
        pq.ParquetFile(path) as file,
        pq.ParquetWriter(task.out / path.rpartition("/")[2], schema, compression="zstd") as writer,
    ):
        for batch in file.iter_batches(BATCH, columns=["id", *task.columns], use_threads=False):
            matrix = np.column_stack([batch[name].to_numpy() for name in task.columns])
            scores = pa.array(predicted(model, matrix), pa.float32())
            writer.write_batch(pa.RecordBatch.from_arrays([batch["id"], scores], schema=schema))


if __name__ == "__main__":
    task = read_task()
    started = time.perf_counter()
    if task.cores == 1:
        list(map(partial(score, task), task.files))
    else:
        with multiprocessing.get_context("spawn").Pool(task.cores) as pool:
            pool.map(partial(score, task), task.files, chunksize=1)
    done(started, "pyarrow", "onnxruntime")
