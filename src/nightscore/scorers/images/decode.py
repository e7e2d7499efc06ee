"""The bytes of a PNG or a JPEG -> pixels, by Pillow, or the reason why there are none.

What has no one right answer is refused by name: several pictures in one file, what shines through, colours of
print and levels beyond 8 bits. A palette and black and white are what they show.
"""

import io
from typing import Any

import numpy as np
import numpy.typing as npt

from nightscore.scorers.errors import ChunkError, ModelError
from nightscore.scorers.images.settings import ImageSettings

FORMATS = ("PNG", "JPEG")
HEADS = (b"\x89PNG", b"\xff\xd8\xff")  # what a file of them begins with
MOST_PIXELS = (
    80_000_000  # of an image, or of what resizing makes of it: 240 MB; more is an attack or a mistake
)
HEAD_OF_PNG = 26  # bytes; the last two are the bits of a level, and the kind of colours
OPAQUE = (255, 255)  # the least and the most of an alpha channel through which nothing shines
MODES = {"rgb": "RGB", "bgr": "RGB", "grey": "L"}

Pixels = npt.NDArray[np.uint8]


def require_pillow(name: str) -> None:
    """Raise unless Pillow is there.

    Raises:
        ModelError: it is not; says what to install.
    """
    try:
        import PIL.Image  # noqa: F401
    except ImportError as error:
        raise ModelError(
            f"{name}: kind image needs the package pillow: run  pip install 'nightscore[image]'"
        ) from error


def pixels(data: bytes, settings: ImageSettings) -> Pixels:
    """An image turned upright, resized and cropped: [height, width, colours], uint8.

    Raises:
        ChunkError: it can't be read, or is refused; the message says what it is.
    """
    from PIL import ImageOps

    image = _opened(data)
    try:
        image.load()
        image = ImageOps.exif_transpose(image)
    except MemoryError:
        raise
    except Exception as error:  # a decoder's errors share no class: OSError, SyntaxError, struct.error, …
        raise ChunkError(f"is damaged: {error}") from error
    image = _coloured(image, MODES[settings.colour])
    image = _cropped(_resized(image, settings), settings)
    found = np.asarray(image, np.uint8).reshape(image.height, image.width, settings.colours)
    return found[..., ::-1] if settings.colour == "bgr" else found


def _opened(data: bytes) -> Any:
    from PIL import Image

    image: Any
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise ChunkError(f"is too large: {error}") from error
    except Exception as error:
        if data.startswith(HEADS):
            raise ChunkError(f"is damaged: its head can't be read, of {len(data):,} bytes") from error
        raise ChunkError(f"is no PNG and no JPEG: {len(data):,} bytes, {data[:8]!r} …") from error
    _refuse_large(image.width, image.height)
    _refuse_bits(data, image)
    if getattr(image, "n_frames", 1) > 1:
        raise ChunkError(f"has {image.n_frames} pictures ({image.format}); allowed: one")
    return image


def _refuse_large(width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise ChunkError(f"is too large: {width} x {height} pixels; allowed: {MOST_PIXELS:,} in all")


def _refuse_bits(data: bytes, image: Any) -> None:
    """Refuse what Pillow cuts to 8 bits, and the transparent grey of less, which it does not see."""
    if image.format != "PNG":
        return
    bits, kind = data[HEAD_OF_PNG - 2 : HEAD_OF_PNG]
    if bits > 8:
        raise ChunkError(f"has levels of {bits} bits; allowed: grey or RGB of 8 bits, a palette")
    if kind == 0 and 1 < bits < 8 and "transparency" in image.info:
        raise ChunkError("is transparent in places; put it on a background before")


def _coloured(image: Any, mode: str) -> Any:
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() != OPAQUE:
            raise ChunkError("is transparent in places; put it on a background before")
    if image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA"):
        raise ChunkError(f"has colours of mode {image.mode}; allowed: grey or RGB of 8 bits, a palette")
    if image.mode == "P":
        image = image.convert("RGB")
    return image.convert(mode)


def _resized(image: Any, settings: ImageSettings) -> Any:
    from PIL import Image

    if settings.resize is None:
        return image
    if isinstance(settings.resize, int):  # as torchvision and transformers: the longer edge is cut to a whole
        short, long = sorted((image.width, image.height))
        edges = settings.resize, int(settings.resize * long / short)
        width, height = edges if image.width <= image.height else edges[::-1]
    else:
        height, width = settings.resize
    _refuse_large(width, height)
    return image.resize((width, height), Image.Resampling[settings.resample.upper()])


def _cropped(image: Any, settings: ImageSettings) -> Any:
    if settings.crop is None:
        return image
    height, width = settings.crop
    if image.height < height or image.width < width:
        raise ChunkError(
            f"has {image.height} x {image.width} pixels; {height} x {width} are cropped out of it"
        )
    top, left = (image.height - height) // 2, (image.width - width) // 2
    return image.crop((left, top, left + width, top + height))
