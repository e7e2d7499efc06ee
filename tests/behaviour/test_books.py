"""Books that are closed: a closed day stays, restatements say what moved, and both clocks can be asked."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightscore import Restate, backfill, load, query, run
from nightscore.cli.main import call
from nightscore.common.errors import Broken, NotYet
from nightscore.common.units import as_day
from nightscore.common.workspace import open_workspace
from nightscore.pipeline.executors import LOCAL_THREADS
from nightscore.pipeline.publish.closing import Closed
from nightscore.pipeline.publish.hold import Held, release_day
from nightscore.pipeline.request import RunRequest
from nightscore.pipeline.steps import draft_plan, plan_day, publish_day
from nightscore.review.late_data import find_late_days
from nightscore.review.verify import verify_days
from nightscore.store.published.catalog import read_catalog
from nightscore.store.published.gc import collect_garbage
from tests.behaviour.conftest import ROWS, Build, copied
from tests.behaviour.processes import Fault, night
from tests.behaviour.world import DAY, TABLES, Truth, ours, receipts, tree
from tests.faults.marks import mostly_slow
from tests.support.workspace import JOB, make_workspace, write_day

CLOSING = JOB + "close: true\n"
LATE = Restate("late trades", "Ada")
FIRST, SECOND = Truth(ROWS), Truth(ROWS + 50, weights=(4.0, 1.0))
BOOK_COMMITS = (
    "commit mini_scores",
    "commit restated_rows",
    "commit restatements",
    "commit receipts",
    "receipt",
)


@pytest.fixture(scope="module")
def closed_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return close_days(tmp_path_factory.mktemp("books") / "closed")


def close_days(root: Path) -> Path:
    make_workspace(root, ROWS, CLOSING)
    for day in ("2020-01-01", DAY):
        assert run(load("mini", root), day).closed
    return root


@pytest.fixture
def closed(request: pytest.FixtureRequest) -> Path:
    """A workspace whose job closes its days, with two of them published."""
    return copied(request, "closed_template", close_days)


def later(root: Path, truth: Truth = SECOND) -> None:
    """Late rows, and another model."""
    write_day(root, DAY, truth.rows)
    truth.write_model(root)


def rewrite(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_a_closed_day_whose_causes_are_the_same_is_unchanged(closed: Path) -> None:
    """A retry of the night is fine and writes nothing; a preview is no publication and is free."""
    before = tree(closed / "data")
    assert run(load("mini", closed), DAY).status == "unchanged"
    assert tree(closed / "data") == before
    assert run(load("mini", closed), DAY, limit=5).status == "preview"


def test_a_closed_day_whose_causes_changed_says_what_differs_and_stays(closed: Path) -> None:
    """Inputs by path, model, parameters and the job's hash; with --force, too; in a backfill, too."""
    later(closed)
    write_day(closed, DAY, ROWS + 50, files=2)
    rewrite(closed / "jobs/mini/top.sql", "score DESC, id", "score DESC, id DESC")
    before, job = tree(closed / "data"), load("mini", closed)
    with pytest.raises(Closed) as found:
        run(job, DAY, params={"n": 5})
    said = str(found.value)
    for part in (
        f"job mini: {DAY} is closed: run ", "nothing is written",
        f"inputs added: data/lake/rows/day={DAY}/part-1.parquet",
        f"inputs changed: data/lake/rows/day={DAY}/part-0.parquet",
        "the job (its SQL or job.yaml): hash ", "the model: data/models/linear.onnx ",
        "the parameter n: 10 -> 5", f"`nightscore run mini --day {DAY} --restate --because TEXT`",
    ):  # fmt: skip
        assert part in said
    (closed / f"data/lake/rows/day={DAY}/part-1.parquet").unlink()
    with pytest.raises(Closed, match="inputs changed"):
        run(job, DAY, force=True)
    ends = dict(backfill(job, "2020-01-01", DAY, force=True))
    assert all(isinstance(end, Closed) for end in ends.values())
    assert {k: v for k, v in tree(closed / "data").items() if "lake" not in k} == {
        k: v for k, v in before.items() if "lake" not in k
    }
    assert all(ours(closed, name).is_(FIRST, name) for name in TABLES)


