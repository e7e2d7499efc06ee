"""An ONNX graph that is one ensemble of trees and the little that exporters put around it.

Before the ensemble: Identity, Cast, and Concat of one column each. After it: Identity, Cast, Exp, and a
number added, subtracted, multiplied or divided by. LightGBM's, XGBoost's and scikit-learn's exporters write
no more for most of their trees. Any other graph is refused, and the onnx kind serves it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from nightscore.scorers.files.foreign import what_it_is
from nightscore.scorers.files.model_file import ModelFile
from nightscore.scorers.outputs import columns_in_metadata
from nightscore.scorers.trees import kernel
from nightscore.scorers.trees.forest import Floats, Forest, NotTrees, check, classifier, regressor
from nightscore.scorers.trees.opset5 import newer

ENSEMBLE_OPERATORS = {
    "TreeEnsembleRegressor": regressor,
    "TreeEnsembleClassifier": classifier,
    "TreeEnsemble": newer,
}
NUMBERS = (np.float32, np.float64, np.int64, np.int32, np.int16, np.int8, np.bool_)
ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide
}  # fmt: skip
Array = npt.NDArray[Any]
Step = Callable[[Array], Array]


@dataclass(frozen=True)
class FeatureSource:
    """A feature: the column that it comes from, the column's dtype, and what it is cast to on its way."""

    column: str | None  # None: the next of the columns of a matrix that names none
    dtype: np.dtype[Any]
    casts: tuple[np.dtype[Any], ...] = ()


@dataclass(frozen=True)
class GraphOutput:
    """An output: labels or scores of the ensemble, their dtype there, the steps from there, and the dtype."""

    labels: bool
    first: np.dtype[Any]
    steps: tuple[Step, ...]
    dtype: np.dtype[Any]


@dataclass(frozen=True)
class TreeGraph:
    """The ensemble, a source for each column of its matrix, and the results by name, or why there is none."""

    forest: Forest
    sources: tuple[FeatureSource, ...] | FeatureSource  # one for all, where the width is not said
    results: Mapping[str, GraphOutput | str]
    columns: tuple[str, ...] | None  # that the model's own metadata names


def read_tree_graph(model: ModelFile) -> TreeGraph:
    """The graph of a model.

    Raises:
        NotTrees: not an ONNX model, or one that is more than an ensemble of trees.
    """
    try:
        proto = onnx.load_model_from_string(model.data)
    except Exception as error:  # protobuf's errors have no base class that it documents
        raise NotTrees(f"{model.name}: not an ONNX model: {what_it_is(model.data) or error}") from error
    try:
        return _Reader(proto).read()
    except NotTrees as error:
        raise NotTrees(f"{model.name}: not for the kind trees: {error}; the kind onnx runs it") from error


