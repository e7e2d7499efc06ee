"""Kinds of scorers: name -> the function that opens one, imported when it is used.

Another package adds a kind by an entry point of the group `nightscore.scorers`, whose name is the kind and
whose object is such a function:

    def open_mine(model: ModelFile, options: Options) -> Scorer
"""

import difflib
import hashlib
import importlib
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path

from nightscore.scorers.contract import Opens, Options, Scorer
from nightscore.scorers.errors import ModelError
from nightscore.scorers.model_file import ModelFile

GROUP = "nightscore.scorers"
KINDS = {
    "onnx": "nightscore.scorers.onnx.scorer:open_onnx",
    "text": "nightscore.scorers.text:open_text",
    "trees": "nightscore.scorers.trees:open_trees",
    "topk": "nightscore.scorers.topk:open_topk",
    "python": "nightscore.scorers.python:open_python",
}


def open_scorer(kind: str, model: ModelFile, options: Options) -> Scorer:
    """A scorer of a kind for a model.

    Raises:
        ModelError: there is no such kind; the model is none of it, or can't be run with these options.
    """
    if kind in KINDS:
        module, _, name = KINDS[kind].partition(":")
        opens: Opens = getattr(importlib.import_module(module), name)
    else:
        opens = _loaded(kind)
    return opens(model, options)


def kinds() -> list[str]:
    """Every kind that there is here, ours first."""
    return [*KINDS, *sorted(set(_installed()) - set(KINDS))]


def code_of(module: str) -> str:
    """The sha256 of an installed package's code: what stands for its version, and never forgets to change.

    Raises:
        ModelError: there is no such package.
    """
    top = module.partition(".")[0]
    try:
        spec = find_spec(top)
    except (ImportError, ValueError):
        spec = None
    if spec is None or spec.origin is None:
        raise ModelError(f"no installed package {top!r}")
    origin = Path(spec.origin)
    files = sorted(origin.parent.rglob("*")) if spec.submodule_search_locations else [origin]
    found = hashlib.sha256()
    for file in (f for f in files if f.is_file() and "__pycache__" not in f.parts):
        found.update(f"{file.relative_to(origin.parent)}\0{file.stat().st_size}\0".encode())
        found.update(file.read_bytes())
    return found.hexdigest()


def installed_code(kind: str) -> str:
    """The same of the package that brings a kind; empty for one of ours, whose version is nightscore's."""
    return "" if kind in KINDS else code_of(_point(kind).module)


def _loaded(kind: str) -> Opens:
    point = _point(kind)
    try:
        opens: Opens = point.load()
    except Exception as error:  # other people's code, at import time
        raise ModelError(
            f"kind {kind!r} ({point.value}) can't be imported: {type(error).__name__}: {error}"
        ) from error
    return opens


def _point(kind: str) -> EntryPoint:
    found = _installed()
    if kind in found:
        return found[kind]
    near = difflib.get_close_matches(kind, kinds(), 1)
    hint = f"did you mean {near[0]}?" if near else f"kinds here: {', '.join(kinds())}"
    raise ModelError(f"unknown kind of scorer {kind!r}; {hint}")


def _installed() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}
