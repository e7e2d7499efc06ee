"""Images -> the scores of classes, or embeddings: an ONNX model behind the steps that it was trained with.

A column holds the bytes of a PNG or a JPEG. Each is decoded, turned upright (EXIF), coloured, resized,
cropped, scaled and normalized (settings.py), and given to the model's one input: [rows, colours, height,
width] or [rows, height, width, colours], as its shape or the job's `layout` says, or [rows, height, width]
where it is grey; of float32, float16, or of uint8, which takes pixels as they are.

An image that can't be read, or is refused (decode.py), is a row that can't be scored.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nightscore.scorers.contract import Options, Signature
from nightscore.scorers.errors import ChunkError, MissingValueError, ModelError
from nightscore.scorers.files.model_file import ModelFile
from nightscore.scorers.images.decode import pixels, require_pillow
from nightscore.scorers.images.settings import ImageSettings, image_settings
from nightscore.scorers.onnx.session import Session

BATCH_NUMBERS = 4 << 20  # of a batch: 16 MB of float32, 27 images of 3 x 224 x 224
ONE_COLUMN = "kind image takes one column of images: name it in the job's model.columns"
TYPES: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8,
}  # fmt: skip
AXES = {"nchw": (2, 0, 1), "nhwc": (0, 1, 2)}  # how height, width and colours are put
COLOURS_AT = {"nchw": 0, "nhwc": 2}  # of the axes of an image

Array = npt.NDArray[Any]


class Place(NamedTuple):
    """How an image lies in the model's input: height and width, the axes in their order, its shape."""

    size: tuple[int, int]
    axes: tuple[int, ...]
    shape: tuple[int, ...]


