"""An .onnx file as the world writes it, as the one graph that every kind of ours reads.

Two things that exporters do are undone in memory; the file, and its hash, stay what they are:
- **weights beside the graph** (external data: PyTorch's default, and models over 2 GB) are put into it;
- a **ZipMap** at the end (scikit-learn's and LightGBM's default, CatBoost always), which makes a list of maps
  of a classifier's matrix of probabilities, gives its matrix.

Most files have neither, and are not parsed for it: a search of 100 MB takes a hundredth of a second.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from nightscore.scorers.errors import ModelError
from nightscore.scorers.files.exporters import mend

if TYPE_CHECKING:
    import onnx

ZIP_MAP, LOCATION = b"ZipMap", b"\x0a\x08location"  # an operator; the first key of external data
CHANCES = "probabilities"  # what a classifier's matrix is called by exporters that write no ZipMap
CLASSES = "nightscore.classes"  # of the graph in memory: JSON, output -> the classes of its columns
MOST = (1 << 31) - (1 << 20)  # bytes of one graph, by protobuf's limit and some room for its own fields

CLASSIFIERS = frozenset({"TreeEnsembleClassifier", "LinearClassifier", "SVMClassifier"})  # label, scores
FLOAT = 1  # onnx.TensorProto.FLOAT


@dataclass(frozen=True)
class Graph:
    """A graph's bytes, and by its name each file of weights that does not fit into them."""

    data: bytes
    beside: Mapping[str, bytes]


def external_files(data: bytes) -> list[str]:
    """The files, relative to its own folder, in which a model keeps weights; empty for most models."""
    proto = _parsed(data) if LOCATION in data else None
    return sorted({_where(tensor).get("location", "") for tensor in _external(proto)}) if proto else []


def plain_graph(name: str, data: bytes, files: Mapping[str, bytes]) -> Graph:
    """The graph with the weights of `files` in it and without a ZipMap at its end.

    Weights stay beside a graph that would be larger than protobuf allows, 2 GB.

    Raises:
        ModelError: a file has fewer bytes than the graph says that it has.
    """
    proto = _parsed(data) if files or ZIP_MAP in data else None
    if proto is None:
        return Graph(data, {})
    for tensor in _external(proto):
        _check(name, proto.producer_name, tensor, files)
    fits = len(data) + sum(map(len, files.values())) < MOST
    if fits:
        for tensor in _external(proto):
            _embed(tensor, files)
    changed = _without_zip_map(proto)
    if files or changed:
        data = bytes(proto.SerializeToString(deterministic=True))
    return Graph(data, {} if fits else dict(files))


def refuse_outside(name: str, location: str) -> None:
    """Raise unless external data lies in the model's own folder, by the name that the graph has for it.

    Raises:
        ModelError: an absolute path, one with `..`, or none at all.
    """
    path = PurePosixPath(location)
    if location and not path.is_absolute() and ".." not in path.parts and not set("\\\0") & set(location):
        return
    raise ModelError(
        f"{name}: some of its weights lie in {location!r}; allowed: a file in the model's own folder, no "
        "'..' in it, no absolute path; write it again by onnx.save(onnx.load(path), path), as one file"
    )


def _parsed(data: bytes) -> "onnx.ModelProto | None":
    """The model of some bytes; None where they are none, which is said where it is opened."""
    import onnx  # not before it is needed: half a second

    try:
        return onnx.load_model_from_string(data)
    except Exception:  # protobuf's errors have no base class that it documents
        return None


def producer_of(data: bytes) -> str:
    """What a model says of what wrote it; empty if it says nothing, or is no model."""
    proto = _parsed(data)
    return proto.producer_name if proto else ""


# --- weights beside the graph ---


def _external(proto: "onnx.ModelProto") -> Iterator["onnx.TensorProto"]:
    """Each tensor of a model whose bytes lie in another file."""
    for graph in (proto.graph, *proto.training_info):
        yield from (t for t in _tensors(getattr(graph, "algorithm", graph)) if t.data_location == t.EXTERNAL)
    for function in proto.functions:
        yield from (t for t in _of_nodes(function.node) if t.data_location == t.EXTERNAL)


def _tensors(graph: "onnx.GraphProto") -> Iterator["onnx.TensorProto"]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _of_nodes(graph.node)


def _of_nodes(nodes: Sequence["onnx.NodeProto"]) -> Iterator["onnx.TensorProto"]:
    for attribute in (attribute for node in nodes for attribute in node.attribute):
        yield from ([attribute.t] if attribute.HasField("t") else attribute.tensors)
        for graph in [attribute.g] if attribute.HasField("g") else attribute.graphs:
            yield from _tensors(graph)


def _where(tensor: "onnx.TensorProto") -> dict[str, str]:
    return {entry.key: entry.value for entry in tensor.external_data}


