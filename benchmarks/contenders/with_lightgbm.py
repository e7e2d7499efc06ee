"""LightGBM's own predict: pandas frames of a row group each, all cores in `predict`."""

import time

import lightgbm as lgb
import pandas as pd
import pyarrow.parquet as pq
from task import done, task

asked = task()
started = time.perf_counter()
model = lgb.Booster(model_file=asked.model.with_suffix(".txt"))
for path in asked.files:
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            frame = file.read_row_group(group).to_pandas()
            found = model.predict(frame[asked.columns].to_numpy("float32"), num_threads=asked.cores)
            name = f"{path.rpartition('/')[2]}-{group}.parquet"
            scores = pd.DataFrame({"id": frame["id"], "score": found.astype("float32")})
            scores.to_parquet(asked.out / name, compression="zstd")
done(started, "lightgbm", "pandas", "pyarrow")
