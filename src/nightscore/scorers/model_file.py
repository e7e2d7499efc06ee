"""A model file, read once: the bytes that are hashed are the bytes that are executed."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from nightscore.scorers.errors import ModelError


@dataclass(frozen=True)
class ModelFile:
    """The bytes of a model and their sha256."""

    name: str
    sha256: str
    data: bytes = field(repr=False)


def read_model(path: Path, name: str) -> ModelFile:
    """The model in a file; `name` is what errors and receipts call it.

    Raises:
        ModelError: the file can't be read, or is empty.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{name}: can't be read: {error.strerror}") from error
    if not data:
        raise ModelError(f"{name}: the file is empty")
    return ModelFile(name, hashlib.sha256(data).hexdigest(), data)
