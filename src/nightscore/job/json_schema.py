"""The JSON Schemas of job.yaml, of a job's cases and of workspace.yaml, for editors.

    python -m nightscore.job.json_schema > docs/job.schema.json
    python -m nightscore.job.json_schema case > docs/case.schema.json
    python -m nightscore.job.json_schema workspace > docs/workspace.schema.json

It says what a schema can say. What holds between values (a key that is no column, a default outside its
bounds) only `nightscore check` knows.
"""

import json
import sys
from typing import Any

from nightscore.common import BUCKETS, ROOT_NAME, SCHEME, WORKSPACE_NAME
from nightscore.job.cases import CaseSpec
from nightscore.job.parts.airflow_settings import AirflowSettings
from nightscore.job.spec import JobSpec

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def job_schema() -> dict[str, Any]:
    """What a job.yaml may say, as JSON Schema."""
    schema: dict[str, Any] = _closed(JobSpec.model_json_schema())
    return {"$schema": DIALECT, **schema, "title": "A nightscore job"}


def case_schema() -> dict[str, Any]:
    """What a case of a job may say, as JSON Schema."""
    schema: dict[str, Any] = _closed(CaseSpec.model_json_schema())
    return {"$schema": DIALECT, **schema, "title": "A case of a nightscore job"}


def workspace_schema() -> dict[str, Any]:
    """What a workspace.yaml may say, as JSON Schema."""
    place = {
        "type": "string", "minLength": 1, "pattern": rf"^((?!{SCHEME.pattern})|({'|'.join(BUCKETS)})://[^/\\s])",
        "description": "a folder, absolute or relative to the workspace; or s3://, gs:// or az://",
    }  # fmt: skip
    writable = {
        "type": "object", "additionalProperties": False, "required": ["at"],
        "properties": {
            "at": place,
            "write": {"type": "boolean", "description": "whether it may be written; default: read only"},
        },
    }  # fmt: skip
    name = rf"^(?!({'|'.join(BUCKETS)})$){ROOT_NAME.pattern}$"
    roots = {
        "type": "object", "additionalProperties": False,
        "patternProperties": {name: {"anyOf": [place, writable]}},
        "description": "the places that jobs may read, by name; data: where tables, runs and models lie",
    }  # fmt: skip
    called = {
        "type": "string", "pattern": f"^{WORKSPACE_NAME.pattern}$",
        "description": "what stands before the ids of its DAGs and assets, where one Airflow has several",
    }  # fmt: skip
    airflow = _closed(AirflowSettings.model_json_schema()) | {
        "description": "pool, queue, priority and access of all its DAGs; a job.yaml may say others"
    }
    return {
        "$schema": DIALECT, "title": "A nightscore workspace", "type": "object",
        "additionalProperties": False, "properties": {"name": called, "airflow": airflow, "roots": roots},
    }  # fmt: skip


def _closed(part: Any) -> Any:
    """The schema with no other keys allowed where keys have a pattern: pydantic leaves that out."""
    if isinstance(part, list):
        return [_closed(item) for item in part]
    if not isinstance(part, dict):
        return part
    closed = {name: _closed(value) for name, value in part.items()}
    return {**closed, "additionalProperties": False} if "patternProperties" in closed else closed


def schema_text(of: str = "job") -> str:
    """The schema of a `job`.yaml, of a `case` or of a `workspace`.yaml, as a file."""
    schemas = {"case": case_schema, "workspace": workspace_schema}
    return json.dumps(schemas.get(of, job_schema)(), indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Print a schema as the files docs/*.schema.json hold them."""
    sys.stdout.write(schema_text(*sys.argv[1:]))


if __name__ == "__main__":
    main()
