"""A workspace that an older version wrote: its tables, proofs and runs are read, kept and completed.

`old_workspace.tar.xz` was written by commit e01cff6, whose packages were `jobs` and `scorers`;
`old_workspace.json` holds what deltalake, pandas and NumPy read and computed of it, and what that version's
commands printed (`tests/data/old_workspace/make.py` made both, run by that commit).
"""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from nightscore import Broken, Receipt, Restate, load, query, run
from nightscore.cli.main import call
from tests.behaviour.world import copy
from tests.support.archives import unpack

pytestmark = pytest.mark.keeps_times
HERE = Path(__file__).parents[1] / "data/old_workspace"
FACTS: dict[str, Any] = json.loads((HERE / "old_workspace.json").read_text())
DAYS: dict[str, str] = FACTS["days"]
RECEIPTS: list[dict[str, Any]] = FACTS["receipts"]
IN_FORCE = {(one["job"], one["day"]): one for one in RECEIPTS}
AT_FIRST = {(one["job"], one["day"]): one for one in reversed(RECEIPTS)}
VERSIONS = range(1, len(RECEIPTS) + 1)  # of the table `receipts`: each receipt is a commit
ORDER = {"mini_rejects": "id", "closing_sums": "chosen"}
TABLES = ("mini_scores", "mini_top", "mini_rejects", "closing_scores", "closing_sums")
EXPECTED = {
    "mini_scores": "SELECT id, a, colour, score FROM mini_scores WHERE day = $1 ORDER BY id",
    "mini_top": "SELECT id, score, rank FROM mini_top WHERE day = $1 ORDER BY id",
    "mini_rejects": "SELECT id, stage || ' ' || reason AS why FROM mini_rejects WHERE day = $1 ORDER BY id",
}


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace as it was, every time of change with it."""
    return unpack(HERE / "old_workspace.tar.xz", tmp_path_factory.mktemp("old")) / "w"


@pytest.fixture
def root(unpacked: Path, tmp_path: Path) -> Path:
    """The same, to be written to."""
    return copy(unpacked, tmp_path / "w")


def lists(found: pa.Table) -> list[list[Any]]:
    """Rows as the facts have them."""
    return [list(row.values()) for row in found.to_pylist()]


def rows_of(root: Path, table: str, day: str, **options: Any) -> tuple[set[str], list[list[Any]]]:
    """The runs that wrote a day of a table, and its rows in the facts' order; through `query`."""
    columns = FACTS["tables"][table]["columns"]
    order = ", ".join(columns)
    asked = f"SELECT {order}, run_id FROM {table} WHERE day = $1 ORDER BY {order}"
    found = query(asked, root, values=[day], **options)
    runs = set(found["run_id"].to_pylist())
    return runs, lists(found.drop_columns(["run_id"]))


def written(table: str, run_id: str) -> list[list[Any]]:
    """What a run wrote to a table, by deltalake then."""
    return FACTS["tables"][table]["rows"][run_id]  # type: ignore[no-any-return]


def as_expected(root: Path, day: str, expected: dict[str, Any] | None = None) -> bool:
    """Whether the tables of mini hold what NumPy computed of the day's input."""
    wanted = FACTS["expected"][day] if expected is None else expected
    return all(lists(query(sql, root, values=[day])) == wanted[table] for table, sql in EXPECTED.items())


def said(root: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    """How a command ends, and the JSON that it prints."""
    capsys.readouterr()
    code = call(["--workspace", str(root), *arguments])
    return code, json.loads(capsys.readouterr().out)


def holds(new: Any, old: Any) -> bool:
    """Whether an answer has all that an older one has; a newer version may have more keys, of no effect."""
    if isinstance(old, dict):
        return isinstance(new, dict) and all(key in new and holds(new[key], old[key]) for key in old)
    if isinstance(old, list):
        return isinstance(new, list) and len(new) == len(old) and all(map(holds, new, old))
    return bool(new == old)


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder but the runs' locks, and what each run tells of itself."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if "attempts" not in path.parts
        if path.is_file() and path.name != "lock"
    }


def plan_of(root: Path, day: str, run_id: str) -> Path:
    """The plan of a run of mini."""
    return root / "data/runs/mini" / day / run_id / "plan.json"


