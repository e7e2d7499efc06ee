"""PySpark: an iterator pandas UDF, local mode on all cores, one-thread sessions, 16,384 rows a batch."""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from pyspark.sql import SparkSession
from pyspark.sql.functions import pandas_udf, struct
from task import BATCH, done, predicted, read_task, session

os.environ["PYSPARK_PYTHON"] = sys.executable
sys.path.insert(0, str(Path(__file__).parent))
task = read_task()
settings = {
    "spark.driver.memory": "4g",
    "spark.ui.enabled": "false",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.sql.execution.arrow.maxRecordsPerBatch": str(BATCH),
    "spark.sql.parquet.compression.codec": "zstd",
    "spark.sql.parquet.columnarReaderBatchSize": str(BATCH),
    "spark.executorEnv.PYTHONPATH": str(Path(__file__).parent),
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
}
builder = SparkSession.builder.master(f"local[{task.cores}]")
for name, value in settings.items():
    builder = builder.config(name, value)
spark = builder.getOrCreate()
spark.sparkContext.setLogLevel("ERROR")
started = time.perf_counter()
path = task.model


@pandas_udf("float")
def score(batches: Iterator[pd.DataFrame]) -> Iterator[pd.Series]:
    """Batches of the model's columns -> scores; the model is opened once a task."""
    model = session(path, 1)
    for batch in batches:
        yield pd.Series(predicted(model, batch.to_numpy("float32")))


rows = spark.read.option("recursiveFileLookup", "true").parquet(*task.files)
scores = rows.select("id", score(struct(*task.columns)).alias("score"))
scores.write.mode("overwrite").parquet(str(task.out))
done(started, "pyspark", "pandas", "pyarrow", "onnxruntime")
