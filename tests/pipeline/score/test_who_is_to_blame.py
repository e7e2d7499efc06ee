"""A message about the model stands at the line of job.yaml that is to blame, not always at its path."""

from pathlib import Path

import pytest

from nightscore import Broken, load
from nightscore.pipeline.audits import kinds
from nightscore.pipeline.steps import check_job
from tests.support.workspace import JOB, make_workspace

MISTAKES = {
    "a device": (JOB + "scoring: {device: npu9}\n", "scoring.device: device 'npu9'"),
    "an output": (
        JOB.replace("{score: y}", "{score: z}"),
        "model.outputs: data/models/linear.onnx: output 'score'",
    ),
    "an index": (
        JOB.replace("{score: y}", "{score: 'y[7]'}"),
        "model.outputs: data/models/linear.onnx: output",
    ),
    "a column twice": (JOB.replace("model:\n", "model:\n  columns: [a, a]\n"), "model.columns: data/models"),
    "a kind": (
        JOB.replace("model:\n", "model:\n  kind: forest\n"),
        "model.kind: unknown kind of scorer 'forest'",
    ),
}


@pytest.mark.parametrize(("job", "says"), MISTAKES.values(), ids=MISTAKES)
def test_the_line_is_that_of_what_was_asked_for(tmp_path: Path, job: str, says: str) -> None:
    """The key is named, and its own line."""
    root = make_workspace(tmp_path, rows=10, job=job)
    with pytest.raises(Broken) as caught:
        check_job(load("mini", root))
    said = str(caught.value)
    assert says in said
    key = says.split(":", maxsplit=1)[0].rsplit(".", maxsplit=1)[-1]
    lines = (root / "jobs/mini/job.yaml").read_text().splitlines()
    assert key in lines[int(said.split(":")[1]) - 1]


def test_a_kind_of_audit_without_a_question_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half made by somebody: what is missing is said, with the line of the audit."""
    root = make_workspace(tmp_path, rows=10)
    job = load("mini", root)
    monkeypatch.setattr(kinds, "QUESTIONS", {})
    with pytest.raises(Broken, match=r"job\.yaml:\d+: audit.*SqlAudit is a kind of audit that nothing asks"):
        check_job(job)
