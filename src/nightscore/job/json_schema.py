"""The JSON Schema of job.yaml, for editors: `python -m nightscore.job.json_schema > docs/job.schema.json`.

It says what a schema can say. What holds between values (a key that is no column, a default outside its
bounds) only `nightscore check` knows.
"""

import json
import sys
from typing import Any

from nightscore.job.spec import JobSpec

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def job_schema() -> dict[str, Any]:
    """What a job.yaml may say, as JSON Schema."""
    schema: dict[str, Any] = _closed(JobSpec.model_json_schema())
    return {"$schema": DIALECT, **schema, "title": "A nightscore job"}


def _closed(part: Any) -> Any:
    """The schema with no other keys allowed where keys have a pattern: pydantic leaves that out."""
    if isinstance(part, list):
        return [_closed(item) for item in part]
    if not isinstance(part, dict):
        return part
    closed = {name: _closed(value) for name, value in part.items()}
    return {**closed, "additionalProperties": False} if "patternProperties" in closed else closed


def main() -> None:
    """Print the schema as docs/job.schema.json holds it."""
    sys.stdout.write(json.dumps(job_schema(), indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
