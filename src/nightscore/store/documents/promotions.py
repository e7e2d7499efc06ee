"""Promotions: which model became a job's champion, when, by whom and why; kept beside its job.yaml.

`promotions.yaml` is a list to which `nightscore promote` appends. A promotion is in force, and in every
receipt, while the champion is the very file that was promoted: another path, or other bytes, end it.
"""

import datetime as dt
import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from nightscore.common import Broken, read_yaml, replace_text
from nightscore.job import Job
from nightscore.store.documents.plan import Plan
from nightscore.store.documents.receipt import Promotion

PROMOTIONS_FILE = "promotions.yaml"
HEAD = "# Written by `nightscore promote`, read by every run: who made which model the champion, and why.\n"


def read_promotion(job: Job, plan: Plan) -> Mapping[str, str]:
    """How the model of a plan became the job's champion; empty where nobody promoted this very file.

    Raises:
        Broken: promotions.yaml is damaged.
    """
    path = job.file.with_name(PROMOTIONS_FILE)
    last = read_promotions(path, job.workspace.relative(path))[-1:] if path.exists() else []
    if not last or (last[0].model, last[0].sha256) != (job.spec.model.name, plan.model_sha256):
        return {}
    return {name: str(value) for name, value in last[0].model_dump(mode="json").items()}


def read_promotions(path: Path, shown: str) -> list[Promotion]:
    """All promotions of a job, the newest last.

    Raises:
        Broken: the file holds something else.
    """
    document, _ = read_yaml(path, shown)
    try:
        return TypeAdapter(list[Promotion]).validate_python(document)
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(map(str, first["loc"]))
        raise Broken(f"{shown}: {at}: {first['msg']}; restore the file") from error


def append_promotion(path: Path, shown: str, promotion: Promotion) -> None:
    """Append a promotion: the file is replaced whole, what stood in it stays."""
    if path.exists():
        read_promotions(path, shown)
    text = path.read_text(encoding="utf-8") if path.exists() else HEAD
    at = promotion.at.astimezone(dt.UTC).isoformat(timespec="seconds")
    fields = promotion.model_dump(mode="json") | {"at": at}
    lines = [f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in fields.items()]
    replace_text(path, text + "- " + "\n  ".join(lines) + "\n")
