"""Kinds of scorers: a name, or the path of a workspace's file -> what opens a model, and in which ways.

A name is one of ours or, by an entry point of the group `nightscore.scorers`, another package's; what is
named `scorers/….py` is a file of the workspace (workspace.py). A kind is a function, imported when it is
used:

    def open_mine(model: ModelFile, options: Options) -> Scorer

A function `variants(device: str) -> list[Variant]` of the same module, where there is one, says in which ways
the kind can compute on a device or, for `auto`, on any; each is held to the plain one and measured. Some of
ours also know a model of theirs by its file (described.py), for whoever has to write a job for it.
"""

import difflib
import importlib
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from nightscore.scorers.contract import Opens, Options, Scorer
from nightscore.scorers.described import DescribedModel
from nightscore.scorers.errors import ModelError
from nightscore.scorers.files.model_file import ModelFile
from nightscore.scorers.functions.package_hash import hash_package
from nightscore.scorers.variant import Variant, plain_variant_of
from nightscore.scorers.workspace import (
    OPEN,
    ScorerFile,
    file_variants,
    is_scorer_file,
    open_file,
    read_scorer_file,
)

GROUP = "nightscore.scorers"
FOLDER = "scorers"  # of a workspace
BUILT_IN_KINDS = {
    "onnx": "nightscore.scorers.onnx.scorer:open_onnx",
    "image": "nightscore.scorers.images.scorer:open_image",
    "text": "nightscore.scorers.texts.scorer:open_text",
    "trees": "nightscore.scorers.trees:open_trees",
    "networks": "nightscore.scorers.networks:open_networks",
    "topk": "nightscore.scorers.topk:open_topk",
    "lightgbm": "nightscore.scorers.boosters.lightgbm:open_lightgbm",
    "xgboost": "nightscore.scorers.boosters.xgboost:open_xgboost",
    "catboost": "nightscore.scorers.boosters.catboost:open_catboost",
    "mlflow": "nightscore.scorers.mlflow:open_mlflow",
    "python": "nightscore.scorers.functions.python:open_python",
    "none": "nightscore.scorers.none:open_none",
}
# Kinds that know a model of theirs by its file, in the order in which they are asked.
DESCRIBES = (
    "nightscore.scorers.mlflow.described:describe_mlflow",
    "nightscore.scorers.texts.described:describe_text",
    "nightscore.scorers.images.described:describe_image",
    "nightscore.scorers.onnx.described:describe_onnx",
)
AUTO = "nightscore.scorers.auto"  # a kind that has variants and opens nothing


def open_scorer(
    kind: str, model: ModelFile | None, options: Options, file: ScorerFile | None = None
) -> Scorer:
    """A scorer of a kind for a model.

    Args:
        kind: a name, or the path of a workspace's file.
        model: the model file; None where a workspace's file holds the formula.
        options: how the model is to be opened.
        file: the workspace's file, as it was read; default: read from the current folder.

    Raises:
        ModelError: there is no such kind; the model is none of it, or can't be run with these options.
        ScorerFileError: (a ModelError) the workspace's file is at fault.
    """
    if is_scorer_file(kind):
        return open_file(file or read_scorer_file(Path(kind).absolute(), kind), model, options)
    if model is None:
        raise ModelError(f"kind {kind} takes a model file, and none is named", "kind")
    if kind in BUILT_IN_KINDS:
        opens: Opens = _named(BUILT_IN_KINDS[kind])
    else:
        opens = _loaded(kind)
    return opens(model, options)


def describe_model(model: ModelFile) -> DescribedModel:
    """What a model takes and gives, by the first kind that knows it.

    Raises:
        ModelError: it is none of ours, or one that can't be scored as it is; says what would mend it.
    """
    described: Iterator[DescribedModel | None] = (_named(one)(model) for one in DESCRIBES)
    found = next((one for one in described if one is not None), None)
    if found is None:
        raise ModelError(f"{model.name}: no kind of scorer knows it")
    return found


def variants_of_kind(kind: str, device: str, file: ScorerFile | None = None) -> list[Variant]:
    """What a job's model may be computed by, the plain one first.

    Args:
        kind: as the job says it.
        device: as the job says it; one that is named is the only one.
        file: the workspace's file, where the kind is one.

    Raises:
        ModelError: the kind can't be imported or loaded, or what it offers is none.
    """
    if file is not None:
        return file_variants(file, device)
    offers = getattr(_module(kind), "variants", None)
    first = plain_variant_of(kind, device)
    return [first, *(variant for variant in (offers(device) if offers else ()) if variant != first)]


def scorer_kinds(root: Path | None = None) -> list[str]:
    """Every kind that there is here: ours, those of packages, and the files of a workspace's folder."""
    names = [*BUILT_IN_KINDS, *sorted(set(_installed()) - set(BUILT_IN_KINDS))]
    return names if root is None else names + _files(root)


def hash_package_of_kind(kind: str) -> str:
    """The same of the package that brings a kind; empty for one of ours, whose version is nightscore's."""
    return "" if kind in BUILT_IN_KINDS else hash_package(_point(kind).module)


def _loaded(kind: str) -> Opens:
    point = _point(kind)
    try:
        opens: Opens = point.load()
    except Exception as error:  # other people's code, at import time
        raise ModelError(
            f"kind {kind!r} ({point.value}) can't be imported: {type(error).__name__}: {error}", "kind"
        ) from error
    return opens


def _named(function: str) -> Any:
    """A function by its module and name, imported now."""
    module, _, name = function.partition(":")
    return getattr(importlib.import_module(module), name)


def _module(kind: str) -> object:
    """The module that a kind's name leads to."""
    if kind == "auto" or kind in BUILT_IN_KINDS:
        return importlib.import_module(AUTO if kind == "auto" else BUILT_IN_KINDS[kind].partition(":")[0])
    _loaded(kind)
    return importlib.import_module(_point(kind).module)


def _files(root: Path) -> list[str]:
    """The files of a workspace that define a scorer; nothing of them runs."""
    there = sorted((root / FOLDER).rglob("*.py"))
    marks = (f"def {OPEN}(".encode(), b"\n@scorer(")
    return [
        file.relative_to(root).as_posix()
        for file in there
        if any(mark in b"\n" + file.read_bytes() for mark in marks)
    ]


def _point(kind: str) -> EntryPoint:
    installed = _installed()
    if kind in installed:
        return installed[kind]
    near = difflib.get_close_matches(kind, scorer_kinds(), 1)
    hint = f"did you mean {near[0]}?" if near else f"kinds here: {', '.join(scorer_kinds())}"
    raise ModelError(f"unknown kind of scorer {kind!r}; {hint}", "kind")


def _installed() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}
