"""Models that were copied from a registry: `data/models/.registry/<name>/<version>/`, never written again."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from nightscore.common import Broken, Workspace, file_sha256, replace_text, write_once

FILE, SUM = "model", "sha256"


def path_of(workspace: Workspace, model: str, version: str, suffix: str) -> Path:
    """Where the file of a version lies, once it is here; its suffix is that of the registry's file."""
    return _folder(workspace, model, version) / f"{FILE}{suffix}"


def find_copy(workspace: Workspace, model: str, version: str) -> Path | None:
    """The file of a version, if it is here."""
    graph = path_of(workspace, model, version, ".onnx")
    sums = graph.with_name(SUM)
    if graph.exists() or not sums.exists():
        return graph if graph.exists() else None
    if len(sums.read_text().splitlines()) > 1:  # weights of a graph that is not here yet
        return None
    return next((file for file in sorted(graph.parent.iterdir()) if file.stem == FILE), None)


def _folder(workspace: Workspace, model: str, version: str) -> Path:
    return workspace.models / ".registry" / model / version


@contextlib.contextmanager
def open_download(workspace: Workspace, model: str, version: str) -> Iterator[Path]:
    """Open a folder beside a version's file for what is downloaded; it is removed at the end."""
    place = _folder(workspace, model, version)
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".copying-", dir=place) as folder:
        yield Path(folder)


def keep(source: Path, path: Path, beside: Sequence[str] = ()) -> None:
    """Copy a model's file to `path`, complete and durable, with its sha256 beside it.

    `beside` are files of weights in the source's folder, which keep their names; they are there first.
    """
    for name in beside:
        _copy(source.parent / name, path.parent / name)
    sums = [file_sha256(source), *(f"{file_sha256(source.parent / name)}  {name}" for name in beside)]
    replace_text(path.with_name(SUM), "\n".join(sums))
    _copy(source, path)


def _copy(source: Path, path: Path) -> None:
    with write_once(path) as temporary:
        shutil.copyfile(source, temporary)


def refuse_changed(path: Path, shown: str) -> None:
    """Raise `Broken` unless a file is the one that was copied."""
    try:
        own, *others = path.with_name(SUM).read_text().splitlines()
        beside = (line.split("  ", 1) for line in others)
        same = own == file_sha256(path) and all(
            file_sha256(path.parent / name) == sum_ for sum_, name in beside
        )
    except (OSError, ValueError):
        same = False
    if not same:
        raise Broken(
            f"{shown}: not the file that was copied from the registry (sha256); remove its folder, and it "
            "is copied again"
        )
