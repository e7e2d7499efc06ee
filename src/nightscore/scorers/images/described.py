"""What a model of images takes and gives: one column of their bytes, and a row an image."""

import re
from collections.abc import Iterator, Mapping

import pyarrow as pa

from nightscore.scorers.contract import Options
from nightscore.scorers.described import DescribedModel
from nightscore.scorers.errors import ModelError
from nightscore.scorers.files.model_file import ModelFile
from nightscore.scorers.images.scorer import COLOURS_AT, TYPES, input_of, placed
from nightscore.scorers.images.settings import CONFIG, image_settings
from nightscore.scorers.onnx.described import likely_output, one_column, said_outputs, shown_outputs
from nightscore.scorers.onnx.session import Session

KIND = "image"
IMAGES = re.compile("pixel|image|img", re.IGNORECASE)  # what exporters call an input of them
COLOURS = (1, 3)  # numbers a pixel: of grey, of colours
GREY = {"colour": "grey"}


def describe_image(model: ModelFile) -> DescribedModel | None:
    """What a model takes and gives; None of one that takes no images.

    It takes some if a preprocessor_config.json is beside it, or if its one input is of rank 4 with one or
    three colours, or is called so. Of rank 3, which is grey, a name and floats are asked for: bytes may be
    pixels as they are, which kind onnx takes.

    Raises:
        ModelError: it is no ONNX model, or its file and its shape contradict each other.
    """
    session = Session(model, Options({}))
    if len(session.inputs) != 1 or session.inputs[0].type not in TYPES:
        return None
    axes = session.inputs[0].shape[1:]
    colours = [axes[at] for at in COLOURS_AT.values() if axes[at] in COLOURS] if len(axes) == 3 else []
    is_called_so = bool(IMAGES.search(session.inputs[0].name))
    is_grey = is_called_so and len(axes) == 2 and session.inputs[0].type != "tensor(uint8)"
    if not (CONFIG in model.about or colours or is_grey or (is_called_so and len(axes) == 3)):
        return None
    settings = GREY if CONFIG not in model.about and (is_grey or colours == [1]) else {}
    return DescribedModel(
        one_column(session, pa.binary()), None, likely_output(session.output_metas), shown_outputs(session),
        said_outputs(session), kind=KIND, one=pa.binary(), settings=settings,
        asks=tuple(_asks(model, session, settings)),
        names=tuple(meta.name for meta in session.output_metas),
    )  # fmt: skip


def _asks(model: ModelFile, session: Session, said: Mapping[str, str]) -> Iterator[str]:
    """What the scorer would refuse for want of a word in the job."""
    try:
        settings = image_settings(model, Options({}, settings=said))
    except ModelError as error:
        yield _asked(model, error)
        return
    for look in (input_of, placed):
        try:
            look(session, settings)
        except ModelError as error:
            yield _asked(model, error)


def _asked(model: ModelFile, error: ModelError) -> str:
    if error.option != KIND:
        raise error
    return str(error).removeprefix(f"{model.name}: ")