class ImageScorer:
    """One model of images on one device."""

    def __init__(self, model: ModelFile, options: Options) -> None:
        """Open `model`.

        Raises:
            ModelError: not an ONNX model of this kind, steps that contradict each other or don't fit it, an
                output that it does not give, a device that is not there, or the package pillow is missing.
        """
        require_pillow(model.name)
        self._settings = image_settings(model, options)
        self._session = Session(model, options)
        self._input, self._dtype = input_of(self._session, self._settings)
        self._place = placed(self._session, self._settings)
        self._column = self._session.one_column(options, ONE_COLUMN, "columns")
        self._session.try_out({self._input: np.zeros((2, *self._place.shape), self._dtype)}, model)
        self._signature = Signature(pa.schema([(self._column, pa.binary())]), self._session.outputs)

    @property
    def signature(self) -> Signature:
        """The column of images, and the columns given."""
        return self._signature

    def score(self, chunk: pa.RecordBatch) -> pa.RecordBatch:
        """What the model gives for each image.

        Raises:
            ChunkError: an image is missing, can't be read, or is refused.
        """
        parts = [self._session.run(feeds) for feeds in self.feeds(chunk)]
        return pa.concat_batches(parts) if parts else pa.RecordBatch.from_pylist([], self._signature.outputs)

    def feeds(self, chunk: pa.RecordBatch) -> Iterator[dict[str, Array]]:
        """What ONNX Runtime is fed for a chunk, a batch after the other. Errors as `score`'s."""
        column = chunk.column(self._column)
        if column.null_count:
            raise MissingValueError(
                f"column {self._column!r} (binary) has {column.null_count} null values; a row without an "
                "image has no score"
            )
        rows = max(1, BATCH_NUMBERS // int(np.prod(self._place.shape)))
        for start in range(0, len(column), rows):
            images = [self._numbers(data.as_py()) for data in column.slice(start, rows)]
            yield {self._input: np.stack(images)}

    def _numbers(self, data: bytes) -> Array:
        """One image as the model takes it."""
        try:
            image = pixels(data, self._settings)
            if image.shape[:2] != self._place.size:
                raise ChunkError(
                    f"has {_times(image.shape[:2])} pixels; the model takes {_times(self._place.size)}"
                )
        except ChunkError as error:
            raise ChunkError(f"column {self._column!r}: the image {error}") from error
        numbers = self._normalized(image).transpose(self._place.axes)
        return numbers.astype(self._dtype).reshape(self._place.shape)

    def _normalized(self, image: Array) -> Array:
        said = self._settings
        if self._dtype is np.uint8:
            return image
        numbers = image.astype(np.float32) * np.float32(said.scale or 1)
        if said.mean is not None:
            numbers -= np.array(said.mean, np.float32)
        return numbers / np.array(said.std, np.float32) if said.std is not None else numbers


def open_image(model: ModelFile, options: Options) -> ImageScorer:
    """A scorer for a model of images. Errors as `ImageScorer`'s."""
    return ImageScorer(model, options)


def input_of(session: Session, settings: ImageSettings) -> tuple[str, type[np.generic]]:
    """The model's one input, and its type.

    Raises:
        ModelError: it takes something else than images, or what the steps give is not what it takes.
    """
    metas = session.inputs
    if len(metas) != 1 or metas[0].type not in TYPES or len(metas[0].shape) not in (3, 4):
        raise ModelError(
            f"{session.name}: its inputs are {session.shown_inputs}; kind image needs one, of "
            f"{', '.join(TYPES)}, [rows, colours, height, width] or [rows, height, width, colours], or of "
            "grey [rows, height, width]"
        )
    as_they_are = settings.scale in (None, 1) and settings.mean is settings.std is None
    if metas[0].type == "tensor(uint8)" and not as_they_are:
        raise ModelError(
            f"{session.name}: takes uint8, pixels as they are; leave scale, mean and std out", "image"
        )
    if metas[0].type != "tensor(uint8)" and settings.scale is None:
        raise ModelError(
            f"{session.name}: nothing says by what pixels of 0 to 255 are multiplied; say model.image.scale: "
            "1/255, or 1, as the model was trained, and resize, crop, mean, std and colour where it was "
            "trained with them",
            "image",
        )
    return metas[0].name, TYPES[metas[0].type]


def placed(session: Session, settings: ImageSettings) -> Place:
    """Where height, width and colours lie in the input.

    Raises:
        ModelError: nothing says it, or not as the model has it.
    """
    axes = session.inputs[0].shape[1:]
    if len(axes) == 2:
        if settings.colours != 1 or settings.layout:
            raise ModelError(
                f"{session.name}: takes [rows, height, width], which is grey; say model.image.colour: grey, "
                "and no layout",
                "image",
            )
        size = _size(session, settings, axes)
        return Place(size, AXES["nhwc"], size)
    layout = _layout(session, settings, axes)
    at = COLOURS_AT[layout]
    size = _size(session, settings, [n for i, n in enumerate(axes) if i != at])
    shape = (settings.colours, *size) if at == 0 else (*size, settings.colours)
    return Place(size, AXES[layout], shape)


def _layout(session: Session, settings: ImageSettings, axes: list[Any]) -> str:
    sure = [name for name, at in COLOURS_AT.items() if axes[at] == settings.colours]
    fit = sure or [name for name, at in COLOURS_AT.items() if not _known(axes[at])]
    if settings.layout in fit:
        return str(settings.layout)
    if settings.layout is None and len(fit) == 1:
        return fit[0]
    say = ": say model.image.layout, as the model was trained" if len(fit) > 1 else ""
    raise ModelError(
        f"{session.name}: takes images of {axes}; {settings.colour} has {settings.colours} numbers a pixel, "
        f"and the layout is {settings.layout or 'not said'}; fitting: {', '.join(fit) or 'none'}{say}",
        "image",
    )


def _size(session: Session, settings: ImageSettings, axes: list[Any]) -> tuple[int, int]:
    """Height and width, which the steps give, or which images have to have."""
    size = settings.size or tuple(axes)
    if not all(map(_known, size)):
        raise ModelError(
            f"{session.name}: takes images of any size, and nothing says which; say model.image.resize: "
            "[height, width], as the model was trained",
            "image",
        )
    if any(_known(own) and own != given for own, given in zip(axes, size, strict=True)):
        raise ModelError(
            f"{session.name}: takes images of {_times(axes)} pixels; the steps give {_times(size)}", "image"
        )
    return size[0], size[1]


def _known(size: object) -> bool:
    return isinstance(size, int)


def _times(size: Sequence[object]) -> str:
    return " x ".join(map(str, size))