def _place(tensor: "onnx.TensorProto", files: Mapping[str, bytes]) -> tuple[int, int]:
    """Where in its file a tensor's bytes begin and end; ValueError if the graph says it in no numbers."""
    where = _where(tensor)
    start = int(where.get("offset", 0))
    length = int(where["length"]) if "length" in where else len(files[where["location"]]) - start
    return start, start + length


def _check(name: str, producer: str, tensor: "onnx.TensorProto", files: Mapping[str, bytes]) -> None:
    location = _where(tensor).get("location", "")
    there = len(files[location])
    try:
        start, end = _place(tensor, files)
    except ValueError as error:
        raise ModelError(f"{name}: tensor {tensor.name!r} lies nowhere in {location}: {error}") from error
    if not 0 <= start <= end <= there:
        raise ModelError(
            f"{name}: tensor {tensor.name!r} is said to be bytes {start} to {end} of {location}, which has "
            f"{there}: not copied whole, or another export's{mend('files', producer)}"
        )


def _embed(tensor: "onnx.TensorProto", files: Mapping[str, bytes]) -> None:
    start, end = _place(tensor, files)
    tensor.raw_data = memoryview(files[_where(tensor)["location"]])[start:end].tobytes()
    tensor.ClearField("external_data")
    tensor.data_location = tensor.DEFAULT


# --- a ZipMap at the end ---


def _without_zip_map(proto: "onnx.ModelProto") -> bool:
    """Let each ZipMap that gives an output hand on its matrix; whether there was one."""
    given = {output.name for output in proto.graph.output}
    nodes = [
        node
        for node in proto.graph.node
        if (node.domain, node.op_type) == ("ai.onnx.ml", "ZipMap") and node.output[0] in given
    ]
    if not nodes:
        return False
    sources = {node.output[0]: node.input[0] for node in nodes}
    classes = {node.output[0]: _classes(node) for node in nodes}
    for node in nodes:
        node.CopyFrom(_identity(node.input[0], node.output[0]))
    kept = [output for output in proto.graph.output if output.name not in sources]
    first = nodes[0].output[0]
    if len(nodes) == 1 and first != CHANCES and _is_free(proto, sources[first]):
        if sources[first] != CHANCES:
            proto.graph.node.append(_identity(sources[first], CHANCES))
        sources, classes = ({CHANCES: named[first], **named} for named in (sources, classes))
    del proto.graph.output[:]
    proto.graph.output.extend(kept)
    _declare(proto, sources, classes)
    proto.metadata_props.add(key=CLASSES, value=json.dumps(classes))
    return True


def _is_free(proto: "onnx.ModelProto", source: str) -> bool:
    """Whether a matrix may be called `probabilities`: it is already, or nothing else in the graph is."""
    graph = proto.graph
    named = (*graph.input, *graph.output, *graph.initializer)
    taken = {one.name for one in named} | {name for node in graph.node for name in node.output}
    return source == CHANCES or CHANCES not in taken


def _identity(source: str, name: str) -> "onnx.NodeProto":
    from onnx import helper

    return helper.make_node("Identity", [source], [name])


def _classes(zip_map: "onnx.NodeProto") -> list[Any]:
    """The classes of a ZipMap, in the order of the matrix's columns."""
    attributes = {attribute.name: attribute for attribute in zip_map.attribute}
    if "classlabels_strings" in attributes:
        return [text.decode(errors="replace") for text in attributes["classlabels_strings"].strings]
    return list(attributes["classlabels_int64s"].ints) if "classlabels_int64s" in attributes else []


def _declare(proto: "onnx.ModelProto", sources: Mapping[str, str], classes: Mapping[str, list[Any]]) -> None:
    """Make outputs of matrices, of the type that ONNX infers; where it can't, ONNX Runtime does."""
    from onnx import helper

    kinds = _inferred(proto)
    for name, source in sources.items():
        output = proto.graph.output.add(name=name)
        if source in kinds:
            kind = helper.make_tensor_type_proto(kinds[source], [None, len(classes[name]) or None])
            output.type.CopyFrom(kind)


def _inferred(proto: "onnx.ModelProto") -> dict[str, int]:
    """The element types of a graph's tensors, as far as they can be told."""
    from onnx import shape_inference

    made = {node.output[1]: FLOAT for node in proto.graph.node if node.op_type in CLASSIFIERS}
    try:
        infos = shape_inference.infer_shapes(proto).graph.value_info
    except Exception:  # too large for it, or an operator that it does not know
        infos = proto.graph.value_info
    found = made | {info.name: kind for info in infos if (kind := info.type.tensor_type.elem_type)}
    for node in proto.graph.node:
        if node.op_type == "Identity" and node.input[0] in found:
            found.setdefault(node.output[0], found[node.input[0]])
    return found
