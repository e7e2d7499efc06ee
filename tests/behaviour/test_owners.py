"""A table belongs to one job: what a renamed job, a hand-over and two claims at once do to days and readers.

The truth is pandas over the files of the lake, and deltalake over the tables; ours has to say the same.
"""

import json
import shutil
import signal
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from deltalake import DeltaTable

from nightscore import Restate, load, query, run
from nightscore.cli.main import call
from nightscore.common.errors import Broken, NotYet
from nightscore.common.units import as_day
from nightscore.common.workspace import open_workspace
from nightscore.pipeline.publish.closing import Closed
from nightscore.pipeline.publish.comparison import compare_runs
from nightscore.pipeline.publish.hand_over import hand_over_table
from nightscore.pipeline.publish.hold import Held, read_held_days, release_day
from nightscore.review.late_data import find_late_days
from nightscore.review.verify import verify_days
from nightscore.store import owners
from nightscore.store.published.catalog import read_catalog
from nightscore.store.published.gc import collect_garbage
from tests.behaviour import processes
from tests.behaviour.processes import Fault, night, start
from tests.behaviour.world import DAY
from tests.support.workspace import linear_model, write_day

BLUE = """\
job: blue
about: Prices of a day
owner: tests
inputs:
  rows: {path: data/lake/rows, partition: day}
features: rows
key: [id]
model: {path: data/models/linear.onnx, outputs: {score: y}}
decide:
  prices: prices.sql
"""
OTHER_DAY = "2020-01-03"
ROWS = 40
WHO = {"by": "Ann", "because": "renamed"}
WEIGHTS = ((1.0, 2.0), (4.0, 1.0), (8.0, 1.0))


def make(root: Path, job: str = BLUE, sql: str = "SELECT id, score FROM scores") -> Path:
    """A workspace with the job `blue`, which decides the table `prices`."""
    write_job(root, "blue", job, sql)
    linear_model(root / "data/models/linear.onnx", WEIGHTS[0])
    for day in (DAY, OTHER_DAY):
        write_day(root, day, ROWS)
    return root


def write_job(root: Path, folder: str, job: str, sql: str = "SELECT id, score FROM scores") -> None:
    """A job folder."""
    (root / "jobs" / folder).mkdir(parents=True, exist_ok=True)
    (root / "jobs" / folder / "job.yaml").write_text(job)
    (root / "jobs" / folder / "prices.sql").write_text(sql)


def rename(root: Path, old: str, new: str) -> None:
    """Another name for the job in the same folder; the table `prices` stays."""
    file = root / "jobs/blue/job.yaml"
    file.write_text(file.read_text().replace(f"job: {old}\n", f"job: {new}\n"))


def weigh(root: Path, weights: tuple[float, float]) -> None:
    """Another model: powers of two, so that every float32 sum is exact."""
    linear_model(root / "data/models/linear.onnx", weights)


def truth(root: Path, weights: tuple[float, float], day: str = DAY) -> list[tuple[int, float]]:
    """(id, score) of a day, by pandas from the lake."""
    rows = pd.read_parquet(root / f"data/lake/rows/day={day}").sort_values("id")
    score = rows["a"] * np.float32(weights[0]) + rows["b"] * np.float32(weights[1])
    return list(zip(rows["id"].tolist(), score.tolist(), strict=True))


def seen(root: Path, table: str = "prices", day: str = DAY, **options: Any) -> list[tuple[int, float]]:
    """(id, score) of a day as our reader has it."""
    found = query(f"SELECT id, score FROM {table} WHERE day = $1 ORDER BY id", root, values=[day], **options)
    return [tuple(row.values()) for row in found.to_pylist()]


def plain(root: Path, table: str = "prices", day: str = DAY) -> list[tuple[int, float]]:
    """The same by deltalake, which knows nothing of receipts."""
    rows = DeltaTable(str(root / "data/tables" / table)).to_pandas()
    rows = rows[rows["day"].astype(str) == day].sort_values("id")
    return list(zip(rows["id"].tolist(), rows["score"].tolist(), strict=True))


def hand_over(root: Path, source: str, target: str, table: str = "prices") -> owners.HandOver:
    return hand_over_table(open_workspace(root), table, source=source, target=target, **WHO)


