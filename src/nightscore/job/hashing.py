"""What of a job folder is a cause of its days, as one hash; its recipe does not change (decisions/0018)."""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from nightscore.job.spec import JobSpec

HARMLESS: dict[str, Any] = {
    "about": True,
    "owner": True,
    "schedule": True,
    "memory": True,
    "limits": True,
    "close": True,
    "retain": True,
    "on_schema_change": True,  # other columns come of the job, which is another then
    "budget": True,  # it changes nothing but which variant a bake-off takes, and that is a cause
    "judge": True,
    "deliver": True,  # what is sent on is what is published, whoever gets it
    "highlights": True,  # what is shown of the rows; a day that is published keeps what it showed
    "deadline": True,
    "notify": True,
    "timeout": True,
    "airflow": True,
    "overdue": True,  # but that there is one: its tables have a column more
    "params": True,
    "scoring": {"tasks", "tolerance"},
    # Without an override nothing is published; with it, what was published before it was asked for.
    # What `expected` holds is a cause by its files' bytes (pipeline/steps.py).
    "model": {"made_by", "allow_pickle", "columns_override", "max_length_override", "expected"},
    "policy": {"gaps"},  # nor whether holes in an input are said, or stop the run
    "inputs": {"__all__": {"calendar", "ready"}},
}


def hash_job(spec: JobSpec, sql: Mapping[str, Any], name: str, tables: Mapping[str, str]) -> str:
    """The sha256 of all in a job folder that can change what is published: its spec, and its SQL by kind.

    As if the job were called `name` still, and tables (by their names of now) what they were called first.
    """
    # Without defaults: a field that comes with a later version changes no job that does not use it.
    document = spec.model_dump(mode="json", exclude=HARMLESS, exclude_defaults=True) | {"job": name}
    document |= {"overdue": True} if spec.overdue else {}
    if not document.get("policy", True):
        del document["policy"]
    for source in document.get("inputs", {}).values():
        if "table" in source:
            source["table"] = tables.get(source["table"], source["table"])
    own = {table: tables[table] for table in spec.decide if tables.get(table, table) != table}
    for part in ("decide", "audit"):
        if part in document:
            document[part] = _called(document[part], own)
    text = json.dumps({"spec": document, "sql": _texts(sql, own)}, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _texts(sql: Mapping[str, Any], own: Mapping[str, str]) -> dict[str, Any]:
    texts = {"features": sql["features"], "decide": _called(sql["decide"], own)}
    if sql["audit"]:
        texts["audit"] = _called(sql["audit"], own)
    if sql["macros"]:  # as they are: a macro names no table
        texts["macros"] = sql["macros"]
    return texts


def _called(value: Any, first: Mapping[str, str]) -> Any:
    """A part of a job, in which some tables are called what they were first."""
    if isinstance(value, dict):
        return {_called(name, first): _called(inner, first) for name, inner in value.items()}
    if isinstance(value, list):
        return [_called(inner, first) for inner in value]
    if isinstance(value, str) and first:
        return re.sub(r"\w+", lambda word: first.get(word[0], word[0]), value)
    return value
