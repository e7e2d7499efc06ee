"""Values that a model's own type can't hold: found before a row is scored, counted where the job says so."""

import json
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from nightscore.job import Job
from nightscore.pipeline.score.domains import Mask
from nightscore.scorers import ChunkError, lost
from nightscore.store import Place, Plan, RunFolder, run_folder, storage


def lost_values(chunk: pa.RecordBatch, inputs: pa.Schema) -> Iterator[tuple[pa.Field, Mask]]:
    """The columns of a model of whose values some are lost, and the rows [rows] in which one is."""
    for needed in inputs:
        rows = lost(chunk.column(needed.name), needed.type)
        if rows is not None and rows.any():
            yield needed, rows


def refuse_lost(chunk: pa.RecordBatch, inputs: pa.Schema) -> None:
    """Raise unless a model with these inputs holds each value of a chunk.

    Raises:
        ChunkError: names the column.
    """
    for needed, _ in lost_values(chunk, inputs):
        raise ChunkError(f"a value of column {needed.name!r} is lost in {needed.type}; see policy.value_lost")


class LostValues:
    """How many values of one piece were scored as the nearest that the model can hold, by column."""

    def __init__(self, job: Job, inputs: pa.Schema) -> None:
        self._counts = job.spec.policy.value_lost == "count"
        self._inputs, self._rows = inputs, Counter[str]()

    def count(self, features: pa.RecordBatch) -> None:
        """Count those of some rows that were scored."""
        for needed, rows in lost_values(features, self._inputs) if self._counts else ():
            self._rows[needed.name] += int(np.count_nonzero(rows))

    def keep(self, path: Place) -> None:
        """Write the numbers down for the receipt, if the job wants them."""
        if self._counts:
            run_folder.record(path, json.dumps(self._rows))


def read_lost_values(plan: Plan, run: RunFolder, before: dict[str, int]) -> dict[str, int]:
    """Rows with a lost value, by column: of a plan's pieces, and `before`, of rows that were carried over."""
    total = Counter(before)
    # Listed: of a bucket to ask for each is a request a piece, and most jobs keep none.
    own = {run.lost_values(piece.fingerprint) for piece in plan.pieces}
    kept = {path for folder in {path.parent for path in own} for path in folder.glob("*.json")}
    for text in storage.ask_each(Place.read_text, sorted(own & kept)):
        total.update(json.loads(text))
    return dict(total)