def as_if_never_moved(root: Path, plan: Path) -> None:
    """Give a plan the inodes of its inputs here: on the machine where it stopped they were the same."""
    made = json.loads(plan.read_text())
    for files in made["inputs"].values():
        for file in files:
            _, *rest = file["stat"].split(":")
            file["stat"] = ":".join([str((root / file["path"]).stat().st_ino), *rest])
    plan.write_text(json.dumps(made, sort_keys=True))


def test_every_table_has_the_rows_that_were_published(root: Path) -> None:
    """Row by row, of the run whose receipt is in force; what is held, or half published, is in no table."""
    for (_, day), receipt in IN_FORCE.items():
        for table in receipt["tables"]:
            assert rows_of(root, table, day) == ({receipt["run_id"]}, written(table, receipt["run_id"]))
    assert as_expected(root, DAYS["first"]) and as_expected(root, DAYS["second"])
    for table in TABLES:
        days = query(f"SELECT DISTINCT day::VARCHAR AS day FROM {table}", root)["day"].to_pylist()
        assert set(days) == {day for (_, day), one in IN_FORCE.items() if table in one["tables"]}


@pytest.mark.slow
def test_what_was_known_then_and_first_reported_is_what_it_was(root: Path) -> None:
    """As of each receipt's version, as of its time, and as reported: the rows of the runs of then."""
    for version in VERSIONS:
        known = RECEIPTS[:version]
        for at in (version, RECEIPTS[version - 1]["published_at"]):
            moment = at if isinstance(at, int) else pa.scalar(at).cast(pa.timestamp("us", "UTC")).as_py()
            for one in {(r["job"], r["day"]): r for r in known}.values():
                for table in one["tables"]:
                    found = rows_of(root, table, one["day"], as_of=moment)
                    assert found == ({one["run_id"]}, written(table, one["run_id"]))
    for (_, day), one in AT_FIRST.items():
        for table in one["tables"]:
            found = rows_of(root, table, day, as_reported=True)
            assert found == ({one["run_id"]}, written(table, one["run_id"]))
    first = AT_FIRST["mini", DAYS["first"]]["run_id"]
    wanted = FACTS["first_as_reported"]["mini_scores"]
    assert sorted(map(str, wanted)) == sorted(map(str, written("mini_scores", first)))