def holds(root: Path) -> bool:
    return all(not one.differences for one in verify_days(open_workspace(root)))


@pytest.mark.slow
def test_a_job_renamed_and_back_is_refused_until_it_has_the_table(tmp_path: Path) -> None:
    """Without a hand-over nothing is published; with one, the newest run's rows are what all see."""
    root = make(tmp_path)
    run(load("blue", root), DAY)
    rename(root, "blue", "green")
    weigh(root, WEIGHTS[1])
    with pytest.raises(Broken, match=r"job.yaml:\d+: decide.prices: table prices belongs to job blue"):
        run(load("green", root), DAY)
    assert seen(root) == plain(root) == truth(root, WEIGHTS[0])
    assert not (root / "data/tables/green_scores").exists()
    hand_over(root, "blue", "green")
    assert seen(root) == plain(root) == truth(root, WEIGHTS[0])
    run(load("green", root), DAY)
    assert seen(root) == plain(root) == seen(root, "green_scores") == truth(root, WEIGHTS[1])
    rename(root, "green", "blue")
    with pytest.raises(Broken, match=r"belongs to job green .handed over from blue to green by Ann"):
        run(load("blue", root), DAY)
    hand_over(root, "green", "blue")
    weigh(root, WEIGHTS[0])  # the causes of blue's first run, whose table is another's now
    assert run(load("blue", root), DAY).status == "published"
    assert seen(root) == plain(root) == truth(root, WEIGHTS[0])
    assert run(load("blue", root), DAY).status == "unchanged"
    assert seen(root, as_reported=True) == truth(root, WEIGHTS[0])
    states = [seen(root, as_of=version) for version in (1, 2, 3)]
    assert states == [truth(root, WEIGHTS[i]) for i in (0, 1, 0)]
    assert holds(root)


@pytest.mark.slow
def test_a_workspace_in_which_a_job_was_renamed_without_a_hand_over_shows_the_newest_rows(
    tmp_path: Path,
) -> None:
    """As a version before left it: receipts of blue, green and blue for one day of one table, no records."""
    root = make(tmp_path)
    for i, (old, new) in enumerate((("blue", "blue"), ("blue", "green"), ("green", "blue"))):
        rename(root, old, new)
        weigh(root, WEIGHTS[i])
        if i:
            hand_over(root, old, new)
        run(load(new, root), DAY, force=True)
    for folder in (root / "data/tables").glob("*/_owners"):
        shutil.rmtree(folder)
    assert seen(root) == plain(root) == truth(root, WEIGHTS[2])
    assert seen(root, as_reported=True) == truth(root, WEIGHTS[0])
    rename(root, "blue", "green")
    with pytest.raises(Broken, match="belongs to job blue"):
        run(load("green", root), DAY)
    rename(root, "green", "blue")
    assert run(load("blue", root), DAY).status == "unchanged"
    assert run(load("blue", root), OTHER_DAY).status == "published"


@pytest.mark.slow
def test_a_closed_day_stays_closed_for_whoever_has_the_table(tmp_path: Path) -> None:
    """Neither a rename nor a hand-over opens it; a restatement is compared with what was reported."""
    root = make(tmp_path, BLUE + "close: true\n")
    run(load("blue", root), DAY)
    rename(root, "blue", "green")
    weigh(root, WEIGHTS[1])
    hand_over(root, "blue", "green")
    for again in (1, 2):
        with pytest.raises(Closed, match=rf"{DAY} is closed: run .* of job blue"):
            run(load("green", root), DAY, force=again == 2)
    assert seen(root) == plain(root) == truth(root, WEIGHTS[0])
    file = root / "jobs/blue/job.yaml"
    file.write_text(file.read_text().replace("close: true\n", ""))
    with pytest.raises(Closed):  # nor does a job that closes no day
        run(load("green", root), DAY)
    receipt = run(load("green", root), DAY, restate=Restate("a better model", "Ada"))
    assert seen(root) == plain(root) == truth(root, WEIGHTS[1])
    assert seen(root, as_reported=True) == truth(root, WEIGHTS[0])
    before, after = (dict(truth(root, WEIGHTS[i])) for i in (0, 1))
    changed = sum(before[key] != after[key] for key in before)
    note = receipt.restatement
    assert note and note.number == 1
    counts = {t: (c.rows_before, c.changed, c.added, c.removed) for t, c in note.tables.items()}
    assert counts == {"prices": (ROWS, changed, 0, 0), "green_scores": (0, 0, ROWS, 0)}
    with pytest.raises(Closed):  # what was closed once is
        run(load("green", root), DAY, force=True)
    weigh(root, WEIGHTS[2])
    rename(root, "green", "blue")
    hand_over(root, "green", "blue")
    with pytest.raises(Closed):
        run(load("blue", root), DAY)
    again = run(load("blue", root), DAY, restate=Restate("once more", "Ada"))
    assert again.restatement and (again.restatement.number, again.restatement.replaces) == (2, receipt.run_id)
    assert again.restatement.tables["prices"].changed == ROWS - sum(
        dict(truth(root, WEIGHTS[2]))[key] == value for key, value in after.items()
    )
    assert seen(root) == plain(root) == truth(root, WEIGHTS[2])
    assert seen(root, as_reported=True) == truth(root, WEIGHTS[0])
    assert holds(root)


