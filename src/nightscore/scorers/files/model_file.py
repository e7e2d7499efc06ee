"""A model file, read once: the bytes that are hashed are the bytes that are executed."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nightscore.scorers.errors import ModelError
from nightscore.scorers.files.exporters import mend
from nightscore.scorers.files.graph_file import external_files, plain_graph, refuse_outside
from nightscore.scorers.files.graph_folder import files_about, graph_of

GRAPH = ".onnx"


@dataclass(frozen=True)
class ModelFile:
    """The bytes of a model and the sha256 of its file.

    Of an .onnx file `data` is the plain graph (graph_file.py): weights that lie in files beside it are in it,
    or, where they are too large for that, in `beside`, by the names that the graph has for their files. Then
    `sha256` is of all files, what `(sha256sum < m.onnx; sha256sum m.onnx.data …) | sha256sum` says in the
    model's folder, the others in the order of their names.

    Of a model that is a folder (model_folder.py) `folder` has its files by their paths in it, and `data` is
    the one that scores.
    `about` are the files around a graph that say what goes before and after it (graph_folder.py), by their
    names in its folder; `sha256` is then of them, too, in the same way.
    """

    name: str
    sha256: str
    data: bytes = field(repr=False)
    beside: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    folder: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    about: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    @property
    def size(self) -> int:
        """The bytes of the model."""
        return len(self.data) + sum(map(len, self.beside.values()))


def read_model(path: Path, name: str, fetch: Callable[[Path], Path] = Path) -> ModelFile:
    """The model in a file, or in a folder of Hugging Face's; `name` is what errors and receipts call it.

    `fetch` brings a file that lies beside the model onto this machine, where it is not; default: it is.

    Raises:
        ModelError: the file can't be read, or is empty; or weights beside it are missing, fewer than the
            graph says, or outside of its folder; or a folder has no graph, or several.
    """
    named, path = path, graph_of(path, name, fetch)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{name}: can't be read: {error.strerror}") from error
    if not data:
        raise ModelError(f"{name}: the file is empty")
    sha256 = hashlib.sha256(data).hexdigest()
    if path.suffix.lower() != GRAPH:
        return ModelFile(name, sha256, data)
    files = {other: _read_beside(path, name, other, fetch) for other in external_files(data)}
    graph = plain_graph(name, data, files)
    about = files_about(path, data, named, fetch)
    sha256 = _sha256_of_all(sha256, {**files, **about})
    return ModelFile(name, sha256, graph.data, graph.beside, about=about)


def _read_beside(path: Path, name: str, location: str, fetch: Callable[[Path], Path]) -> bytes:
    """The bytes of a file of weights in the model's folder."""
    refuse_outside(name, location)
    try:
        file = fetch(path.parent / location)
        if not file.resolve().is_relative_to(path.parent.resolve()):
            raise ModelError(f"{name}: its weights in {location} are a link that leaves the model's folder")
        return file.read_bytes()
    except OSError as error:
        raise ModelError(
            f"{name}: some of its weights lie in {location}, in the same folder, which can't be read: "
            f"{error.strerror}{mend('files', '')}"
        ) from error


def _sha256_of_all(sha256: str, files: Mapping[str, bytes]) -> str:
    if not files:
        return sha256
    lines = [f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files)]
    return hashlib.sha256("".join([f"{sha256}  -\n", *lines]).encode()).hexdigest()
