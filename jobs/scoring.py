"""The model of a job, opened, and a piece's rows through it."""

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from jobs.errors import Broken, NotYet
from jobs.job import Job
from jobs.plan import Plan
from jobs.stage import stamped
from scorers.contract import Scorer
from scorers.errors import ChunkError, ModelError
from scorers.model import read_model
from scorers.onnx import open_onnx


@dataclass(frozen=True)
class OpenModel:
    """A model file's path and hash, the device that was asked for, and the scorer that runs its bytes."""

    path: str
    sha256: str
    device: str
    scorer: Scorer


def open_model(
    job: Job, override: str | None = None, device: str | None = None, pinned: bool = True
) -> OpenModel:
    """The job's model on its device, or another file of the workspace, or another device, in their place.

    Raises:
        Broken: the file is missing or no model, does not fit the job's columns and outputs, its
            sha256 is not the pinned one, or the device is not there.
    """
    name = override or job.spec.model.path
    try:
        path = job.workspace.resolve(name)
        file = read_model(path, job.workspace.relative(path))
        wanted = job.spec.model.sha256
        if pinned and wanted and wanted != file.sha256:
            raise ModelError(
                f"{file.name} has sha256 {file.sha256}, but the job pins {wanted}; change the pin, or look "
                "at another model without publishing with --limit"
            )
        wanted_device = device or job.spec.scoring.device
        scorer = _scorer(path, file.sha256, *_options(job), wanted_device)
    except (ModelError, Broken) as error:
        if override:
            raise Broken(f"model {override}: {error}") from error
        job.broken(("model", "sha256" if "pins" in str(error) else "path"), str(error))
    return OpenModel(file.name, file.sha256, wanted_device, scorer)


def planned_scorer(job: Job, plan: Plan) -> Scorer:
    """The scorer of a plan, from the very bytes that it was made for.

    Raises:
        NotYet: the file has changed since; the day has to be planned again.
    """
    try:
        path = job.workspace.resolve(plan.model_path)
        return _scorer(path, plan.model_sha256, *_options(job), plan.device)
    except ModelError as error:
        raise NotYet(f"{plan.model_path}: {error}") from error


def scored(
    job: Job, plan: Plan, scorer: Scorer, rows: Iterable[pa.RecordBatch], schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    """Chunks of features -> chunks of the scores table: key, kept columns, outputs, `run_id`.

    Raises:
        Broken: a chunk can't be scored, or an output is NaN.
    """
    kept = [*job.spec.key, *job.spec.keep]
    for chunk in rows:
        try:
            outputs = scorer.score(chunk)
        except ChunkError as error:
            raise Broken(f"job {job.name}, day {plan.day}: {error}") from error
        _refuse_nan(job, plan, chunk, outputs)
        columns = [*(chunk.column(name) for name in kept), *outputs.columns]
        names = [*kept, *outputs.schema.names]
        yield stamped(pa.RecordBatch.from_arrays(columns, names), plan.run_id, schema)


def _refuse_nan(job: Job, plan: Plan, chunk: pa.RecordBatch, outputs: pa.RecordBatch) -> None:
    for name in outputs.schema.names:
        column = outputs.column(name)
        if not pa.types.is_floating(column.type):
            continue
        places = np.flatnonzero(np.isnan(column.to_numpy(zero_copy_only=False)))
        if len(places):
            key = ", ".join(f"{c}={chunk.column(c)[int(places[0])].as_py()}" for c in job.spec.key)
            raise Broken(
                f"job {job.name}, day {plan.day}: the model gives NaN as {name} for {key} "
                f"(and {len(places) - 1} more rows of this chunk); nothing is published"
            )


Pairs = tuple[tuple[str, str], ...]


def _options(job: Job) -> tuple[Pairs, tuple[str, ...] | None]:
    model = job.spec.model
    return tuple(model.outputs.items()), tuple(model.columns) if model.columns else None


@functools.lru_cache(maxsize=8)
def _scorer(path: Path, sha256: str, outputs: Pairs, columns: Sequence[str] | None, device: str) -> Scorer:
    # Cached by hash: all pieces of a day share one session, and a model that is swapped on disk in
    # the middle of a run changes nothing.
    file = read_model(path, path.name)
    if file.sha256 != sha256:
        raise ModelError(f"has changed (sha256 {file.sha256}, planned {sha256}); run the day again")
    return open_onnx(file, dict(outputs), columns, device)
