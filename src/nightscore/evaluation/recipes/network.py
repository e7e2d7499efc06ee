"""ONNX graphs, read, observed and rewritten: what the recipes for networks share."""

import contextlib
import hashlib
import io
import logging
import tempfile
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import checker, helper, numpy_helper

from nightscore.evaluation.recipes.recipe import Feeds, NoCandidate
from nightscore.scorers import ModelError, ModelFile, runtime

Array = npt.NDArray[Any]
LINEAR = ("MatMul", "Gemm", "Conv")
FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16)


def parse_model(model: ModelFile) -> onnx.ModelProto:
    """The graph of a model; every node has a name of its own.

    Raises:
        ModelError: not an ONNX model.
    """
    try:
        proto = onnx.load_model_from_string(model.data)
    except Exception as error:  # protobuf's errors have no base class that it documents
        raise ModelError(f"{model.name}: not an ONNX model: {error}") from error
    return with_names(proto)


def with_names(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The graph, in place; a node without a name of its own gets one."""
    counts = Counter(node.name for node in proto.graph.node)
    for i, node in enumerate(proto.graph.node):
        if not node.name or counts[node.name] > 1:
            node.name = f"{node.op_type}_{i}"
    return proto


def operators(proto: onnx.ModelProto) -> Counter[str]:
    """How many nodes of each operator there are; constants aren't counted."""
    return Counter(node.op_type for node in proto.graph.node if node.op_type != "Constant")


def graph_inputs(proto: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """What is fed; older files list weights among the inputs, too."""
    weights = {tensor.name for tensor in proto.graph.initializer}
    return [info for info in proto.graph.input if info.name not in weights]


def takes_floats(proto: onnx.ModelProto) -> bool:
    """Whether an input may hold a NaN, an infinity or an outlier."""
    return any(info.type.tensor_type.elem_type in FLOATS for info in graph_inputs(proto))


def serialize_like(proto: onnx.ModelProto, reference: onnx.ModelProto) -> bytes:
    """A rewritten graph in the reference's interface: its inputs, outputs, and metadata, and nothing more.

    Outputs may be fewer than the reference's, where the job doesn't use them.

    Raises:
        NoCandidate: it is the reference's graph again, or no longer takes its place.
    """
    _interface(proto.graph.input, graph_inputs(reference), "inputs", fewer=False)
    _interface(proto.graph.output, reference.graph.output, "outputs", fewer=True)
    del proto.metadata_props[:]
    proto.metadata_props.extend(reference.metadata_props)
    if _contents(proto) == _contents(reference):
        raise NoCandidate("it changes nothing: the same operators on the same weights")
    data: bytes = proto.SerializeToString(deterministic=True)
    return data


def _interface(infos: Any, expected: Sequence[onnx.ValueInfoProto], what: str, fewer: bool) -> None:
    """Put the reference's descriptions (names, types, shapes) in the place of a tool's."""
    kinds = {info.name: info.type.tensor_type.elem_type for info in infos}
    kept = [info for info in expected if info.name in kinds]
    lost = [info.name for info in expected if info.name not in kinds]
    other = [info.name for info in kept if info.type.tensor_type.elem_type != kinds[info.name]]
    if other or (lost and not fewer):
        raise NoCandidate(f"the {what} {', '.join(lost + other)} would not stay as they are")
    del infos[:]
    infos.extend(kept)


def _contents(proto: onnx.ModelProto) -> object:
    arrays = [array for array in constants(proto).values() if array.dtype != object]
    weights = {
        hashlib.sha256(array.tobytes()).digest() for array in arrays
    }  # merged duplicates are no change
    return operators(proto), weights, [output.name for output in proto.graph.output]


def constants(proto: onnx.ModelProto) -> dict[str, Array]:
    """The weights and other constants of a graph: name -> array."""
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            arrays[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    return arrays


def set_constant(proto: onnx.ModelProto, name: str, value: Array) -> None:
    """Give a constant another value, and maybe another shape; make it where there is none of that name."""
    for node in [node for node in proto.graph.node if node.op_type == "Constant" and node.output[0] == name]:
        proto.graph.node.remove(node)
    for tensor in [tensor for tensor in proto.graph.initializer if tensor.name == name]:
        proto.graph.initializer.remove(tensor)
    proto.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), name))


def attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """The value of a node's attribute."""
    values = [helper.get_attribute_value(entry) for entry in node.attribute if entry.name == name]
    return values[0] if values else default


@dataclass(frozen=True)
class Wiring:
    """Who makes a tensor, and who takes it; `outputs` are the graph's own."""

    maker: Mapping[str, onnx.NodeProto]
    takers: Mapping[str, Sequence[onnx.NodeProto]]
    outputs: frozenset[str]


def wiring(proto: onnx.ModelProto) -> Wiring:
    """The wiring of a graph; a node that takes a tensor twice is listed twice."""
    takers = defaultdict(list)
    for node in proto.graph.node:
        for name in node.input:
            takers[name].append(node)
    maker = {name: node for node in proto.graph.node for name in node.output}
    return Wiring(maker, dict(takers), frozenset(output.name for output in proto.graph.output))


def trimmed(proto: onnx.ModelProto, used: Iterable[str]) -> onnx.ModelProto:
    """The graph with no more outputs than `used`, without the nodes and weights that then lead nowhere.

    ONNX Runtime computes every output of a graph, whichever are asked for.
    """
    smaller = onnx.ModelProto()
    smaller.CopyFrom(proto)
    outputs = [output for output in proto.graph.output if output.name in set(used)]
    needed, nodes = {output.name for output in outputs}, []
    for node in reversed(proto.graph.node):
        if needed & set(node.output):
            nodes.append(node)
            needed |= set(node.input) | _captured(node)
    for field, kept in (
        (smaller.graph.output, outputs),
        (smaller.graph.node, nodes[::-1]),
        (smaller.graph.initializer, [tensor for tensor in proto.graph.initializer if tensor.name in needed]),
    ):
        del field[:]
        field.extend(kept)
    return smaller


def _captured(node: onnx.NodeProto) -> set[str]:
    """What the bodies of an If or a Loop take from outside."""
    bodies = [entry.g for entry in node.attribute if entry.type == onnx.AttributeProto.GRAPH]
    return {name for body in bodies for inner in body.node for name in {*inner.input, *_captured(inner)}}


def observe_tensors(
    proto: onnx.ModelProto, feeds: Sequence[Feeds], tensors: Sequence[str]
) -> Iterator[dict[str, Array]]:
    """The values of a graph's tensors, batch by batch.

    Raises:
        ModelError: ONNX Runtime can't run the graph.
    """
    opened = onnx.ModelProto()
    opened.CopyFrom(proto)
    outputs = {output.name for output in proto.graph.output}
    opened.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors if name not in outputs)
    session = runtime.open_session(_file(opened.SerializeToString()), "cpu", 1)
    for batch in feeds:
        yield dict(zip(tensors, runtime.run_session(session, list(tensors), dict(batch), "cpu"), strict=True))


def run_model(data: bytes, feeds: Sequence[Feeds]) -> list[Array]:
    """All outputs of numbers of a model on some batches, one array after the other."""
    session = runtime.open_session(_file(data), "cpu", 1)
    names = [
        output.name for output in session.get_outputs() if output.type in ("tensor(float)", "tensor(double)")
    ]
    return [array for batch in feeds for array in runtime.run_session(session, names, dict(batch), "cpu")]


def _file(data: bytes) -> ModelFile:
    return ModelFile("candidate", hashlib.sha256(data).hexdigest(), data)


def check_graph(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The graph, if its shapes fit together.

    Raises:
        NoCandidate: they don't: the rewrite was wrong for this graph.
    """
    try:
        del proto.graph.value_info[:]  # shapes of before
        checker.check_model(proto)
        onnx.shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True)
    except Exception as error:  # checker.ValidationError, InferenceError: no common base
        raise NoCandidate(f"the smaller graph does not fit together: {error}") from error
    return proto


@contextlib.contextmanager
def quiet_scratch_folder() -> Iterator[Path]:
    """A folder for files on the way, gone afterwards; what the tools print, log and warn of goes with it."""
    before = logging.root.manager.disable
    with tempfile.TemporaryDirectory(prefix="nightscore-") as folder, contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
        stack.enter_context(warnings.catch_warnings())
        stack.callback(logging.disable, before)
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        yield Path(folder)
