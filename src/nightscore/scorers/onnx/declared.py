"""What an .onnx file says of its outputs, where ONNX Runtime, which saw that it is wrong, says nothing."""

from collections.abc import Iterable

from nightscore.scorers.files.model_file import ModelFile

Shape = list[int | str | None]


def declared_shapes(model: ModelFile, outputs: Iterable[str]) -> dict[str, Shape]:
    """The shapes that the file declares for some outputs; a dimension of any size is None, or its name."""
    import onnx  # not before it is needed: half a second

    proto = onnx.load_model_from_string(model.data)
    asked = set(outputs)
    return {
        info.name: [dim.dim_value or dim.dim_param or None for dim in info.type.tensor_type.shape.dim]
        for info in proto.graph.output
        if info.name in asked
    }
