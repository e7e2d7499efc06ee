"""How an image becomes a model's numbers: what its preprocessor_config.json says, and what the job says.

Where both say something, they have to say the same: another size or another mean gives other scores.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nightscore.scorers.contract import Options
from nightscore.scorers.errors import ModelError
from nightscore.scorers.files.model_file import ModelFile

PART_OF_255 = "1/255"  # as a job may write the scale
CONFIG = "preprocessor_config.json"
FILTERS = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")  # in the order of Pillow's numbers
SQUARE = ("ViT", "DeiT", "BeiT")  # classes of processors for which one number is height and width
# Steps that change no number here, or that this kind computes.
STEPS = {"do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_convert_rgb", "do_reduce_labels"}
# What a file says besides. Any other key that is on is a step of its class: it is refused.
KNOWN = {
    *STEPS, "size", "crop_size", "resample", "rescale_factor", "image_mean", "image_std",
    "image_processor_type", "feature_extractor_type", "processor_class", "auto_map", "transformers_version",
    "data_format", "input_data_format", "return_tensors", "device", "disable_grouping", "default_to_square",
    "_valid_processor_keys", "num_channels",
}  # fmt: skip
# Classes whose steps are others under the same keys: another edge, another order.
OTHERWISE = ("Levit", "Perceiver", "ConvNext", "EfficientNet")


@dataclass(frozen=True)
class ImageSettings:
    """Steps in their order; None where there is none.

    `colour` is rgb, bgr (OpenCV's order) or grey. `resize` is [height, width], or one number, to which the
    shorter edge is made; `resample` is a filter of Pillow. `crop` is [height, width] of the middle. A pixel
    of 0 to 255 is multiplied by `scale`; of that `mean` is subtracted, and it is divided by `std`, a number a
    colour.
    `layout` is nchw or nhwc, None: as the model's shape says.
    """

    colour: str = "rgb"
    resize: int | tuple[int, int] | None = None
    resample: str = "bilinear"
    crop: tuple[int, int] | None = None
    scale: float | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    layout: str | None = None

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width of what the steps give; None: those of the image."""
        return self.crop or (self.resize if isinstance(self.resize, tuple) else None)

    @property
    def colours(self) -> int:
        """How many numbers a pixel has."""
        return 1 if self.colour == "grey" else 3


def image_settings(model: ModelFile, options: Options) -> ImageSettings:
    """What the model's file and the job say together.

    Raises:
        ModelError: they contradict each other, ask for a step that is not computed, or leave the size open.
    """
    job = {key: _frozen(value) for key, value in options.settings.items()}
    own = _of_file(model)
    for key, value in job.items():
        if key in own and own[key] != value:
            raise ModelError(
                f"{model.name}: the job's model.image.{key} is {_shown(value)}, and its {CONFIG} says "
                f"{_shown(own[key])}; leave it out",
                "image",
            )
    found = ImageSettings(**{**job, **own})
    if isinstance(found.resize, int) and found.crop is None:
        raise ModelError(
            f"{model.name}: images are resized to a shorter edge of {found.resize}, and nothing is cropped: "
            "each would have a size of its own; say model.image.crop: [height, width]",
            "image",
        )
    for key in ("mean", "std"):
        numbers = getattr(found, key)
        if numbers is not None and len(numbers) != found.colours:
            raise ModelError(
                f"{model.name}: {key} has {len(numbers)} numbers; {found.colour} has {found.colours}", "image"
            )
    if 0 in (found.scale, *(found.std or ())):
        raise ModelError(
            f"{model.name}: scale or std has 0; allowed: what pixels are multiplied and divided by", "image"
        )
    return found


def _shown(value: Any) -> str:
    return "nothing" if value is None else json.dumps(value)


def _frozen(value: Any) -> Any:
    if value == PART_OF_255:
        return 1 / 255
    return tuple(value) if isinstance(value, list) else value


def _of_file(model: ModelFile) -> dict[str, Any]:
    if CONFIG not in model.about:
        return {}
    try:
        return _of_config(model.name, json.loads(model.about[CONFIG]))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelError(f"{model.name}: {CONFIG} can't be read: {type(error).__name__}: {error}") from error


def _of_config(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Every step, for the file says each of them by its presence or absence."""
    on = {key for key, value in config.items() if key.startswith("do_") and value}
    others = [key for key, value in config.items() if value and key not in KNOWN]
    others += [kind for kind in [_class(config)] if kind.startswith(OTHERWISE)]
    if others:
        raise ModelError(f"{name}: {CONFIG} has {', '.join(others)}, which kind image does not compute")
    open_ = [key for key in ("do_resize", "do_normalize") if key not in config]
    open_ += ["resample"] if "do_resize" in on and "resample" not in config else []
    open_ += [key for key in ("image_mean", "image_std") if "do_normalize" in on and key not in config]
    open_ += ["do_center_crop"] if "crop_size" in config and "do_center_crop" not in config else []
    if open_:  # by its class's own default then, which the file does not show
        raise ModelError(f"{name}: {CONFIG} says nothing of {', '.join(open_)}; save it again with them")
    found: dict[str, Any] = {"colour": "rgb", "resize": None, "crop": None, "scale": 1.0}
    if "do_resize" in on:
        found["resize"] = _size(name, config, "size")
        found["resample"] = _filter(name, config["resample"])
    if "do_center_crop" in on:
        crop = _size(name, config, "crop_size")
        found["crop"] = (crop, crop) if isinstance(crop, int) else crop
    if config.get("do_rescale", True):  # not said by those of before it was a step of its own
        found["scale"] = float(config.get("rescale_factor", 1 / 255))
    normalized = "do_normalize" in on
    found["mean"] = tuple(config["image_mean"]) if normalized else None
    found["std"] = tuple(config["image_std"]) if normalized else None
    return found


def _size(name: str, config: Mapping[str, Any], key: str) -> int | tuple[int, int]:
    said = config.get(key)
    if isinstance(said, dict) and set(said) == {"height", "width"}:
        return int(said["height"]), int(said["width"])
    if isinstance(said, dict) and set(said) == {"shortest_edge"}:
        return int(said["shortest_edge"])
    kind = _class(config)
    if isinstance(said, int) and (key == "crop_size" or kind.startswith(SQUARE)):
        return said, said
    raise ModelError(
        f"{name}: {CONFIG} has {key} {_shown(said)} of {kind or 'no named class'}; allowed: "
        '{"height": h, "width": w}, or {"shortest_edge": n}'
    )


def _class(config: Mapping[str, Any]) -> str:
    return str(config.get("image_processor_type") or config.get("feature_extractor_type") or "")


def _filter(name: str, number: Any) -> str:
    if isinstance(number, int) and 0 <= number < len(FILTERS):
        return FILTERS[number]
    raise ModelError(f"{name}: {CONFIG} has resample {number!r}; allowed: 0 to {len(FILTERS) - 1}")
