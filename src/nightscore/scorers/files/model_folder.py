"""A model that is a folder, MLflow's: its files, hashed together, and what MLmodel says of them.

The file of a flavour that a kind of ours opens (that of ONNX, LightGBM, XGBoost, CatBoost) is the model, and
nothing else of the folder is needed. Any other model is what MLflow makes of all files: `python_function`.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from nightscore.scorers.errors import ModelError
from nightscore.scorers.files.graph_file import external_files, plain_graph, refuse_outside
from nightscore.scorers.files.model_file import ModelFile

MLMODEL = "MLmodel"
PYFUNC = "python_function"
# Flavours that are kinds of ours, and how a file begins that one opens, where its library writes others, too.
NATIVE = {"onnx": b"", "lightgbm": b"tree", "xgboost": b"", "catboost": b"CBM1"}


@dataclass(frozen=True)
class About:
    """What MLmodel says: flavour -> its settings; the kind of ours that opens `data`, or both are empty."""

    flavours: Mapping[str, Mapping[str, Any]]
    signature: Mapping[str, Any] = field(default_factory=dict)
    kind: str = ""
    data: str = ""


def read_model_folder(folder: Path, name: str, files: Sequence[Path]) -> ModelFile:
    r"""The model in a folder; `name` is what errors and receipts call it.

    Its sha256 is that of a line `<sha256>  <path>` for each file, in the order of the paths: what
    `find . -type f -printf '%P\0' | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum` says in it.

    Args:
        folder: where it is.
        name: of it.
        files: all files in it, at whatever depth, on this machine.

    Raises:
        ModelError: no MLmodel is among them, or none that can be read; a file can't be read, or is a link
            that leaves the folder; or weights of a graph are not there.
    """
    by_path = {file.relative_to(folder).as_posix(): _read(file, folder, name) for file in sorted(files)}
    if MLMODEL not in by_path:
        raise ModelError(
            f"{name}: no folder with a file {MLMODEL}; kind mlflow takes the folder of a model of MLflow's"
        )
    lines = "".join(f"{hashlib.sha256(by_path[at]).hexdigest()}  {at}\n" for at in _in_order(by_path))
    sha256 = hashlib.sha256(lines.encode()).hexdigest()
    about = read_about(name, by_path)
    data = by_path[about.data or MLMODEL]
    if about.kind != "onnx":
        return ModelFile(name, sha256, data, folder=by_path)
    graph = plain_graph(name, data, _weights(name, about.data, by_path))
    return ModelFile(name, sha256, graph.data, graph.beside, by_path)


def read_about(name: str, files: Mapping[str, bytes]) -> About:
    """What the MLmodel among the files of a folder says.

    Raises:
        ModelError: it is no MLmodel.
    """
    try:
        said = yaml.safe_load(files[MLMODEL])
        flavours = {str(flavour): dict(settings or {}) for flavour, settings in said["flavors"].items()}
        signature = dict(said.get("signature") or {})
    except (yaml.YAMLError, TypeError, KeyError, AttributeError, ValueError) as error:
        raise ModelError(
            f"{name}: its {MLMODEL} names no flavors, and is none of MLflow's: {error}"
        ) from error
    kind = next((flavour for flavour in NATIVE if _opens(flavour, flavours, files)), "")
    return About(flavours, signature, kind, flavours[kind]["data"] if kind else "")


def _opens(flavour: str, flavours: Mapping[str, Mapping[str, Any]], files: Mapping[str, bytes]) -> bool:
    """Whether a kind of ours opens a flavour's file: one in its library's own format, and no pickle.

    A python_function of another module, or of another file, gives something else than the flavour's model.
    """
    python, data = flavours.get(PYFUNC, {}), flavours.get(flavour, {}).get("data")
    loader = python.get("loader_module", f"mlflow.{flavour}")
    file = files.get(str(data))
    if file is None or python.get("data", data) != data or loader != f"mlflow.{flavour}":
        return False
    return file.startswith(NATIVE[flavour]) and not file.startswith((b"\x80", b"PK"))


def _weights(name: str, graph: str, files: Mapping[str, bytes]) -> Mapping[str, bytes]:
    """The files of weights that a graph keeps beside it."""
    found = {}
    for location in external_files(files[graph]):
        refuse_outside(name, location)
        at = (PurePosixPath(graph).parent / location).as_posix()
        if at not in files:
            raise ModelError(f"{name}: some of its weights lie in {at}, which is not in the folder")
        found[location] = files[at]
    return found


def _read(file: Path, folder: Path, name: str) -> bytes:
    at = file.relative_to(folder)
    if not file.resolve().is_relative_to(folder.resolve()):
        raise ModelError(f"{name}: {at} is a link that leaves the model's folder")
    try:
        return file.read_bytes()
    except OSError as error:
        raise ModelError(f"{name}: {at} can't be read: {error.strerror}") from error


def _in_order(paths: Mapping[str, bytes]) -> list[str]:
    key: Callable[[str], bytes] = str.encode
    return sorted(paths, key=key)