def test_force_does_not_open_a_day_of_the_same_causes(closed: Path) -> None:
    """It says that nothing differs; with a restatement it is published again, with no row changed."""
    with pytest.raises(Closed, match="neither --force nor"):
        run(load("mini", closed), DAY, force=True)
    assert run(load("mini", closed), DAY, restate=LATE).status == "unchanged"
    forced = run(load("mini", closed), DAY, restate=LATE, force=True)
    assert forced.restatement and forced.restatement.number == 1
    changes = forced.restatement.tables.values()
    assert [(c.changed, c.added, c.removed) for c in changes] == [(0, 0, 0)] * 2
    assert query("SELECT count(*) AS n FROM restated_rows", closed)["n"][0].as_py() == 0


def test_a_day_stays_closed_when_its_job_no_longer_closes(closed: Path) -> None:
    """The receipt says that it is closed: an edit of job.yaml opens nothing, and is no cause."""
    (closed / "jobs/mini/job.yaml").write_text(JOB)
    assert run(load("mini", closed), DAY).status == "unchanged"
    later(closed)
    with pytest.raises(Closed):
        run(load("mini", closed), DAY)


def test_a_job_that_begins_to_close_closes_what_is_published(published: Path) -> None:
    """`close: true` is no cause either: the day is unchanged, and closed."""
    (published / "jobs/mini/job.yaml").write_text(CLOSING)
    assert run(load("mini", published), DAY).status == "unchanged"
    later(published)
    with pytest.raises(Closed):
        run(load("mini", published), DAY)


def test_rejects_of_a_closed_day_are_not_replayed(fresh: Build) -> None:
    """A replay would publish the day again; a restatement may."""
    from nightscore.pipeline.replay import replay_rejects

    job = CLOSING + "policy: {bad_row: reject, max_rejected: 100%}\ndomain: {a: {max: 0.9}}\n"
    root = fresh(job=job, days=(DAY,))
    assert run(load("mini", root), DAY).rows.rejected
    with pytest.raises(Closed):
        replay_rejects(load("mini", root), DAY)
    assert len(read_catalog(open_workspace(root)).history) == 1


def test_a_restatement_says_what_it_replaces_and_by_how_much(closed: Path) -> None:
    """Rows and sums are those of a NumPy recount; the receipt and `restatements` agree, row by row, too."""
    [first] = [e.run_id for e in read_catalog(open_workspace(closed)).history if e.day == DAY]
    later(closed)
    receipt = run(load("mini", closed), DAY, restate=LATE)
    note = receipt.restatement
    assert note and (note.number, note.because, note.by, note.replaces) == (1, "late trades", "Ada", first)
    rows = query("SELECT * FROM restatements ORDER BY table_name", closed).to_pylist()
    assert [row["table_name"] for row in rows] == list(TABLES)
    for row in rows:
        name, change = row["table_name"], note.tables[row["table_name"]]
        before, after = FIRST.table(name).to_pandas(), SECOND.table(name).to_pandas()
        both = before.merge(after, on="id", suffixes=("", "_after"))
        others = [c for c in before if c != "id"]
        differ = np.logical_or.reduce([both[c].to_numpy() != both[f"{c}_after"].to_numpy() for c in others])
        expected = (int(differ.sum()), len(after) - len(both), len(before) - len(both))
        assert (change.changed, change.added, change.removed) == expected
        assert (row["changed"], row["added"], row["removed"]) == expected
        assert (row["rows_before"], row["rows_after"]) == (len(before), len(after))
        for column, moved in json.loads(row["moved"]).items():
            assert float(moved) == pytest.approx(
                after[column].astype(float).sum() - before[column].astype(float).sum(), abs=1e-9
            )
            by_row = query(
                "SELECT sum(coalesce((after->>$2)::DOUBLE, 0) - coalesce((before->>$2)::DOUBLE, 0)) AS d "
                "FROM restated_rows WHERE table_name = $1", closed, values=[name, column],
            )["d"][0].as_py()  # fmt: skip
            # Texts of float32 are rounded to what tells them apart; the sums are of the numbers themselves.
            assert float(moved) == pytest.approx(by_row or 0.0, abs=1e-3)
        assert dict(change.moved) == json.loads(row["moved"]) and "id" not in change.moved
    assert [one.differences for one in verify_days(open_workspace(closed))] == [[], []]