@pytest.mark.slow
def test_diff_late_and_verify_go_by_the_table(tmp_path: Path) -> None:
    """Two jobs' runs of one day: compared by the table of both, late for its owner, verified as is."""
    root = make(tmp_path)
    first = run(load("blue", root), DAY)
    run(load("blue", root), OTHER_DAY)
    rename(root, "blue", "green")
    hand_over(root, "blue", "green")
    weigh(root, WEIGHTS[1])
    second = run(load("green", root), DAY)
    difference = compare_runs(open_workspace(root), "green", as_day(DAY))
    assert (difference.before, difference.after) == (first.run_id, second.run_id)
    before, after = (dict(truth(root, WEIGHTS[i])) for i in (0, 1))
    assert list(difference.tables) == ["prices"]
    assert difference.tables["prices"].changed == sum(before[key] != after[key] for key in before)
    write_day(root, OTHER_DAY, ROWS + 3)  # published by blue, and green's to restate
    [late] = find_late_days(load("green", root), as_day(DAY))
    assert late.day == OTHER_DAY and late.tables and late.tables["prices"].added == 3
    held = {(one.job, one.day, one.files) for one in verify_days(open_workspace(root))}
    assert held == {("blue", DAY, 1), ("blue", OTHER_DAY, 2), ("green", DAY, 2)}


@pytest.mark.slow
def test_a_table_that_one_job_drops_and_another_takes_up(tmp_path: Path) -> None:
    """Refused until it is handed over; its day ends with the next run that does not publish it."""
    root = make(tmp_path)
    run(load("blue", root), DAY)
    run(load("blue", root), OTHER_DAY)
    write_job(root, "blue", BLUE.replace("decide:\n  prices: prices.sql\n", ""))
    write_job(root, "green", BLUE.replace("job: blue", "job: green"))
    weigh(root, WEIGHTS[1])
    receipt = run(load("blue", root), DAY)
    assert (receipt.tables["prices"].rows, receipt.tables["prices"].files) == (0, 0)
    assert seen(root) == plain(root) == []
    assert seen(root, day=OTHER_DAY) == plain(root, day=OTHER_DAY) == truth(root, WEIGHTS[0], OTHER_DAY)
    assert seen(root, as_reported=True) == truth(root, WEIGHTS[0])
    assert seen(root, "blue_scores") == truth(root, WEIGHTS[1])
    assert run(load("blue", root), DAY).status == "unchanged" and holds(root)
    with pytest.raises(Broken, match="belongs to job blue"):
        run(load("green", root), DAY)
    hand_over(root, "blue", "green")
    run(load("green", root), DAY)
    run(load("blue", root), DAY, force=True)  # it has nothing to do with the table any more
    assert seen(root) == plain(root) == truth(root, WEIGHTS[1])
    assert holds(root)


def test_a_renamed_job_whose_tables_have_other_names_begins_anew(tmp_path: Path) -> None:
    """No table is claimed twice: the old job's days stay readable and closed, the new one's are its own."""
    root = make(tmp_path, BLUE.replace("decide:\n  prices: prices.sql\n", "close: true\n"))
    run(load("blue", root), DAY)
    rename(root, "blue", "green")
    weigh(root, WEIGHTS[1])
    assert run(load("green", root), DAY).status == "published"
    assert seen(root, "blue_scores") == truth(root, WEIGHTS[0])
    assert seen(root, "green_scores") == truth(root, WEIGHTS[1])
    assert holds(root)


