"""Our own limit: decoding, assembling, the model and writing, each alone with all cores busy, added up."""

import argparse
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from nightscore import load
from nightscore.job.loader import Job
from nightscore.pipeline.read.scan import scan_chunks
from nightscore.pipeline.request import RunRequest
from nightscore.pipeline.score.open_model import open_planned_scorer
from nightscore.pipeline.steps import plan_day
from nightscore.scorers.arrays import matrix
from nightscore.scorers.hardware import read_hardware
from nightscore.store.documents.plan import Piece, Plan
from nightscore.store.sql.engine import EngineResources
from nightscore.store.storage import Folder, Place
from nightscore.store.tables.staging import stage_batches, stamped

DAY = date(2020, 1, 1)
CORES = read_hardware().cores


def busy(work: Callable[[Any], object], items: Sequence[object]) -> float:
    """Seconds until all cores together have done `work` on all items."""
    started = time.perf_counter()
    with ThreadPoolExecutor(CORES) as pool:
        list(pool.map(work, items))
    return time.perf_counter() - started


class Stages:
    """The stages of some pieces of a day, each for one piece."""

    def __init__(self, job: Job, plan: Plan) -> None:
        self.plan, self.scorer = plan, open_planned_scorer(job, plan)
        self.names, self.workspace = self.scorer.signature.inputs.names, job.workspace
        self.resources = EngineResources(1, 128_000_000, job.workspace.runs)
        self.folder = job.workspace.root / "data/limit"

    def decoded(self, piece: Piece) -> Iterator[pa.RecordBatch]:
        """Chunks as they are scored."""
        return scan_chunks(self.workspace, piece, ["id", *self.names], self.plan.chunk_rows, self.resources)

    def decode(self, piece: Piece) -> None:
        """Read and forget."""
        for _ in self.decoded(piece):
            pass

    def score(self, read: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
        """Assemble matrices, or bins, and run the model."""
        return [self.scorer.score(chunk) for chunk in read]

    def assemble(self, read: list[pa.RecordBatch]) -> None:
        """A matrix of each chunk."""
        for chunk in read:
            matrix(chunk, self.names, np.float32)

    def write(self, item: tuple[int, list[pa.RecordBatch]]) -> None:
        """The scores as they are staged."""
        number, batches = item
        schema = pa.schema([("id", pa.int64()), ("score", pa.float32()), ("run_id", pa.string())])
        rows = (stamped(batch, self.plan.run_id, schema) for batch in batches)
        stage_batches(Place(Folder(self.folder), f"{number}.parquet"), rows, schema)


def main() -> None:
    """Measure on two pieces a core, and say what the whole day would cost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--job", required=True)
    parser.add_argument("workspace", type=Path)
    options = parser.parse_args()
    job = load(options.job, options.workspace)
    plan = plan_day(job, DAY, RunRequest(force=True))
    pieces, stages = plan.pieces[: 2 * CORES], Stages(job, plan)
    shutil.rmtree(stages.folder, ignore_errors=True)
    seconds = {"decode": busy(stages.decode, pieces)}
    read = [list(stages.decoded(piece)) for piece in pieces]
    seconds["assemble and model"] = busy(stages.score, read)
    if plan.variant.kind == "onnx":
        seconds["of which assemble"] = busy(stages.assemble, read)
    pairs = [zip(chunks, stages.score(chunks), strict=True) for chunks in read]
    results = [
        [pa.RecordBatch.from_arrays([c["id"], s["score"]], ["id", "score"]) for c, s in p] for p in pairs
    ]
    seconds["write"] = busy(stages.write, list(enumerate(results)))
    shutil.rmtree(stages.folder)
    share = sum(piece.rows for piece in pieces) / plan.rows
    whole = {name: round(measured / share, 3) for name, measured in seconds.items()}
    total = sum(stage for name, stage in whole.items() if not name.startswith("of which"))
    print(json.dumps({"seconds": total, "stages": whole}))


if __name__ == "__main__":
    main()
