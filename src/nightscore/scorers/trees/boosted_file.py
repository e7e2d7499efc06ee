"""Models in the files of the libraries that trained them, by our kernel: the libraries are not needed.

Each tree comes to the same leaf, and scores are summed in the library's own precision and order.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nightscore.scorers.boosted import given_batch, given_schema
from nightscore.scorers.coded import CodedColumns
from nightscore.scorers.contract import Options, Signature
from nightscore.scorers.errors import ModelError
from nightscore.scorers.files.model_file import ModelFile
from nightscore.scorers.outputs import parse_outputs
from nightscore.scorers.trees.forest import Forest, NotTrees

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class BoostedFile:
    """What a reader makes of a file.

    `finish` makes of the sums [targets, rows] an output [rows], or [rows, numbers], by its name; `widths` are
    the numbers a row of each, 0 for one alone.
    """

    columns: CodedColumns
    widths: Mapping[str, int]
    forest: Forest
    finish: Callable[[str, Array], Array]


Reader = Callable[[ModelFile, Options], BoostedFile]


class BoostedFileScorer:
    """One model. Keeps nothing between calls; several threads may call."""

    def __init__(self, model: ModelFile, options: Options, read: Reader) -> None:
        """Read the trees from the model's bytes.

        Raises:
            NotTrees: something in the file that the kernel does not run.
            ModelError: outputs or columns that the model does not have, or another device than the CPU.
        """
        from nightscore.scorers.trees.sums import Sums  # Numba is half a second

        if options.device not in ("auto", "cpu"):
            raise ModelError(
                f"{model.name}: the kind trees runs on the CPU, not on {options.device!r}", "device"
            )
        self._file = read(model, options)
        try:
            self._sums = Sums(self._file.forest)
        except NotTrees as error:
            raise NotTrees(f"{model.name}: not for the kind trees: {error}") from error
        self._outputs = parse_outputs(options.outputs)
        given = given_schema(model.name, self._outputs, self._file.widths, self._file.forest.dtype)
        self._signature = Signature(self._file.columns.schema, given)

    @property
    def signature(self) -> Signature:
        """The columns needed and given."""
        return self._signature

    def score(self, chunk: pa.RecordBatch) -> pa.RecordBatch:
        """Predictions for a chunk, in batches whose bins fit the processor's cache."""
        starts = range(0, chunk.num_rows, self._sums.batch_rows)
        if len(starts) <= 1:
            return self._score(chunk)
        return pa.concat_batches([self._score(chunk.slice(at, self._sums.batch_rows)) for at in starts])

    def _score(self, chunk: pa.RecordBatch) -> pa.RecordBatch:
        columns, dtype = self._file.columns, self._file.columns.dtype
        # Every column is looked at, for a value that can't be scored, though no tree asks for it.
        values = [columns.column(chunk, i).astype(dtype, copy=False) for i in range(len(columns.names))]
        sums = self._sums(values.__getitem__, chunk.num_rows)
        with np.errstate(all="ignore"):
            by_name = {o.source: self._file.finish(o.source, sums) for o in self._outputs}
        return given_batch(self._outputs, self._signature.outputs, by_name)


def boosted_reader(model: ModelFile) -> Reader | None:
    """What reads the file of a library; None of an .onnx file, or any other."""
    from nightscore.scorers.trees.lightgbm_text import is_lightgbm
    from nightscore.scorers.trees.xgboost_file import is_xgboost

    if is_lightgbm(model):
        from nightscore.scorers.trees.lightgbm_trees import read_lightgbm

        return read_lightgbm
    if is_xgboost(model):
        from nightscore.scorers.trees.xgboost_trees import read_xgboost

        return read_xgboost
    return None
