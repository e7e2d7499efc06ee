"""A job or a table with another name: its days, its receipts and whoever reads it follow, and nobody is left.

The truth is pandas over the files of the lake, and deltalake over the tables' folders, which stay where they
are; ours has to say the same under the new name.
"""

import json
import shutil
import signal
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from deltalake import DeltaTable

from nightscore import Broken, NotYet, load, query, run
from nightscore.cli.main import call
from nightscore.common.workspace import open_workspace
from nightscore.lifecycle import Renamed, apply_retention, drop_table, rename_job, rename_table
from nightscore.pipeline.publish.hand_over import hand_over_table
from nightscore.pipeline.publish.hold import Held
from nightscore.review.verify import verify_days
from nightscore.store import collect_garbage, list_deliveries, owners
from nightscore.store.published.catalog import read_catalog
from tests.behaviour import processes
from tests.behaviour.conftest import copied
from tests.behaviour.processes import Fault, armed, night, start
from tests.support.workspace import DAYS, JOB, TOP, linear_model, make_workspace

ROWS = 60
WHO = {"because": "two countries", "by": "Ada"}
CHAIN = """\
job: chain
about: Reads another job
owner: tests
inputs:
  rows: {path: data/lake/rows, partition: day}
  top: {table: mini_top, lookback: 2}
features: features.sql
key: [id]
model: {path: data/models/linear.onnx, outputs: {score: y}}
close: true
"""
FEATURES = "SELECT id, a, b FROM rows SEMI JOIN top USING (id) WHERE rows.day = getvariable('day')"


@pytest.fixture(scope="module")
def two_jobs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("rename") / "w")


@pytest.fixture
def root(request: pytest.FixtureRequest) -> Path:
    """Two published days of `mini`, which decides mini_top, and of `chain`, which reads that and closes."""
    return copied(request, "two_jobs", build)


def build(root: Path) -> Path:
    make_workspace(root, ROWS)
    write(root, "chain", CHAIN, "features.sql", FEATURES)
    for day in DAYS[:2]:
        for job in ("mini", "chain"):
            assert run(load(job, root), day).status == "published"
    return root


def write(root: Path, folder: str, job: str, name: str = "top.sql", sql: str = TOP) -> None:
    (root / "jobs" / folder).mkdir(exist_ok=True)
    (root / "jobs" / folder / "job.yaml").write_text(job)
    (root / "jobs" / folder / name).write_text(sql)


def edit(root: Path, done: Renamed) -> None:
    """What a person does with the lines that are listed, and no others."""
    for one in done.mentions:
        file = root / one.file
        lines = file.read_text().splitlines(keepends=True)
        assert one.old in lines[one.line - 1]
        lines[one.line - 1] = lines[one.line - 1].replace(one.old, one.new)
        file.write_text("".join(lines))


def job(root: Path, old: str, new: str) -> Renamed:
    done = rename_job(open_workspace(root), old, new, **WHO)
    edit(root, done)
    return done


def table(root: Path, old: str, new: str) -> Renamed:
    done = rename_table(open_workspace(root), old, new, **WHO)
    edit(root, done)
    return done


def truth(root: Path, days: tuple[str, ...], weights: tuple[float, float] = (1.0, 2.0)) -> dict[str, float]:
    """Day -> the sum of the scores that a linear model gives, in float64 over float32 scores."""
    sums = {}
    for day in days:
        rows = pd.read_parquet(root / f"data/lake/rows/day={day}").astype("float32")
        sums[day] = float((rows["a"] * weights[0] + rows["b"] * weights[1]).astype("float64").sum())
    return sums


def seen(root: Path, name: str, **options: Any) -> dict[str, float]:
    rows = query(f"SELECT day::VARCHAR AS day, sum(score) AS s FROM {name} GROUP BY day", root, **options)
    return {row["day"]: pytest.approx(row["s"]) for row in rows.to_pylist()}


