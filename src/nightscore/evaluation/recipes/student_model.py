"""What a student looks like from outside: the inputs, and the output in use, of the model it stands for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from nightscore.evaluation.recipes.recipe import Material, NoCandidate
from nightscore.scorers import OutputColumn, parse_outputs

FEATURES, SCORE = "student_features", "student_score"  # [rows, columns] and [rows, 1], both float32
NUMBERS = (
    TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64, TensorProto.INT32, TensorProto.INT16,
    TensorProto.INT8, TensorProto.BOOL,
)  # fmt: skip
FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE)
OPSETS = [("", 17), ("ai.onnx.ml", 3)]
IR_VERSION = 10

Matrix = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Frame:
    """Inputs, the output in use and the metadata of a model; `output` says which of its columns is used."""

    reference: onnx.ModelProto
    inputs: tuple[onnx.ValueInfoProto, ...]
    given: onnx.ValueInfoProto
    output: OutputColumn
    is_chance: bool  # every score is between 0 and 1

    @property
    def rank(self) -> int:
        """1 or 2."""
        return len(self.given.type.tensor_type.shape.dim)

    @property
    def width(self) -> int:
        """Columns of the output."""
        return int(self.given.type.tensor_type.shape.dim[1].dim_value) if self.rank == 2 else 1


def frame_of(material: Material) -> Frame:
    """The frame of the reference.

    Raises:
        NoCandidate: texts or lists in, several outputs or lists out, or an output that one score can't fill.
    """
    proto = onnx.load_model_from_string(material.model.data)
    constants = {tensor.name for tensor in proto.graph.initializer}
    inputs = tuple(info for info in proto.graph.input if info.name not in constants)
    wrong = [info.name for info in inputs if not _fits(info, len(inputs) == 1)]
    if wrong:
        raise NoCandidate(f"a student takes numbers, one matrix or one a column; {wrong[0]!r} is neither")
    outputs = parse_outputs(material.options.outputs)
    if len(outputs) != 1 or outputs[0].whole:
        raise NoCandidate(f"a student gives one number a row; the job uses {dict(material.options.outputs)}")
    [used] = [output for output in proto.graph.output if output.name == outputs[0].source]
    scores = material.scores[outputs[0].column].to_numpy()
    if used.type.tensor_type.elem_type not in FLOATS or not np.isfinite(scores).all():
        raise NoCandidate(f"a student's scores are finite floats; those of {used.name!r} are not")
    is_chance = bool(len(scores) and scores.min() >= 0 and scores.max() <= 1)
    frame = Frame(proto, inputs, used, outputs[0], is_chance)
    if frame.rank > 2 or not (frame.width == 1 or (frame.width == 2 and is_chance)):
        raise NoCandidate(f"output {used.name!r} is neither one number a row nor the chances of two classes")
    return frame


def _fits(info: onnx.ValueInfoProto, alone: bool) -> bool:
    tensor = info.type.tensor_type
    dims = list(tensor.shape.dim)
    is_matrix = len(dims) == 2 and alone and tensor.elem_type in FLOATS
    is_column = len(dims) == 1 or (len(dims) == 2 and dims[1].dim_value == 1)
    return is_matrix or (is_column and tensor.elem_type in NUMBERS)


def rows_of(frame: Frame, material: Material) -> Matrix:
    """The material's rows as the student sees them, [rows, columns]."""
    names = [info.name for info in frame.inputs]
    parts = [
        np.concatenate([feed[n].reshape(len(feed[n]), -1) for n in names], axis=1, dtype=np.float32)
        for feed in material.feeds
    ]
    return np.concatenate(parts)


def scores_of(frame: Frame, material: Material) -> Numbers:
    """What the reference gives for them, [rows]."""
    scores: Numbers = material.scores[frame.output.column].to_numpy().astype(np.float64)
    return scores


def from_score(frame: Frame, nodes: Sequence[onnx.NodeProto], constants: dict[str, Any]) -> bytes:
    """The bytes of a student whose `nodes` make SCORE out of FEATURES; it is a log-odds for a chance."""
    score, more = SCORE, []
    if frame.is_chance:
        more.append(helper.make_node("Sigmoid", [score], ["student_chance"]))
        score = "student_chance"
    if frame.width == 2:
        more.append(helper.make_node("Sub", ["student_one", score], ["student_other"]))
        pair = ["student_other", score] if frame.output.index == 1 else [score, "student_other"]
        more.append(helper.make_node("Concat", pair, ["student_pair"], axis=1))
        constants = {**constants, "student_one": np.ones(1, np.float32)}
        score = "student_pair"
    if frame.rank == 1:
        more.append(helper.make_node("Reshape", [score, "student_flat"], ["student_list"]))
        constants = {**constants, "student_flat": np.array([-1], np.int64)}
        score = "student_list"
    return framed(frame, [*nodes, *more], constants, score)


def framed(frame: Frame, nodes: Sequence[onnx.NodeProto], constants: dict[str, Any], last: str) -> bytes:
    """The bytes of a model of the frame whose `nodes` make `last`, float32, out of FEATURES."""
    front, more = _front(frame)
    kind = frame.given.type.tensor_type.elem_type
    back = helper.make_node("Cast", [last], [frame.given.name], to=kind)
    arrays = [numpy_helper.from_array(np.asarray(v), name) for name, v in {**constants, **more}.items()]
    graph = helper.make_graph([*front, *nodes, back], "student", list(frame.inputs), [frame.given], arrays)
    opsets = [helper.make_opsetid(*opset) for opset in OPSETS]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="nightscore")
    model.metadata_props.extend(frame.reference.metadata_props)
    model.doc_string = frame.reference.doc_string
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def _front(frame: Frame) -> tuple[list[onnx.NodeProto], dict[str, Any]]:
    """From the inputs to FEATURES; the kind trees knows these nodes, save for Reshape."""
    nodes, names, constants = [], [], {}
    for i, info in enumerate(frame.inputs):
        name, tensor = info.name, info.type.tensor_type
        if len(tensor.shape.dim) == 1:
            constants["student_column"] = np.array([-1, 1], np.int64)
            nodes.append(helper.make_node("Reshape", [name, "student_column"], [f"student_reshaped_{i}"]))
            name = f"student_reshaped_{i}"
        if tensor.elem_type != TensorProto.FLOAT:
            nodes.append(helper.make_node("Cast", [name], [f"student_cast_{i}"], to=TensorProto.FLOAT))
            name = f"student_cast_{i}"
        names.append(name)
    if len(names) > 1:
        return [*nodes, helper.make_node("Concat", names, [FEATURES], axis=1)], constants
    return [*nodes, helper.make_node("Identity", names, [FEATURES])], constants
