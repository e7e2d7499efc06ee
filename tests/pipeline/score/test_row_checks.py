"""What a job.yaml may say of rejects and domains, and what it may not."""

from pathlib import Path

import pytest

from nightscore import load
from nightscore.common.errors import Broken
from nightscore.job.parts.policy import Policy
from nightscore.pipeline.steps import check_job
from tests.support.workspace import JOB, make_workspace


@pytest.mark.parametrize(
    ("given", "rows", "budget"),
    [
        (0, 100, 0),
        (7, 100, 7),
        (7, 3, 7),
        ("0.1%", 999, 0),
        ("0.1%", 1_000, 1),
        ("0.1 %", 29_000, 29),
        ("100%", 5, 5),
    ],
)
def test_a_budget_is_a_number_of_rows_or_a_share_of_them(given: int | str, rows: int, budget: int) -> None:
    """Of a share the whole rows, exactly: 0.1 % of 29,000 are 29, though 0.1 is no float."""
    assert Policy(max_rejected=given).max_rejected_rows(rows) == budget


WRONG = {
    "policy: {bad_row: drop}": "policy.bad_row: 'drop' is not allowed",
    "policy: {max_rejected: -1}": "policy.max_rejected: -1 is not allowed; allowed: a number, or a share",
    "policy: {max_rejected: 101%}": "policy.max_rejected: '101%' is not allowed",
    "policy: {max_rejected: 0.5}": "policy.max_rejected: 0.5 is not allowed; allowed: a number, or a share",
    "policy: {max_rejected: true}": "policy.max_rejected: True is not allowed",
    "domain: {a: {}}": "domain.a: allows every value; give it min, max, in or null: false",
    "domain: {a: {min: 2, max: 1}}": "domain.a.max: 1 is below min, 2",
    "domain: {a: {in: [1], min: 0}}": "domain.a.in: names the values already",
    "domain: {a: {least: 1}}": "domain.a.least: unknown key; allowed: null, min, max, in",
    "domain: {colour: {in: [red]}}": "domain.colour: neither the features nor the outputs have this column",
    "domain: {a: {in: [red]}}": "domain.a.in: ['red'] are no values of the column, which is float",
    "decide: {mini_rejects: top.sql}": "decide.mini_rejects: 'mini_rejects' is a name of the framework's own",
}


@pytest.mark.parametrize(("line", "says"), WRONG.items(), ids=WRONG.keys())
def test_what_is_not_allowed_is_named_with_its_line(tmp_path: Path, line: str, says: str) -> None:
    """Before a row is read."""
    text = JOB.replace("decide:\n  mini_top: top.sql\n", "decide: {mini_top: top.sql}\n")
    text = text.replace("decide: {mini_top: top.sql}\n", "") if line.startswith("decide") else text
    text = text[: text.index("audit:")] + line + "\n"
    with pytest.raises(Broken) as caught:
        check_job(load("mini", make_workspace(tmp_path, 10, text)))
    number = text.splitlines().index(line) + 1
    assert f"jobs/mini/job.yaml:{number}: {says}" in str(caught.value)


def test_a_key_has_no_name_of_the_rejects_own(tmp_path: Path) -> None:
    """A key column called reason would stand beside the reason."""
    text = JOB.replace("key: [id]", "key: [id, reason]") + "policy: {bad_row: reject}\n"
    with pytest.raises(
        Broken, match=r"job.yaml:7: key.1: 'reason' is a column of the table of rejects; rename it"
    ):
        load("mini", make_workspace(tmp_path, 10, text))


def test_two_jobs_do_not_publish_one_table_of_rejects(tmp_path: Path) -> None:
    """A decision of another job that is called as this job's rejects is refused."""
    root = make_workspace(tmp_path, 10, JOB + "policy: {bad_row: reject}\n")
    other = root / "jobs/other"
    other.mkdir()
    (other / "top.sql").write_text("SELECT id FROM scores")
    (other / "job.yaml").write_text(
        JOB.replace("job: mini", "job: other").replace("mini_top:", "mini_rejects:")
    )
    with pytest.raises(Broken, match=r"table mini_rejects is also published by jobs/other/job.yaml"):
        check_job(load("mini", root))
