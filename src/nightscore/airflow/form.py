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
from nightscore.job import RUN_OPTIONS, Job
from nightscore.job import params as job_params
from nightscore.pipeline import RunRequest
from nightscore.scorers import find_installed_devices
from nightscore.store import Restate

OF_A_MODEL = ("device", "model")
DEVICES = "NIGHTSCORE_DEVICES"  # the variable that names what the workers have, where this machine doesn't
DAY = """The business date to score. A run with a partition key (a scheduled one, a backfill) scores that \
day, whatever stands here; a run by hand needs one of the two."""
# No default: a day that is the latest today would be another one tomorrow, and each of them a new version of
# the DAG. A run without a day fails, and its message names the latest complete day.


def build_form(job: Job) -> dict[str, Param]:
    """The fields of a job's form, in order."""
    options = {
        n: p for n, p in _run_options(job).items() if n not in OF_A_MODEL or not job.spec.model.is_none
    }
    return {**options, **{name: _field(name, param) for name, param in job.spec.params.items()}}


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
        "day": Param(None, DAY, type=["null", "string"], format="date", title="Day"),
        "force": Param(
            False,
            "Run although nothing has changed since the day was published.",
            type="boolean",
            title="Force",
        ),
        "limit": Param(
            None,
            "Preview: score only the first N rows and publish nothing.",
            type=["null", "integer"],
            minimum=1,
            title="Limit",
        ),
        "device": Param(
            own,
            "Where to score; a device that is named is never replaced by another.",
            type="string",
            enum=list(dict.fromkeys((own, "auto", *_devices()))),
            title="Device",
        ),
        "model": Param(
            None,
            f"Another model file of the workspace, for a what-if. The job's own: {model}",
            type=["null", "string"],
            maxLength=500,
            title="Model",
        ),
        **_closing_options(),
    }


def _closing_options() -> dict[str, Param]:
    """What a run is asked for about what was known, and about days that are published."""
    restate = "Publish a published day again, closed or not, and say why."
    return {
        "known_at": _text("Known at", "See only rows known by then, such as 2022-12-28T23:00Z."),
        "restate": Param(False, restate, type="boolean", title="Restate"),
        "because": _text("Because", "Why the day is restated; it goes into the receipt."),
        "by": _text("By", "Who restates it; default: who starts the run."),
    }


def _text(title: str, about: str) -> Param:
    return Param(None, about, type=["null", "string"], maxLength=500, title=title)


def _devices() -> Sequence[str]:
    names = os.environ.get(DEVICES, "").split(",")
    return [name.strip() for name in names if name.strip()] or find_installed_devices()


def _field(name: str, param: job_params.Param) -> Param:
    """A parameter of the job, with its type, its range and its text."""
    schema: dict[str, Any] = {"title": name, "section": "Parameters of the job"}
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
