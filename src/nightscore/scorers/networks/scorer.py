"""Light networks in ONNX, run by our own kernel from the same file.

Faster than ONNX Runtime on one thread, which has a matrix assembled first (benchmarks/networks.py). A row's
score is the same to the bit whatever rows, chunks and threads, and on every processor; from ONNX Runtime's it
differs by how that adds up, and `auto` holds it to the job's tolerance. What it can't run is `NotNetwork`.
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
from nightscore.scorers.networks.network import NotNetwork, packed
from nightscore.scorers.outputs import OutputColumn, check_index, column_of, matrix_columns, parse_outputs

if TYPE_CHECKING:
    from nightscore.scorers.networks.operators import Source

Array = npt.NDArray[Any]


class NetworksScorer:
    """One light network. Keeps nothing between calls; several threads may call."""

    def __init__(self, model: ModelFile, options: Options) -> None:
        """Read the network from the model's bytes.

        Raises:
            NotNetwork: not a light network alone, or more than one output of it is asked for.
            ModelError: outputs or columns that the model does not have, or another device than the CPU.
        """
        # Not before a model is opened: onnx and LLVM are a tenth of a second.
        from nightscore.scorers.networks.graph import read_network_graph
        from nightscore.scorers.networks.kernel import Kernel

        if options.device != "cpu":
            raise ModelError(
                f"{model.name}: the kind networks runs on the CPU, not on {options.device!r}", "device"
            )
        self._outputs = parse_outputs(options.outputs)
        asked = {output.source for output in self._outputs}
        if len(asked) != 1:
            raise NotNetwork(
                f"{model.name}: not for the kind networks: {len(asked)} of its outputs are asked for; "
                "the kind onnx runs it"
            )
        graph = read_network_graph(model, asked.pop())
        network = graph.network
        self._model, self._width, self._rank = model.name, network.width, network.rank
        self._sources = _named(network.sources, options, graph.columns, model.name)
        self._kernel = Kernel(packed(len(self._sources), network.steps))
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
        """Predictions for a chunk."""
        scores = self._kernel([_numbers(chunk, source) for source in self._sources], chunk.num_rows)
        arrays = [column_of(scores, output, self._type(output)) for output in self._outputs]
        return pa.RecordBatch.from_arrays(arrays, schema=self._signature.outputs)

    def _type(self, output: OutputColumn) -> pa.DataType:
        holds = f"holds {self._width} scores a row"
        check_index(self._model, output, holds, 0 if self._rank == 1 else self._width)
        return pa.list_(pa.float32()) if output.whole else pa.float32()


def _named(
    sources: "tuple[Source, ...]", options: Options, model_columns: Sequence[str] | None, model: str
) -> "tuple[Source, ...]":
    """The sources with the names of their columns: those that the job gives, else those of the metadata."""
    own = [source.column for source in sources]
    if None not in own and (len(own) > 1 or not (options.columns or model_columns)):
        inputs = list(dict.fromkeys(own))
        if options.columns is not None and list(options.columns) != inputs:
            raise ModelError(
                f"{model}: columns {list(options.columns)} given, but the model has an input for each column",
                "columns",
            )
        return sources
    names = matrix_columns(model, options, model_columns, len(sources))
    return tuple(replace(source, column=name) for source, name in zip(sources, names, strict=True))


def _numbers(chunk: pa.RecordBatch, source: "Source") -> Array:
    """A column as the network computes with it, float32 [rows], one after the other in memory."""
    values = as_numpy(chunk.column(source.column), str(source.column))
    return np.ascontiguousarray(values.astype(source.dtype, copy=False), np.float32)
