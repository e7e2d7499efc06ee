"""Records of a run that are believed later on: each has a sha256 of itself and of what it is about.

A seal finds accidents: a flipped bit, a record that was cut, one of another piece or another run. It proves
nothing against intent.
"""

import json
from collections.abc import Mapping
from typing import Any

from nightscore.store.documents.plan import json_digest

SEAL = "seal"


def sealed(document: Mapping[str, Any], *about: str) -> str:
    """A document as JSON text, with its seal; `about` are the run, the piece, that it is of."""
    plain = json.loads(json.dumps(document))
    return json.dumps({**plain, SEAL: json_digest(plain, *about)})


def unsealed(text: str, *about: str) -> dict[str, Any]:
    """The document that `sealed` was given.

    Raises:
        ValueError: it is another, or one about something else.
    """
    document = json.loads(text)
    seal = document.pop(SEAL, None) if isinstance(document, dict) else None
    if seal != json_digest(document, *about):
        raise ValueError("the seal is not that of the record")
    return dict(document)