@pytest.mark.slow
def test_rejects_go_with_the_scores_of_their_day(tmp_path: Path) -> None:
    """A day that is run again without setting rows aside has no rejects of the run before."""
    rejecting = "domain:\n  a: {max: 0.5}\npolicy: {bad_row: reject, max_rejected: 100%}\n"
    root = make(tmp_path, BLUE + rejecting)
    run(load("blue", root), DAY)
    rows = pd.read_parquet(root / f"data/lake/rows/day={DAY}")
    count = "SELECT count(*) AS n FROM blue_rejects WHERE day = '2020-01-02'"
    assert query(count, root)["n"][0].as_py() == (rows["a"] > 0.5).sum() > 0
    run(load("blue", root), OTHER_DAY)
    write_job(root, "blue", BLUE)
    run(load("blue", root), DAY)
    assert query(count, root)["n"][0].as_py() == 0
    assert seen(root, "blue_scores") == truth(root, WEIGHTS[0])


def test_a_person_is_told_whose_a_table_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """check, plan and run refuse with the command to hand over; receipts and tables show what was done."""
    root = make(tmp_path)
    at = ["--workspace", str(root)]
    assert call([*at, "run", "blue", "--day", DAY]) == 0
    rename(root, "blue", "green")
    capsys.readouterr()
    for command in (["check", "green"], ["plan", "green", "--day", DAY], ["run", "green", "--day", DAY]):
        assert call([*at, *command]) == 1
        assert "nightscore hand-over prices --from blue --to green --by" in capsys.readouterr().err
    assert call([*at, "run", "green", "--day", DAY, "--limit", "3"]) == 0  # a preview publishes nothing
    why = ["--by", "Ann", "--because", "a new name"]
    wrong = {
        "is not of job red, but of blue": ["prices", "--from", "red", "--to", "green"],
        "can't be handed over to '../red'; the workspace's other jobs: green": [
            *("prices", "--from", "blue", "--to", "../red")
        ],
        "can't be handed over to 'blue'": ["prices", "--from", "blue", "--to", "blue"],
        "'nothing' is published by no job": ["nothing", "--from", "blue", "--to", "green"],
    }
    for message, arguments in wrong.items():
        assert call([*at, "hand-over", *arguments, *why]) == 1
        assert message in capsys.readouterr().err
    ask = ["hand-over", "prices", "--from", "blue", "--to", "green"]
    assert call([*at, *ask, "--by", " ", "--because", "x"]) == 1
    assert "by is empty" in capsys.readouterr().err
    assert call([*at, *ask, *why, "--json"]) == 0
    note = json.loads(capsys.readouterr().out)
    assert (note["table"], note["from"], note["to"], note["number"]) == ("prices", "blue", "green", 1)
    assert call([*at, *ask, *why]) == 1
    assert call([*at, "run", "green", "--day", DAY]) == 0
    assert call([*at, "hand-over", "blue_scores", "--from", "blue", "--to", "grean", *why]) == 0
    assert "no job is called grean yet" in capsys.readouterr().err
    assert call([*at, "hand-over", "blue_scores", "--from", "grean", "--to", "blue", *why]) == 0
    capsys.readouterr()
    assert call([*at, "receipts"]) == 0
    assert "table prices handed over from blue to green by Ann at" in capsys.readouterr().out
    assert call([*at, "tables", "--json"]) == 0
    owned = {one["table"]: one["job"] for one in json.loads(capsys.readouterr().out)["tables"]}
    assert owned == {"blue_scores": "blue", "green_scores": "green", "prices": "green"}
    assert call(["hand-over", "--help"]) == 0
    assert "rename-job" in capsys.readouterr().out


