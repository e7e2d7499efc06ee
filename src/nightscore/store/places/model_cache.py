"""Models that were copied from a registry: `data/models/.registry/<name>/<version>/`, never written again."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
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


def keep(source: Path, path: Path) -> None:
    """Copy a model's file to `path`, complete and durable, with its sha256 beside it."""
    replace_text(path.with_name(SUM), file_sha256(source))
    with write_once(path) as temporary:
        shutil.copyfile(source, temporary)


def refuse_changed(path: Path, shown: str) -> None:
    """Raise `Broken` unless a file is the one that was copied."""
    try:
        same = path.with_name(SUM).read_text() == file_sha256(path)
    except OSError:
        same = False
    if not same:
        raise Broken(
            f"{shown}: not the file that was copied from the registry (sha256); remove its folder, and it "
            "is copied again"
        )
