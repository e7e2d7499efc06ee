"""Images score as Pillow, NumPy and ONNX Runtime score them; a bad one is refused by what it is."""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pyarrow as pa
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from sklearn.datasets import load_digits

from nightscore.scorers.contract import Options
from nightscore.scorers.errors import ChunkError, MissingValueError, ModelError
from nightscore.scorers.files.model_file import ModelFile, read_model
from nightscore.scorers.images.decode import pixels
from nightscore.scorers.images.scorer import ImageScorer
from nightscore.scorers.images.settings import ImageSettings
from nightscore.scorers.registry import open_scorer
from nightscore.scorers.testing import check_scorer

ROOT = Path(__file__).parents[2]
DIGITS = read_model(ROOT / "data/models/vision/digits.onnx", "digits.onnx")
GREY = {"colour": "grey"}
PROBABILITIES = {"p": "probabilities[*]"}


def encoded(image: Image.Image, form: str = "PNG", **how: Any) -> bytes:
    """The bytes of a file."""
    file = io.BytesIO()
    image.save(file, form, **how)
    return file.getvalue()


def photo(height: int = 40, width: int = 60, seed: int = 1) -> Image.Image:
    """Smooth colours, as a photograph has them, and some noise."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 6, 3), np.uint8))
    return coarse.resize((width, height), Image.Resampling.BICUBIC)


def digits() -> list[bytes]:
    return [encoded(Image.fromarray(image.astype(np.uint8))) for image in load_digits().images]


def network(shape: list[Any], kind: int = TensorProto.FLOAT) -> ModelFile:
    """A graph that hands on what it is fed, as one list a row."""
    nodes = [
        helper.make_node("Cast", ["pixel_values"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["numbers", "shape"], ["flat"]),
    ]
    graph = helper.make_graph(
        nodes, "hands_on",
        [helper.make_tensor_value_info("pixel_values", kind, ["rows", *shape])],
        [helper.make_tensor_value_info("flat", TensorProto.FLOAT, ["rows", "numbers"])],
        [numpy_helper.from_array(np.array([0, -1], np.int64), "shape")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return ModelFile("m.onnx", "0" * 64, model.SerializeToString())


def opened(model: ModelFile, outputs: dict[str, str], **said: Any) -> ImageScorer:
    return ImageScorer(model, Options(outputs, ["image"], settings=said))


def fed(model: ModelFile, images: list[bytes], **said: Any) -> Any:
    """What the graph was fed, [rows, numbers]."""
    found = opened(model, {"flat": "flat[*]"}, **said).score(batch(images))
    return np.array(found.column("flat").to_pylist(), np.float32)


def batch(images: list[bytes | None]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"image": pa.array(images, pa.binary())})


def test_digits_keep_the_contract_and_score_as_their_pixels_do() -> None:
    """The network on scikit-learn's own arrays, by ONNX Runtime alone."""
    scorer = open_scorer("image", DIGITS, Options(PROBABILITIES, ["image"], threads=2, settings=GREY))
    assert scorer.signature.inputs == pa.schema([("image", pa.binary())])
    images = digits()
    check_scorer(scorer, batch(images[:70]), 1e-6)
    session = ort.InferenceSession(DIGITS.data, providers=["CPUExecutionProvider"])
    [wanted] = session.run(["probabilities"], {"image": load_digits().images.astype(np.uint8)})
    found = np.array(scorer.score(batch(images)).column("p").to_pylist())
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert (found.argmax(axis=1) == load_digits().target).mean() > 0.9


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("resample", ["nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"])
@pytest.mark.sample(12)
def test_steps_are_pillow_and_numpy(layout: str, resample: str) -> None:
    """Shorter edge, the middle, scaled, normalized; PNG and JPEG, upright and lying: the same numbers."""
    shape = [3, 20, 24] if layout == "nchw" else [20, 24, 3]
    images = [photo(40, 60), photo(90, 50, 2), photo(30, 30, 3)]
    files = [encoded(images[0]), encoded(images[1], "JPEG", quality=90), encoded(images[2])]
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    found = fed(
        network(shape), files,
        resize=26, resample=resample, crop=[20, 24], scale="1/255", mean=mean, std=std,
    )  # fmt: skip
    wanted = []
    for file in files:
        image = Image.open(io.BytesIO(file))
        w, h = image.size
        size = (26, int(26 * h / w)) if w <= h else (int(26 * w / h), 26)
        made = np.asarray(image.resize(size, Image.Resampling[resample.upper()]), np.float32)
        top, left = (made.shape[0] - 20) // 2, (made.shape[1] - 24) // 2
        made = (made[top : top + 20, left : left + 24] / 255 - mean) / std
        wanted.append((made.transpose(2, 0, 1) if layout == "nchw" else made).reshape(-1))
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_colours_in_the_order_of_opencv() -> None:
    """Blue first: the same pixels, read backwards."""
    wanted = np.asarray(photo())[..., ::-1]
    np.testing.assert_array_equal(pixels(PNG, ImageSettings(colour="bgr")), wanted)


