"""What goes before and after a model of texts or of images. Light to import, as all of a job's spec."""

from typing import Annotated, Literal

from pydantic import Field

from nightscore.job.fields import StrictModel


class TextModel(StrictModel):
    """What goes before and after a model of texts; what its own files say may not be contradicted."""

    pooling: Annotated[
        Literal["mean", "cls", "none"] | None,
        Field(description="how the rows of a text's tokens become one: their mean, or the first one's"),
    ] = None
    normalize: Annotated[bool | None, Field(description="whether an embedding is divided by its length")] = (
        None
    )
    max_length: Annotated[
        int | None, Field(ge=1, le=1_000_000, description="the most tokens of a text, special ones included")
    ] = None


Pixels = Annotated[int, Field(ge=1, le=10_000)]
Size = Annotated[list[Pixels], Field(min_length=2, max_length=2)]
OfColours = Annotated[list[Annotated[float, Field(allow_inf_nan=False)]], Field(min_length=1, max_length=3)]


class ImageModel(StrictModel):
    """Steps before a model of images; what its preprocessor_config.json says may not be contradicted."""

    colour: Annotated[
        Literal["rgb", "bgr", "grey"] | None,
        Field(description="of the pixels that the model takes; bgr is OpenCV's order; default: rgb"),
    ] = None
    resize: Annotated[
        Pixels | Size | None, Field(description="[height, width], or the shorter edge, before a crop")
    ] = None
    resample: Annotated[
        Literal["nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"] | None,
        Field(description="the filter of Pillow that resizes; default: bilinear"),
    ] = None
    crop: Annotated[Size | None, Field(description="[height, width] of the middle")] = None
    scale: Annotated[
        Literal["1/255"] | Annotated[float, Field(gt=0, allow_inf_nan=False)] | None,
        Field(description="by what pixels of 0 to 255 are multiplied: 1/255, or a number"),
    ] = None
    mean: Annotated[OfColours | None, Field(description="what is then subtracted, a number a colour")] = None
    std: Annotated[OfColours | None, Field(description="what it is divided by, a number a colour")] = None
    layout: Annotated[
        Literal["nchw", "nhwc"] | None,
        Field(description="colours before or after height and width; default: as the model's shape says"),
    ] = None
