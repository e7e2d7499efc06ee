"""Fewer bits for weights and activations, by ONNX Runtime's own tools; nothing here quantizes anything."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
from onnx import TensorProto, version_converter
from onnxruntime import quantization as ort
from onnxruntime.quantization.calibrate import save_tensors_data
from onnxruntime.quantization.shape_inference import quant_pre_process

from nightscore.evaluation.recipes.calibration import calibration_batches
from nightscore.evaluation.recipes.nan_guard import add_nan_guard
from nightscore.evaluation.recipes.network import (
    LINEAR,
    constants,
    operators,
    parse_model,
    quiet_scratch_folder,
    run_model,
    serialize_like,
    set_constant,
    takes_floats,
    with_names,
)
from nightscore.evaluation.recipes.recipe import Feeds, Material, NoCandidate, Recipe
from nightscore.evaluation.recipes.sensitivity import fewest, rank_by_sensitivity
from nightscore.scorers import ModelFile, read_hardware

OPSET = 13  # the first with scales per channel
PIECES = 16  # of rows to calibrate with
Method: TypeAlias = ort.CalibrationMethod


@dataclass(frozen=True)
class Scheme:
    """How int8 is done; without a method, activations are measured batch by batch (dynamic)."""

    per_channel: bool
    method: Method | None = None


SCHEMES = {
    "int8 dynamic": Scheme(False),
    "int8 dynamic, per channel": Scheme(True),
    "int8 static, min-max": Scheme(True, Method.MinMax),
    "int8 static, percentile": Scheme(True, Method.Percentile),
    "int8 static, entropy": Scheme(True, Method.Entropy),
}
ABOUT = {
    None: "activations quantized by the range of each batch: a row's scores depend on its neighbours",
    Method.MinMax: "activations quantized by their ranges on past days",
    Method.Percentile: "activations quantized by the range of 99.999 % of their values on past days",
    Method.Entropy: "activations quantized by the range that loses the least information on past days",
}
SEARCHED = ("int8 dynamic, per channel", "int8 static, min-max")


def recipes(model: ModelFile) -> list[Recipe]:
    """Recipes for int8 and float16; for a model without weights that they apply to, the reason in one."""
    layers = _layers(parse_model(model))
    if not layers:
        return [Recipe("int8", "quantization", "weights and activations as integers", _nothing)]
    offers = [
        Recipe(name, "quantization", ABOUT[scheme.method], partial(_whole, scheme=scheme))
        for name, scheme in SCHEMES.items()
    ]
    for name in SEARCHED:
        about = "the same, but the layers that suffer most stay in float32: as few as keep the budget"
        search = partial(_partly, scheme=SCHEMES[name])
        offers.append(Recipe(f"{name}, sensitive layers left out", "quantization", about, search))
    about = "onnxruntime.transformers.float16: weights and activations in 16 bits; inputs and outputs stay"
    return [*offers, Recipe("float16", "quantization", about, _half)]


def _nothing(material: Material) -> bytes:
    proto = parse_model(material.model)
    doubles = _layers(proto, TensorProto.DOUBLE)
    if doubles:
        raise NoCandidate(f"int8 takes float32; the weights of {', '.join(doubles[:3])} are float64")
    others = [name for name, _ in operators(proto).most_common(3)]
    raise NoCandidate(
        f"int8 does nothing for {', '.join(others)}: there is no {', '.join(LINEAR[:-1])} or {LINEAR[-1]} "
        "with weights in it"
    )


def _layers(proto: onnx.ModelProto, kind: int = TensorProto.FLOAT) -> list[str]:
    """The names of the nodes with weights of a type, in the graph's order."""
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind)
    weights = {name for name, array in constants(proto).items() if array.dtype == dtype}
    return [n.name for n in proto.graph.node if n.op_type in LINEAR and weights & set(n.input[1:2])]


def _quantized(proto: onnx.ModelProto, scheme: Scheme) -> list[str]:
    """The nodes that a scheme may quantize, by name; a dynamic one takes tables of embeddings, too."""
    tables = {
        name for name, array in constants(proto).items() if array.dtype == np.float32 and array.ndim > 1
    }
    gathers = [n.name for n in proto.graph.node if n.op_type == "Gather" and n.input[0] in tables]
    return _layers(proto) if scheme.method else [*gathers, *_layers(proto)]


def _whole(material: Material, scheme: Scheme) -> bytes:
    with _quantizer(material, scheme) as (layers, quantize):
        return quantize(layers)


def _partly(material: Material, scheme: Scheme) -> bytes:
    with _quantizer(material, scheme) as (layers, quantize):
        if material.keeps(quantize(layers)):
            raise NoCandidate("no layer has to be left out: the budget is kept with all of them quantized")
        units = rank_by_sensitivity(
            material.model.data, layers, quantize, calibration_batches(material.feeds, 2)
        )
        best = fewest(
            len(units), lambda k: quantize([name for unit in units[k:] for name in unit]), material.keeps
        )
    if best is None:
        raise NoCandidate("the budget breaks even with all layers but the most robust one left in float32")
    return best[1]


