"""A promotion changes one line of job.yaml, and is in the receipts of the champion that it made."""

import datetime as dt
import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from nightscore.cli import main
from nightscore.common.errors import Broken
from nightscore.common.files import file_sha256
from nightscore.evaluation.promote import promote_model, with_champion
from nightscore.job.loader import load
from nightscore.pipeline import executors
from nightscore.store.documents.promotions import PROMOTIONS_FILE, append_promotion, read_promotions
from nightscore.store.documents.receipt import Promotion, Receipt
from tests.pipeline.score.test_challengers import NEXT, contest
from tests.support.workspace import DAYS, JOB, linear_model, make_workspace

HELD = "judge: {days: 1}\n"
WON = "judge: {days: 1, max_flips: 100%}\n"


def workspace(root: Path, text: str = contest(NEXT) + HELD, publish: bool = False) -> Path:
    make_workspace(root, rows=50, job=text)
    linear_model(root / NEXT, (3.0, -1.0))
    if publish:
        executors.run(load("mini", root), DAYS[0])
    return root


def run(root: Path, day: str = DAYS[1]) -> Receipt:
    return executors.run(load("mini", root), day)


def lines_that_differ(before: str, after: str) -> list[tuple[str, str]]:
    pairs = zip(before.split("\n"), after.split("\n"), strict=True)
    return [(old, new) for old, new in pairs if old != new]


def test_a_challenger_that_won_is_promoted_by_one_line_and_the_next_receipts_say_so(tmp_path):
    """Who, when, instead of what, with both hashes and the verdict; the day's decisions are then its own."""
    root = workspace(tmp_path, contest(NEXT) + WON, publish=True)
    file = root / "jobs/mini/job.yaml"
    file.chmod(0o640)
    before = file.read_text()
    made = promote_model(load("mini", root), NEXT, by="Ada")
    assert lines_that_differ(before, file.read_text()) == [
        ("  champion: data/models/linear.onnx", f"  champion: {NEXT}")
    ]
    assert file.stat().st_mode & 0o777 == 0o640
    receipt = run(root)
    assert receipt.model is not None
    assert receipt.model.path == NEXT
    assert receipt.challengers == ()
    assert receipt.promotion == made.model_copy(update={"at": made.at.replace(microsecond=0)})
    assert (made.by, made.verdict, made.instead_of) == ("Ada", "PROMOTE", "data/models/linear.onnx")
    assert made.sha256 == file_sha256(root / NEXT) == receipt.model.sha256
    assert made.instead_of_sha256 == file_sha256(root / "data/models/linear.onnx")
    assert run(root, DAYS[2]).promotion == receipt.promotion


@pytest.mark.slow
def test_other_bytes_or_another_path_end_a_promotion(tmp_path):
    """What is in the receipt was promoted, and no other file under its name."""
    root = workspace(tmp_path, contest(NEXT) + WON, publish=True)
    promote_model(load("mini", root), "next", by="Ada")
    linear_model(root / NEXT, (3.0, 3.0))
    assert run(root).promotion is None
    (root / "jobs/mini/job.yaml").write_text(JOB)
    assert run(root).promotion is None


@pytest.mark.slow
def test_what_has_not_won_needs_force_and_a_reason_and_the_receipt_says_both(tmp_path):
    root = workspace(tmp_path, publish=True)
    for options in ({}, {"force": True}, {"because": "I like it"}):
        with pytest.raises(Broken, match=f"the verdict on {NEXT} is HOLD; to promote it all the same"):
            promote_model(load("mini", root), NEXT, by="Ada", **options)
    promote_model(load("mini", root), NEXT, by="Ada", force=True, because="the old one is retired")
    found = run(root).promotion
    assert found is not None
    assert (found.verdict, found.because) == ("HOLD", "the old one is retired")


def test_a_model_that_is_no_challenger_needs_them_too(tmp_path):
    """Of a job with `path:` that line is changed."""
    root = workspace(tmp_path, JOB)
    with pytest.raises(Broken, match="none: it is no challenger"):
        promote_model(load("mini", root), NEXT, by="Ada")
    promote_model(load("mini", root), NEXT, by="Ada", force=True, because="a first try")
    assert f"  path: {NEXT}\n" in (root / "jobs/mini/job.yaml").read_text()
    assert run(root).promotion is not None


