"""What a later version has written is named with its format, and stops nothing but what needs it."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightscore import Broken, load, query, run
from nightscore.cli.main import call
from nightscore.store import catalog
from nightscore.store.documents.formats import FORMAT
from nightscore.store.documents.plan import Plan, plan_from_json
from nightscore.store.places.run_folder import read_plan
from tests.behaviour.conftest import copied
from tests.support.places import place
from tests.support.workspace import DAYS, FEATURES, JOB, make_workspace, write_day

LATER = FORMAT + 1
SAYS = f"written by a later nightscore, format {LATER}; this one reads up to {FORMAT}; upgrade"
ROWS = JOB + "  - {rows: {between: [0.5, 2]}}\n"
OTHER = ROWS.replace("mini_", "other_").replace("job: mini", "job: other")
FORGED, NEXT = DAYS[1], "2020-01-04"


def rewritten(root: Path, job: str, day: str, **changes: Any) -> None:
    """The receipt of a published day with other values, in the table's own file."""
    state = catalog.read_catalog(load(job, root).workspace)
    path = (
        root / state.in_force[job, day].file.key
    )  # not where it was fetched to: a copy that no reader trusts
    table = pq.read_table(path, partitioning=None)
    receipt = json.loads(table["receipt"][0].as_py()) | changes
    at = table.schema.get_field_index("receipt")
    pq.write_table(table.set_column(at, "receipt", pa.array([json.dumps(receipt)])), path)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("later") / "w")


def make(root: Path) -> Path:
    """Two jobs with two published days each; of the second, mini's receipt is of a later format."""
    make_workspace(root, rows=30, job=ROWS)
    other = root / "jobs/other"
    other.mkdir()
    (other / "job.yaml").write_text(OTHER)
    (other / "top.sql").write_text((root / "jobs/mini/top.sql").read_text())
    (other / "features.sql").write_text(FEATURES)
    write_day(root, NEXT, 30)
    for job in ("mini", "other"):
        for day in DAYS[:2]:
            run(load(job, root), day)
    rewritten(root, "mini", FORGED, format=LATER, status="sealed", rows="many", closed={"by": "somebody"})
    return root


@pytest.fixture
def root(request: pytest.FixtureRequest) -> Path:
    """The same, to be written to."""
    return copied(request, "made", make)


