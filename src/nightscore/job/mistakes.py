"""What pydantic finds wrong in a job.yaml, in words: file, line, place, the value, what is allowed."""

import difflib
from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from nightscore.common import LineNumbers, Path_, clipped
from nightscore.job.days import schedule
from nightscore.job.days.deadline import Deadline
from nightscore.job.fields import WORDS
from nightscore.job.parts import audits
from nightscore.job.parts.accounts import AccountsFor
from nightscore.job.parts.accuracy_budget import AccuracyBudget
from nightscore.job.parts.airflow_settings import AirflowSettings
from nightscore.job.parts.deliver import Delivery
from nightscore.job.parts.features import Features
from nightscore.job.parts.highlights import Highlight
from nightscore.job.parts.judge import Judge
from nightscore.job.parts.model import Model
from nightscore.job.parts.notify import Notify
from nightscore.job.parts.overdue import Rung
from nightscore.job.parts.params import Param
from nightscore.job.parts.policy import Domain, Limits, Policy
from nightscore.job.parts.retain import Retain
from nightscore.job.sources import inputs
from nightscore.job.spec import JobSpec, Scoring

PARTS: dict[str, type[BaseModel]] = {
    "accounts_for": AccountsFor,
    "features": Features,
    "model": Model,
    "judge": Judge,
    "scoring": Scoring,
    "policy": Policy,
    "domain": Domain,
    "limits": Limits,
    "params": Param,
    "budget": AccuracyBudget,
    "deliver": Delivery,
    "highlights": Highlight,
    "notify": Notify,
    "deadline": Deadline,
    "overdue": Rung,
    "retain": Retain,
    "airflow": AirflowSettings,
}
KINDS: dict[str, Mapping[str, type[Any]]] = {  # models all, but for the word `none`
    "schedule": schedule.KINDS,
    "inputs": inputs.KINDS,
    "audit": audits.KINDS,
}
HINTS = {"string_type": "; put it in quotes", "bool_type": "; write true or false"}
NO_MODEL_HINT = "; of a job without a model it is the word none"
TAGS = {"schedule": 1, "inputs": 2, "audit": 2}  # where in a location pydantic puts the kind


def line_of(lines: LineNumbers, at: Path_) -> int:
    """The line of a value, or of the nearest thing around it that stands in the file."""
    while at and at not in lines:
        at = at[:-1]
    return lines.get(at, 1)


def explain_mistakes(
    error: ValidationError, shown: str, lines: LineNumbers, root: type[BaseModel] = JobSpec
) -> str:
    """Every mistake on a line of its own: file, line, place, offending value, what is allowed.

    `root` is the model of the whole file.
    """
    messages = [_mistake(dict(details), shown, lines, root) for details in error.errors()]
    return "\n".join(dict.fromkeys(messages))


def _mistake(details: dict[str, Any], shown: str, lines: LineNumbers, root: type[BaseModel]) -> str:
    error = details.get("ctx", {}).get("error")
    untagged = _untagged(details["loc"]) if root is JobSpec else details["loc"]
    loc = (*untagged, *getattr(error, "at", ()))
    at = _in_file(loc, lines, missing=details["type"] == "missing")
    dotted = ".".join(map(str, at))
    text = details["msg"].removeprefix("Value error, ")
    if details["type"] == "extra_forbidden":
        text = f"unknown key{_near(at, _model_at(details['loc'][:-1], root))}"
    elif details["type"] == "missing":
        text = "is missing" + (NO_MODEL_HINT if at == ("model",) else "")
    elif details["type"] != "value_error":
        text = f"{clipped(details['input'])} is not allowed: {_plain(details, text)}"
    return f"{shown}:{line_of(lines, at)}: {dotted + ': ' if dotted else ''}{text}"


def _untagged(loc: Path_) -> Path_:
    """A pydantic location without the tag of its union: the kind of a schedule, an input or an audit."""
    place = TAGS.get(str(loc[0]), len(loc)) if loc else 0
    return (*loc[:place], *loc[place + 1 :])


def _plain(details: dict[str, Any], text: str) -> str:
    """What pydantic says, in words for people who write YAML and no Python."""
    kind, value = details["type"], details["input"]
    if kind in ("model_type", "dict_type"):
        return "a mapping of keys to values is"
    hint = HINTS.get(kind, "")
    if kind in ("list_type", "tuple_type") and isinstance(value, str):
        hint = f"; write [{value}]"
    if kind == "string_pattern_mismatch" and (words := WORDS.get(details["ctx"]["pattern"])):
        return f"it is {words}"
    return f"{text[0].lower()}{text[1:]}{hint}"


def _in_file(loc: tuple[str | int, ...], lines: LineNumbers, missing: bool) -> Path_:
    """A location without the parts (types that a value could have had) that stand in no file."""
    at: Path_ = ()
    for i, part in enumerate(loc):
        if (*at, part) in lines or (missing and i == len(loc) - 1):
            at = (*at, part)
    return at


def _near(at: Path_, model: type[BaseModel]) -> str:
    """The allowed keys where an unknown one stands."""
    keys = [info.alias or name for name, info in model.model_fields.items()]
    near = difflib.get_close_matches(str(at[-1]), keys, 1) if at else []
    return f"; did you mean {near[0]}?" if near else f"; allowed: {', '.join(keys)}"


def _model_at(loc: Path_, root: type[BaseModel]) -> type[BaseModel]:
    """The model class at a pydantic location, in which the tags of unions stand."""
    if not loc:
        return root
    top = str(loc[0])
    if root is not JobSpec:
        return _model_in(root.model_fields[top].annotation) or root
    model = KINDS[top][str(loc[TAGS[top]])] if top in KINDS else PARTS.get(top, JobSpec)
    for part in loc[TAGS.get(top, 0) + 1 :]:
        info = model.model_fields.get(str(part))
        for kind in (info.annotation, *get_args(info.annotation)) if info else ():
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                model = kind
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The first model class in an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part))), None)
