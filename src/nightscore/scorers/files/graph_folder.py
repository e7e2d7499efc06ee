"""A model as Hugging Face lays it out: a graph, and files around it that say what goes before and after.

A folder with `model.onnx`, or `onnx/model.onnx`, or one such .onnx file itself. What of the files is there is
read, and all that is read is the model: its hash is of all of them.
"""

from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from nightscore.scorers.errors import ModelError

GRAPHS = ("model.onnx", "onnx/model.onnx")  # of a folder
ABOUT = (
    "1_Pooling/config.json",
    "config.json",
    "config_sentence_transformers.json",
    "modules.json",
    "preprocessor_config.json",
    "sentence_bert_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
)
TOLD_BY = ("tokenizer.json", "preprocessor_config.json")  # one of them stands beside a graph of a folder
INPUTS = (b"input_ids", b"pixel_values")  # what such graphs take
OWN_TOKENIZER = b"\x0a\x09tokenizer"  # a key of the metadata: the file needs no others

Fetch = Callable[[Path], Path]


def graph_of(path: Path, name: str, fetch: Fetch) -> Path:
    """The graph of a model: `path` itself, or the one in that folder.

    Raises:
        ModelError: the folder has no graph under the names that Hugging Face has for it, or two.
    """
    if path.is_file():
        return path
    found = [graph for graph in GRAPHS if fetch(path / graph).is_file()]
    if len(found) == 1:
        return path / found[0]
    if found:
        raise ModelError(f"{name}: has {' and '.join(found)}; name the one that is meant: path: {name}/…")
    if path.is_dir():
        raise ModelError(
            f"{name}: is a folder without {' or '.join(GRAPHS)}; name the .onnx file that is meant, or write "
            "it by: optimum-cli export onnx --model …"
        )
    return path


def files_about(graph: Path, data: bytes, named: Path, fetch: Fetch) -> dict[str, bytes]:
    """The files about a graph by their names in its folder; none of a graph that needs none.

    `named` is what the job names: of a folder its files are read, of a graph those beside it or, where it
    lies in `onnx/`, one folder up.
    """
    if named == graph and (OWN_TOKENIZER in data or not any(name in data for name in INPUTS)):
        return {}
    for folder in _folders(graph, named):
        files = {name: file.read_bytes() for name in ABOUT if (file := fetch(folder / name)).is_file()}
        if any(name in files for name in TOLD_BY):
            return files
    return {}


def _folders(graph: Path, named: Path) -> Iterator[Path]:
    if named != graph:
        yield named
        return
    yield graph.parent
    if graph.parent.name == PurePosixPath(GRAPHS[1]).parent.name:
        yield graph.parent.parent