@pytest.mark.parametrize("turned", range(1, 9))
@pytest.mark.sample(8)
def test_an_image_is_turned_upright(turned: int) -> None:
    """Each of EXIF's eight orientations, as NumPy turns the pixels."""
    exif = Image.Exif()
    exif[0x0112] = turned
    levels = np.asarray(photo(8, 12))
    mirrored, quarter = turned in (2, 4, 5, 7), {3: 2, 4: 2, 6: 3, 7: 3, 5: 1, 8: 1}.get(turned, 0)
    wanted = np.rot90(levels[:, ::-1] if mirrored else levels, quarter)
    found = pixels(encoded(Image.fromarray(levels), exif=exif), ImageSettings())
    np.testing.assert_array_equal(found, wanted)


SAME: dict[str, Callable[[Image.Image], Image.Image]] = {
    "grey": lambda image: image.convert("L"),
    "black and white": lambda image: image.convert("1"),
    "a palette": lambda image: image.quantize(16),
    "opaque": lambda image: image.convert("RGBA"),
    "grey, opaque": lambda image: image.convert("LA"),
}


@pytest.mark.parametrize("make", SAME.values(), ids=SAME.keys())
def test_what_shows_the_same_scores_the_same(make: Callable[[Image.Image], Image.Image]) -> None:
    """Whatever the file keeps: its colours, as Pillow gives them in RGB and in grey."""
    image = make(photo())
    shown = image.convert("RGB")
    np.testing.assert_array_equal(pixels(encoded(image), ImageSettings()), np.asarray(shown))
    grey = pixels(encoded(image), ImageSettings(colour="grey"))[..., 0]
    assert np.abs(grey - np.asarray(shown.convert("L"), np.int16)).max() <= 1


def shrunk(data: bytes) -> bytes:
    """A PNG that says it has 60,000 x 60,000 pixels, with a sum that fits."""
    import struct
    import zlib

    head = b"IHDR" + struct.pack(">II", 60_000, 60_000) + data[24:29]
    return data[:12] + head + struct.pack(">I", zlib.crc32(head)) + data[33:]


def png(bits: int, kind: int, rows: npt.NDArray[np.uint8], **chunks: bytes) -> bytes:
    """A PNG of 8 pixels a row, of what Pillow does not write."""
    import struct
    import zlib

    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    parts = {
        "IHDR": struct.pack(">IIBBBBB", 8, len(rows), bits, kind, 0, 0, 0),
        **chunks,
        "IDAT": data,
        "IEND": b"",
    }
    made = b"\x89PNG\r\n\x1a\n"
    for name, part in parts.items():
        body = name.encode() + part
        made += struct.pack(">I", len(part)) + body + struct.pack(">I", zlib.crc32(body))
    return made


