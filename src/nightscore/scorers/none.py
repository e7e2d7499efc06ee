"""No model: a day's rows go through as they are, and SQL alone makes the tables of the job.

A scorer that needs no column and gives none, so that what reads, checks, stages, proves and publishes rows is
the same for a job with a model and for one without.
"""

import pyarrow as pa

from nightscore.scorers.contract import Options, Scorer, Signature
from nightscore.scorers.files.model_file import ModelFile

NO_MODEL = ModelFile("none", "", b"")  # its name is its kind's, and it has no bytes to hash
NOTHING = Signature(pa.schema([]), pa.schema([]))


def open_none(model: ModelFile, options: Options) -> Scorer:  # noqa: ARG001 - there is nothing to open
    """The scorer of a job without a model."""
    return NoScorer()


class NoScorer:
    """Gives no column, for as many rows as it is given."""

    @property
    def signature(self) -> Signature:
        """No columns needed, and none given."""
        return NOTHING

    def score(self, chunk: pa.RecordBatch) -> pa.RecordBatch:
        """As many rows, without a column."""
        return chunk.select([])