@pytest.mark.parametrize("one", FACTS["said"], ids=lambda one: " ".join(one["arguments"])[:70])
@pytest.mark.sample(8)
def test_commands_answer_as_they_did(
    root: Path, one: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """The same JSON of nine commands; a newer version may add keys, but leaves none out."""
    code, answer = said(root, capsys, *one["arguments"])
    assert code == one["code"]
    assert holds(answer, one["answer"])


def test_every_proof_holds(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Verify recomputes hashes, sums and keys from the files, and finds what the receipts say."""
    code, answer = said(root, capsys, "verify", "--json")
    assert code == 0
    assert {(one["job"], one["day"], one["run_id"]) for one in answer} == {
        (*at, one["run_id"]) for at, one in IN_FORCE.items()
    }
    assert all(one["differences"] == [] for one in answer)


@pytest.mark.parametrize("at", IN_FORCE, ids=" ".join)
def test_a_day_whose_causes_are_the_same_is_unchanged(root: Path, at: tuple[str, str]) -> None:
    """The job's hash and the day's fingerprint are what they were, so nothing is scored or written."""
    name, day = at
    job, before = load(name, root), tree(root / "data")
    receipt = run(job, day)
    assert receipt.status == "unchanged"
    assert job.hash == FACTS["jobs"][name] == IN_FORCE[at]["job_hash"]
    assert receipt.fingerprint == IN_FORCE[at]["fingerprint"]
    assert receipt.run_id == IN_FORCE[at]["run_id"]
    assert tree(root / "data") == before


def test_a_forced_run_has_the_same_fingerprint_and_bytes(root: Path) -> None:
    """It reads what was read, is named by the same causes, and gives the same predictions and key hash."""
    day, before = DAYS["second"], IN_FORCE["mini", DAYS["second"]]
    receipt = run(load("mini", root), day, force=True)
    assert receipt.status == "published" and receipt.run_id != before["run_id"]
    assert same_causes(receipt, before)
    for table in before["tables"]:
        assert rows_of(root, table, day) == ({receipt.run_id}, written(table, before["run_id"]))
    assert as_expected(root, day)


def same_causes(receipt: Receipt, before: dict[str, Any]) -> bool:
    """Whether a run read, scored and rejected what an earlier one did, and for the same causes."""
    now = receipt.model_dump(mode="json", by_alias=True)
    parts = ("fingerprint", "job_hash", "key_hash", "rows", "rejects", "params")
    inputs = {file["path"]: file["fingerprint"] for file in now["inputs"]}
    return (
        all(now[part] == before[part] for part in parts)
        and inputs == before["inputs"]
        and now["model"]["sha256"] == before["model_sha256"]
    )


@pytest.mark.slow
def test_what_was_published_before_a_new_run_stays_readable(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A new version of a table comes behind the old ones; each old one has the rows of then."""
    day, newest = DAYS["second"], {name: FACTS["tables"][name]["newest"] for name in TABLES}
    receipt = run(load("mini", root), day, force=True)
    committed = {name: DeltaTable(str(root / "data/tables" / name)).version() for name in receipt.tables}
    # Of mini_scores one commit more lies there, of the run that stopped while it published; and the first
    # publish by this version sets how long an older table keeps deleted files, in a commit before its own.
    assert committed == {name: newest[name] + 2 for name in receipt.tables}
    assert {name: table.version for name, table in receipt.tables.items()} == committed
    for version in VERSIONS:
        for one in {(r["job"], r["day"]): r for r in RECEIPTS[:version]}.values():
            for table in one["tables"]:
                found = rows_of(root, table, one["day"], as_of=version)
                assert found == ({one["run_id"]}, written(table, one["run_id"]))
    for table in receipt.tables:
        facts = FACTS["tables"][table]
        for version in range(newest[table] + 1):
            there = DeltaTable(str(root / "data/tables" / table), version=version).to_pyarrow_table()
            runs = {run_id for some in facts["days"][str(version)].values() for run_id in some}
            assert set(there["run_id"].to_pylist()) == runs
            assert there.num_rows == sum(len(facts["rows"][run_id]) for run_id in runs)
    code, answer = said(root, capsys, "diff", "mini", "--day", day, "--json")
    assert code == 0
    assert all(
        (one["changed"], one["added"], one["removed"]) == (0, 0, 0) for one in answer["tables"].values()
    )
    assert said(root, capsys, "verify", "--json")[0] == 0


@pytest.mark.slow
def test_a_closed_day_stays_closed_and_is_restated_once_more(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By force it is not opened; a restatement is the second, instead of the run that is in force."""
    day, before = DAYS["second"], IN_FORCE["closing", DAYS["second"]]
    job = load("closing", root)
    with pytest.raises(Broken, match="is closed"):
        run(job, day, force=True)
    receipt = run(job, day, force=True, restate=Restate("once more", "Ada"))
    note = receipt.restatement
    assert note and (note.number, note.replaces) == (2, before["run_id"])
    assert all((one.changed, one.added, one.removed) == (0, 0, 0) for one in note.tables.values())
    assert same_causes(receipt, before)
    for table in before["tables"]:
        assert rows_of(root, table, day) == ({receipt.run_id}, written(table, before["run_id"]))
        first = AT_FIRST["closing", day]["run_id"]
        assert rows_of(root, table, day, as_reported=True) == ({first}, written(table, first))
    numbers = query("SELECT DISTINCT number FROM restatements ORDER BY number", root)["number"]
    assert numbers.to_pylist() == [1, 2]
    assert said(root, capsys, "verify", "--json")[0] == 0


def test_a_held_day_is_released_as_it_was_staged(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The run of then is published, with who let it and why; the day is unchanged from then on."""
    day, before = DAYS["held"], FACTS["held"]
    why = ["--day", day, "--by", "Ada", "--because", "half of the stores were closed"]
    code, receipt = said(root, capsys, "release", "mini", *why, "--json")
    assert code == 0
    assert (receipt["status"], receipt["run_id"]) == ("published", before["run_id"])
    assert receipt["fingerprint"] == before["fingerprint"] and receipt["released"]["by"] == "Ada"
    assert as_expected(root, day)
    assert run(load("mini", root), day).status == "unchanged"
    assert said(root, capsys, "held", "--json") == (0, [])
    assert said(root, capsys, "verify", "--json")[0] == 0


def test_a_held_day_is_held_again_by_another_run(root: Path) -> None:
    """The audits say the same of it as they did."""
    with pytest.raises(Broken, match=f"{DAYS['held']} is held"):
        run(load("mini", root), DAYS["held"])
    days = query("SELECT DISTINCT day::VARCHAR AS day FROM receipts", root)["day"].to_pylist()
    assert DAYS["held"] not in days


@pytest.mark.parametrize(
    "moved",
    [
        pytest.param(False, marks=pytest.mark.disk_only(reason="what is fetched has another inode")),
        True,
    ],
    ids=["where it stopped", "elsewhere"],
)
@pytest.mark.sample(1)
def test_a_run_that_stopped_while_it_scored_is_finished(
    root: Path, moved: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Taken up with its staged pieces where all is the same, the packages too; else planned again."""
    day, before = DAYS["stopped"], FACTS["stopped"]
    plan = plan_of(root, day, before["run_id"])
    if not moved:
        as_if_never_moved(root, plan)
    staged = [plan.parent / "scores" / name for name in before["staged"]]
    assert 0 < len(staged) < before["pieces"]
    times = [(path.stat().st_ino, path.stat().st_mtime_ns) for path in staged]
    receipt = run(load("mini", root), day)
    assert receipt.status == "published" and receipt.fingerprint == before["fingerprint"]
    assert [(path.stat().st_ino, path.stat().st_mtime_ns) for path in staged] == times
    assert as_expected(root, day)
    same_packages = dict(receipt.versions) == FACTS["versions"]
    taken_up = receipt.run_id == before["run_id"]
    assert taken_up == (same_packages and not moved)
    assert receipt.tables["mini_scores"].files == (before["pieces"] if taken_up else 1)
    assert run(load("mini", root), day).status == "unchanged"
    assert said(root, capsys, "verify", "--json")[0] == 0


def test_a_run_that_stopped_while_it_published_is_completed(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One of its tables was committed: the others follow, and the receipt, of the run of then."""
    day, before = DAYS["killed"], FACTS["killed"]
    runs = DeltaTable(str(root / "data/tables/mini_scores")).to_pyarrow_table()["run_id"].to_pylist()
    assert before["run_id"] in runs
    assert query("SELECT id FROM mini_scores WHERE day = $1", root, values=[day]).num_rows == 0
    receipt = run(load("mini", root), day)
    assert (receipt.status, receipt.run_id) == ("unchanged", before["run_id"])
    assert receipt.fingerprint == before["fingerprint"]
    assert as_expected(root, day)
    assert said(root, capsys, "verify", "--json")[0] == 0


def test_rejects_are_scored_again_after_a_fix(root: Path) -> None:
    """With a wider domain the rows of then that were set aside for it are published beside the others."""
    day, file = DAYS["second"], root / "jobs/mini/job.yaml"
    text = file.read_text()
    assert "a: {max: 0.9}, " in text
    file.write_text(text.replace("a: {max: 0.9}, ", ""))
    assert call(["--workspace", str(root), "replay-rejects", "mini", "--day", day, "--json"]) == 0
    before = FACTS["expected"][day]
    scores = lists(query(EXPECTED["mini_scores"], root, values=[day]))
    again = [row for row in scores if row[1] > 0.9]
    assert [row for row in scores if row[1] <= 0.9] == before["mini_scores"]
    assert len(again) > 0
    left = lists(query(EXPECTED["mini_rejects"], root, values=[day]))
    assert sorted([*left, *([row[0], "features out_of_domain"] for row in again)]) == before["mini_rejects"]


def test_a_report_is_written_of_an_old_day(root: Path, tmp_path: Path) -> None:
    """With its run and its receipt's numbers in it."""
    out, one = tmp_path / "report.html", IN_FORCE["mini", DAYS["second"]]
    asked = ["report", "mini", "--day", DAYS["second"], "--out", str(out)]
    assert call(["--workspace", str(root), *asked]) == 0
    text = out.read_text()
    assert one["run_id"] in text and one["key_hash"]["out"] in text
