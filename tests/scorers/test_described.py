"""What a model is, by its file: each kind knows its own, and asks for what its scorer would refuse."""

import dataclasses
import json
from typing import Any

import onnx
import pyarrow as pa
import pytest
from onnx import TensorProto, helper

from nightscore.scorers import DescribedModel, ModelError, ModelFile, Options, describe_model, open_scorer
from tests.scorers.test_images import network
from tests.scorers.texts import CONFIG, file, tiny, tokenizer_json, with_head

HIDDEN = "last_hidden_state"
PREPROCESSOR = {
    "do_resize": True, "size": {"height": 8, "width": 8}, "resample": 2, "do_rescale": True,
    "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
    "image_processor_type": "ViTImageProcessor",
}  # fmt: skip
UINT8, FLOAT = TensorProto.UINT8, TensorProto.FLOAT


def opened(model: ModelFile, described: DescribedModel) -> Any:
    """The scorer of a description as it stands."""
    columns = described.takes.names or ["mine"]
    options = Options({"score": described.output}, columns, settings=described.settings)
    return open_scorer(described.kind, model, options)


def beside(model: ModelFile, files: dict[str, Any]) -> ModelFile:
    """A model with files around it, in JSON."""
    about = {name: json.dumps(value).encode() for name, value in files.items()}
    return ModelFile(model.name, model.sha256, model.data, about=about)


def hidden() -> ModelFile:
    """The tiny BERT as the world exports it: a row a token, its tokenizer beside it."""
    model = tiny()
    last = [node for node in model.graph.node if node.op_type == "LayerNormalization"][-1]
    model.graph.node.append(helper.make_node("Identity", [last.output[0]], [HIDDEN]))
    shape = ["batch", "sequence", CONFIG["hidden_size"]]
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info(HIDDEN, FLOAT, shape))
    data = model.SerializeToString()
    return ModelFile("m.onnx", "0" * 64, data, about={"tokenizer.json": tokenizer_json().encode()})


KNOWN: dict[str, tuple[ModelFile, str, str]] = {
    "texts, in one file": (file(tiny()), "text", "embedding[*]"),
    "texts, whose column has no name": (file(tiny(), columns=None), "text", "embedding[*]"),
    "classes of texts": (file(with_head(tiny())), "text", "probabilities[*]"),
    "images of colours": (network([3, 8, 8], UINT8), "image", "flat[*]"),
    "images, colours last": (network([8, 8, 3], UINT8), "image", "flat[*]"),
    "grey images": (network([1, 8, 8], UINT8), "image", "flat[*]"),
    "a folder of images": (
        beside(network([3, "h", "w"]), {"preprocessor_config.json": PREPROCESSOR}), "image", "flat[*]",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", KNOWN)
def test_what_is_known_opens_as_it_is_described(case: str) -> None:
    """Nothing is asked, and the scorer takes one column of the type that is said."""
    model, kind, output = KNOWN[case]
    described = describe_model(model)
    assert (described.kind, described.output, described.asks) == (kind, output, ())
    [column] = opened(model, described).signature.inputs
    assert column.type == described.one == {"text": pa.string(), "image": pa.binary()}[kind]
    assert described.takes.names in ([], [column.name])


BERT = hidden()
ASKED: dict[str, tuple[ModelFile, str]] = {
    "a scale": (network([3, 8, 8]), "say model.image.scale"),
    "a scale, of grey": (network([8, 8]), "say model.image.scale"),
    "a size": (network([3, "h", "w"], UINT8), "say model.image.resize"),
    "a layout": (network(["c", 8, "w"], UINT8), "say model.image.layout"),
    "a crop": (
        beside(
            network([3, 8, 8]),
            {"preprocessor_config.json": {**PREPROCESSOR, "size": {"shortest_edge": 8}}},
        ),
        "say model.image.crop",
    ),
    "a pooling": (BERT, "say model.text.pooling"),
    "a length": (BERT, "say model.text.max_length"),
}  # fmt: skip


@pytest.mark.parametrize("case", ASKED)
def test_what_is_asked_is_what_the_scorer_refuses(case: str) -> None:
    """In its own words."""
    model, says = ASKED[case]
    described = describe_model(model)
    [ask] = [ask for ask in described.asks if says in ask]
    if case == "a length":  # which comes after the pooling
        described = dataclasses.replace(described, settings={"pooling": "mean"})
    with pytest.raises(ModelError) as error:
        opened(model, described)
    assert str(error.value) == f"{model.name}: {ask}"


def test_numbers_and_lists_are_none_of_them() -> None:
    """Twelve channels of a signal, bytes [rows, 8, 8] that may be pixels as they are, and a matrix."""
    signal = onnx.load_model_from_string(network([12, 8, 8]).data)
    signal.graph.input[0].name = signal.graph.node[0].input[0] = "signal"
    others = [ModelFile("m.onnx", "0" * 64, signal.SerializeToString()), network([8, 8], UINT8), network([8])]
    for model in others:
        described = describe_model(model)
        assert (described.kind, described.one, described.asks) == ("", None, ())


def test_texts_without_their_tokenizer_are_told_so() -> None:
    with pytest.raises(ModelError, match=r"its tokenizer is not there: put its tokenizer\.json beside it"):
        describe_model(file(tiny(), tokenizer=None))


def test_all_chances_of_many_classes() -> None:
    """One of two classes says it all; of three the second is any."""
    for width, output in ((2, "probabilities[1]"), (3, "probabilities[*]")):
        x, y = (helper.make_tensor_value_info(name, FLOAT, [None, width]) for name in ("x", "probabilities"))
        graph = helper.make_graph([helper.make_node("Identity", ["x"], ["probabilities"])], "g", [x], [y])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        assert describe_model(ModelFile("m", "0" * 64, model.SerializeToString())).output == output
