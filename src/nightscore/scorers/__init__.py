"""Scorers: one chunk of rows in, one chunk of predictions out. They know nothing of jobs.

What a scorer's author needs, of a workspace's file or of a package, is here:

    from nightscore.scorers import ModelFile, Options, Scorer, Signature
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nightscore.scorers.arrays import as_numpy as as_numpy
    from nightscore.scorers.arrays import matrix as matrix
    from nightscore.scorers.contract import Options as Options
    from nightscore.scorers.contract import Scorer as Scorer
    from nightscore.scorers.contract import Signature as Signature
    from nightscore.scorers.errors import ChunkError as ChunkError
    from nightscore.scorers.errors import MissingValueError as MissingValueError
    from nightscore.scorers.errors import ModelError as ModelError
    from nightscore.scorers.model_file import ModelFile as ModelFile
    from nightscore.scorers.model_file import read_model as read_model
    from nightscore.scorers.registry import open_scorer as open_scorer
    from nightscore.scorers.testing import check_scorer as check_scorer
    from nightscore.scorers.variant import Variant as Variant

_HOMES = {
    "ChunkError": "errors", "MissingValueError": "errors", "ModelError": "errors", "ModelFile": "model_file",
    "Options": "contract", "Scorer": "contract", "Signature": "contract", "Variant": "variant",
    "as_numpy": "arrays", "check_scorer": "testing", "matrix": "arrays", "open_scorer": "registry",
    "read_model": "model_file",
}  # fmt: skip
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    # On use: store.plan, which a scheduler's worker imports, needs Variant alone and no pyarrow.
    if name in _HOMES:
        return getattr(importlib.import_module(f"nightscore.scorers.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'nightscore.scorers' has no attribute {name!r}")
