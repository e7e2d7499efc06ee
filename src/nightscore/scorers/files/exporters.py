"""What mends a model, in the words of what wrote it: an .onnx file names its producer."""

from collections.abc import Mapping
from typing import Literal

Problem = Literal["files", "input", "load", "output"]

# What is wrong -> the exporter -> the line that mends it; "" is of any other.
LINES: Mapping[Problem, Mapping[str, str]] = {
    "files": {
        "pytorch": "copy both files, or write one: torch.onnx.export(…, external_data=False)",
        "": "copy both files, or write one: onnx.save(onnx.load(path), path)",
    },
    "input": {
        "pytorch": "in PyTorch: forward() that takes tensors [rows, n] or [rows], float32 or int64, and "
        'torch.onnx.export(…, dynamic_shapes=({0: torch.export.Dim("rows")},))',
        "skl2onnx": 'in scikit-learn: to_onnx(model, initial_types=[("X", FloatTensorType([None, n]))]), or '
        "a (name, type) for each column, of [None, 1]",
        "onnxmltools": 'in onnxmltools: initial_types=[("X", FloatTensorType([None, n]))]',
        "catboost": 'in CatBoost: train on numbers, then save_model("m.onnx", format="onnx"); with '
        "categories keep the .cbm, and kind: catboost (docs/models.md)",
        "tf2onnx": "in tf2onnx: input_signature=[tf.TensorSpec((None, n), tf.float32)]",
    },
    "load": {
        "pytorch": "in PyTorch: torch.onnx.export(…, opset_version=18)",
        "skl2onnx": "in scikit-learn: to_onnx(model, X[:1].astype(numpy.float32), target_opset=17)",
        "onnxmltools": "in onnxmltools: initial_types of FloatTensorType, and target_opset=15",
        "tf2onnx": "in tf2onnx: --opset 17",
    },
    "output": {
        "pytorch": "in PyTorch: forward() that returns [rows] or [rows, n]",
        "skl2onnx": 'in scikit-learn: to_onnx(model, X[:1], options={"zipmap": False})',
        "onnxmltools": "in onnxmltools: zipmap=False",
        "tf2onnx": "in Keras: a last layer Flatten(), which gives [rows, n]",
    },
}


def mend(problem: Problem, producer: str) -> str:
    """The end of a message: `; ` and the line that mends a problem, empty if none is known.

    `producer` is what a model says of what wrote it, such as `pytorch`, `OnnxMLTools` or `CatBoost`.
    """
    lines = LINES[problem]
    known = next((name for name in lines if name and name in producer.lower()), "")
    return f"; {lines[known]}" if known in lines else ""
