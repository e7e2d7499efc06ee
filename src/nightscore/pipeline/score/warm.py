"""Kernels compiled ahead of a night: what an image is built with, so that no night in it compiles."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from nightscore.job import Job
from nightscore.pipeline.score.open_model import open_cached_scorer, open_job_model, variants_of
from nightscore.scorers import ChunkError, ContractError, ModelError, Scorer, Variant

ROWS = 64


@dataclass(frozen=True)
class Warmed:
    """A way to compute a job's model, the seconds until it had scored some rows, and why it could not."""

    variant: Variant
    seconds: float
    problem: str = ""


def warm_job(job: Job) -> Iterator[Warmed]:
    """Open a job's model in each way in which a night may compute it, and score some made-up rows by it.

    What compiles at its first call (Numba's kernels, those of the workspace's own scorers, a device's
    engines) is compiled by that, and kept where it keeps it.

    Raises:
        Broken: the job's model can't be opened.
        NotYet: the registry that has it can't be reached.
    """
    if job.spec.model.is_none:
        return
    model = open_job_model(job)
    for variant in variants_of(job, model.device):
        started = time.monotonic()
        try:
            _score(open_cached_scorer(job, model.name, model.sha256, variant, model.code))
            problem = ""
        except (ModelError, ContractError) as error:
            problem = str(error)
        yield Warmed(variant, time.monotonic() - started, problem)


def _score(scorer: Scorer) -> None:
    inputs = scorer.signature.inputs
    rows = pa.RecordBatch.from_arrays([_made_up(kind) for kind in inputs.types], schema=inputs)
    with contextlib.suppress(ChunkError):  # such rows mean nothing, and may be refused
        scorer.score(rows)


def _made_up(kind: pa.DataType) -> pa.Array:
    """Some values of a type; of one that no number can be made, nulls."""
    try:
        return pa.array([0] * ROWS, pa.int8()).cast(kind)
    except pa.ArrowException:
        return pa.nulls(ROWS, kind)
