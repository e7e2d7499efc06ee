"""LightGBM's own predict: pandas frames of a row group each, all cores in `predict`."""

import time

import lightgbm as lgb
import pandas as pd
import pyarrow.parquet as pq
from task import done, read_task

task = read_task()
started = time.perf_counter()
model = lgb.Booster(model_file=task.model.with_suffix(".txt"))
for path in task.files:
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            frame = file.read_row_group(group).to_pandas()
            predictions = model.predict(frame[task.columns].to_numpy("float32"), num_threads=task.cores)
            name = f"{path.rpartition('/')[2]}-{group}.parquet"
            scores = pd.DataFrame({"id": frame["id"], "score": predictions.astype("float32")})
            scores.to_parquet(task.out / name, compression="zstd")
done(started, "lightgbm", "pandas", "pyarrow")
