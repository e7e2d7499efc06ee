"""The rows of a piece through a scorer; what can't be scored is set aside, or stops the run."""

import contextlib
import math
import time
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa

from nightscore.common import Broken, NotYet
from nightscore.job import FULL, MADE_BY, Job
from nightscore.pipeline.score.domains import Mask, domain_columns
from nightscore.pipeline.score.lost_values import LostValues
from nightscore.pipeline.score.missing_values import filled
from nightscore.pipeline.score.rejects import RejectWriter
from nightscore.pipeline.score.row_checks import (
    NULL_VALUE,
    SCORER_ERROR,
    Fault,
    feature_faults,
    output_faults,
)
from nightscore.pipeline.score.time_limit import TookTooLong, too_long
from nightscore.scorers import ChunkError, ContractError, MissingValueError, Scorer
from nightscore.store import Plan, stamped

Pair = tuple[pa.RecordBatch, pa.RecordBatch]  # features, and the outputs of the same rows


def needed_columns(job: Job, scorer: Scorer) -> list[str]:
    """The columns of the features that scoring reads: key, kept, the model's, those with a domain."""
    needed = scorer.signature
    named = [*job.spec.key, *job.spec.keep, *needed.inputs.names, *domain_columns(job, needed.outputs)]
    return list(dict.fromkeys(named))


class Deadline:
    """The time that scoring one piece may take: `limits.time` of the job, without what is paused."""

    def __init__(self, job: Job, where: str) -> None:
        limit = job.spec.limits.seconds
        self.message = too_long(job, where)
        self._until = time.monotonic() + limit if limit is not None else math.inf

    def check(self) -> None:
        """Raise `TookTooLong` once the time is over."""
        if time.monotonic() > self._until:
            raise TookTooLong(self.message)

    def left(self) -> float:
        """Seconds until it is over."""
        return self._until - time.monotonic()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """A context whose time does not count."""
        started = time.monotonic()
        yield
        self._until += time.monotonic() - started


def scores_batch(
    plan: Plan, schema: pa.Schema, features: pa.RecordBatch, scores: Sequence[pa.Array]
) -> pa.RecordBatch:
    """Rows of the scores table, in its `schema`: key and kept columns, `scores`, who made them, `run_id`.

    Args:
        plan: whose run it is, and what stands in `made_by`, where the table has that.
        schema: the columns of the table, the last of which is `run_id`.
        features: [rows] with the key and the columns that are kept.
        scores: the columns in between, [rows] each: the champion's outputs, then the challengers'.
    """
    stamps = 2 if schema.names[-2] == MADE_BY else 1
    kept = schema.names[: len(schema) - stamps - len(scores)]
    columns = [*(features.column(name) for name in kept), *scores]
    if stamps > 1:
        columns.append(pa.repeat(pa.scalar(plan.made_by or FULL), features.num_rows))
    return stamped(pa.RecordBatch.from_arrays(columns, schema.names[:-1]), plan.run_id, schema)


