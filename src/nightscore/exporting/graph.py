"""What stands around a converted model in its file: columns as inputs, codes of categories, metadata."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper

from nightscore.exporting.conversion import CannotConvert
from nightscore.exporting.rows import Column
from nightscore.scorers import plain_graph

ML = "ai.onnx.ml"
FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE)
MISSING = ("", "null", "(null)", "(missing)")  # texts that may stand for null: the first that is no category


def null_text(categories: Sequence[Any]) -> str:
    """The text that stands for null in a column with these categories."""
    free = next((text for text in MISSING if text not in categories), None)
    if free is None:
        raise CannotConvert(f"its categories are {list(categories)}: no text is left to stand for null")
    return free


def with_columns(data: bytes, columns: Sequence[Column]) -> bytes:
    """A model of one matrix, whose text columns become inputs of their own; the file then has their codes.

    A category is its place among the column's categories, as pandas counts them. A null is a missing value
    (NaN), and so is any other text. Without a column of categories the model stays as it is.
    """
    if not any(column.categories for column in columns):
        return data
    proto = onnx.load_model_from_string(data)
    matrix = proto.graph.input[0]
    kind = matrix.type.tensor_type.elem_type
    nodes, inputs, parts = [], [], []
    for column in columns:
        given = TensorProto.STRING if column.kind == "text" else kind
        parts.append(column.name)
        if column.categories:
            parts[-1] = f"{column.name}/code"
            made, constants = _codes(column, parts[-1], kind)
            nodes += made
            proto.graph.initializer.extend(constants)
            given = TensorProto.STRING if column.kind == "text" else TensorProto.DOUBLE
        inputs.append(helper.make_tensor_value_info(column.name, given, [None, 1]))
    nodes.append(helper.make_node("Concat", parts, [matrix.name], axis=1))
    after = list(proto.graph.node)
    del proto.graph.node[:], proto.graph.input[:]
    proto.graph.node.extend([*nodes, *after])
    proto.graph.input.extend(inputs)
    _need(proto, ML, 3)
    return bytes(proto.SerializeToString(deterministic=True))


Nodes = tuple[list[onnx.NodeProto], list[onnx.TensorProto]]  # and the constants that they take


def _codes(column: Column, code: str, kind: int) -> Nodes:
    """What makes codes of a column's values."""
    if column.kind != "text":
        return _codes_of_numbers(column, code, kind)
    known = list(column.categories or ())
    label = helper.make_node(
        "LabelEncoder", [column.name], [f"{code}/float"], domain=ML, default_float=float("nan"),
        keys_strings=[*known, null_text(known)], values_floats=[*map(float, range(len(known))), float("nan")],
    )  # fmt: skip
    return [label, helper.make_node("Cast", [f"{code}/float"], [code], to=kind)], []


def _codes_of_numbers(column: Column, code: str, kind: int) -> Nodes:
    """The same of numbers, exactly: what a key finds has to be the value itself, all in float64.

    The operator has keys in int64 or float32 alone, and so finds a category for a null, too.
    """
    known = list(column.categories or ())
    whole = all(isinstance(value, int) for value in known)
    refuse_merged(column.name, known, np.float64 if whole else np.float32)
    to = TensorProto.INT64 if whole else TensorProto.FLOAT
    keys: dict[str, Any] = (
        {"keys_int64s": [*map(int, known)]} if whole else {"keys_floats": [*map(float, known)]}
    )
    key, place, found, same, number, none, values = (
        f"{code}/{part}" for part in ("key", "place", "found", "same", "number", "none", "values")
    )
    nodes = [
        helper.make_node("Cast", [column.name], [key], to=to),
        helper.make_node(
            "LabelEncoder", [key], [place], domain=ML, values_int64s=[*range(len(known))], default_int64=0,
            **keys,
        ),
        helper.make_node("Gather", [values, place], [found]),
        helper.make_node("Equal", [found, column.name], [same]),
        helper.make_node("Cast", [place], [number], to=kind),
        helper.make_node("Where", [same, number, none], [code]),
    ]  # fmt: skip
    return nodes, [
        helper.make_tensor(values, TensorProto.DOUBLE, [len(known)], [*map(float, known)]),
        helper.make_tensor(none, kind, [1], [float("nan")]),
    ]