@pytest.mark.slow
def test_a_held_day_is_not_released_after_a_hand_over(tmp_path: Path) -> None:
    """Nor after the table has come back: what was published meanwhile the run has not seen."""
    root = make(tmp_path, BLUE + "audit:\n  - {name: never, sql: SELECT false}\n")
    space = open_workspace(root)
    with pytest.raises(Held):
        run(load("blue", root), DAY)
    [one] = read_held_days(space)
    run_of_blue = root / "data/runs/blue" / DAY / one.receipt.run_id
    write_job(root, "blue", BLUE)
    run(load("blue", root), OTHER_DAY)
    rename(root, "blue", "green")
    hand_over(root, "blue", "green")
    weigh(root, WEIGHTS[1])
    run(load("green", root), DAY)
    rename(root, "green", "blue")
    hand_over(root, "green", "blue")
    with pytest.raises(Broken, match="table prices has changed hands or name since the run began"):
        release_day(space, "blue", as_day(DAY), **WHO)
    assert seen(root) == plain(root) == truth(root, WEIGHTS[1])
    assert list(json.loads((run_of_blue / "outcome.json").read_text())) == ["superseded"]
    assert list(read_held_days(space)) == []
    assert seen(root, "blue_scores") == []
    weigh(root, WEIGHTS[2])
    run(load("blue", root), DAY)
    assert seen(root) == plain(root) == truth(root, WEIGHTS[2])


@pytest.mark.disk_only(reason="the lock of a killed process counts for a lease in a bucket; test_machines.py")
@pytest.mark.parametrize("stage", ["publication", "commit blue_scores", "commit prices", "commit receipts"])
@pytest.mark.sample(1)
def test_a_night_killed_while_it_publishes_is_whole_or_refused_after_a_hand_over(
    tmp_path: Path, stage: str
) -> None:
    """Half published, the hand-over completes it; with no commit yet, it is never published by anybody."""
    root = make(tmp_path)
    run(load("blue", root), OTHER_DAY)
    assert night(root, DAY, Fault(stage), job="blue").killed
    write_job(root, "green", BLUE.replace("job: blue", "job: green").replace("prices", "others"))
    hand_over(root, "blue", "green")
    begun = stage != "publication"
    wanted = truth(root, WEIGHTS[0]) if begun else []
    for table in ("blue_scores", "prices"):
        assert seen(root, table) == plain(root, table) == wanted
    with pytest.raises(Broken, match="table prices belongs to job green"):
        run(load("blue", root), DAY)
    write_job(root, "blue", BLUE.replace("decide:\n  prices: prices.sql\n", ""))
    weigh(root, WEIGHTS[1])
    run(load("blue", root), DAY)
    assert seen(root, "prices") == plain(root, "prices") == wanted
    assert seen(root, "blue_scores") == plain(root, "blue_scores") == truth(root, WEIGHTS[1])
    if not begun:
        [reason] = [p.read_text() for p in (root / "data/runs/blue" / DAY).glob("*/superseded.json")]
        assert "belongs to job green" in reason


