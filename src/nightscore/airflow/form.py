"""The form of a manual run, made from the job; and what a run was asked for, held to the job again.

The values go to the same functions as the command line's options, and no further: SQL reads a job's
parameters as bound values, and `model` is a path that the workspace refuses when it leads out of it.
"""

import datetime as dt
import os
from collections.abc import Mapping, Sequence
from typing import Any

from airflow.sdk import Param

from nightscore.common import Broken
from nightscore.job import RUN_OPTIONS, Input, Job
from nightscore.job import params as job_params
from nightscore.pipeline import RunRequest
from nightscore.scorers import find_installed_devices
from nightscore.store import Restate

OF_A_MODEL = ("device", "model")
OF_CLOSED_DAYS = ("restate", "because", "by")
KNOWN_AT = "known_at"
FOLDED = "Options of the run"
DEVICES = "NIGHTSCORE_DEVICES"  # the variable that names what the workers have, where this machine doesn't
DAY = """The business date to score. A run with a partition key (a scheduled one, a backfill) scores that \
day, whatever stands here; a run by hand needs one of the two."""
# No default: a day that is the latest today would be another one tomorrow, and each of them a new version of
# the DAG. A run without a day fails, and its message names the latest complete day.


def build_form(job: Job) -> dict[str, Param]:
    """The fields of a job's form, in order: the day, the job's own parameters, and the rest, folded.

    A field that says nothing to the job is none; as conf it is understood nevertheless.
    """
    own = {name: _field(name, param) for name, param in job.spec.params.items()}
    left_out = {
        *(() if job.spec.close else OF_CLOSED_DAYS),
        *(() if any(map(_known_at, job.spec.inputs.values())) else (KNOWN_AT,)),
        *(OF_A_MODEL if job.spec.model.is_none else ()),
    }
    options = {name: param for name, param in _run_options(job).items() if name not in left_out}
    return {"day": _day(), **own, **options}


def _known_at(source: Input) -> bool:
    return bool(getattr(source, KNOWN_AT, None))  # a table of ours has no such key


def request_of(
    job: Job, values: Mapping[str, Any], conf: Mapping[str, Any] | None = None, user: str | None = None
) -> RunRequest:
    """What a run is asked for, from the form's values. `conf` is all that a run was given.

    `user` is who started the run by hand; a restatement is theirs unless the form names another.

    Raises:
        Broken: a value is not allowed, or a name is unknown; the message is the command line's.
    """
    params = {n: values[n] for n in job.spec.params if values.get(n) is not None}
    unknown = {n: v for n, v in (conf or {}).items() if n not in (*RUN_OPTIONS, *job.spec.params)}
    job.params({**unknown, **params})
    device = values.get("device")
    return RunRequest(
        params=params,
        force=bool(values.get("force")),
        limit=values.get("limit"),
        model=values.get("model") or None,
        # The job's own device is no override, so that a run by hand is the scheduled run.
        device=None if device == job.spec.scoring.device else device,
        known_at=values.get("known_at") or None,
        restate=_restate(values, user),
    )


def _restate(values: Mapping[str, Any], user: str | None) -> Restate | None:
    because, by = ((values.get(name) or "").strip() for name in ("because", "by"))
    if not values.get("restate"):
        if because:
            raise Broken("`because` says why a day is restated; tick `restate`, too")
        return None
    if not because:
        raise Broken("`restate` needs `because`: why the day is published again")
    if not (by or user):
        raise Broken("`restate` needs `by`: who publishes the day again")
    return Restate(because, by or user or "")


def _run_options(job: Job) -> dict[str, Param]:
    own, model = job.spec.scoring.device, job.spec.model.name
    return {
        "force": _flag("Force", "Run although nothing has changed since the day was published."),
        "limit": Param(
            None,
            "Preview: score only the first N rows and publish nothing.",
            type=["null", "integer"],
            minimum=1,
            title="Limit",
            section=FOLDED,
        ),
        "device": Param(
            own,
            "Where to score; a device that is named is never replaced by another.",
            type="string",
            enum=list(dict.fromkeys((own, "auto", *_devices()))),
            title="Device",
            section=FOLDED,
        ),
        "model": Param(
            None,
            f"Another model file of the workspace, for a what-if. The job's own: {model}",
            type=["null", "string"],
            maxLength=500,
            title="Model",
            section=FOLDED,
        ),
        **_closing_options(),
    }


def _closing_options() -> dict[str, Param]:
    """What a run is asked for about what was known, and about days that are published."""
    return {
        "known_at": _text("Known at", "See only rows known by then, such as 2022-12-28T23:00Z."),
        "restate": _flag("Restate", "Publish a published day again, closed or not, and say why."),
        "because": _text("Because", "Why the day is restated; it goes into the receipt."),
        "by": _text("By", "Who restates it; default: who starts the run."),
    }


def _day() -> Param:
    return Param(None, DAY, type=["null", "string"], format="date", title="Day")


def _flag(title: str, about: str) -> Param:
    # One that may be null is none that Airflow's form marks as required.
    return Param(False, about, type=["null", "boolean"], title=title, section=FOLDED)


def _text(title: str, about: str) -> Param:
    return Param(None, about, type=["null", "string"], maxLength=500, title=title, section=FOLDED)


def _devices() -> Sequence[str]:
    names = os.environ.get(DEVICES, "").split(",")
    return [name.strip() for name in names if name.strip()] or find_installed_devices()


def _field(name: str, param: job_params.Param) -> Param:
    """A parameter of the job, with its type, its range and its text."""
    schema: dict[str, Any] = {"title": name}
    schema["type"] = "string" if param.type == "date" else param.type
    if param.type == "date":
        schema["format"] = "date"
    if param.enum is not None:
        schema["enum"] = [_json(value) for value in param.enum]
    bounds = {"minimum": param.minimum, "maximum": param.maximum}
    schema |= {key: bound for key, bound in bounds.items() if bound is not None}
    default: Any = _json(param.default)
    if default == "":  # to Airflow's form an empty text is a missing one, and it blocks the button
        default, schema["type"] = None, ["null", "string"]
        if param.enum is not None:
            schema["enum"] = [None, *(value for value in schema["enum"] if value)]
    return Param(default, param.about or None, **schema)


def _json(value: job_params.ParamValue) -> int | float | str | bool:
    return value.isoformat() if isinstance(value, dt.date) else value