def refuse_merged(name: str, known: Sequence[Any], kind: Any) -> None:
    """Raise where two categories are one number of a type, or one is too large for it."""
    seen: dict[float, Any] = {}
    for value in known:
        held = float(kind(value))
        if held in seen or (isinstance(value, int) and int(held) != value):
            raise CannotConvert(
                f"categories of {name!r} are merged in {np.dtype(kind)}: {seen.get(held, int(held))!r} and "
                f"{value!r} are one number there; make texts of them before training"
            )
        seen[held] = value


def _need(proto: onnx.ModelProto, domain: str, version: int) -> None:
    """Raise the version of an operator set to one that has the operators of ours."""
    for opset in proto.opset_import:
        if opset.domain == domain:
            opset.version = max(opset.version, version)
            return
    proto.opset_import.append(helper.make_opsetid(domain, version))


def plain(name: str, data: bytes) -> bytes:
    """The model without a ZipMap at its end: its matrix of probabilities is an output."""
    return plain_graph(name, data, {}).data


def score_output(data: bytes) -> tuple[str, int | None]:
    """The output with a model's scores, and its columns as declared; None where they are not."""
    proto = onnx.load_model_from_string(data)
    floats = [one for one in proto.graph.output if one.type.tensor_type.elem_type in FLOATS]
    if not floats:
        raise CannotConvert("the converted model has no output of numbers")
    likely = [one for one in floats if "prob" in one.name] or floats
    sizes = [
        one.dim_value if one.HasField("dim_value") else None for one in likely[0].type.tensor_type.shape.dim
    ]
    return likely[0].name, sizes[1] if len(sizes) > 1 else None


def with_metadata(data: bytes, said: Mapping[str, Any]) -> bytes:
    """A model with some keys in its metadata: a text as it is, all else as JSON."""
    proto = onnx.load_model_from_string(data)
    kept = {prop.key: prop.value for prop in proto.metadata_props}
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in said.items()}
    helper.set_model_props(proto, {**kept, **texts})
    return bytes(proto.SerializeToString(deterministic=True))


Mode = Literal["single", "double", "cast"]


class Trees:
    """A converter's container in which trees have plain numbers, and compare as the library does.

    Of inputs in float64 the mode `double` has thresholds and weights in float64, too, and `cast` makes
    float32 of the inputs first, as libraries do that compare in it.

    Converters give some numbers as NumPy has them, which newer versions of onnx refuse. And the operator has
    its thresholds in float32 unless they are given as a tensor: a value beside one would come to another leaf
    than in a library that compares in float64. All else is the container's own.
    """

    def __init__(self, container: Any, mode: Mode, left: Sequence[Any] | None = None) -> None:
        """`left` [trees] says of each node whether a missing value goes left, if the converter does not."""
        self._container, self._mode, self._left = container, mode, left

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def add_node(self, op_type: str, *args: Any, **attributes: Any) -> Any:
        """Add a node."""
        if op_type.startswith("TreeEnsemble"):
            attributes = {name: _plain(value) for name, value in attributes.items()}
            if self._left is not None:
                nodes = zip(attributes["nodes_treeids"], attributes["nodes_nodeids"], strict=True)
                attributes["nodes_missing_value_tracks_true"] = [int(self._left[t][n]) for t, n in nodes]
            if self._mode == "double":
                attributes = dict(_in_double(attributes)) | {"op_version": 3}
            if self._mode == "cast":
                given = args[0] if isinstance(args[0], str) else args[0][0]
                self._container.add_node(
                    "Cast", [given], [f"{given}/float"], to=TensorProto.FLOAT, op_version=13
                )
                args = ([f"{given}/float"], *args[1:])
        return self._container.add_node(op_type, *args, **attributes)


NUMBERS = ("nodes_values", "class_weights", "target_weights", "base_values")


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if not isinstance(value, list):
        return value
    plain = [one.item() if isinstance(one, np.generic) else one for one in value]
    return [int(one) if isinstance(one, bool) else one for one in plain]


def _in_double(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    kept = {name: value for name, value in attributes.items() if name not in (*NUMBERS, "nodes_hitrates")}
    for name in NUMBERS:
        if values := attributes.get(name):
            kept[f"{name}_as_tensor"] = helper.make_tensor(
                f"{name}_as_tensor", TensorProto.DOUBLE, [len(values)], list(map(float, values))
            )
    return kept
