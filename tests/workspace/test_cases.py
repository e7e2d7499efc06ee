"""The cases of this repository's own jobs, all by one command, without their lake."""

import json
from pathlib import Path

import pytest

from nightscore.cli.main import call

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.runs
def test_the_cases_of_our_jobs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("NIGHTSCORE_WORKSPACE", str(REPOSITORY))
    files = sorted(REPOSITORY.glob("jobs/**/tests/*.yaml"))
    code = call(["test", "--json"])
    said = json.loads(capsys.readouterr().out)
    assert code == 0, [case for case in said["cases"] if not case["passed"]]
    assert sorted(case["file"] for case in said["cases"]) == [
        file.relative_to(REPOSITORY).as_posix() for file in files
    ]
    jobs = {case["job"] for case in said["cases"]}
    assert jobs >= {"mail_suppressions", "mail_plan", "limit_breaches", "retail_recommendations"}
