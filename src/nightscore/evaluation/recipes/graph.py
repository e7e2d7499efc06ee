"""The same numbers from a tidier graph: unused outputs left out, constants folded, operators fused."""

from collections.abc import Callable
from functools import partial

import onnx
import onnxruntime as ort

from nightscore.evaluation.recipes.network import (
    operators,
    parse_model,
    quiet_scratch_folder,
    serialize_like,
    trimmed,
)
from nightscore.evaluation.recipes.recipe import Material, NoCandidate, Recipe
from nightscore.scorers import ModelFile, parse_outputs

Rewrite = Callable[[onnx.ModelProto], onnx.ModelProto]
LEVELS = {
    "graph: constants folded": (
        ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
        "ONNX Runtime's offline optimization, level basic: constants folded, nodes without effect removed",
    ),
    "graph: fused": (
        ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
        "ONNX Runtime's offline optimization, level extended: operators fused into ONNX Runtime's own",
    ),
    "graph: fused for this machine": (
        ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
        "ONNX Runtime's offline optimization, level all: fused, and laid out for the processor that it was "
        "made on; another processor may be slower with it or refuse it",
    ),
}


def recipes(model: ModelFile) -> list[Recipe]:
    """Graph recipes; they differ from the reference by rounding at most.

    Each starts with the outputs that the job uses, and says so if it comes to nothing more than that.
    """
    offers = [
        Recipe(
            "graph: trimmed",
            "graph",
            "without the outputs that no column of the job uses, and what only they need "
            "(labels, ZipMap): ONNX Runtime computes all outputs, asked for or not",
            _trimmed,
        ),
        Recipe(
            "graph: onnxslim",
            "graph",
            "onnxslim: shapes inferred, constants folded, duplicates merged, dead ends removed",
            partial(_rewritten, rewrite=_slimmed),
        ),
    ]
    offers += [
        Recipe(name, "graph", about, partial(_rewritten, rewrite=partial(_offline, level=level)))
        for name, (level, about) in LEVELS.items()
    ]
    counts = operators(parse_model(model))
    if counts["Softmax"] and counts["MatMul"]:
        about = "onnxruntime.transformers: attention, GELU and layer normalization each as one operator"
        offers.append(
            Recipe("graph: transformer fused", "graph", about, partial(_rewritten, rewrite=transformer_fused))
        )
    return offers


def _trimmed(material: Material) -> bytes:
    reference = parse_model(material.model)
    if len(_used(material)) == len(reference.graph.output):
        raise NoCandidate("the job uses every output of the model: there is nothing to leave out")
    return serialize_like(trimmed(reference, _used(material)), reference)


def _rewritten(material: Material, rewrite: Rewrite) -> bytes:
    """A rewrite of what the job uses, compared with that: unused outputs are another candidate's matter."""
    reference = parse_model(material.model)
    return serialize_like(rewrite(trimmed(reference, _used(material))), trimmed(reference, _used(material)))


def _used(material: Material) -> set[str]:
    return {output.source for output in parse_outputs(material.options.outputs)}


def _slimmed(proto: onnx.ModelProto) -> onnx.ModelProto:
    import onnxslim  # an extra

    with quiet_scratch_folder():
        slimmed: onnx.ModelProto = onnxslim.slim(proto)
    return slimmed


def _offline(proto: onnx.ModelProto, level: ort.GraphOptimizationLevel) -> onnx.ModelProto:
    with quiet_scratch_folder() as folder:
        options = ort.SessionOptions()
        options.graph_optimization_level = level
        options.optimized_model_filepath = str(folder / "optimized.onnx")
        options.log_severity_level = 4
        ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
        optimized: onnx.ModelProto = onnx.load(folder / "optimized.onnx")
    return optimized


def transformer_fused(proto: onnx.ModelProto) -> onnx.ModelProto:
    """BERT-like attention, GELU, layer normalization and embeddings, each fused into one operator.

    Raises:
        NoCandidate: there are none that onnxruntime.transformers recognises.
    """
    from onnxruntime.transformers import optimizer

    with quiet_scratch_folder() as folder:
        onnx.save(proto, folder / "model.onnx")
        # Heads and width are read off the graph; no other level, so that what is fused is told apart.
        fused = optimizer.optimize_model(str(folder / "model.onnx"), "bert", opt_level=0)
    if not any(fused.get_fused_operator_statistics().values()):
        raise NoCandidate("onnxruntime.transformers recognises no part of a transformer in it")
    model: onnx.ModelProto = fused.model
    if all(opset.domain != "com.microsoft" for opset in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    return model
