"""Expected margin of the next twelve months, by how long ago a customer has last ordered.

A customer is here next month with the chance r = exp(-(20 + days since the last order) / 400), and in the
month after that with r * r; so twelve months are r + r**2 + … + r**12 months of what is spent now.
"""

import numpy as np
import pyarrow as pa

from nightscore.scorers import ModelError, ModelFile, Options, Scorer, Signature, as_numpy

MARGIN = 0.3  # of what is spent
GIVES = ("months", "value")


class CustomerValue:
    """Months that are expected, and what they bring in euros."""

    def __init__(self, options: Options) -> None:
        self._outputs = options.outputs  # column of the job -> output of ours
        inputs = pa.schema([("spend_month", pa.float64()), ("days_since_order", pa.float64())])
        self.signature = Signature(inputs, pa.schema([(name, pa.float64()) for name in options.outputs]))

    def score(self, chunk: pa.RecordBatch) -> pa.RecordBatch:
        """A row for each row of the chunk."""
        spend = as_numpy(chunk["spend_month"], "spend_month")
        days = as_numpy(chunk["days_since_order"], "days_since_order")
        stays = np.exp(-(20 + days) / 400)
        months = np.sum([stays**month for month in range(1, 13)], axis=0)
        given = {"months": months, "value": MARGIN * spend * months}
        arrays = [pa.array(given[source]) for source in self._outputs.values()]
        return pa.RecordBatch.from_arrays(arrays, schema=self.signature.outputs)


def open_scorer(model: ModelFile | None, options: Options) -> Scorer:
    """The scorer of a job that names this file."""
    unknown = [source for source in options.outputs.values() if source not in GIVES]
    if unknown:
        raise ModelError(f"gives no {unknown[0]!r}; its outputs: {', '.join(GIVES)}")
    if options.device not in ("auto", "cpu"):
        raise ModelError(f"has no device {options.device!r}; allowed: cpu")
    return CustomerValue(options)
