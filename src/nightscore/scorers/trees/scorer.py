"""Ensembles of decision trees in ONNX, run by our own kernel from the same file.

Many times faster than ONNX Runtime on one thread, and the same: each tree comes to the same leaf for any
number, NaN and the infinities, and scores are summed in the same precision and order, so that they are those
of ONNX Runtime on one thread but for `TOLERANCE`. What can't be run so is `NotTrees`.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nightscore.scorers.arrays import as_numpy
from nightscore.scorers.contract import Options, Signature
from nightscore.scorers.errors import ModelError
from nightscore.scorers.files.model_file import ModelFile
from nightscore.scorers.outputs import OutputColumn, check_index, column_of, matrix_columns, parse_outputs
from nightscore.scorers.trees.forest import NotTrees

if TYPE_CHECKING:
    from nightscore.scorers.trees.graph import FeatureSource, GraphOutput

# Relative, and absolute below 1. From ONNX Runtime on one thread nothing differs but what comes of an Exp
# after the trees; on several threads ONNX Runtime sums in another order, and differs from itself.
TOLERANCE = 4e-7

Array = npt.NDArray[Any]


class TreesScorer:
    """One ensemble of trees. Keeps nothing between calls; several threads may call."""

    def __init__(self, model: ModelFile, options: Options) -> None:
        """Read the trees from the model's bytes.

        Raises:
            NotTrees: not an ensemble of trees alone, or one that can't be run as ONNX Runtime would.
            ModelError: outputs or columns that the model does not have, or another device than the CPU.
        """
        # Not before a model is opened: Numba and onnx are half a second each.
        from nightscore.scorers.trees.graph import read_tree_graph
        from nightscore.scorers.trees.post_transform import Finish
        from nightscore.scorers.trees.sums import Sums

        if options.device != "cpu":
            raise ModelError(
                f"{model.name}: the kind trees runs on the CPU, not on {options.device!r}", "device"
            )
        graph = read_tree_graph(model)
        try:
            self._run = Sums(graph.forest)
            self._finish = Finish(graph.forest, self._run.tables.always, self._run.tables.ever)
        except NotTrees as error:
            raise NotTrees(f"{model.name}: not for the kind trees: {error}; the kind onnx runs it") from error
        self._model = model.name
        self._forest, self._results = graph.forest, graph.results
        self._sources = _named(graph.sources, options, graph.columns, model.name)
        self._outputs = parse_outputs(options.outputs)
        if (width := self._run.width) > len(self._sources):
            raise ModelError(f"{model.name}: takes {width} columns or more; {len(self._sources)} are named")
        needed = {str(source.column): pa.from_numpy_dtype(source.dtype) for source in self._sources}
        self._signature = Signature(
            inputs=pa.schema(list(needed.items())),
            outputs=pa.schema([(output.column, self._type(output)) for output in self._outputs]),
        )

    @property
    def signature(self) -> Signature:
        """The columns needed and given."""
        return self._signature

    def score(self, chunk: pa.RecordBatch) -> pa.RecordBatch:
        """Predictions for a chunk, in batches whose bins fit the processor's cache."""
        rows = self._run.batch_rows
        if chunk.num_rows <= rows:
            return self._score(chunk)
        starts = range(0, chunk.num_rows, rows)
        return pa.concat_batches([self._score(chunk.slice(start, rows)) for start in starts])

    def _score(self, chunk: pa.RecordBatch) -> pa.RecordBatch:
        numbers, scores = self._finish(self._sums(chunk))
        by_source = {
            source: self._values(source, numbers, scores) for source in {o.source for o in self._outputs}
        }
        arrays = [column_of(by_source[o.source], o, self._type(o)) for o in self._outputs]
        return pa.RecordBatch.from_arrays(arrays, schema=self._signature.outputs)

    def _sums(self, chunk: pa.RecordBatch) -> Array:
        """What the trees come to, [targets, rows]."""
        return self._run(lambda place: _numbers(chunk, self._sources[place]), chunk.num_rows)

    def _values(self, source: str, numbers: Array | None, scores: Array) -> Array:
        """An output of the model: labels [rows], scores [targets, rows]."""
        result = self._result(source)
        labels = result.labels and numbers is not None and self._forest.labels is not None
        values = np.array(self._forest.labels, result.first)[numbers] if labels else scores
        with np.errstate(all="ignore"):
            for step in result.steps:
                values = step(values)
        return values

    def _result(self, source: str) -> "GraphOutput":
        result = self._results.get(source)
        if result is None:
            raise ModelError(
                f"{self._model}: no output {source!r}; its outputs: {', '.join(self._results)}", "outputs"
            )
        if isinstance(result, str):
            raise NotTrees(f"{self._model}: output {source!r} is {result}")
        return result

    def _type(self, output: OutputColumn) -> pa.DataType:
        result = self._result(output.source)
        kind = pa.string() if result.dtype == object else pa.from_numpy_dtype(result.dtype)
        width = self._forest.targets
        holds = "holds one label a row" if result.labels else f"holds {width} scores a row"
        check_index(self._model, output, holds, 0 if result.labels else width)
        return pa.list_(kind) if output.whole else kind


def _named(
    sources: "tuple[FeatureSource, ...] | FeatureSource",
    options: Options,
    model_columns: Sequence[str] | None,
    model: str,
) -> "tuple[FeatureSource, ...]":
    """The sources with the names of their columns: those that the job gives, else those of the metadata."""
    job_columns = options.columns
    listed = sources if isinstance(sources, tuple) else None
    separate = listed is not None and all(source.column is not None for source in listed)
    if listed is not None and separate and (len(listed) > 1 or not (job_columns or model_columns)):
        if job_columns is not None and list(job_columns) != [source.column for source in listed]:
            raise ModelError(
                f"{model}: columns {list(job_columns)} given, but the model has an input for each column",
                "columns",
            )
        return listed
    names = matrix_columns(model, options, model_columns, len(listed) if listed is not None else None)
    each = sources if isinstance(sources, tuple) else (sources,) * len(names)
    return tuple(replace(source, column=name) for source, name in zip(each, names, strict=True))


def _numbers(chunk: pa.RecordBatch, source: "FeatureSource") -> Array:
    """A column as the trees compare it, [rows]."""
    values = as_numpy(chunk.column(source.column), str(source.column))
    for dtype in (source.dtype, *source.casts):
        values = values.astype(dtype, copy=False)
    return values
