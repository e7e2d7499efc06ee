"""pandas: row groups in as many threads as cores, one-thread sessions, 16,384 rows a call."""

import time
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pyarrow.parquet as pq
from task import done, predicted, read_task, session

task = read_task()
started = time.perf_counter()
model = session(task.model, 1)


def score(part: tuple[str, int]) -> None:
    """One row group -> one file."""
    path, group = part
    with pq.ParquetFile(path) as file:
        frame = file.read_row_group(group, use_threads=False).to_pandas()
    predictions = predicted(model, frame[task.columns].to_numpy("float32"))
    name = f"{path.rpartition('/')[2]}-{group}.parquet"
    pd.DataFrame({"id": frame["id"], "score": predictions}).to_parquet(task.out / name, compression="zstd")


parts = [(path, group) for path in task.files for group in range(pq.read_metadata(path).num_row_groups)]
with ThreadPoolExecutor(task.cores) as pool:
    list(pool.map(score, parts))
done(started, "pandas", "pyarrow", "onnxruntime")
