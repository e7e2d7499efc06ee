"""Models that were copied from a registry: `data/models/.registry/<name>/<version>/`, never written again."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from nightscore.common import Broken, Workspace, file_sha256, replace_text, write_once

FILE, SUM = "model.onnx", "sha256"


def path_of(workspace: Workspace, model: str, version: str) -> Path:
    """Where the file of a version lies, once it is here."""
    return workspace.models / ".registry" / model / version / FILE


@contextlib.contextmanager
def open_download(path: Path) -> Iterator[Path]:
    """Open a folder beside `path` for what is downloaded; it is removed at the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".copying-", dir=path.parent) as folder:
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