@pytest.mark.slow
def test_what_was_first_reported_and_what_was_known_then_stay_readable(closed: Path) -> None:
    """Two restatements: as reported is the first, the default the last, --as-of whatever was then."""
    nights = [FIRST, SECOND, Truth(ROWS - 30, weights=(0.5, 2.0))]
    for number, truth in enumerate(nights[1:], 1):
        later(closed, truth)
        done = run(load("mini", closed), DAY, restate=Restate(f"reason {number}", "Ada"))
        assert done.restatement and done.restatement.number == number
    entries = [e for e in read_catalog(open_workspace(closed)).history if e.day == DAY]
    assert [e.read_receipt().restatement and e.read_receipt().restatement.replaces for e in entries] == [
        None, entries[0].run_id, entries[1].run_id,
    ]  # fmt: skip
    select = f"SELECT id, score FROM mini_scores WHERE day = '{DAY}' ORDER BY id"

    def is_(found: pa.Table, truth: Truth) -> bool:
        return bool(found.equals(truth.table("mini_scores").select(["id", "score"])))

    assert is_(query(select, closed), nights[2])
    assert is_(query(select, closed, as_reported=True), nights[0])
    for entry, truth in zip(entries, nights, strict=True):
        assert is_(query(select, closed, as_of=entry.published_at), truth)
        assert is_(query(select, closed, as_of=entry.published_at, as_reported=True), nights[0])
    assert all("runs" in one.path for one in collect_garbage(open_workspace(closed), grace_hours=0))
    assert is_(query(select, closed, as_reported=True), nights[0])
    assert set(query("SELECT number FROM restated_rows", closed)["number"].to_pylist()) == {1, 2}
    numbers = "SELECT DISTINCT number, because FROM restatements ORDER BY number"
    assert query(numbers, closed)["because"].to_pylist() == ["reason 1", "reason 2"]
    assert query(numbers, closed, as_of=entries[1].published_at)["number"].to_pylist() == [1]
    assert query(numbers, closed, as_reported=True).num_rows == 0
    # The other day was never restated: as reported it is what it is.
    other = "SELECT sum(score) AS s FROM mini_scores WHERE day = '2020-01-01'"
    assert query(other, closed).equals(query(other, closed, as_reported=True))


def test_a_day_that_is_not_published_is_not_restated(closed: Path) -> None:
    """Nor is one without a reason, or by nobody."""
    with pytest.raises(Broken, match="2020-01-03 is not published, so there is nothing to restate"):
        run(load("mini", closed), "2020-01-03", restate=LATE)
    later(closed)
    for wrong in (Restate(" ", "Ada"), Restate("late trades", "")):
        with pytest.raises(Broken, match="says why and by whom"):
            run(load("mini", closed), DAY, restate=wrong)