class _Reader:
    """Follows the graph from the inputs to the outputs."""

    def __init__(self, proto: onnx.ModelProto) -> None:
        self._proto = proto
        self._nodes = list(proto.graph.node)
        self._constants = {tensor.name: _constant(tensor) for tensor in proto.graph.initializer}

    def read(self) -> TreeGraph:
        ensembles = [
            node for node in self._nodes if node.domain == "ai.onnx.ml" and node.op_type in ENSEMBLE_OPERATORS
        ]
        if len(ensembles) != 1:
            raise NotTrees(f"{len(ensembles)} ensembles of trees in the graph")
        ensemble = ensembles[0]
        before, after = self._split(ensemble)
        sources = self._sources(before)
        matrix = sources[ensemble.input[0]]
        dtype = _kind(matrix)
        attributes = {a.name: _value(a) for a in ensemble.attribute}
        forest = ENSEMBLE_OPERATORS[ensemble.op_type](attributes, dtype)
        check(forest)
        width = None if isinstance(matrix, FeatureSource) else len(matrix)
        used = forest.features[forest.modes >= 0]
        if width is not None and len(used) and used.max() >= width:
            raise NotTrees(f"a condition on column {used.max()} of a matrix of {width}")
        texts = {entry.key: entry.value for entry in self._proto.metadata_props}
        return TreeGraph(forest, matrix, self._results(ensemble, forest, after), columns_in_metadata(texts))

    def _split(self, ensemble: onnx.NodeProto) -> tuple[list[onnx.NodeProto], list[onnx.NodeProto]]:
        """The nodes that lead to the ensemble, and those that come from it, in the order of the graph."""
        needed, before = {ensemble.input[0]}, []
        for node in reversed(self._nodes):
            if needed & set(node.output):
                before.append(node)
                needed |= set(node.input)
        rest = [node for node in self._nodes if node not in before and node is not ensemble]
        return before[::-1], rest

    def _sources(self, nodes: list[onnx.NodeProto]) -> dict[str, tuple[FeatureSource, ...] | FeatureSource]:
        inputs = [i for i in self._proto.graph.input if i.name not in self._constants]
        by_name = {info.name: _input(info, len(inputs) == 1) for info in inputs}
        for node in nodes:
            if node.op_type == "Constant" or any(name not in by_name for name in node.input):
                raise NotTrees(f"{node.op_type} before the trees")
            by_name[node.output[0]] = _before(node, [by_name[name] for name in node.input])
        return by_name

    def _results(
        self, ensemble: onnx.NodeProto, forest: Forest, nodes: list[onnx.NodeProto]
    ) -> dict[str, GraphOutput | str]:
        output = np.dtype(forest.output_dtype)
        by_name: dict[str, GraphOutput | str] = {ensemble.output[-1]: GraphOutput(False, output, (), output)}
        if forest.labels is not None:
            kind = np.dtype(np.int64 if isinstance(forest.labels[0], int) else object)
            by_name[ensemble.output[0]] = GraphOutput(True, kind, (), kind)
        for node in nodes:
            if node.op_type == "Constant":
                self._constants[node.output[0]] = _value(node.attribute[0])
                continue
            result = self._after(node, by_name, forest.targets)
            by_name.update(dict.fromkeys(node.output, result))
        return {info.name: by_name[info.name] for info in self._proto.graph.output if info.name in by_name}

    def _after(
        self, node: onnx.NodeProto, by_name: Mapping[str, GraphOutput | str], width: int
    ) -> GraphOutput | str:
        """What a node makes of the ensemble's outputs."""
        places = [i for i, name in enumerate(node.input) if name in by_name]
        others = [name for name in node.input if name not in by_name]
        before = by_name[node.input[places[0]]] if len(places) == 1 else "made of several"
        if isinstance(before, str):
            return before
        if node.op_type == "ZipMap":
            return "a list of maps, which is not the model's own output"
        if any(name not in self._constants for name in others):
            return f"made by {node.op_type} of something else than the trees"
        step = _after(node, before, places[0], [self._constants[name] for name in others], width)
        return step if step is not None else f"made by {node.op_type}, which the kind trees does not run"


def _input(info: onnx.ValueInfoProto, alone: bool) -> tuple[FeatureSource, ...] | FeatureSource:
    tensor = info.type.tensor_type
    kinds = {int(helper.np_dtype_to_tensor_dtype(np.dtype(kind))): np.dtype(kind) for kind in NUMBERS}
    dims = list(tensor.shape.dim)
    if tensor.elem_type not in kinds or len(dims) != 2 or dims[0].HasField("dim_value"):
        raise NotTrees(f"input {info.name!r} is not a matrix of numbers with any number of rows")
    kind, width = kinds[tensor.elem_type], dims[1].dim_value
    if width == 1:
        return (FeatureSource(info.name, kind),)
    if not alone:
        raise NotTrees(f"input {info.name!r} is one of several, and not a single column")
    if not np.issubdtype(kind, np.floating):
        raise NotTrees(f"input {info.name!r} is a matrix of {kind}")
    return tuple(FeatureSource(None, kind) for _ in range(width)) if width else FeatureSource(None, kind)