def plain(root: Path, folder: str) -> dict[str, float]:
    """The same by deltalake, of the folder in which the table was made."""
    rows = DeltaTable(str(root / "data/tables" / folder)).to_pandas().astype({"score": "float64"})
    sums = rows.groupby(rows["day"].astype(str))["score"].sum()
    return {str(day): pytest.approx(value) for day, value in sums.items()}


def holds(root: Path) -> bool:
    return not any(one.differences for one in verify_days(open_workspace(root)))


def test_what_is_published_follows_and_stays_what_it_is(root: Path) -> None:
    """Unchanged stays unchanged, a closed day that reads it stays closed, and a new day goes on."""
    job(root, "mini", "retail")
    assert (root / "jobs/mini/job.yaml").read_text().startswith("job: retail\n")
    assert [run(load(name, root), DAYS[0]).status for name in ("retail", "chain")] == ["unchanged"] * 2
    assert run(load("retail", root), DAYS[2]).status == "published"
    assert seen(root, "retail_scores") == plain(root, "mini_scores") == truth(root, DAYS)
    assert not (root / "data/tables/retail_scores").exists()
    assert seen(root, "retail_scores", as_of=1) == truth(root, DAYS[:1])
    state = read_catalog(open_workspace(root))
    assert {entry.job for entry in state.history} == {"retail", "chain"}
    assert {entry.read_receipt().job for entry in state.history} == {"retail", "chain"}
    assert state.tables() == ["chain_scores", "mini_top", "retail_scores"]
    assert holds(root)
    collect_garbage(open_workspace(root), 0.0)
    assert seen(root, "retail_scores") == truth(root, DAYS) and holds(root)


def test_a_table_follows_with_the_jobs_that_read_it(root: Path) -> None:
    """Also where the job's own audits name it, as SQL."""
    before = plain(root, "mini_top")
    done = table(root, "mini_top", "best")
    assert [(one.file, one.line) for one in done.mentions] == [
        ("jobs/chain/job.yaml", 6), ("jobs/mini/job.yaml", 13), ("jobs/mini/job.yaml", 18),
    ]  # fmt: skip
    assert [run(load(name, root), DAYS[0]).status for name in ("mini", "chain")] == ["unchanged"] * 2
    assert seen(root, "best") == plain(root, "mini_top") == before
    for name in ("mini", "chain"):
        assert run(load(name, root), DAYS[2]).status == "published"
    assert seen(root, "best") == plain(root, "mini_top") and len(seen(root, "best")) == 3
    assert holds(root)


def test_back_again_the_newest_run_is_what_all_see(root: Path) -> None:
    """Of a job that was renamed and back, by whoever reads; and nothing of the time between is lost."""
    weights = ((1.0, 2.0), (4.0, 1.0), (8.0, 1.0))
    for number, (old, new) in enumerate((("mini", "retail"), ("retail", "mini")), 1):
        job(root, old, new)
        linear_model(root / "data/models/linear.onnx", weights[number])
        assert run(load(new, root), DAYS[0]).status == "published"
        assert run(load(new, root), DAYS[0]).status == "unchanged"
        found = truth(root, DAYS[:1], weights[number]) | truth(root, DAYS[1:2])
        assert seen(root, f"{new}_scores") == plain(root, "mini_scores") == found
    assert seen(root, "mini_scores", as_reported=True) == truth(root, DAYS[:2])
    history = read_catalog(open_workspace(root)).day_history("mini", [], DAYS[0])
    assert [entry.job for entry in history] == ["mini"] * 3 and holds(root)


