"""Models by their names in a model registry, MLflow's: `models:/ranker@champion`, `models:/ranker/3`.

A name is resolved when a day is planned, to a version and the .onnx file among its artifacts; or, where the
kind of scorer opens other files (a function, a workspace's file), to the one that is not MLflow's own. It is
copied once to data/models/.registry/<name>/<version>/, with its sha256 beside it, and never written again: a
plan names a path and a hash, as of any model, and a version that is here needs no registry any more.

MLFLOW_REGISTRY_URI or MLFLOW_TRACKING_URI say where the registry is, as everywhere in MLflow.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nightscore.common import Broken, NotYet, Workspace, first_line
from nightscore.job import MLFLOW, REGISTRY_URI, URI_FORMS
from nightscore.scorers import ModelError, external_files, refuse_outside
from nightscore.store import model_cache

EXTRA = "pip install 'nightscore[registry]'"
GRAPH = ".onnx"
ONNX_KINDS = ("auto", "onnx", "trees", "networks", "text", "image")
ABOUT = ("MLmodel", "conda.yaml", "python_env.yaml", "requirements.txt", "registered_model_meta")  # of MLflow
# Error codes of MLflow where asking again won't help.
ABSENT = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}


@dataclass(frozen=True)
class NamedModel:
    """A model file, relative to the workspace; where a registry named it, its URI and its version."""

    path: str
    uri: str = ""
    version: str = ""


def fetch_model(workspace: Workspace, name: str, kind: str) -> NamedModel:
    """The model that a job of a kind names: a path as it is, or of a registry the file that was copied here.

    Raises:
        NotYet: the registry can't be reached.
        Broken: it has no such model, version or alias; the version has not exactly one model file (.onnx
            for the kinds that read that alone); the copy here has been changed; MLflow is not installed; or
            the kind takes a folder, which is none of a registry's files.
    """
    match = REGISTRY_URI.fullmatch(name)
    if match and kind == MLFLOW:
        raise Broken(
            f"{name}: kind {MLFLOW} takes a folder of the workspace; to have it there:  mlflow artifacts "
            f"download -u {name} -d data/models/{match[1]}"
        )
    if match is None:
        if name.startswith("models:"):
            raise Broken(f"{name!r} names no model of a registry; {URI_FORMS}")
        return NamedModel(name)
    model, version, alias = match.groups()
    if version is None:
        version = _version(model, alias, name)
    path = model_cache.find_copy(workspace, model, version)
    if path is None:
        path = _copy(workspace, (model, version), name, kind)
    model_cache.refuse_changed(path, workspace.relative(path))
    return NamedModel(workspace.relative(path), name, version)


def _version(model: str, alias: str, uri: str) -> str:
    with _answers(uri) as client:
        return str(client.get_model_version_by_alias(model, alias).version)


def _copy(workspace: Workspace, named: tuple[str, str], uri: str, kind: str) -> Path:
    model, version = named
    with model_cache.open_download(workspace, model, version) as folder:
        with _answers(uri) as client:
            from mlflow.artifacts import download_artifacts

            source = client.get_model_version_download_uri(model, version)
            fetched = Path(download_artifacts(artifact_uri=source, dst_path=str(folder)))
        file = _model_file(fetched, kind, f"{uri}: version {version}")
        path = model_cache.path_of(workspace, model, version, file.suffix)
        model_cache.keep(file, path, _beside(file, uri) if file.suffix == GRAPH else [])
        return path


def _model_file(fetched: Path, kind: str, what: str) -> Path:
    """The one model file among the artifacts of a version."""
    files = sorted(file for file in fetched.rglob("*") if file.is_file()) if fetched.is_dir() else [fetched]
    graphs = [file for file in files if file.suffix == GRAPH]
    if kind in ONNX_KINDS:
        wanted, found = "one .onnx file", graphs
    else:
        wanted, found = (
            "one model file",
            graphs or [file for file in files if not _is_of_mlflow(file, fetched)],
        )
    if len(found) == 1:
        return found[0]
    names = ", ".join(file.name for file in found) or "none"
    raise Broken(f"{what} has to have {wanted} among its artifacts; it has {names}")


def _is_of_mlflow(file: Path, folder: Path) -> bool:
    """Whether a file is about the model: its flavours, its environment, an example of its input."""
    inner = file.relative_to(folder).parts
    return file.name in ABOUT or "input_example" in file.name or "metadata" in inner[:-1]


def _beside(file: Path, uri: str) -> list[str]:
    """The files of weights that a model of the registry keeps beside it, in its own folder."""
    names = external_files(file.read_bytes())
    for name in names:
        try:
            refuse_outside(uri, name)
        except ModelError as error:
            raise Broken(str(error)) from error
        if not (file.parent / name).is_file():
            raise Broken(f"{uri}: some of its weights lie in {name}, which is not among its artifacts")
    return names


@contextlib.contextmanager
def _answers(uri: str) -> Iterator[Any]:
    """A client of the registry. NotYet where it does not answer, Broken where it has no such model."""
    try:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
    except ImportError as error:
        raise Broken(f"{uri}: models of a registry need MLflow: {EXTRA}") from error
    try:
        yield MlflowClient()
    except MlflowException as error:
        message = first_line(error)
        if error.error_code in ABSENT:
            raise Broken(f"{uri}: the registry has no such model: {message}") from error
        raise NotYet(f"{uri}: the registry does not answer: {message}") from error
    except (OSError, ImportError) as error:  # the network's, and a store's own driver
        raise NotYet(f"{uri}: the registry can't be read: {error}") from error
