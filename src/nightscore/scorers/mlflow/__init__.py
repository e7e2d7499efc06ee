"""Kind `mlflow`: the folder of a model that MLflow saved.

Where it holds a file that a kind of ours opens, that kind opens it, and MLflow is not needed; the signature
in MLmodel is held to the model's own columns. Any other is scored by MLflow's `python_function`, in a process
of its own (process.py), and only where the job says, by the folder's sha256, that its code may run.
"""

import dataclasses
import importlib

from nightscore.scorers import auto
from nightscore.scorers.contract import Opens, Options, Scorer, serves
from nightscore.scorers.errors import ModelError
from nightscore.scorers.files.model_file import ModelFile
from nightscore.scorers.files.model_folder import PYFUNC, About, read_about
from nightscore.scorers.libraries import libraries_of_kind
from nightscore.scorers.mlflow.pyfunc import open_pyfunc
from nightscore.scorers.mlflow.signature import Columns, input_columns
from nightscore.scorers.variant import Variant

__all__ = ["open_mlflow", "variants"]

# Kind -> its module and function.
OPENS = {
    "onnx": ("nightscore.scorers.onnx.scorer", "open_onnx"),
    "lightgbm": ("nightscore.scorers.boosters.lightgbm", "open_lightgbm"),
    "xgboost": ("nightscore.scorers.boosters.xgboost", "open_xgboost"),
    "catboost": ("nightscore.scorers.boosters.catboost", "open_catboost"),
}


def open_mlflow(model: ModelFile, options: Options) -> Scorer:
    """A scorer for the folder of a model that MLflow saved.

    Raises:
        ModelError: it is none; its signature has other columns than the model itself, or none that can be
            told; it has no such output; or its code may not run, with the sha256 that would allow it.
    """
    about = read_about(model.name, model.folder)
    if about.kind:
        return _open_native(model, options, about)
    if PYFUNC not in about.flavours:
        raise no_flavour(model, about)
    return open_pyfunc(model, options, about)


def no_flavour(model: ModelFile, about: About) -> ModelError:
    """What is said of a folder that nothing here opens."""
    return ModelError(
        f"{model.name}: has the flavours {', '.join(about.flavours) or 'none'}; allowed: one of "
        f"{', '.join(OPENS)} in its library's own file, or {PYFUNC}"
    )


def variants(device: str) -> list[Variant]:
    """What a model may be computed by: those of an .onnx file, and our own kernel for trees."""
    first, *others = auto.variants(device)
    return [Variant("mlflow", first.device, first.threads), *others]


class NativeScorer:
    """A model of a library in its own file, and the versions of what computes it."""

    def __init__(self, inner: Scorer, libraries: dict[str, str]) -> None:
        self._inner, self.libraries = inner, libraries
        self.signature, self.score = inner.signature, inner.score


def _open_native(model: ModelFile, options: Options, about: About) -> NativeScorer:
    named = input_columns(model.name, about.signature)
    by_order = about.kind != "onnx"
    if by_order and options.columns is None and named is not None:
        names = list(named.schema.names) or None
        options = dataclasses.replace(options, columns=names, columns_of_signature=True)
    module, function = OPENS[about.kind]
    opens: Opens = getattr(importlib.import_module(module), function)
    inner = opens(model, options)
    _refuse_unlike(model.name, about.data, inner, named, by_order)
    return NativeScorer(inner, libraries_of_kind(about.kind))


def _refuse_unlike(name: str, data: str, inner: Scorer, named: Columns | None, by_order: bool) -> None:
    """Hold the columns that a signature names to those that the model itself takes."""
    if named is None or not named.schema.names:
        return
    own, said = inner.signature.inputs, named.schema
    same = own.names == said.names if by_order else set(own.names) == set(said.names)
    if not same:
        raise ModelError(
            f"{name}: the signature in MLmodel names the columns {said.names}, and {data} takes {own.names}"
        )
    for field in own:
        kind = said.field(field.name).type
        if not serves(kind, field.type):
            raise ModelError(
                f"{name}: column {field.name!r} is {kind} by the signature in MLmodel, {field.type} by {data}"
            )