def test_until_it_is_edited_whatever_says_the_old_name_is_refused_by_its_line(root: Path) -> None:
    """And nothing begins anew under it, by whatever job."""
    write(root, "chain", CHAIN.replace("mini_top", "mini_scores"), "features.sql", FEATURES)
    rename_job(open_workspace(root), "mini", "retail", **WHO)
    says = "mini was renamed to retail by Ada at .* UTC: two countries; write retail"
    with pytest.raises(Broken, match=rf"jobs/mini/job.yaml:1: job: job {says}"):
        run(load("mini", root), DAYS[0])
    with pytest.raises(
        Broken, match=r"jobs/chain/job.yaml:6: inputs.top.table: job mini .* write retail_scores"
    ):
        run(load("chain", root), DAYS[0])
    again = rename_job(open_workspace(root), "mini", "retail", **WHO)
    assert {one.file for one in again.mentions} == {"jobs/mini/job.yaml", "jobs/chain/job.yaml"}
    edit(root, again)
    assert run(load("retail", root), DAYS[0]).status == "unchanged"
    assert not rename_job(open_workspace(root), "mini", "retail", **WHO).mentions
    with pytest.raises(Broken, match=r"job mini was renamed to retail.*read table retail_scores"):
        query("SELECT * FROM mini_scores", root)
    write(root, "new", JOB.replace("mini_top", "other_top"))
    with pytest.raises(Broken, match=r"jobs/new/job.yaml:1: job: job mini was renamed"):
        run(load("mini", root), DAYS[2])
    write(root, "new", JOB.replace("job: mini", "job: other").replace("mini_top", "mini_scores"))
    with pytest.raises(Broken, match=r"jobs/new/job.yaml:13: decide.mini_scores: job mini was renamed"):
        run(load("other", root), DAYS[2])
    assert seen(root, "retail_scores") == truth(root, DAYS[:2])


TAKEN = [
    (rename_job, "mini", "chain", "job chain has published 2 days of its own"),
    (rename_job, "mini", "draft", r"jobs/draft/job.yaml: draft is the name of another job"),
    (rename_job, "minni", "retail", "job minni has published nothing.*: chain, mini"),
    (rename_job, "mini", "Re tail", "is no other name for a job"),
    (rename_job, "mini", "mini", "is no other name for a job"),
    (rename_table, "mini_scores", "best", "named after its job mini"),
    (rename_table, "mini_tops", "best", "is published by no job; there are: chain_scores, mini_scores"),
    (rename_table, "mini_top", "chain_scores", "table chain_scores is named after job chain"),
    (rename_table, "mini_top", "draft_top", r"jobs/draft/job.yaml:13: decide.draft_top: names table"),
    (rename_table, "mini_top", "receipts", "is no other name for a table"),
    (rename_table, "mini_top", "erasures", "is no other name for a table.*none of erasures, params"),
    (rename_table, "mini_top", "Mini_Top", "allowed: a small letter"),
    (rename_table, "mini_top", "mini_rejects", "table mini_rejects is named after job mini"),
    (rename_table, "mini_top", "draft_bad_lines", "table draft_bad_lines is named after job draft"),
]


def test_a_name_that_is_taken_or_none_is_refused(root: Path) -> None:
    """With nothing written."""
    write(root, "draft", JOB.replace("job: mini", "job: draft").replace("mini_top", "draft_top"))
    for act, old, new, says in TAKEN:
        with pytest.raises(Broken, match=says):
            act(open_workspace(root), old, new, **WHO)
    assert not [*(root / "data/renames").glob("*.json")]


