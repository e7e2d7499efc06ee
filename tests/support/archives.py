"""Archives of our own, unpacked with every time of change as it was."""

import tarfile
from pathlib import Path
from typing import Any

# What may not be unpacked is refused from Python 3.11.4 on; before, nothing asks, and the archives are ours.
FILTER: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}


def unpack(archive: Path, folder: Path) -> Path:
    """Write what an archive holds below a folder; gives the folder."""
    with tarfile.open(archive) as opened:
        opened.extractall(folder, **FILTER)  # noqa: S202 - they are ours
    return folder
