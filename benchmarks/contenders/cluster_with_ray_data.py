"""Ray Data: `map_batches` of a class, an actor a node, Arrow batches of 16,384 rows, one-thread sessions.

Reading and writing take a quarter of a slot, scoring half of one, so that a node of one core does all three;
a file is a block. Parquet is read from the bucket, and written into it, by pyarrow's own file system. The
reader is the one before DataSourceV2, whose listing wants a whole slot and finds none beside the actors.
"""

import argparse
import json
import logging
import os
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pyarrow as pa
import ray
from pyarrow.fs import S3FileSystem
from spending import Spending, read_owners
from task import BATCH, predicted

COLUMNS = [f"f{i}" for i in range(40)]


class Score:
    """The model, opened once by an actor."""

    def __init__(self, model: bytes) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def __call__(self, batch: pa.Table) -> pa.Table:
        """A batch of rows -> keys and scores."""
        matrix = np.stack([batch[name].to_numpy() for name in COLUMNS], axis=1)
        return pa.table({"id": batch["id"], "score": predicted(self.session, matrix)})


def main() -> None:
    """Score and say how long it took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--owners", nargs="+", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--slots", type=int, required=True)
    parser.add_argument("files", nargs="+")
    options = parser.parse_args()
    ray.init("auto", log_to_driver=False, logging_level=logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.use_datasource_v2 = False
    bucket = S3FileSystem(
        endpoint_override=os.environ["AWS_ENDPOINT_URL"], region=os.environ["AWS_REGION"],
        allow_bucket_creation=False,
    )  # fmt: skip
    with Spending({**read_owners(options.owners), "driver": [os.getpid()]}) as spent:
        rows = ray.data.read_parquet(
            options.files, filesystem=bucket, partitioning=None, override_num_blocks=len(options.files),
            ray_remote_args={"num_cpus": 0.25},
        )  # fmt: skip
        scores = rows.map_batches(
            Score, fn_constructor_args=(options.model.read_bytes(),), batch_format="pyarrow",
            batch_size=BATCH, zero_copy_batch=True,
            compute=ray.data.ActorPoolStrategy(size=options.slots), num_cpus=0.5,
        )  # fmt: skip
        scores.write_parquet(
            options.out, filesystem=bucket, compression="zstd", ray_remote_args={"num_cpus": 0.25}
        )
    print(json.dumps({"seconds": spent.seconds, "cpu": spent.cpu, "at": time.time()}))


if __name__ == "__main__":
    main()