class RowScorer:
    """One scorer, and what becomes of the rows that it can't score: set aside, or the end of the run."""

    def __init__(self, job: Job, scorer: Scorer, rejects: RejectWriter) -> None:
        self.job, self.scorer, self.rejects = job, scorer, rejects
        self.lost = LostValues(job, scorer.signature.inputs)

    def score(self, chunk: pa.RecordBatch) -> Iterator[Pair]:
        """The rows of a chunk that are scored, with what the scorer gives for them, in order.

        Raises:
            Broken: a row can't be scored or is not what it has to be, and the job's policy does not set it
                aside; or the scorer does not keep its contract.
            NotYet: there is no memory to score even one row.
        """
        sound = self.without(
            chunk, chunk, feature_faults(self.job, chunk, self.scorer.signature.inputs), "features"
        )
        rows = chunk.filter(pa.array(sound)) if not sound.all() else chunk
        if not rows.num_rows:
            return
        for features, outputs in self.outputs(rows):
            sound = self.without(features, outputs, output_faults(self.job, outputs), "outputs")
            if not sound.all():
                features, outputs = (batch.filter(pa.array(sound)) for batch in (features, outputs))  # noqa: PLW2901
            self.lost.count(features)
            yield features, outputs

    def without(
        self, chunk: pa.RecordBatch, values: pa.RecordBatch, faults: Iterable[Fault], stage: str
    ) -> Mask:
        """The rows that have no fault; the others are set aside, each for the first that it has."""
        sound = np.ones(chunk.num_rows, np.bool_)
        for fault in faults:
            bad = fault.rows & sound
            if bad.any():
                self.rejects.add(chunk, fault._replace(rows=bad), stage, values)
                sound &= ~bad
        return sound

    def outputs(self, chunk: pa.RecordBatch) -> list[Pair]:
        """What the scorer gives. A chunk that it can't score is halved, down to the rows at fault."""
        try:
            return [(chunk, self.held(chunk))]
        except MemoryError as error:
            if chunk.num_rows == 1:
                raise NotYet(f"{self.rejects.where}: there is no memory to score one row: {error}") from error
            return self.halves(chunk)
        except ChunkError as error:
            if chunk.num_rows == 1:
                fault = Fault(np.ones(1, np.bool_), reason_of(error), str(error))
                self.rejects.add(chunk, fault, "score")
                return []
            before = self.rejects.rows
            pairs = self.halves(chunk)
            if self.rejects.rows == before:
                raise Broken(
                    f"{self.rejects.where}: {chunk.num_rows:,} rows can't be scored together, though each "
                    f"part of them can: {error}; nothing is published"
                ) from error
            return pairs

    def halves(self, chunk: pa.RecordBatch) -> list[Pair]:
        """The outputs of both halves of a chunk."""
        middle = chunk.num_rows // 2
        return [*self.outputs(chunk[:middle]), *self.outputs(chunk[middle:])]

    def held(self, chunk: pa.RecordBatch) -> pa.RecordBatch:
        """What the scorer gives, held to its contract; any other error of it is about these rows.

        But for those of the machine: a file or a device that is not there, a package that is missing.
        """
        try:
            outputs = self.scorer.score(filled(self.job, chunk, self.scorer.signature.inputs))
        except (ChunkError, MemoryError, TookTooLong):
            raise
        except (Exception, SystemExit) as error:  # other people's scorers
            raise self.judged(error, chunk.num_rows) from error
        expected = self.scorer.signature.outputs
        if outputs.num_rows != chunk.num_rows or _shown(outputs.schema) != _shown(expected):
            raise Broken(
                f"{self.rejects.where}: the scorer gives {outputs.num_rows} rows of "
                f"({_shown(outputs.schema)}) for {chunk.num_rows} rows; its signature says "
                f"({_shown(expected)}); nothing is published"
            )
        return outputs

    def judged(self, error: BaseException, rows: int) -> Exception:
        """What an error of a scorer says of the run, or of some rows: `ChunkError` is about them."""
        where = f"{self.rejects.where}: "
        if isinstance(error, ContractError):
            if rows == 1:  # such as of a model that loses the dimension of rows
                return ChunkError(f"of one row: {error}")
            return Broken(f"{where}{error}; nothing is published")
        if isinstance(error, ImportError):
            return Broken(f"{where}the scorer: {error}; nothing is published")
        # Without a number it is of what a row holds, as of an image that is cut short.
        if isinstance(error, OSError) and error.errno is not None:
            return NotYet(
                f"{where}the scorer: {type(error).__name__}: {error}; what it needs of this machine is not "
                "there now; nothing is published"
            )
        return ChunkError(f"{type(error).__name__}: {error}")


def reason_of(error: ChunkError) -> str:
    """The reject code of a row that a scorer can't score."""
    return NULL_VALUE if isinstance(error, MissingValueError) else SCORER_ERROR


def _shown(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} {field.type}" for field in schema)