@pytest.mark.parametrize("stage", mostly_slow(BOOK_COMMITS, ["commit restatements", "commit receipts"]))
@pytest.mark.sample(1)
@pytest.mark.slow
def test_a_restatement_that_is_killed_is_completed_whole(closed: Path, stage: str) -> None:
    """Killed at each commit: readers have all or nothing of it, and the next plain run completes it."""
    later(closed)
    assert night(closed, DAY, Fault(stage), restate=LATE).killed
    known = query("SELECT table_name FROM restatements", closed).num_rows
    assert known == (2 if stage in ("commit receipts", "receipt") else 0)
    truth = SECOND if known else FIRST
    assert all(ours(closed, name).is_(truth, name) for name in TABLES)
    assert run(load("mini", closed), DAY).status == "unchanged"
    assert all(ours(closed, name).is_(SECOND, name) for name in TABLES)
    rows = query("SELECT table_name, number FROM restatements ORDER BY 1", closed).to_pylist()
    assert [(r["table_name"], r["number"]) for r in rows] == [(name, 1) for name in TABLES]
    counts = query("SELECT count(*) AS n, count(DISTINCT (table_name, key)) AS d FROM restated_rows", closed)
    assert counts["n"][0].as_py() == counts["d"][0].as_py() > ROWS
    assert len(receipts(closed)) == 3


def test_a_first_night_that_is_killed_while_it_publishes_is_completed_and_closed(fresh: Build) -> None:
    """What was begun is finished, not refused; then the day is closed. Before that, no plan replaces it."""
    root = fresh(job=CLOSING, days=(DAY,))
    assert night(root, DAY, Fault("commit mini_scores")).killed
    later(root)
    with pytest.raises(NotYet, match="has begun to publish"):
        draft_plan(load("mini", root), as_day(DAY))
    with pytest.raises(Closed):
        run(load("mini", root), DAY)
    assert all(ours(root, name).is_(FIRST, name) for name in TABLES)


@pytest.mark.slow
def test_a_restatement_that_an_audit_holds_is_released_as_one(fresh: Build) -> None:
    """Held, the day stays as it was; released, it is restated for the reason that was given."""
    root = fresh(job=CLOSING, days=(DAY,))
    run(load("mini", root), DAY)
    rewrite(root / "jobs/mini/job.yaml", "close: true", "  - rows: {between: [2, 3]}\nclose: true")
    run(load("mini", root), DAY, restate=LATE)  # no day before: the audit passes
    rewrite(
        root / "jobs/mini/job.yaml", "  - rows: {between: [2, 3]}", "  - {name: never, sql: SELECT false}"
    )
    with pytest.raises(Held):
        run(load("mini", root), DAY, restate=Restate("a better audit", "Ada"))
    with pytest.raises(Closed):
        run(load("mini", root), DAY)
    done = release_day(open_workspace(root), "mini", as_day(DAY), by="Grace", because="looked at it")
    assert done.restatement and (done.restatement.number, done.restatement.by) == (2, "Ada")
    assert done.released and done.released.by == "Grace"
    assert query("SELECT max(number) AS n FROM restatements", root)["n"][0].as_py() == 2


@pytest.mark.slow
def test_late_says_what_a_restatement_then_does(closed: Path) -> None:
    """The days whose inputs changed, and no others; how much would move; and nothing is left behind."""
    job = load("mini", closed)
    assert list(find_late_days(job, as_day("2020-01-01"))) == []
    write_day(closed, DAY, ROWS + 50)
    before = tree(closed / "data")
    [one] = find_late_days(job, as_day("2020-01-01"))
    assert tree(closed / "data") == before
    assert (one.day, one.closed, one.problem) == (DAY, True, "")
    assert one.causes.changed == [f"data/lake/rows/day={DAY}/part-0.parquet"]
    assert list(find_late_days(job, as_day("2020-01-03"))) == []
    [listed] = find_late_days(job, as_day(DAY), list_only=True)
    assert listed.tables is None and listed.causes == one.causes
    done = run(job, DAY, restate=LATE)
    assert done.restatement and done.restatement.tables == one.tables
    assert one.tables and one.tables["mini_scores"].added == 50
    assert list(find_late_days(job, as_day("2020-01-01"))) == []