@contextmanager
def _quantizer(
    material: Material, scheme: Scheme
) -> Iterator[tuple[list[str], Callable[[Collection[str]], bytes]]]:
    """The layers that can be quantized, and a function: layers -> the model with those quantized.

    Calibrated once.
    """
    reference = parse_model(material.model)
    if scheme.method is None and takes_floats(reference):
        raise NoCandidate(
            "dynamic int8 has one scale for all rows of a batch: where features are floats, one outlier "
            "changes its neighbours' scores, and one infinity makes NaN of them all"
        )
    source = _prepared(reference, scheme)
    with quiet_scratch_folder() as folder:
        onnx.save(source, folder / "source.onnx")
        if scheme.method is not None:
            _calibrate(folder, scheme.method, _operators(source), calibration_batches(material.feeds, PIECES))

        def quantize(layers: Collection[str]) -> bytes:
            with quiet_scratch_folder():
                (_static if scheme.method else _dynamic)(folder, scheme, source, layers)
                model = onnx.load(folder / "quantized.onnx")
            if scheme.method and takes_floats(reference):
                model = add_nan_guard(model, reference, calibration_batches(material.feeds, 1)[0])
            return serialize_like(model, reference)

        yield _quantized(source, scheme), quantize


def _dynamic(folder: Path, scheme: Scheme, source: onnx.ModelProto, layers: Collection[str]) -> None:
    left_out = set(_quantized(source, scheme)) - set(layers)
    ort.quantize_dynamic(
        folder / "source.onnx",
        folder / "quantized.onnx",
        per_channel=scheme.per_channel,
        reduce_range=_saturates(),
        # A Gemm is made a MatMul of another name first.
        nodes_to_exclude=sorted(left_out | {f"{name}_MatMul" for name in left_out}),
        extra_options={"DefaultTensorType": TensorProto.FLOAT},
    )


def _static(folder: Path, scheme: Scheme, source: onnx.ModelProto, layers: Collection[str]) -> None:
    left_out = set(_quantized(source, scheme)) - set(layers)
    ort.quantize_static(
        folder / "source.onnx",
        folder / "quantized.onnx",
        per_channel=scheme.per_channel,
        reduce_range=_saturates(),
        activation_type=ort.QuantType.QInt8 if "asimd" in _instructions() else ort.QuantType.QUInt8,
        op_types_to_quantize=_operators(source),
        nodes_to_exclude=sorted(left_out),
        calibrate_method=scheme.method,
        calibration_cache_path=folder / "ranges.json",
        # Sums stay float32 up to the next layer, and so do scores: 256 levels would make ties of them.
        extra_options={"MatMulConstBOnly": True, "OpTypesToExcludeOutputQuantization": ["MatMul", "Gemm"]},
    )


def _operators(source: onnx.ModelProto) -> list[str]:
    """What QDQ goes around: of convolutions also what lies between them, so that images stay integers."""
    return [] if operators(source)["Conv"] else ["MatMul", "Gemm"]


def _calibrate(folder: Path, method: Method, kinds: list[str], feeds: Sequence[Feeds]) -> None:
    calibrator = ort.create_calibrator(
        folder / "source.onnx",
        kinds or None,
        augmented_model_path=str(folder / "augmented.onnx"),
        calibrate_method=method,
    )
    for batch in feeds:  # one at a time: histograms of several need them to be of one shape
        calibrator.collect_data(_Reader([batch]))
    save_tensors_data(calibrator.compute_data(), folder / "ranges.json")


class _Reader(ort.CalibrationDataReader):  # type: ignore[misc]
    """Batches, as ONNX Runtime's calibration asks for them."""

    def __init__(self, feeds: Sequence[Feeds]) -> None:
        self._left = iter(feeds)

    def get_next(self) -> dict[str, Any] | None:
        return next((dict(batch) for batch in self._left), None)


def _prepared(reference: onnx.ModelProto, scheme: Scheme) -> onnx.ModelProto:
    """The reference as the quantizers take it: of a recent opset.

    For static int8 also with normalizations folded into convolutions, and MatMul and Add made one Gemm, which
    then gives integers to the next (a network 64-256-256-1: 2.2 times float32's speed instead of 0.7 times).
    """
    source = reference
    versions = [opset.version for opset in source.opset_import if opset.domain in ("", "ai.onnx")]
    if versions and versions[0] < OPSET:
        try:
            source = version_converter.convert_version(source, OPSET)
        except Exception as error:  # a RuntimeError of C++, or a ValueError
            raise NoCandidate(f"it is of opset {versions[0]}, and can't be made {OPSET}: {error}") from error
    if scheme.method is not None:
        with quiet_scratch_folder() as folder:
            onnx.save(
                source, folder / "source.onnx"
            )  # given the graph itself, it moves the weights out of it
            quant_pre_process(folder / "source.onnx", folder / "prepared.onnx", skip_symbolic_shape=True)
            source = onnx.load(folder / "prepared.onnx")
    return _flat_biases(with_names(source))


def _flat_biases(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Biases of Gemms as [n]: ONNX Runtime's per-channel code can't take scikit-learn's [1, n]."""
    arrays = constants(proto)
    for node in proto.graph.node:
        if node.op_type == "Gemm" and len(node.input) > 2 and np.ndim(arrays.get(node.input[2], 0)) > 1:
            bias = arrays[node.input[2]]
            if bias.shape[0] == 1:
                node.input[2] = f"{node.name}_bias"
                set_constant(proto, node.input[2], bias.ravel())
    return proto


def _saturates() -> bool:
    """Whether sums of products of 8 bits overflow 16 on this processor: AVX2 or AVX-512 without VNNI.

    Weights then get 7 bits (ONNX Runtime, "Quantize ONNX models": when to use reduce-range).
    """
    return "avx2" in _instructions() and "avx512_vnni" not in _instructions()


def _instructions() -> tuple[str, ...]:
    return read_hardware().instructions


def _half(material: Material) -> bytes:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    reference = parse_model(material.model)
    source = onnx.ModelProto()
    source.CopyFrom(reference)
    with quiet_scratch_folder():
        data = serialize_like(convert_float_to_float16(source, keep_io_types=True), reference)
    run_model(
        data, calibration_batches(material.feeds, 1)
    )  # operators without a float16 kernel are found when it is opened
    return data
