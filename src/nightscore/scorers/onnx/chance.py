"""Operators that draw by chance, or compute as in training: refused by name.

Found in the graph, in the subgraphs of If, Loop and Scan, and in the model's own functions that are called.
What a name does not show (a training mode that is computed) shows in the rows, at the first opening.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from nightscore.scorers.errors import ModelError
from nightscore.scorers.files.model_file import ModelFile

if TYPE_CHECKING:
    import onnx

DRAWS = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}
    | {"Sampling"}  # of ONNX Runtime's own domain: a text by chance
)
TRAINING = frozenset({"Dropout", "BiasDropout", "BitmaskDropout", "BitmaskBiasDropout", "BatchNormalization"})
# Most models name none of them, and are not parsed for it: a search of 100 MB takes a hundredth of a second.
NAMES = [name.encode() for name in ("Random", "Multinomial", "Bernoulli", "Sampling", "Dropout", "BatchNorm")]
EVAL = "export the model for inference (in PyTorch after model.eval())"
NEW_DROPOUT, NEW_NORM, OLD = 12, 14, 7  # opsets: an input, an attribute; before OLD, `is_test`
SAVED_OUTPUTS = 1  # of a BatchNormalization that normalizes by what it was trained on

Function = tuple[str, str]  # domain, name


class Scope(NamedTuple):
    """A node's surroundings: constants by name, the opset, attributes that a function's caller gave."""

    constants: Mapping[str, Any]
    opset: int
    given: Mapping[str, "onnx.AttributeProto"]


def refuse_chance(model: ModelFile) -> None:
    """Hold a model to operators whose results follow from their inputs.

    Raises:
        ModelError: one draws by chance or computes as in training; names it, and how to be rid of it.
    """
    if not any(name in model.data for name in NAMES):
        return
    import onnx

    try:
        proto = onnx.load_model_from_string(model.data)
    except Exception:  # ONNX Runtime says what is wrong with it
        return
    for node, scope in _Nodes(proto).all():
        why = _why(node, scope)
        if why:
            raise ModelError(
                f"{model.name}: node {node.name or node.output[0]!r} ({node.op_type}) {why}: the same row "
                f"would get another score each time, or beside other rows; {EVAL}"
            )


class _Nodes:
    """The nodes of a model, those of subgraphs and of functions that are called too."""

    def __init__(self, model: "onnx.ModelProto") -> None:
        self._model = model
        self._functions = {(f.domain, f.name): f for f in model.functions}

    def all(self) -> Iterator[tuple["onnx.NodeProto", Scope]]:
        """Each node, with its surroundings."""
        graph = self._model.graph
        yield from self._graph(graph, Scope({}, _opset(self._model.opset_import), {}), frozenset())

    def _graph(
        self, graph: "onnx.GraphProto", outer: Scope, inside: frozenset[Function]
    ) -> Iterator[tuple["onnx.NodeProto", Scope]]:
        constants = {**outer.constants, **{t.name: t for t in graph.initializer}}
        yield from self._each(graph.node, outer._replace(constants=constants), inside)

    def _each(
        self, nodes: Any, outer: Scope, inside: frozenset[Function]
    ) -> Iterator[tuple["onnx.NodeProto", Scope]]:
        scope = outer._replace(constants={**outer.constants, **_constants(nodes, outer.constants)})
        for node in nodes:
            called = node.domain, node.op_type
            if called in self._functions and called not in inside:
                yield from self._function(node, scope, inside | {called})
                continue
            yield node, scope
            for graph in (g for a in node.attribute for g in ([a.g] if a.HasField("g") else a.graphs)):
                yield from self._graph(graph, scope, inside)

    def _function(
        self, call: "onnx.NodeProto", scope: Scope, inside: frozenset[Function]
    ) -> Iterator[tuple["onnx.NodeProto", Scope]]:
        function = self._functions[call.domain, call.op_type]
        given = {a.name: a for a in [*function.attribute_proto, *call.attribute]}
        known = {
            name: scope.constants[value]
            for name, value in zip(function.input, call.input, strict=False)
            if value in scope.constants
        }
        opset = _opset(function.opset_import) or scope.opset
        yield from self._each(function.node, Scope(known, opset, given), inside)


def _why(node: "onnx.NodeProto", scope: Scope) -> str:
    """What is wrong with a node; empty if nothing is."""
    if node.op_type in DRAWS:
        return "draws by chance"
    if node.op_type not in TRAINING:
        return ""
    of_kind = _norm_trains if node.op_type == "BatchNormalization" else _dropout_trains
    return "computes as in training" if of_kind(node, scope) else ""


def _norm_trains(node: "onnx.NodeProto", scope: Scope) -> bool:
    if scope.opset >= NEW_NORM:
        return _integer(node, scope, "training_mode") == 1
    if scope.opset < OLD and _integer(node, scope, "is_test") != 1:
        return True
    return sum(map(bool, node.output)) > SAVED_OUTPUTS


def _dropout_trains(node: "onnx.NodeProto", scope: Scope) -> bool:
    if node.domain not in ("", "ai.onnx"):  # ONNX Runtime's own: data, bias, residual, ratio, training mode
        return len(node.input) > 1 and _is_true(node.input[-1], scope)
    if scope.opset >= NEW_DROPOUT:
        return len(node.input) == 3 and _is_true(node.input[2], scope)
    return scope.opset < OLD and _integer(node, scope, "is_test") != 1


def _integer(node: "onnx.NodeProto", scope: Scope, name: str) -> int:
    """An attribute's number, its caller's where a function hands it on; 0 where there is none."""
    for attribute in node.attribute:
        if attribute.name == name:
            value = scope.given.get(attribute.ref_attr_name, attribute)
            return int(value.i)
    return 0


def _is_true(name: str, scope: Scope) -> bool:
    tensor = scope.constants.get(name)
    if tensor is None:
        return False
    from onnx import numpy_helper

    values = numpy_helper.to_array(tensor)
    return values.dtype == bool and bool(values.all()) and values.size > 0


def _constants(nodes: Any, known: Mapping[str, Any]) -> dict[str, Any]:
    """What Constant nodes hold, and what is passed on as it is."""
    found: dict[str, Any] = {}
    passes: Callable[[str], Any] = lambda name: found.get(name, known.get(name))  # noqa: E731
    for node in nodes:
        if node.op_type == "Constant":
            found.update((node.output[0], a.t) for a in node.attribute if a.name == "value")
        elif node.op_type == "Identity" and (tensor := passes(node.input[0])) is not None:
            found[node.output[0]] = tensor
    return found


def _opset(imports: Any) -> int:
    return next((int(one.version) for one in imports if one.domain in ("", "ai.onnx")), 0)