def test_late_names_a_day_that_could_not_be_run_now(closed: Path) -> None:
    """Its partition is gone: said of the day, and the others are looked at all the same."""
    for file in (closed / f"data/lake/rows/day={DAY}").iterdir():
        file.unlink()
    write_day(closed, "2020-01-01", ROWS + 1)
    early, gone = find_late_days(load("mini", closed), as_day("2020-01-01"))
    assert (early.day, early.tables is not None) == ("2020-01-01", True)
    assert (gone.day, gone.tables) == (DAY, None) and f"no partition of {DAY}" in gone.problem


@pytest.mark.slow
def test_a_person_restates_and_asks(closed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The commands: what is refused and how, late, restate, as reported, diff."""
    at = ["--workspace", str(closed)]
    later(closed)
    assert call([*at, "run", "mini", "--day", DAY, "--json"]) == 1
    assert "is closed" in json.loads(capsys.readouterr().out)["message"]
    assert call([*at, "run", "mini", "--day", DAY, "--restate"]) == 2
    assert "--restate needs --because TEXT" in capsys.readouterr().err
    assert call([*at, "run", "mini", "--day", DAY, "--because", "x"]) == 2
    assert "give --restate, too" in capsys.readouterr().err
    assert call([*at, "late", "mini", "--since", DAY]) == 0
    shown = capsys.readouterr().out
    assert f"mini {DAY}: closed, run " in shown and "50 added, 0 removed; sums: a +" in shown
    done = ["--restate", "--because", "late trades", "--by", "Ada"]
    assert call([*at, "run", "mini", "--day", DAY, *done]) == 0
    assert "restated  number 1, by Ada at " in capsys.readouterr().out
    count = "SELECT count(*) AS n FROM mini_scores WHERE day = '2020-01-02'"
    for options, rows in (([], ROWS + 50), (["--as-reported"], ROWS)):
        assert call([*at, "query", count, "--format", "json", *options]) == 0
        assert json.loads(capsys.readouterr().out) == [{"n": rows}]
    assert call([*at, "diff", "mini", "--day", DAY, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["tables"]["mini_scores"]["added"] == 50
    assert call([*at, "diff", "mini", "--day", DAY, "--runs", told["after"], "nothing"]) == 1
    assert "no run 'nothing' has published" in capsys.readouterr().err
    assert call([*at, "late", "mini", "--since", DAY, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


KNOWN = CLOSING.replace("partition: day}", "partition: day, known_at: seen}").replace(
    "features: rows", "features: features.sql"
)
NOON = np.datetime64(f"{DAY}T12:00", "us")


def known_rows(root: Path, kind: pa.DataType, rows: int = 400) -> None:
    """DAY's rows; row i is known since noon plus i hours, every tenth since nobody knows when."""
    file = root / f"data/lake/rows/day={DAY}/part-0.parquet"
    write_day(root, DAY, rows)
    table = pq.read_table(file, partitioning=None)
    since = pa.array(NOON + np.arange(rows).astype("timedelta64[h]"), pa.timestamp("us"))
    seen = (
        since.cast(pa.timestamp("us", "UTC")) if pa.types.is_timestamp(kind) else since.cast(kind, safe=False)
    )
    seen = pa.array([None if i % 10 == 0 else s.as_py() for i, s in enumerate(seen)], seen.type)
    pq.write_table(table.append_column("seen", seen.cast(kind) if seen.type != kind else seen), file)


def ids(root: Path) -> list[int]:
    found = query(f"SELECT id FROM mini_scores WHERE day = '{DAY}' ORDER BY id", root)
    return list(found["id"].to_pylist())


@pytest.mark.parametrize("kind", [pa.timestamp("us", "UTC"), pa.date32()])
@pytest.mark.sample(1)
@pytest.mark.slow
def test_a_run_sees_what_was_known_at_its_cut_off(fresh: Build, kind: pa.DataType) -> None:
    """Rows known by then, the moment included, and none of unknown time; without a cut-off all rows.

    A DATE counts from the beginning of its day in UTC. The cut-off is a cause: another one is another run.
    """
    root = fresh(rows=1, job=KNOWN.replace("close: true\n", ""), days=(DAY,))
    known_rows(root, kind)
    hours, job = np.arange(400), load("mini", root)
    end = NOON + np.timedelta64(30, "h")
    since = NOON + hours.astype("timedelta64[h]")
    by_then = since <= end if kind != pa.date32() else since.astype("M8[D]") <= end.astype("M8[D]")
    expected = hours[by_then & (hours % 10 != 0) & (hours % 2 == 0)]
    asked = f"{end.astype('M8[s]')}+00:00"
    first = run(job, DAY, known_at=asked)
    assert first.known_at == asked and ids(root) == expected.tolist()
    assert run(job, DAY, known_at=asked).status == "unchanged"
    assert run(job, DAY).status == "published"
    assert ids(root) == hours[hours % 2 == 0].tolist()
    assert run(job, DAY, known_at=asked.replace("T18", "T19")).fingerprint != first.fingerprint


@pytest.mark.slow
def test_a_closed_day_keeps_its_cut_off(fresh: Build) -> None:
    """A run with another one, or with none, is refused and says so; late data says what it would add."""
    root = fresh(rows=1, job=KNOWN, days=(DAY,))
    known_rows(root, pa.timestamp("us", "UTC"))
    job, cut = load("mini", root), f"{DAY}T20:00:00+00:00"
    assert run(job, DAY, known_at=cut).closed
    with pytest.raises(Closed, match=rf"what was known: by {DAY}T20:00:00\+00:00 -> all rows"):
        run(job, DAY)
    restated = run(job, DAY, restate=LATE)
    assert restated.known_at == "" and restated.restatement
    assert restated.restatement.tables["mini_scores"].added == 200 - 4
    assert run(job, DAY, known_at=cut, restate=LATE).restatement.number == 2  # type: ignore[union-attr]
    assert ids(root) == [2, 4, 6, 8]


def test_a_cut_off_that_cannot_be_is_refused(fresh: Build) -> None:
    """No time; no input with known_at; a column that is none, or no instant; an input that is streamed."""
    root = fresh(rows=1, job=KNOWN, days=(DAY,))
    with pytest.raises(Broken, match=r"known_at: .* has no column 'seen'"):
        run(load("mini", root), DAY)
    known_rows(root, pa.timestamp("us"))
    with pytest.raises(Broken, match=r"column 'seen' is TIMESTAMP in .*allowed: TIMESTAMPTZ, DATE"):
        run(load("mini", root), DAY, known_at="2020-01-02")
    with pytest.raises(Broken, match="known-at 'yesterday' is no time"):
        run(load("mini", root), DAY, known_at="yesterday")
    (root / "jobs/mini/job.yaml").write_text(JOB)
    with pytest.raises(Broken, match="no input has known_at"):
        run(load("mini", root), DAY, known_at="2020-01-02")
    (root / "jobs/mini/job.yaml").write_text(KNOWN.replace("features: features.sql", "features: rows"))
    with pytest.raises(Broken, match=r"what is streamed can't be cut at a time; write a \.sql file"):
        load("mini", root)


@pytest.mark.slow
def test_of_two_restatements_at_once_one_is_published(closed: Path) -> None:
    """Both planned, one published: the other has to look again, and is then number 2."""
    later(closed)
    job, day = load("mini", closed), as_day(DAY)
    plans = [
        plan_day(job, day, RunRequest(restate=Restate(f"reason {i}", "Ada"), force=True)) for i in (1, 2)
    ]
    staged = [LOCAL_THREADS.map(job, plan, plan.pieces) for plan in plans]
    done = publish_day(job, plans[0], staged[0])
    assert done.restatement and done.restatement.because == "reason 1"
    with pytest.raises(NotYet, match="another run has published the day since"):
        publish_day(job, plans[1], staged[1])
    again = run(job, DAY, restate=Restate("reason 2", "Ada"), force=True)
    assert again.restatement and again.restatement.number == 2