@pytest.mark.parametrize(
    ("text", "model", "message"),
    [
        (contest(NEXT), "data/models/none.onnx", "data/models/none.onnx: can't be read: No such file"),
        (contest(NEXT), "../elsewhere.onnx", "lies outside the workspace"),
        (
            contest(NEXT),
            "data/models/linear.onnx",
            "model.champion: data/models/linear.onnx is the champion already",
        ),
        (
            JOB.replace("  outputs:", f"  sha256: '{'0' * 64}'\n  outputs:"),
            NEXT,
            "model.sha256: pins another file than data/models/next.onnx, which has sha256",
        ),
        (
            JOB.replace("path: data/models/linear.onnx", "path: >-\n    data/models/linear.onnx"),
            NEXT,
            "job.yaml:10: model.path: stands on several lines; write it on one, then promote",
        ),
    ],
)
def test_what_can_not_be_promoted_leaves_everything_as_it_was(tmp_path, text, model, message):
    root = workspace(tmp_path, text)
    before = (root / "jobs/mini/job.yaml").read_text()
    with pytest.raises(Broken) as error:
        promote_model(load("mini", root), model, by="Ada", force=True, because="I want it")
    assert message in str(error.value)
    assert (root / "jobs/mini/job.yaml").read_text() == before
    assert not (root / "jobs/mini" / PROMOTIONS_FILE).exists()


def test_nobody_is_no_promoter(tmp_path):
    with pytest.raises(Broken, match="by is empty"):
        promote_model(load("mini", workspace(tmp_path)), NEXT, by=" ")


@pytest.mark.parametrize(
    "text",
    [
        "job: a\nmodel:\n  # the old one\n  path:   a.onnx   # since 2019\n  outputs: {s: y}\n",
        "job: a\nmodel: {path: a.onnx, outputs: {s: y}}  # on one line\n",
        "job: a\r\nmodel:\r\n    path: 'a.onnx'\r\n    outputs: {s: \"y[1]\"}\r\n",
        'job: a\nmodel: {outputs: {path: path}, path: "a.onnx"}\naudit: [{name: path, sql: a.onnx}]',
        "job: ä\nabout: '𝕏 path: a.onnx'\nmodel: {path: a.onnx}\n",
    ],
)
@pytest.mark.parametrize(
    "model", ["data/models/b-2.onnx", "models:/ranker@next", "x: {y}, #z.onnx", "ü 'q' \"r\".onnx"]
)
def test_one_value_changes_and_nothing_else(text, model):
    """In block and flow style, with comments, quotes and line ends as they are."""
    changed = with_champion(text, "path", model, "job.yaml")
    before, after = yaml.safe_load(text), yaml.safe_load(changed)
    assert after == {**before, "model": {**before["model"], "path": model}}
    assert len(lines_that_differ(text, changed)) == 1
    assert changed.count("#") - text.count("#") in (0, model.count("#"))
    assert changed.count("\r") == text.count("\r")


@given(st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1, max_size=30))
def test_any_path_is_read_back_as_it_was_given(model):
    changed = with_champion("model: {path: a.onnx, outputs: {s: y}}\n", "path", model, "job.yaml")
    assert yaml.safe_load(changed) == {"model": {"path": model, "outputs": {"s": "y"}}}


def test_promotions_are_appended_and_read_back(tmp_path):
    """Whatever people write, and what stood there before stays to the byte."""
    path, made = tmp_path / PROMOTIONS_FILE, []
    for i, by in enumerate(["Ada", 'O"Neil: #1', "- Grace\n  Hopper", "ß\t"]):
        one = Promotion(
            model=f"m{i}.onnx", sha256="1" * 64, instead_of="a", instead_of_sha256="0" * 64,
            by=by, because=by,
            at=dt.datetime(2026, 1, 1, 12, 30, i, tzinfo=dt.UTC), verdict="HOLD",
        )  # fmt: skip
        before = path.read_text() if made else ""
        append_promotion(path, PROMOTIONS_FILE, one)
        made.append(one)
        assert path.read_text().startswith(before)
    assert read_promotions(path, PROMOTIONS_FILE) == made


def test_a_damaged_file_of_promotions_is_an_error_that_names_it(tmp_path):
    root = workspace(tmp_path)
    (root / "jobs/mini" / PROMOTIONS_FILE).write_text("- by: Ada\n")
    with pytest.raises(Broken, match=r"jobs/mini/promotions.yaml: 0.model: Field required; restore the file"):
        run(root)


@pytest.mark.slow
def test_the_command_line_judges_and_promotes(tmp_path, capsys):
    """As a person types it; --json is one document."""
    root = workspace(tmp_path, contest(NEXT) + WON, publish=True)

    def call(*words: str) -> tuple[int, str]:
        code = main.call(["--workspace", str(root), *words])
        return code, capsys.readouterr().out

    code, said = call("judge", "mini")
    assert code == 0
    assert f"PROMOTE {NEXT}" in said
    assert "mini_top" in said
    code, said = call("judge", "mini", "--json", "--day", DAYS[0])
    assert json.loads(said)["verdicts"][0]["verdict"] == "PROMOTE"
    code, said = call("promote", "mini", NEXT, "--by", "Ada")
    assert (code, "by Ada" in said, "verdict PROMOTE" in said) == (0, True, True)
    code, said = call("run", "mini", "--day", DAYS[1])
    assert f"promoted  {NEXT} instead of data/models/linear.onnx, by Ada" in said