def _before(
    node: onnx.NodeProto, inputs: list[tuple[FeatureSource, ...] | FeatureSource]
) -> tuple[FeatureSource, ...] | FeatureSource:
    first = inputs[0]
    if node.op_type == "Identity":
        return first
    if node.op_type == "Cast":
        kind = helper.tensor_dtype_to_np_dtype(_attributes(node)["to"])
        if kind not in (np.float32, np.float64):
            raise NotTrees(f"Cast to {kind} before the trees")
        if isinstance(first, FeatureSource):
            return FeatureSource(first.column, first.dtype, (*first.casts, kind))
        return tuple(FeatureSource(source.column, source.dtype, (*source.casts, kind)) for source in first)
    if node.op_type == "Concat" and _attributes(node)["axis"] in (1, -1):
        if not all(isinstance(sources, tuple) for sources in inputs):
            raise NotTrees("Concat of a matrix whose width is not said")
        return tuple(source for sources in inputs if isinstance(sources, tuple) for source in sources)
    raise NotTrees(f"{node.op_type} before the trees")


def _kind(sources: tuple[FeatureSource, ...] | FeatureSource) -> np.dtype[Any]:
    """The dtype of the ensemble's matrix."""
    listed = (sources,) if isinstance(sources, FeatureSource) else sources
    kinds = {(source.casts or (source.dtype,))[-1] for source in listed}
    if len(kinds) != 1 or not kinds <= {np.dtype(np.float32), np.dtype(np.float64)}:
        raise NotTrees(f"trees over {', '.join(sorted(map(str, kinds)))}")
    return kinds.pop()


def _after(
    node: onnx.NodeProto, before: GraphOutput, place: int, constants: list[Array], width: int
) -> GraphOutput | None:
    if node.op_type == "Identity":
        return before
    if node.op_type == "Cast":
        kind = helper.tensor_dtype_to_np_dtype(_attributes(node)["to"])
        return _cast(before, np.dtype(kind))
    if before.labels:
        return None
    if node.op_type == "Exp" and before.dtype == np.float32:
        return replace(before, steps=(*before.steps, kernel.exp))
    if node.op_type in ARITHMETIC and len(constants) == 1:
        return _arithmetic(ARITHMETIC[node.op_type], before, place, constants[0], width)
    return None


def _cast(before: GraphOutput, kind: np.dtype[Any]) -> GraphOutput | None:
    if kind == before.dtype:
        return before
    floats = np.issubdtype(before.dtype, np.floating) and np.issubdtype(kind, np.floating)
    labels = before.labels and before.dtype == np.int64 and kind in (np.int32, np.float32, np.float64)
    if not floats and not labels:
        return None
    return replace(before, steps=(*before.steps, lambda values: values.astype(kind)), dtype=kind)


def _arithmetic(
    operation: Callable[[Any, Any], Any], before: GraphOutput, place: int, constant: Array, width: int
) -> GraphOutput | None:
    """With one number, or with one for each target; scores are [targets, rows] here."""
    if constant.size not in (1, width) or constant.ndim > 2 or constant.dtype != before.dtype:
        return None
    if constant.size != 1 and constant.shape[-1] != width:
        return None
    other: Floats = constant.reshape(-1, 1)

    def step(scores: Array) -> Array:
        result: Array = operation(scores, other) if place == 0 else operation(other, scores)
        return result

    return replace(before, steps=(*before.steps, step))


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def _value(attribute: onnx.AttributeProto) -> Any:
    value = helper.get_attribute_value(attribute)
    return _constant(value) if isinstance(value, onnx.TensorProto) else value


def _constant(tensor: onnx.TensorProto) -> Array:
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise NotTrees(f"{tensor.name!r} lies outside of the model file")
    return numpy_helper.to_array(tensor)
