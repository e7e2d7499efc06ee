"""requirements.txt of a model's folder, beside what its process has installed."""

import re
from collections.abc import Mapping

from nightscore.scorers.libraries import NOT_INSTALLED, OF_MODEL

REQUIREMENTS = "requirements.txt"
ALWAYS = ("mlflow", "mlflow-skinny")
LINE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?\s*(?:==\s*([^\s;,]+))?")


def pinned(text: bytes) -> dict[str, str]:
    """Package -> the version that the model was logged with, empty where none is pinned; MLflow's, too."""
    found = dict.fromkeys(ALWAYS, "")
    for line in text.decode(errors="replace").splitlines():
        if match := LINE.match(line.strip()):
            found[match[1].lower()] = match[2] or ""
    return found


def told(logged: Mapping[str, str], installed: Mapping[str, str]) -> dict[str, str]:
    """What receipts say of the libraries: the version here and, if that is another, the one at the logging.

    MLflow comes under its own name or as mlflow-skinny; the one that is not here is left out.
    """
    versions = {}
    for name, here in installed.items():
        was = logged[name]
        if not here and name in ALWAYS:
            continue
        differs = was and was != here
        versions[f"{OF_MODEL}{name}"] = (here or NOT_INSTALLED) + (f" (logged with {was})" if differs else "")
    return versions