def said(root: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = call(["--workspace", str(root), *arguments])
    done = capsys.readouterr()
    return code, done.out, done.err


@pytest.mark.slow
def test_lists_go_on_and_name_it(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`receipts`, `verify` and `late` show the three other days as if nothing were."""
    code, out, err = said(root, capsys, "receipts", "--json")
    found = {(one["job"], one["day"]): one for one in json.loads(out)}
    assert code == 1 and SAYS in err
    assert {at for at, one in found.items() if one["status"] == "published"} == {
        ("mini", DAYS[0]), ("other", DAYS[0]), ("other", FORGED),
    }  # fmt: skip
    assert found["mini", FORGED]["status"] == "unreadable" and SAYS in found["mini", FORGED]["reason"]
    code, out, err = said(root, capsys, "receipts")
    assert code == 1 and out.count("2 passed") == 3 and SAYS in err
    code, out, _ = said(root, capsys, "verify", "--json")
    differ = {(one["job"], one["day"]): one["differences"] for one in json.loads(out)}
    assert code == 1 and [at for at, differences in differ.items() if differences] == [("mini", FORGED)]
    assert len(differ) == 4 and SAYS in differ["mini", FORGED][0]
    code, out, _ = said(root, capsys, "late", "mini", "--since", DAYS[0], "--json", "--list-only")
    [late] = json.loads(out)
    assert (code, late["day"]) == (0, FORGED) and SAYS in late["problem"]


@pytest.mark.slow
def test_readers_of_rows_need_no_receipt(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`query`, `jobs` and `tables` show all days, that one's, too."""
    found = query("SELECT day::VARCHAR AS day, count(*) AS n FROM mini_scores GROUP BY day ORDER BY 1", root)
    assert found.to_pylist() == [{"day": day, "n": 30} for day in DAYS[:2]]
    for command in ("jobs", "tables", "held"):
        assert said(root, capsys, command)[0] == 0


def test_other_days_of_the_job_run_and_are_compared_with_it(root: Path) -> None:
    """The audit of rows takes that day's rows from its files; the disk is estimated without it."""
    receipt = run(load("mini", root), DAYS[2])
    assert receipt.status == "published"
    [_, audit] = receipt.audits
    assert audit.passed and FORGED in audit.detail
    assert run(load("other", root), DAYS[2]).status == "published"


@pytest.mark.parametrize("arguments", [("run",), ("replay-rejects",), ("rejects",), ("why", "--key", "id=1")])
def test_what_needs_the_receipt_names_it(
    root: Path, arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """One message, no traceback, nothing is written."""
    before = sorted((root / "data/tables").rglob("*"))
    code, _, err = said(root, capsys, arguments[0], "mini", "--day", FORGED, *arguments[1:])
    assert code == 1 and SAYS in err and "unexpected" not in err and "damaged" not in err
    assert sorted((root / "data/tables").rglob("*")) == before


def test_a_receipt_with_an_unknown_status_stops_no_other(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of this format it is damaged; the other receipts are listed all the same.

    One that was read here and is replaced since, by another machine, is read again.
    """
    assert said(root, capsys, "receipts")[2].count("nightscore: broken") == 1
    rewritten(root, "other", DAYS[0], status="sealed")
    code, out, err = said(root, capsys, "receipts", "--json")
    assert code == 1 and err.count("nightscore: broken") == 2 and "is damaged" in err
    assert [one["status"] for one in json.loads(out)].count("published") == 2


@pytest.mark.disk_only(reason="a text that is read, wherever it lay")
def test_a_plan_of_a_later_format_is_planned_again(tmp_path: Path) -> None:
    """As one with a field that is not known here."""
    file, plan = tmp_path / "plan.json", Plan("mini", DAYS[0], "score")
    document = json.loads(plan.to_json())
    assert document["format"] == FORMAT and plan_from_json(plan.to_json()) == plan
    file.write_text(json.dumps(document | {"format": LATER}))
    assert read_plan(place(file)) is None
    with pytest.raises(Broken, match=f"format {LATER}"):
        plan_from_json(file.read_text())
    del document["format"]
    file.write_text(json.dumps(document))
    assert read_plan(place(file)) is not None, "as an earlier version wrote it"


def later(path: Path, *inside: str) -> None:
    document = json.loads(path.read_text())
    part = document
    for key in inside:
        part = part[key]
    part["receipt"]["format"] = LATER
    path.write_text(json.dumps(document))


def test_a_held_day_of_a_later_format_stops_no_other(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`held` lists both; the one is not released, and the other is."""
    for job in ("mini", "other"):
        file = root / f"jobs/{job}/job.yaml"
        file.write_text(file.read_text() + "  - {name: never, sql: SELECT false}\n")
        with pytest.raises(Broken):
            run(load(job, root), DAYS[2])
    [held] = (root / f"data/runs/mini/{DAYS[2]}").glob("*/held.json")
    later(held)
    code, out, _ = said(root, capsys, "held")
    assert code == 0 and SAYS in out and f"other {DAYS[2]}: held" in out
    why = ["--day", DAYS[2], "--by", "me", "--because", "tests"]
    code, _, err = said(root, capsys, "release", "mini", *why)
    assert code == 1 and SAYS in err
    assert said(root, capsys, "release", "other", *why)[0] == 0


def test_a_publication_of_a_later_format_is_left_for_that_version(root: Path) -> None:
    """It is not called damaged, and nobody is told to remove it; other days go on."""
    run(load("mini", root), DAYS[2])
    [folder] = (root / f"data/runs/mini/{DAYS[2]}").iterdir()
    (folder / "receipt.json").unlink()  # as if it were still to be completed
    later(folder / "outcome.json", "publish")
    with pytest.raises(Broken, match="written by a later nightscore") as caught:
        run(load("mini", root), DAYS[2])
    assert "emove" not in str(caught.value)
    assert run(load("mini", root), NEXT).status == "published"
