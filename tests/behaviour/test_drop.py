"""A table that a person removes is gone for every reader, and from the disk; nothing goes that is used."""

import json
import shutil
from pathlib import Path

import pytest
from deltalake import DeltaTable

from nightscore import Broken, load, query, run
from nightscore.cli.main import call
from nightscore.job import load_all
from nightscore.lifecycle import drop_job, drop_table
from nightscore.pipeline.publish.hold import Held
from nightscore.store import collect_garbage
from tests.behaviour.world import copy
from tests.support.workspace import DAYS, JOB, TOP, make_workspace

AT_ONCE = -0.001  # hours: a bucket's times are whole seconds, and the last one counts, too
WHY = {"because": "no one uses it", "by": "ada"}
OTHER = JOB.replace("job: mini", "job: other").replace("mini_top", "other_top")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two jobs with two published days."""
    root = make_workspace(tmp_path_factory.mktemp("drop") / "w", 50, days=DAYS[:2])
    add(root, OTHER)
    for name in ("mini", "other"):
        for day in DAYS[:2]:
            run(load(name, root), day)
    return root


@pytest.fixture
def root(template: Path, tmp_path: Path) -> Path:
    return copy(template, tmp_path / "w")


def add(root: Path, job: str, name: str = "other") -> None:
    (root / "jobs" / name).mkdir(exist_ok=True)
    (root / "jobs" / name / "job.yaml").write_text(job)
    (root / "jobs" / name / "top.sql").write_text(TOP)


def without_top(root: Path) -> None:
    text = (root / "jobs/mini/job.yaml").read_text()
    start, end = text.index("decide:"), text.index("params:")
    (root / "jobs/mini/job.yaml").write_text(text[:start] + text[end : text.index("audit:")])


def tables(root: Path) -> list[str]:
    assert call(["tables", "--workspace", str(root)]) == 0
    return [line.split()[0] for line in _out().splitlines() if line.strip()]


def files(root: Path, table: str) -> list[Path]:
    """Data, log and owners of a table."""
    return [p for p in (root / "data/tables" / table).rglob("*") if p.suffix in (".parquet", ".json")]


def _out() -> str:
    return CAPTURED[-1].readouterr().out


CAPTURED: list[pytest.CaptureFixture[str]] = []


@pytest.fixture(autouse=True)
def _captured(capsys: pytest.CaptureFixture[str]) -> None:
    CAPTURED[:] = [capsys]


def test_a_table_goes_for_everybody_and_then_from_the_disk(root: Path) -> None:
    """And nothing else of the workspace."""
    receipts = query("SELECT * FROM receipts ORDER BY run_id", root)
    without_top(root)
    removed = drop_table(load("mini", root).workspace, "mini_top", **WHY)
    assert [(one.table_name, one.removed_day) for one in removed] == [("mini_top", day) for day in DAYS[:2]]
    assert "mini_top" not in tables(root)
    with pytest.raises(Broken, match="mini_top"):
        query("SELECT * FROM mini_top", root)
    assert DeltaTable(root / "data/tables/mini_top").to_pyarrow_table().num_rows == 0
    assert files(root, "mini_top"), "a reader may have its files open"
    collect_garbage(load("mini", root).workspace, grace_hours=AT_ONCE)
    assert not files(root, "mini_top")
    assert query("SELECT * FROM receipts ORDER BY run_id", root).equals(receipts)
    assert query("SELECT count(*) AS n FROM mini_scores", root)["n"].to_pylist() == [100]
    assert query("SELECT count(*) AS n FROM other_top", root)["n"].to_pylist() == [20]
    told = query("SELECT DISTINCT kind, because, removed_by FROM removals", root).to_pylist()
    assert told == [{"kind": "dropped", "because": "no one uses it", "removed_by": "ada"}]
    assert call(["verify", "--workspace", str(root)]) == 0


def test_another_job_may_publish_a_table_of_that_name(root: Path) -> None:
    """Once the files are gone: the new job's days are its own, and the old ones don't come back."""
    without_top(root)
    drop_table(load("mini", root).workspace, "mini_top", **WHY)
    collect_garbage(load("mini", root).workspace, grace_hours=AT_ONCE)
    add(root, JOB.replace("job: mini", "job: third"), "third")
    run(load("third", root), DAYS[1])
    found = query("SELECT DISTINCT day::VARCHAR AS day, run_id FROM mini_top", root).to_pylist()
    [entry] = query("SELECT run_id FROM receipts WHERE job = 'third'", root)["run_id"].to_pylist()
    assert found == [{"day": DAYS[1], "run_id": entry}]
    collect_garbage(load("mini", root).workspace, grace_hours=AT_ONCE)
    assert query("SELECT count(*) AS n FROM mini_top", root)["n"].to_pylist() == [10]


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("mini_top", r"jobs/mini/job\.yaml:\d+: decide\.mini_top: table mini_top is published by this job"),
        ("mini_scores", r"jobs/mini/job\.yaml:\d+: job: table mini_scores is published by this job"),
        ("mini_tops", r"table mini_tops is not published; there are: mini_scores, mini_top, other_scores"),
    ],
)
def test_what_is_published_or_not_there_is_refused(root: Path, table: str, says: str) -> None:
    """With the line that publishes it."""
    with pytest.raises(Broken, match=says):
        drop_table(load("mini", root).workspace, table, **WHY)
    assert query("SELECT count(*) AS n FROM mini_top", root)["n"].to_pylist() == [20]


def test_what_is_read_is_refused(root: Path) -> None:
    """By its reader's line; and while a job can't be read that might."""
    without_top(root)
    reader = OTHER.replace("partition: day}", "partition: day}\n  past: {table: mini_top, lookback: 2}")
    add(root, reader.replace("features: rows", "features: f.sql"))
    (root / "jobs/other/f.sql").write_text("SELECT id, a, b FROM rows")
    with pytest.raises(Broken, match=r"jobs/other/job\.yaml:\d+: inputs\.past: reads table mini_top"):
        drop_table(load("mini", root).workspace, "mini_top", **WHY)
    (root / "jobs/other/job.yaml").write_text("job: [")
    with pytest.raises(Broken, match="a job can't be read, and may read what is to be removed"):
        drop_table(load("mini", root).workspace, "mini_top", **WHY)


def test_a_job_goes_with_its_tables_and_runs(root: Path) -> None:
    """Once its folder is gone."""
    workspace = load("mini", root).workspace
    with pytest.raises(Broken, match=r"jobs/other/job\.yaml: job other is still there"):
        drop_job(workspace, "other", **WHY)
    shutil.rmtree(root / "jobs/other")
    assert len(drop_job(workspace, "other", **WHY, dry_run=True)) == 4
    assert query("SELECT count(*) AS n FROM other_top", root)["n"].to_pylist() == [20]
    drop_job(workspace, "other", **WHY)
    collect_garbage(workspace, grace_hours=AT_ONCE)
    left = {path.name for path in (root / "data/tables").iterdir() if files(root, path.name)}
    assert left == {"mini_scores", "mini_top", "receipts", "removals"}
    assert not [*(root / "data/runs/other").rglob("*.json")]
    assert not load_all(root)[1]
    with pytest.raises(Broken, match="job other has no table; jobs that have: mini"):
        drop_job(workspace, "other", **WHY)


def test_a_job_with_a_held_day_is_not_dropped(root: Path) -> None:
    """A person has to decide about it first."""
    add(root, OTHER + "  - {name: never, sql: SELECT false}\n")
    with pytest.raises(Held):
        run(load("other", root), DAYS[0], force=True)
    shutil.rmtree(root / "jobs/other")
    with pytest.raises(Broken, match=f"job other: {DAYS[0]} is held; release or discard it first"):
        drop_job(load("mini", root).workspace, "other", **WHY)


def test_the_commands_say_what_goes(root: Path) -> None:
    """A dry run removes nothing; who and why have to be said."""
    without_top(root)
    said = ["drop-table", "mini_top", "--by", "ada", "--because", "unused", "--workspace", str(root)]
    assert call([*said, "--dry-run"]) == 0
    assert "2 days of tables would be removed" in _out()
    assert query("SELECT count(*) AS n FROM mini_top", root)["n"].to_pylist() == [20]
    assert call([*said, "--json"]) == 0
    assert [one["removed_day"] for one in json.loads(_out())] == list(DAYS[:2])
    assert call(["drop-table", "mini_top", "--by", "ada", "--because", " ", "--workspace", str(root)]) == 1
