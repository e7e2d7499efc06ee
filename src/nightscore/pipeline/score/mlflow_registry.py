"""Models by their names in a model registry, MLflow's: `models:/ranker@champion`, `models:/ranker/3`.

A name is resolved when a day is planned, to a version and the .onnx file among its artifacts. That file is
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
from nightscore.job import REGISTRY_URI, URI_FORMS
from nightscore.scorers import ModelError, external_files, refuse_outside
from nightscore.store import model_cache

EXTRA = "pip install 'nightscore[registry]'"
# Error codes of MLflow where asking again won't help.
ABSENT = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}


@dataclass(frozen=True)
class NamedModel:
    """A model file, relative to the workspace; where a registry named it, its URI and its version."""

    path: str
    uri: str = ""
    version: str = ""


def fetch_model(workspace: Workspace, name: str) -> NamedModel:
    """The model that a job names: a path as it is, or for a registry's model the file that was copied here.

    Raises:
        NotYet: the registry can't be reached.
        Broken: it has no such model, version or alias; the version has not exactly one .onnx file; the copy
            here has been changed; or MLflow is not installed.
    """
    match = REGISTRY_URI.fullmatch(name)
    if match is None:
        if name.startswith("models:"):
            raise Broken(f"{name!r} names no model of a registry; {URI_FORMS}")
        return NamedModel(name)
    model, version, alias = match.groups()
    if version is None:
        version = _version(model, alias, name)
    path = model_cache.path_of(workspace, model, version)
    if not path.exists():
        _copy(model, version, name, path)
    model_cache.refuse_changed(path, workspace.relative(path))
    return NamedModel(workspace.relative(path), name, version)


def _version(model: str, alias: str, uri: str) -> str:
    with _answers(uri) as client:
        return str(client.get_model_version_by_alias(model, alias).version)


def _copy(model: str, version: str, uri: str, path: Path) -> None:
    with model_cache.open_download(path) as folder:
        with _answers(uri) as client:
            from mlflow.artifacts import download_artifacts

            source = client.get_model_version_download_uri(model, version)
            fetched = Path(download_artifacts(artifact_uri=source, dst_path=str(folder)))
        files = sorted(fetched.rglob("*.onnx")) if fetched.is_dir() else [fetched]
        if len(files) != 1 or files[0].suffix != ".onnx":
            names = ", ".join(file.name for file in files) or "none"
            raise Broken(
                f"{uri}: version {version} has to have one .onnx file among its artifacts; it has {names}"
            )
        model_cache.keep(files[0], path, _beside(files[0], uri))


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
