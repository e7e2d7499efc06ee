"""docs/job.schema.json, which editors complete job.yaml by, is in step with the code and right on files."""

import contextlib
import datetime as dt
import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from nightscore.common.errors import Broken
from nightscore.common.roots import read_roots
from nightscore.common.strict_yaml import read_yaml
from nightscore.job.json_schema import case_schema, job_schema, workspace_schema
from tests.job.test_spec import AUDITS, MISTAKES, TEXT, with_audit
from tests.support.workspace import JOB

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "jobs").glob("**/job.yaml"))


def as_json(text: str, folder: Path) -> Any:
    """A job.yaml as an editor sees it: dates are texts."""
    (folder / "job.yaml").write_text(text)
    document, _ = read_yaml(folder / "job.yaml", "job.yaml")
    return json.loads(json.dumps(document, default=dt.date.isoformat))


@functools.cache
def validator() -> jsonschema.Draft202012Validator:
    """Of the schema, which `test_it_is_a_schema` holds to its dialect."""
    return jsonschema.Draft202012Validator(job_schema())


def described(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for kind, part in [("", schema), *schema["$defs"].items()]:
        for name, one in part.get("properties", {}).items():
            yield f"{kind}.{name}", one


def test_the_committed_file_is_in_step() -> None:
    """docs/job.schema.json is what the code says; `python -m nightscore.job.json_schema` writes it."""
    assert json.loads((ROOT / "docs/job.schema.json").read_text()) == job_schema()


ROOTS = {
    "roots: {lake: /mnt/lake}": True, "roots: {crm: {at: ../crm, write: true}, b: 's3://x/y'}": True,
    "roots: {}": True, "name: risk": True, "name: Risk": False, "name: 3": False, "airflow: {pool: x}": True,
    "[]": False, "roots: {}\nroot: x": False, "roots: {Lake: /x}": False,
    "roots: {s3: /x}": False, "roots: {lake: 1}": False, "roots: {lake: ''}": False,
    "roots: {lake: {at: /x, writable: true}}": False, "roots: {lake: {at: /x, write: 1}}": False,
    "roots: {lake: 'https://x/y'}": False, "roots: {lake: {write: true}}": False,
}  # fmt: skip


@pytest.mark.parametrize(("text", "is_right"), ROOTS.items())
def test_the_schema_of_workspace_yaml_says_what_the_reader_says(
    text: str, is_right: bool, tmp_path: Path
) -> None:
    """And the committed file is in step."""
    assert json.loads((ROOT / "docs/workspace.schema.json").read_text()) == workspace_schema()
    (tmp_path / "workspace.yaml").write_text(text)
    document, _ = read_yaml(tmp_path / "workspace.yaml", "workspace.yaml")
    assert jsonschema.Draft202012Validator(workspace_schema()).is_valid(document) == is_right
    with contextlib.nullcontext() if is_right else pytest.raises(Broken):
        read_roots(tmp_path)


def test_the_schema_of_cases_says_what_the_reader_says(tmp_path: Path) -> None:
    """Our own cases are right by it, and one with a key that is unknown is not; the file is in step."""
    schema = json.loads((ROOT / "docs/case.schema.json").read_text())
    assert schema == case_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    cases = [as_json(file.read_text(), tmp_path) for file in (ROOT / "jobs").glob("**/tests/*.yaml")]
    wrong = [{**cases[0], "expct": {}}, {**cases[0], "inputs": {"x": {"csvv": "a.csv"}}}, {"error": "x"}]
    valid = jsonschema.Draft202012Validator(schema).is_valid
    assert [valid(case) for case in [*cases, *wrong]] == [True] * len(cases) + [False] * 3


def test_it_is_a_schema() -> None:
    """The schema keeps to the dialect that it names."""
    jsonschema.Draft202012Validator.check_schema(job_schema())
    assert job_schema()["$schema"] == jsonschema.Draft202012Validator.META_SCHEMA["$id"]


def test_every_key_is_described() -> None:
    """An editor shows a sentence for every key."""
    assert [name for name, one in described(job_schema()) if not one.get("description")] == []


EVERY_AUDIT = with_audit("\n  - ".join(audit for audit, _ in AUDITS.values()))


@pytest.mark.parametrize("text", [JOB, TEXT, EVERY_AUDIT], ids=["mini", "every key", "every kind of audit"])
def test_right_documents_are_valid(tmp_path: Path, text: str) -> None:
    """What the code reads, the schema allows."""
    validator().validate(as_json(text, tmp_path))


@pytest.mark.parametrize("file", FILES, ids=[f.parent.name for f in FILES])
def test_the_jobs_of_this_repository_are_valid(tmp_path: Path, file: Path) -> None:
    """Every job.yaml here is one that an editor takes for right."""
    validator().validate(as_json(file.read_text(), tmp_path))


# What holds between values, or needs the time zones or the folder, only the code knows.
UNSEEN = {
    "no such zone", "zone outside the database", "lookback without partition", "lookback is a float",
    "input called scores", "input called like a table of the job", "features name no input",
    "features name an input without partition", "features leave the folder", "features are not there",
    "key twice in another case", "key is the day", "keep is a key", "keep is the run in another case",
    "output is a key", "output is the day", "decision is not there", "decision called scores",
    "decision called like the scores table", "decision called receipts", "decision called erasures",
    "parameter called day",
    "model without path", "file without its function", "function of another kind", "entry of a file",
    "default of another type", "default out of bounds", "bounds of a text", "owner is a date",
    "rows from above", "rows without end", "drift of a column that is none", "drift of a key",
    "scores of no column", "scores without a question", "bounds from above", "a bound that is no number",
    "coverage of nothing known", "coverage in an input", "catchup of no day", "cron in a zone that is none",
    "cron of a day that begins", "cron of a field too few", "cron of hours", "cron that never comes",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(MISTAKES.keys() - UNSEEN))
def test_wrong_documents_are_not_valid(tmp_path: Path, name: str) -> None:
    """What the code refuses in one value, the schema refuses too."""
    document = as_json(MISTAKES[name][0], tmp_path)
    assert not validator().is_valid(document)


@pytest.mark.parametrize("name", sorted(UNSEEN))
def test_what_a_schema_cannot_see_is_known(tmp_path: Path, name: str) -> None:
    """The list of what only the code refuses is exact."""
    validator().validate(as_json(MISTAKES[name][0], tmp_path))


def test_each_form_of_a_text_is_said_in_words() -> None:
    """Nobody has to read a regular expression to mend a job.yaml; of sizes and kinds a validator says it."""
    from nightscore.job.fields import WORDS

    schema = json.loads((ROOT / "docs/job.schema.json").read_text())
    patterns = set(re.findall(r'"pattern": ("(?:[^"\\]|\\.)*")', json.dumps(schema)))
    unsaid = {json.loads(one) for one in patterns} - WORDS.keys()
    assert {one for one in unsaid if "MiB" not in one and "scorers/" not in one} == set()
