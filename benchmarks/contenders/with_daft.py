"""Daft: a batch function over the columns, native runner, one-thread sessions, 16,384 rows a call."""

import time
from pathlib import Path

import daft
import numpy as np
from task import BATCH, done, predicted, read_task, session

task = read_task()
daft.set_runner_native()
started = time.perf_counter()


@daft.cls(max_concurrency=task.cores, use_process=False)
class Score:
    """The model, opened once."""

    def __init__(self, model: str) -> None:
        self.session = session(Path(model), 1)

    @daft.method.batch(return_dtype=daft.DataType.float32(), batch_size=BATCH)
    def scores(self, *columns: daft.Series) -> daft.Series:
        """The model's columns -> scores."""
        matrix = np.stack([column.to_arrow().to_numpy() for column in columns], axis=1)
        return daft.Series.from_numpy(predicted(self.session, matrix))


model = Score(str(task.model))
rows = daft.read_parquet(task.files)
scores = rows.select(rows["id"], model.scores(*(rows[name] for name in task.columns)).alias("score"))
scores.write_parquet(str(task.out), compression="zstd")
done(started, "daft", "pyarrow", "onnxruntime")
