"""Each template has a case, and it holds; with another number in it, it does not."""

from pathlib import Path

import pytest

from nightscore.cli.main import call
from nightscore.start import TEMPLATES_BY_NAME, make_workspace

CHANGED = {
    "trees": ("days_since_order: 30", "days_since_order: 31"),
    "onnx": ("complaints_90d: 0}", "complaints_90d: null}"),
    "image": ("digit: 3", "digit: 2"),
    "text": ("desk: de", "desk: person"),
    "topk": ("days_since: 1,", "days_since: 2,"),
    "python": ("tier: silver", "tier: gold"),
}


@pytest.mark.runs
@pytest.mark.parametrize("template", TEMPLATES_BY_NAME)
def test_the_case_of_a_template(
    template: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_workspace(tmp_path, template)
    monkeypatch.setenv("NIGHTSCORE_WORKSPACE", str(tmp_path))
    before = sorted(tmp_path.rglob("*"))
    assert call(["test"]) == 0, capsys.readouterr()
    assert "1 case: 1 as expected" in capsys.readouterr().out
    [case] = (tmp_path / "jobs").glob("*/tests/*.yaml")
    right, wrong = CHANGED[template]
    text = case.read_text()
    at = text.rindex(right)
    case.write_text(text[:at] + wrong + text[at + len(right) :])
    assert call(["test", TEMPLATES_BY_NAME[template].job]) == 1
    assert "FAILED" in capsys.readouterr().out
    assert sorted(tmp_path.rglob("*")) == before, "something was written"