def test_a_job_at_work_or_with_a_held_day_keeps_its_name(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until that has ended: a run that was frozen publishes under the name that it had."""
    monkeypatch.setattr(owners, "PATIENCE", 0.2)
    frozen = start(root, DAYS[2], Fault("link", signal=signal.SIGSTOP))
    assert frozen.frozen()
    with pytest.raises(NotYet, match=r"job mini: run .* is at work"):
        rename_job(open_workspace(root), "mini", "retail", **WHO)
    frozen.thaw()
    assert frozen.wait().status == "published"
    write(root, "mini", JOB + "  - {name: never, sql: SELECT false}\n")
    with pytest.raises(Held):
        run(load("mini", root), DAYS[2], force=True)
    with pytest.raises(Broken, match=f"job mini: {DAYS[2]} is held; release or discard it first"):
        rename_table(open_workspace(root), "mini_top", "best", **WHO)
    assert seen(root, "mini_scores") == truth(root, DAYS)


@pytest.mark.disk_only(reason="the lock of a killed process counts for a lease in a bucket; test_machines.py")
@pytest.mark.slow
def test_a_night_that_was_killed_between_its_commits_is_completed_first(root: Path) -> None:
    """And one that had committed nothing publishes nothing under the old name; the next run does."""
    linear_model(root / "data/models/linear.onnx", (4.0, 1.0))
    assert night(root, DAYS[1], Fault("publication")).killed
    assert night(root, DAYS[0], Fault("commit mini_scores")).killed
    job(root, "mini", "retail")
    now = truth(root, DAYS[:1], (4.0, 1.0)) | truth(root, DAYS[1:2])
    assert seen(root, "retail_scores") == plain(root, "mini_scores") == now
    assert run(load("retail", root), DAYS[0]).status == "unchanged"
    assert run(load("retail", root), DAYS[1]).status == "published"
    assert seen(root, "retail_scores") == plain(root, "mini_scores") == truth(root, DAYS[:2], (4.0, 1.0))
    assert holds(root)


def renames(answers: Connection, root: Path, fault: Fault) -> None:
    """A process that renames, and is killed."""
    armed(fault)
    rename_job(open_workspace(root), "mini", "retail", **WHO)
    answers.send({})


@pytest.mark.disk_only(reason="the lock of a killed process counts for a lease in a bucket; test_machines.py")
@pytest.mark.parametrize("after", [False, True])
def test_a_rename_that_is_killed_is_there_or_not(root: Path, after: bool) -> None:
    """By one record: all that a reader sees is of one name, and the next one makes it, or finds it made."""
    fault = Fault("nightscore.store.records.renames.record_rename", after=after)
    assert processes.spawn(renames, root, fault).wait().killed
    called = "retail" if after else "mini"
    assert {e.job for e in read_catalog(open_workspace(root)).history} == {called, "chain"}
    assert seen(root, f"{called}_scores") == truth(root, DAYS[:2])
    job(root, "mini", "retail")
    assert run(load("retail", root), DAYS[0]).status == "unchanged" and holds(root)
    assert len([*(root / "data/renames").glob("*.json")]) == 1


@pytest.mark.disk_only(reason="two checkouts over one data folder")
def test_a_run_of_another_checkout_finds_what_was_renamed(root: Path, tmp_path: Path) -> None:
    """Under the old name, by its line; under the new one too early, as a job that has seen nothing of it."""
    other = tmp_path / "other"
    shutil.copytree(root / "jobs", other / "jobs")
    (other / "data").symlink_to(root / "data")
    early = other / "jobs/mini/job.yaml"
    early.write_text(JOB.replace("job: mini", "job: retail").replace("mini_top", "retail_top"))
    frozen = start(other, DAYS[2], Fault("link", signal=signal.SIGSTOP), job="retail")
    assert frozen.frozen()
    job(root, "mini", "retail")
    frozen.thaw()
    end = frozen.wait()
    assert end.error == "Broken" and "table retail_scores has changed hands or name" in end.message, end
    early.write_text(JOB)
    with pytest.raises(Broken, match=r"jobs/mini/job.yaml:1: job: job mini was renamed to retail"):
        run(load("mini", other), DAYS[2])
    assert run(load("retail", root), DAYS[2]).status == "published"
    assert seen(root, "retail_scores") == plain(root, "mini_scores") == truth(root, DAYS)
    assert holds(root)


def test_what_was_removed_before_and_after_stays_removed(root: Path) -> None:
    """By retention of the job under its new name, by a person, and for every reader."""
    table(root, "mini_top", "best")
    text = (root / "jobs/mini/job.yaml").read_text() + "retain: {days: 90 days, tables: {best: 1 days}}\n"
    (root / "jobs/mini/job.yaml").write_text(text.replace("days: 90 days, ", ""))
    shutil.rmtree(root / "jobs/chain")
    due = apply_retention(open_workspace(root), [load("mini", root)])
    assert {(one.table_name, one.removed_day) for one in due} == {("best", day) for day in DAYS[:2]}
    done = table(root, "best", "top_again")
    assert [one.days for one in done.tables] == [0]
    assert len(DeltaTable(str(root / "data/tables/mini_top")).to_pandas()) == 0
    assert run(load("mini", root), DAYS[2]).status == "published"
    assert [*seen(root, "top_again")] == [*plain(root, "mini_top")] == [DAYS[2]]
    assert holds(root) and collect_garbage(open_workspace(root), -0.001)
    assert [*seen(root, "top_again")] == [DAYS[2]] and holds(root)
    text = (root / "jobs/mini/job.yaml").read_text()
    start_, end = text.index("decide:"), text.index("params:")
    (root / "jobs/mini/job.yaml").write_text(text[:start_] + text[end : text.index("audit:")])
    drop_table(open_workspace(root), "top_again", **WHO)
    collect_garbage(open_workspace(root), -0.001)
    assert not [*(root / "data/tables/mini_top").rglob("*.parquet")]
    assert seen(root, "mini_scores") == truth(root, DAYS) and holds(root)


def test_a_delivery_knows_its_job_again(root: Path) -> None:
    """What was sent under the old name is not sent again, and is listed under the new one."""
    (root / "drop").mkdir()
    settings = root / "workspace.yaml"
    known = yaml.safe_load(settings.read_text()) if settings.exists() else {"roots": {}}
    known["roots"]["drop"] = {"at": "drop", "write": True}
    settings.write_text(yaml.safe_dump(known))
    files = "{root: drop, path: 'x/{day}.csv', format: csv}"
    write(root, "mini", f"{JOB}deliver:\n  - {{name: mail, from: mini_scores, files: {files}}}\n")
    run(load("mini", root), DAYS[0])
    before = (root / f"drop/x/{DAYS[0]}.csv").read_text()
    job(root, "mini", "retail")
    assert run(load("retail", root), DAYS[0]).status == "unchanged"
    [record] = list_deliveries(open_workspace(root), "retail")
    assert (record.job, record.table, record.number) == ("retail", "retail_scores", 0)
    assert (root / f"drop/x/{DAYS[0]}.csv").read_text() == before


def test_a_table_that_was_handed_over_is_its_jobs_by_whatever_name(root: Path) -> None:
    """And a job that was handed one under its old name has it under the new one."""
    write(root, "chain", CHAIN + "decide: {mini_top: top.sql}\n", "features.sql", FEATURES)
    (root / "jobs/chain/top.sql").write_text(TOP.replace("getvariable('n')", "10"))
    hand_over_table(open_workspace(root), "mini_top", source="mini", target="chain", **WHO)
    job(root, "chain", "links")
    owner = owners.read_owner(open_workspace(root), "mini_top")
    assert owner and owner.to == "links"
    with pytest.raises(Broken, match="table mini_top belongs to job links"):
        run(load("mini", root), DAYS[2])


def test_a_person_is_told_what_follows(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A dry run says it and writes nothing; lists know the old name still."""
    said = ["rename-job", "mini", "retail", "--by", "Ada", "--workspace", str(root)]
    assert call([*said, "--because", "x", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "mini_scores -> retail_scores: 2 days, in data/tables/mini_scores as before" in out
    assert "to be edited: jobs/mini/job.yaml:1: mini -> retail" in out
    assert not [*(root / "data/renames").glob("*.json")]
    assert call([*said, "--because", " "]) == 1
    capsys.readouterr()
    assert call([*said, "--because", "x", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["tables"][0]["days"] == 2 and len(document["edit"]) == 1
    assert call(["jobs", "--workspace", str(root)]) == 1
    assert "jobs/mini/job.yaml:1: job: job mini was renamed to retail" in capsys.readouterr().err
    edit(root, rename_job(open_workspace(root), "mini", "retail", **WHO))
    assert call(["jobs", "--workspace", str(root)]) == 0
    [line] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("retail")]
    assert DAYS[1] in line
    assert call(["receipts", "mini", "--workspace", str(root)]) == 0
    out = capsys.readouterr().out
    assert "job mini was renamed to retail by Ada" in out and out.count("retail  ") == 2
    assert call(["tables", "--workspace", str(root)]) == 0
    assert "retail_scores lies in data/tables/mini_scores" in capsys.readouterr().out
