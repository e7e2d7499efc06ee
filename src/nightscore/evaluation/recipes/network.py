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
    weights = {one.name for one in proto.graph.initializer}
    return [one for one in proto.graph.input if one.name not in weights]


def takes_floats(proto: onnx.ModelProto) -> bool:
    """Whether an input may hold a NaN, an infinity or an outlier."""
    return any(one.type.tensor_type.elem_type in FLOATS for one in graph_inputs(proto))


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


def _interface(found: Any, wanted: Sequence[onnx.ValueInfoProto], what: str, fewer: bool) -> None:
    """Put the reference's descriptions (names, types, shapes) in the place of a tool's."""
    kinds = {one.name: one.type.tensor_type.elem_type for one in found}
    kept = [one for one in wanted if one.name in kinds]
    lost = [one.name for one in wanted if one.name not in kinds]
    other = [one.name for one in kept if one.type.tensor_type.elem_type != kinds[one.name]]
    if other or (lost and not fewer):
        raise NoCandidate(f"the {what} {', '.join(lost + other)} would not stay as they are")
    del found[:]
    found.extend(kept)


def _contents(proto: onnx.ModelProto) -> object:
    arrays = [array for array in constants(proto).values() if array.dtype != object]
    weights = {
        hashlib.sha256(array.tobytes()).digest() for array in arrays
    }  # merged duplicates are no change
    return operators(proto), weights, [one.name for one in proto.graph.output]


def constants(proto: onnx.ModelProto) -> dict[str, Array]:
    """The weights and other constants of a graph: name -> array."""
    found = {one.name: numpy_helper.to_array(one) for one in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            found[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    return found


def set_constant(proto: onnx.ModelProto, name: str, value: Array) -> None:
    """Give a constant another value, and maybe another shape; make it where there is none of that name."""
    for node in [node for node in proto.graph.node if node.op_type == "Constant" and node.output[0] == name]:
        proto.graph.node.remove(node)
    for one in [one for one in proto.graph.initializer if one.name == name]:
        proto.graph.initializer.remove(one)
    proto.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), name))


def attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """The value of a node's attribute."""
    found = [helper.get_attribute_value(one) for one in node.attribute if one.name == name]
    return found[0] if found else default


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
    return Wiring(maker, dict(takers), frozenset(one.name for one in proto.graph.output))


def trimmed(proto: onnx.ModelProto, used: Iterable[str]) -> onnx.ModelProto:
    """The graph with no more outputs than `used`, without the nodes and weights that then lead nowhere.

    ONNX Runtime computes every output of a graph, whichever are asked for.
    """
    found = onnx.ModelProto()
    found.CopyFrom(proto)
    outputs = [one for one in proto.graph.output if one.name in set(used)]
    needed, nodes = {one.name for one in outputs}, []
    for node in reversed(proto.graph.node):
        if needed & set(node.output):
            nodes.append(node)
            needed |= set(node.input) | _captured(node)
    for field, kept in (
        (found.graph.output, outputs),
        (found.graph.node, nodes[::-1]),
        (found.graph.initializer, [one for one in proto.graph.initializer if one.name in needed]),
    ):
        del field[:]
        field.extend(kept)
    return found


def _captured(node: onnx.NodeProto) -> set[str]:
    """What the bodies of an If or a Loop take from outside."""
    bodies = [one.g for one in node.attribute if one.type == onnx.AttributeProto.GRAPH]
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
    known = {one.name for one in proto.graph.output}
    opened.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors if name not in known)
    session = runtime.open_session(_file(opened.SerializeToString()), "cpu", 1)
    for batch in feeds:
        yield dict(zip(tensors, runtime.run_session(session, list(tensors), dict(batch), "cpu"), strict=True))


def run_model(data: bytes, feeds: Sequence[Feeds]) -> list[Array]:
    """All outputs of numbers of a model on some batches, one array after the other."""
    session = runtime.open_session(_file(data), "cpu", 1)
    names = [one.name for one in session.get_outputs() if one.type in ("tensor(float)", "tensor(double)")]
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