def test_a_frozen_publication_is_not_robbed_of_its_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a run stands between its commits, its table is not handed over: not yet."""
    root = make(tmp_path)
    run(load("blue", root), OTHER_DAY)
    write_job(root, "green", BLUE.replace("job: blue", "job: green").replace("prices", "others"))
    monkeypatch.setattr(owners, "PATIENCE", 0.2)
    frozen = start(root, DAY, Fault("commit blue_scores", signal=signal.SIGSTOP), job="blue")
    assert frozen.frozen()
    with pytest.raises(NotYet, match="a run is publishing it now"):
        hand_over(root, "blue", "green")
    frozen.thaw()
    assert frozen.wait().status == "published"
    hand_over(root, "blue", "green")
    assert seen(root) == plain(root) == seen(root, "blue_scores") == truth(root, WEIGHTS[0])


def test_a_frozen_run_finds_that_its_table_is_another_jobs(tmp_path: Path) -> None:
    """Staged and audited before a hand-over, it commits nothing after it."""
    root = make(tmp_path)
    run(load("blue", root), OTHER_DAY)
    frozen = start(root, DAY, Fault("link", signal=signal.SIGSTOP), job="blue")
    assert frozen.frozen()
    write_job(root, "green", BLUE.replace("job: blue", "job: green").replace("prices", "others"))
    hand_over(root, "blue", "green")
    frozen.thaw()
    end = frozen.wait()
    assert end.error == "Broken" and "table prices belongs to job green" in end.message, end
    assert seen(root) == plain(root) == seen(root, "blue_scores") == plain(root, "blue_scores") == []


def claims(answers: Connection, root: Path, job: str, barrier: Any) -> None:
    """A process that publishes a day of a job; it waits for the other just before it claims its tables."""
    try:
        receipt = run(load(job, root), DAY, report=lambda stage, *_: stage == "link" and barrier.wait(60))
        answers.send({"status": receipt.status})
    except Broken as error:
        answers.send({"error": "Broken", "message": str(error)})


@pytest.mark.disk_only(reason="what one of several children did is looked at while another works")
@pytest.mark.parametrize("rounds", [3, pytest.param(25, marks=pytest.mark.slow)])
def test_of_two_jobs_that_claim_a_new_table_at_once_one_has_it(tmp_path: Path, rounds: int) -> None:
    """Two checkouts over one data folder: one day is whole, of the other nothing is published at all."""
    for number in range(rounds):
        root = make(tmp_path / str(number) / "a")
        other = tmp_path / str(number) / "b"
        write_job(other, "green", BLUE.replace("job: blue", "job: green"))
        (other / "data").symlink_to(root / "data")
        barrier = processes.make_barrier(2)
        nights = {
            job: processes.spawn(claims, where, job, barrier)
            for job, where in (("blue", root), ("green", other))
        }
        ends = {job: one.wait() for job, one in nights.items()}
        [winner] = [job for job, end in ends.items() if end.status == "published"]
        [loser] = ends.keys() - {winner}
        assert f"table prices belongs to job {winner}" in ends[loser].message, ends
        assert seen(root) == plain(root) == seen(root, f"{winner}_scores") == truth(root, WEIGHTS[0])
        assert not (root / f"data/tables/{loser}_scores/_delta_log").exists()
        assert [entry.job for entry in read_catalog(open_workspace(root)).history] == [winner]
        collect_garbage(open_workspace(root), 0.0)
        assert seen(root) == plain(root) == truth(root, WEIGHTS[0])


def test_of_two_jobs_that_name_one_table_only_the_one_that_claims_it_is_refused(tmp_path: Path) -> None:
    """While it is nobody's, both; once it is somebody's, the other, with the way to get it."""
    root = make(tmp_path)
    write_job(root, "green", BLUE.replace("job: blue", "job: green"))
    for job in ("blue", "green"):
        with pytest.raises(Broken, match=r"decide.prices: table prices is also published by jobs/.*job.yaml"):
            run(load(job, root), DAY)
    assert not (root / "data/tables").exists()
    shutil.move(root / "jobs/green", tmp_path / "aside")
    assert run(load("blue", root), DAY).status == "published"
    shutil.move(tmp_path / "aside", root / "jobs/green")
    assert run(load("blue", root), DAY).status == "unchanged"
    assert call(["check", "blue", "--workspace", str(root)]) == 0
    with pytest.raises(
        Broken, match=r"prices belongs to job blue; .*nightscore hand-over prices --from blue"
    ):
        run(load("green", root), DAY)
    assert seen(root) == plain(root) == truth(root, WEIGHTS[0])


def test_two_jobs_of_one_name_are_told_before_anything_runs(tmp_path: Path) -> None:
    """By the second job.yaml; where that can't be read, by whose the table is once it can."""
    root = make(tmp_path)
    write_job(root, "green", BLUE)
    with pytest.raises(Broken, match="job blue is also the name of"):
        load("blue", root)
    (root / "jobs/green/job.yaml").write_text("job: green\nabout: [")
    assert run(load("blue", root), DAY).status == "published"
    shutil.rmtree(root / "jobs/blue")
    write_job(root, "green", BLUE.replace("job: blue", "job: green"))
    with pytest.raises(Broken, match="table prices belongs to job blue"):
        run(load("green", root), DAY)


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    """Whose the table is can't be told: nothing is published, and the file is named."""
    root = make(tmp_path)
    run(load("blue", root), DAY)
    record = root / "data/tables/prices/_owners/0.json"
    record.write_text("{")
    with pytest.raises(Broken, match=r"prices/_owners/0.json: damaged"):
        run(load("blue", root), DAY, force=True)
    record.unlink()
    assert run(load("blue", root), DAY, force=True).status == "published"
    assert seen(root) == truth(root, WEIGHTS[0])
