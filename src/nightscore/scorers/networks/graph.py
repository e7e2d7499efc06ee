"""An ONNX graph that is one light feed-forward network, as the steps from its columns to an output.

In float32: Gemm and MatMul with constant weights, Add, Sub, Mul and Div with a constant, Relu, Sigmoid, Tanh,
Softmax, BatchNormalization, Scaler, and what does nothing to them here: Identity, Cast to float32, Dropout of
inference, Flatten, Reshape and Squeeze that keep the rows. Before them, a Concat of columns; after them, both
chances of two classes from one (scikit-learn's). Any other graph is refused, and the onnx kind serves it.
What of a graph an output does not come from, such as the label beside the chances, is not looked at.
"""

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from nightscore.scorers.files.foreign import what_it_is
from nightscore.scorers.files.model_file import ModelFile
from nightscore.scorers.networks import network
from nightscore.scorers.networks.network import MOST_BYTES, MOST_STEPS, NotNetwork
from nightscore.scorers.networks.operators import STANDARD, Array, Network, Source, made_by
from nightscore.scorers.outputs import columns_in_metadata

OLDEST = 9  # opset: before it, constants were spread over rows by attributes
MOST_FILE_BYTES = 2 * MOST_BYTES  # a larger file is not parsed to find out
COLUMN_TYPES = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64, TensorProto.INT32)


@dataclass(frozen=True)
class NetworkGraph:
    """The network that an output is, and the names of columns in the model's own metadata."""

    network: Network
    columns: tuple[str, ...] | None


def read_network_graph(model: ModelFile, output: str) -> NetworkGraph:
    """The network that a model's output is.

    Raises:
        NotNetwork: not an ONNX model, or an output that is not a light network's.
    """
    if len(model.data) > MOST_FILE_BYTES:
        size = f"{len(model.data) / 1e6:.1f} MB, of at most {MOST_FILE_BYTES / 1e6:.1f}"
        raise NotNetwork(f"{model.name}: not for the kind networks: {size}; the kind onnx runs it")
    try:
        proto = onnx.load_model_from_string(model.data)
    except Exception as error:  # protobuf's errors have no base class that it documents
        raise NotNetwork(f"{model.name}: not an ONNX model: {what_it_is(model.data) or error}") from error
    try:
        return NetworkGraph(
            _Reader(proto).read(output),
            columns_in_metadata({one.key: one.value for one in proto.metadata_props}),
        )
    except NotNetwork as error:
        raise NotNetwork(
            f"{model.name}: not for the kind networks: {error}; the kind onnx runs it"
        ) from error


class _Reader:
    """Follows a graph from the inputs to an output."""

    def __init__(self, proto: onnx.ModelProto) -> None:
        self._graph, self._functions = proto.graph, proto.functions
        self._opset = next((o.version for o in proto.opset_import if o.domain in STANDARD), 0)
        self._constants = {tensor.name: tensor for tensor in proto.graph.initializer}
        self._inputs = {i.name: i for i in proto.graph.input if i.name not in self._constants}

    def read(self, output: str) -> Network:
        """The network of an output."""
        if self._opset < OLDEST or self._functions:
            raise NotNetwork("functions of its own" if self._functions else f"opset {self._opset}")
        names = [info.name for info in self._graph.output]
        if output not in names:
            raise NotNetwork(f"no output {output!r}; its outputs: {', '.join(names)}")
        known: dict[str, Network] = {}
        for node in self._leading_to(output):
            self._read(node, known)
        found = known.get(output)
        if found is None or not any(step.operation == network.DENSE for step in found.steps):
            raise NotNetwork(f"output {output!r} has no layer with weights")
        size = sum(step.weights.nbytes for step in found.steps if step.weights is not None)
        if len(found.steps) > MOST_STEPS:
            raise NotNetwork(f"{len(found.steps)} steps, of at most {MOST_STEPS}")
        if size > MOST_BYTES:
            raise NotNetwork(f"{size / 1e6:.1f} MB of weights, of at most {MOST_BYTES / 1e6:.1f}")
        return found

    def _leading_to(self, output: str) -> list[onnx.NodeProto]:
        """The nodes that an output comes from, in the order of the graph, which is that of computing them."""
        needed, nodes = {output}, []
        for node in reversed(self._graph.node):
            if needed & set(node.output):
                nodes.append(node)
                needed |= set(node.input) - {""}
        return nodes[::-1]

    def _read(self, node: onnx.NodeProto, known: dict[str, Network]) -> None:
        """Add what a node gives to the values, or to the constants."""
        if node.op_type == "Constant" or (node.op_type == "Identity" and node.input[0] in self._constants):
            named = self._constants[node.input[0]] if node.input else _constant_of(node)
            self._constants[node.output[0]] = named
            return
        known.update((name, self._input(name)) for name in node.input if name in self._inputs)
        inputs = [known[name] for name in node.input if name in known]
        places = {i: name for i, name in enumerate(node.input) if name in self._constants}
        constants = {i: _array(self._constants[name]) for i, name in places.items()}
        known[node.output[0]] = made_by(node, inputs, constants)

    def _input(self, name: str) -> Network:
        tensor = self._inputs[name].type.tensor_type
        kind, dims = tensor.elem_type, list(tensor.shape.dim)
        if kind not in COLUMN_TYPES or len(dims) != 2 or dims[0].HasField("dim_value"):
            raise NotNetwork(f"input {name!r} is not a matrix of numbers with any number of rows")
        dtype, width = np.dtype(helper.tensor_dtype_to_np_dtype(kind)), dims[1].dim_value
        if width == 1:
            return Network((Source(name, dtype),))
        if len(self._inputs) > 1 or not width or not np.issubdtype(dtype, np.floating):
            raise NotNetwork(f"input {name!r} is neither a column nor the only matrix, of floats")
        return Network((Source(None, dtype),) * width)


def _constant_of(node: onnx.NodeProto) -> onnx.TensorProto:
    for attribute in node.attribute:
        if attribute.name == "value":
            tensor: onnx.TensorProto = attribute.t
            return tensor
    raise NotNetwork("a Constant that is no tensor")


def _array(tensor: onnx.TensorProto) -> Array:
    if tensor.data_location == TensorProto.EXTERNAL:
        raise NotNetwork(f"{tensor.name!r} lies outside of the model file")
    return numpy_helper.to_array(tensor)