PNG, JPEG = encoded(photo()), encoded(photo(), "JPEG")
BAD = {
    "nothing": (b"", "is no PNG and no JPEG: 0 bytes"),
    "a text": (b"no image", "is no PNG and no JPEG: 8 bytes, b'no image'"),
    "a GIF": (encoded(photo(), "GIF"), "is no PNG and no JPEG"),
    "half a PNG": (PNG[: len(PNG) // 2], "is damaged"),
    "half a JPEG": (JPEG[: len(JPEG) * 9 // 10], "is damaged: image file is truncated"),
    "the head of a JPEG": (JPEG[:100], "is damaged: its head can't be read, of 100 bytes"),
    "a PNG of changed bytes": (PNG[:200] + b"\xff\x00" + PNG[202:], "is damaged"),
    "a bomb": (shrunk(PNG), "is too large"),
    "two pictures": (
        encoded(photo(), save_all=True, append_images=[photo(seed=2)]), r"has 2 pictures \(PNG\)",
    ),
    "colours of print": (encoded(photo().convert("CMYK"), "JPEG"), "has colours of mode CMYK"),
    "16 bits": (encoded(Image.fromarray(np.full((8, 8), 1000, np.uint16))), "has levels of 16 bits"),
    "colours of 16 bits": (png(16, 2, np.full((8, 48), 200, np.uint8)), "has levels of 16 bits"),
    "transparent grey": (png(4, 0, np.full((8, 4), 0x7F, np.uint8), tRNS=b"\0\x07"), "is transparent in"),
    "transparent": (encoded(Image.new("RGBA", (8, 8), (1, 2, 3, 4))), "is transparent in places"),
    "small": (encoded(photo(10, 60)), "has 10 x 60 pixels; 20 x 24 are cropped out of it"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "said"), BAD.values(), ids=BAD.keys())
@pytest.mark.sample(12)
def test_a_bad_image_is_refused_by_name(data: bytes, said: str) -> None:
    """With the column; the images beside it are not to blame."""
    scorer = opened(network([3, 20, 24]), {"f": "flat[*]"}, crop=[20, 24], scale=1)
    with pytest.raises(ChunkError, match=f"^column 'image': the image {said}"):
        scorer.score(batch([PNG, data, PNG]))
    assert scorer.score(batch([PNG, PNG])).num_rows == 2


def test_an_image_that_is_missing_or_of_another_size_is_refused() -> None:
    """A null, and one that the model does not take as it is."""
    scorer = opened(DIGITS, PROBABILITIES, **GREY)
    with pytest.raises(MissingValueError, match=r"column 'image' \(binary\) has 1 null values"):
        scorer.score(batch([None]))
    with pytest.raises(ChunkError, match=r"the image has 40 x 60 pixels; the model takes 8 x 8"):
        scorer.score(batch([PNG]))


CONFIG = {
    "do_resize": True, "size": {"shortest_edge": 26}, "resample": 3, "do_center_crop": True, "crop_size": 20,
    "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.2, 0.3, 0.4], "image_processor_type": "CLIPImageProcessor",
}  # fmt: skip
STEPS = {
    "resize": 26, "resample": "bicubic", "crop": [20, 20], "scale": "1/255", "mean": [0.5, 0.4, 0.3],
    "std": [0.2, 0.3, 0.4],
}  # fmt: skip


def folder(tmp_path: Path, **other: Any) -> ModelFile:
    """A Hugging Face folder with a preprocessor_config.json."""
    (tmp_path / "model.onnx").write_bytes(network([3, 20, 20]).data)
    said = {key: value for key, value in {**CONFIG, **other}.items() if value is not None}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    return read_model(tmp_path, "clip")


def test_a_folder_says_its_steps(tmp_path: Path) -> None:
    """The same numbers as by the job's keys; a job may say the same, and the file is part of the hash."""
    model = folder(tmp_path)
    files = [PNG, JPEG]
    wanted = fed(network([3, 20, 20]), files, **STEPS)
    np.testing.assert_array_equal(fed(model, files), wanted)
    np.testing.assert_array_equal(fed(model, files, **STEPS), wanted)
    assert folder(tmp_path, resample=2).sha256 != model.sha256
    square = folder(tmp_path, size=20, do_center_crop=False, image_processor_type="ViTImageProcessor")
    np.testing.assert_array_equal(
        fed(square, files), fed(network([3, 20, 20]), files, **{**STEPS, "resize": [20, 20], "crop": None})
    )


OTHER: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "another filter": ({}, {"resample": "box"}, 'image.resample is "box", and its .* says "bicubic"'),
    "another mean": ({}, {"mean": [0, 0, 0]}, r"mean is \[0, 0, 0\], and its .* says \[0.5, 0.4, 0.3\]"),
    "a step of others": ({"do_pad": True}, {}, "has do_pad, which kind image does not compute"),
    "a share": ({"crop_pct": 0.9}, {}, "has crop_pct, which"),
    "one number": ({"size": 26}, {}, "has size 26 of CLIPImageProcessor; allowed: "),
    "not said": ({"do_resize": None}, {}, "says nothing of do_resize"),
    "no mean": ({"image_mean": None}, {}, "says nothing of image_mean"),
    "no filter": ({"resample": None}, {}, "says nothing of resample"),
    "a key of its class": ({"include_top": True}, {}, "has include_top, which"),
    "an aspect": ({"keep_aspect_ratio": True}, {}, "has keep_aspect_ratio, which"),
    "a class": ({"image_processor_type": "LevitImageProcessor"}, {}, "has LevitImageProcessor, which"),
    "divided by 0": ({"image_std": [0.2, 0, 0.4]}, {}, "scale or std has 0"),
    "another size": ({"crop_size": 21}, {}, "takes images of 20 x 20 pixels; the steps give 21 x 21"),
}  # fmt: skip


@pytest.mark.parametrize(("config", "said", "message"), OTHER.values(), ids=OTHER.keys())
@pytest.mark.sample(8)
def test_what_differs_is_refused(tmp_path: Path, config: Any, said: Any, message: str) -> None:
    """Another size or mean would be another score."""
    with pytest.raises(ModelError, match=message):
        fed(folder(tmp_path, **config), [PNG], **said)


ANY = ["colours", "height", "width"]
UNFIT: dict[str, tuple[list[Any], int, dict[str, Any], str]] = {
    "no scale": ([3, 8, 8], TensorProto.FLOAT, {}, "say model.image.scale: 1/255, or 1"),
    "uint8, scaled": ([3, 8, 8], TensorProto.UINT8, {"scale": 0.5}, "takes uint8, pixels as they are"),
    "no size": ([3, "h", "w"], TensorProto.FLOAT, {"scale": 1}, "images of any size, .* model.image.resize"),
    "no crop": ([3, 8, 8], TensorProto.FLOAT, {"scale": 1, "resize": 8}, "nothing is cropped"),
    "no layout": (ANY, TensorProto.FLOAT, {"scale": 1, "resize": [8, 8]}, "not said; fitting: nchw, nhwc"),
    "grey": ([3, 8, 8], TensorProto.FLOAT, {"scale": 1, **GREY}, "grey has 1 numbers a pixel, .*: none"),
    "rgb": ([8, 8], TensorProto.FLOAT, {"scale": 1}, "which is grey; say model.image.colour: grey"),
    "one mean": ([3, 8, 8], TensorProto.FLOAT, {"scale": 1, "mean": [0.5]}, "mean has 1 numbers; rgb has 3"),
    "of numbers": ([8], TensorProto.FLOAT, {"scale": 1}, "kind image needs one, of"),
}  # fmt: skip


@pytest.mark.parametrize(("shape", "kind", "said", "message"), UNFIT.values(), ids=UNFIT.keys())
@pytest.mark.sample(9)
def test_a_model_that_does_not_fit_says_why(shape: Any, kind: int, said: Any, message: str) -> None:
    """Nothing is guessed of what a model was trained on."""
    with pytest.raises(ModelError, match=message):
        fed(network(shape, kind), [PNG], **said)


def test_without_the_extra_the_message_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a traceback of an import."""
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(ModelError, match=r"needs the package pillow: run  pip install 'nightscore\[image\]'"):
        opened(DIGITS, PROBABILITIES, **GREY)
