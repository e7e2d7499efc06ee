"""Rows that the job `page_turns` is held to: scans, and the chances of their turns by NumPy.

`make pages` writes them beside the model. The network is computed in float64 by onnx's own reference,
which is NumPy, and not by ONNX Runtime. What goes before it is written here once more, as the package of
the weights has it in its preprocess.py. That resizes by OpenCV, and this by Pillow, as the job says: so
each image is there as it was scanned, and once more with a shorter edge of 256 pixels, of which both make
the very same numbers. And each is there on paper of a colour, too: of grey nothing would tell blue first
from red first.
"""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from PIL import Image

SHORTER, SIDE = 256, 224  # pixels: of the shorter edge, and of the middle that the network sees
MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
PAPER = (1.0, 0.85, 0.6)  # of each level of red, green and blue: what tinted paper leaves

Numbers = npt.NDArray[Any]


def write_rows(path: Path, model: bytes, scans: Sequence[bytes]) -> None:
    """Write `scan`, the bytes of a PNG, and its `probabilities` float32 [4]; the file appears whole."""
    network = ReferenceEvaluator(in_float64(onnx.load_from_string(model)))
    images = [image for scan in scans for image in _variants(Image.open(io.BytesIO(scan)))]
    fed = (numbers(image)[None].astype(np.float64) for image in images)
    chances = [network.run(None, {"x": one})[0][0].astype(np.float32) for one in fed]
    unfinished = path.with_suffix(".writing")
    table = pa.table({"scan": [_png(image) for image in images], "probabilities": chances})
    pq.write_table(table, unfinished, compression="zstd")
    unfinished.rename(path)


def in_float64(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its weights in float64, in which the reference then computes."""
    for weight in model.graph.initializer:
        value = numpy_helper.to_array(weight)
        if value.dtype == np.float32:
            weight.CopyFrom(numpy_helper.from_array(value.astype(np.float64), weight.name))
    return model


def numbers(image: Image.Image) -> Numbers:
    """What the network is fed: float32 [3, 224, 224], blue first."""
    small = resized(image.convert("RGB"))
    top, left = (small.height - SIDE) // 2, (small.width - SIDE) // 2
    middle = np.asarray(small, np.float32)[top : top + SIDE, left : left + SIDE, ::-1]
    fed: Numbers = ((middle * np.float32(1 / 255) - MEAN) / STD).transpose(2, 0, 1)
    return fed


def resized(image: Image.Image) -> Image.Image:
    """The image with a shorter edge of 256 pixels."""
    shorter = min(image.size)
    width, height = (SHORTER * edge // shorter for edge in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def _variants(scan: Image.Image) -> Iterator[Image.Image]:
    """A scan as it is and on paper of a colour, each also with a shorter edge of 256 pixels."""
    grey = scan.convert("L")
    tinted = Image.merge("RGB", [grey.point(lambda level, left=left: int(level * left)) for left in PAPER])
    for image in (scan, tinted):
        yield from (image, resized(image))


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
