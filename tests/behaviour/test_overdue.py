"""P21: a night that is late goes on with the next rung of its job's `overdue`, and each row says which.

The truth is NumPy's, of the rows of the day that a rung takes. The clock is the machine's: it is the deadline
that lies some minutes before now, or after it.
"""

import datetime as dt
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from sklearn import metrics

from nightscore import load, query, run
from nightscore.cli.main import call
from nightscore.common import Broken, NotYet, file_sha256, open_workspace
from nightscore.job import Job
from nightscore.pipeline import Held, InOrder, read_held_days
from nightscore.pipeline.publish.closing import Closed
from nightscore.review import explain_row
from nightscore.store import Piece, Plan, Receipt, StagedFile, read_paces
from tests.behaviour.conftest import MANY, Build
from tests.behaviour.processes import Fault, night
from tests.support.receivers import Hook, hook_server
from tests.support.workspace import JOB, linear_model, rows_of, write_day

NOW = dt.datetime.now(dt.UTC)
REST_OF_THE_STEPS = ("carry", "audit", "commit mini_scores", "commit receipts")
ROWS = 2_000
CARRY = "overdue: [{carry_forward: yesterday}]\n"
QUICK = "overdue: [{variant: fastest within budget}]\n"
BUDGET = "budget: {max_abs: 0.01, rank_correlation: 0.9, cosine: 0.9}\n"
FORBID = (
    "  - {name: every row made in full, sql: \"SELECT count(*) = 0 FROM scores WHERE made_by <> 'full'\"}\n"
)
OWN = np.float32(
    2
)  # a weight of the job's own model: a power of two, so that each float32 is the same everywhere
NEAR = np.float32(2.0 + 2**-10)  # and of the quick one


def day_ago(days: int) -> str:
    """The day of tonight (0), the one before it (1), …: of a night that began an hour ago."""
    return ((NOW - dt.timedelta(minutes=60)).date() - dt.timedelta(days=1 + days)).isoformat()


@pytest.fixture(autouse=True)
def begun_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has its own now."""
    monkeypatch.setitem(globals(), "NOW", dt.datetime.now(dt.UTC))


def due(minutes: float) -> str:
    """A schedule whose night began an hour ago, and a deadline that is so many minutes from now."""
    began, deadline = NOW - dt.timedelta(minutes=60), NOW + dt.timedelta(minutes=minutes)
    return f'schedule: {{daily: "{began:%H:%M}"}}\ndeadline: "{deadline:%H:%M}"\n'


def write_job(root: Path, text: str) -> Job:
    (root / "jobs/mini/job.yaml").write_text(text)
    return load("mini", root)


def scores(day: str, rows: int = ROWS, weight: np.float32 = OWN) -> tuple[np.ndarray, np.ndarray]:
    """Ids, and the scores that a model of weights (1, weight) gives them, by NumPy in float32."""
    table = rows_of(day, rows)
    id_, a, b = (table.column(i).to_numpy() for i in range(3))
    return id_, a + b * weight


def published(root: Path, day: str, table: str = "mini_scores") -> pa.Table:
    order = "id" if table == "mini_scores" else "rank"
    return query(f"SELECT * FROM {table} WHERE day = $1 ORDER BY {order}", root, values=[day])


def is_made_by(found: pa.Table, made_by: str) -> bool:
    return set(found["made_by"].to_pylist()) == {made_by}


def has_scores(found: pa.Table, truth: tuple[np.ndarray, np.ndarray]) -> bool:
    id_, score = (found[name].to_numpy() for name in ("id", "score"))
    return bool(np.array_equal(id_, truth[0]) and np.array_equal(score, truth[1]))


def best(truth: tuple[np.ndarray, np.ndarray], n: int = 10) -> list[int]:
    """The ids of the highest scores, as the job's decision takes them."""
    return truth[0][np.lexsort((truth[0], -truth[1]))[:n]].tolist()


def carried(root: Path) -> Receipt:
    """Yesterday published, and tonight carried forward from it."""
    run(load("mini", root), day_ago(1))
    return run(load("mini", root), day_ago(0))


def test_a_day_that_is_not_there_is_carried_forward_and_made_whole(fresh: Build) -> None:
    """Yesterday's rows, each marked, in each table; the data comes, and the next run replaces them."""
    root = fresh(job=JOB + due(3) + CARRY, days=(day_ago(1),))
    receipt = carried(root)
    truth, marked = scores(day_ago(1)), f"carried from {day_ago(1)}"
    assert receipt.status == "published" and receipt.rows.published == ROWS and receipt.degraded
    assert [(rung.made_by, rung.rows) for rung in receipt.degraded.rungs] == [(marked, ROWS)]
    assert receipt.degraded.carried_from == day_ago(1)
    assert f"no partition of {day_ago(0)}" in receipt.degraded.why
    found, top = published(root, day_ago(0)), published(root, day_ago(0), "mini_top")
    assert has_scores(found, truth) and is_made_by(found, marked)
    assert top["id"].to_pylist() == best(truth) and is_made_by(top, marked)
    assert is_made_by(published(root, day_ago(1)), "full")
    assert call(["--workspace", str(root), "verify"]) == 0
    with pytest.raises(NotYet):  # it is published, and there is nothing to make it whole of
        run(load("mini", root), day_ago(0))
    write_day(root, day_ago(0), 500)
    whole = run(load("mini", root), day_ago(0))
    assert (whole.status, whole.degraded) == ("published", None)
    found = published(root, day_ago(0))
    assert has_scores(found, scores(day_ago(0), 500)) and is_made_by(found, "full")
    assert run(load("mini", root), day_ago(0)).status == "unchanged"


WORTH = """\
job: worth
inputs:
  scored: {table: mini_scores, calendar: none, as_reported: true}
  labels: {path: data/lake/labels, partition: day}
features: labelled.sql
key: [scored_on, id]
keep: [rung, score, label]
model: none
decide: {by_rung: by_rung.sql}
"""
LABELLED = """\
SELECT scored.day AS scored_on, scored.id, made_by AS rung, score,
    label_told(label, labels.day, scored.day) AS label
FROM scored LEFT JOIN labels ON labels.id = scored.id
"""
BY_RUNG = """\
WITH placed AS (SELECT *, score_place((scored_on, rung), score, label) AS place FROM scores)
SELECT scored_on, rung, count(*) AS rows, auc(label, place) AS auc FROM placed GROUP BY scored_on, rung
"""


def test_labels_tell_what_made_a_day_apart(fresh: Build) -> None:
    """A carried day is measured by what was carried, and named so; as reported it stays that."""
    root = fresh(job=JOB + due(3) + CARRY, days=(day_ago(1),))
    carried(root)
    (root / "jobs/worth").mkdir()
    for name, text in (("job.yaml", WORTH), ("labelled.sql", LABELLED), ("by_rung.sql", BY_RUNG)):
        (root / "jobs/worth" / name).write_text(text)
    id_, score = scores(day_ago(1))
    labels = np.random.default_rng(3).random(ROWS) < score / 3
    folder = root / f"data/lake/labels/day={day_ago(0)}"
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"id": id_, "label": labels}), folder / "part-0.parquet")

    def worth() -> list[tuple[str, int, float]]:
        assert run(load("worth", root), day_ago(0)).status == "published"
        found = query("SELECT rung, rows, auc FROM by_rung", root).to_pylist()
        return [(row["rung"], row["rows"], pytest.approx(row["auc"], rel=1e-12)) for row in found]

    as_carried = [(f"carried from {day_ago(1)}", ROWS, metrics.roc_auc_score(labels, score))]
    assert worth() == as_carried
    write_day(root, day_ago(0), ROWS)
    assert run(load("mini", root), day_ago(0)).degraded is None
    assert run(load("worth", root), day_ago(0)).status == "unchanged"
    (root / "jobs/worth/job.yaml").write_text(WORTH.replace(", as_reported: true", ""))
    assert worth() == [("full", ROWS, metrics.roc_auc_score(labels, scores(day_ago(0))[1]))]


def test_a_degraded_day_of_a_job_that_closes_is_made_whole_and_closed_then(fresh: Build) -> None:
    """A plain run makes it whole, and no restatement: it was never closed; what is whole is."""
    root = fresh(job=JOB + "close: true\n" + due(3) + CARRY, days=(day_ago(1),), rows=300)
    assert carried(root).closed is False
    write_day(root, day_ago(0), 70)
    whole = run(load("mini", root), day_ago(0))
    assert (whole.status, whole.degraded, whole.closed) == ("published", None, True)
    assert has_scores(published(root, day_ago(0)), scores(day_ago(0), 70))
    write_day(root, day_ago(0), 80)
    with pytest.raises(Closed):
        run(load("mini", root), day_ago(0))


@pytest.mark.disk_only(reason="what other engines read is the table's own")
def test_other_engines_see_what_made_a_row(fresh: Build) -> None:
    """By deltalake: the column is there, also beside a day of before the job had it, where it is null."""
    root = fresh(job=JOB + due(3), days=(day_ago(1),))
    run(load("mini", root), day_ago(1))
    write_job(root, JOB + due(3) + CARRY)
    run(load("mini", root), day_ago(0))
    for name, rows in (("mini_scores", ROWS), ("mini_top", 10)):
        frame = DeltaTable(str(root / "data/tables" / name)).to_pandas()
        made = frame.groupby(frame["day"].astype(str))["made_by"].agg(
            lambda one: one.value_counts().to_dict()
        )
        assert made.to_dict() == {day_ago(1): {}, day_ago(0): {f"carried from {day_ago(1)}": rows}}
    write_job(root, JOB + due(3))  # and it may go again
    write_day(root, day_ago(0), 500)
    assert run(load("mini", root), day_ago(0)).status == "published"


def test_before_the_margin_a_night_waits_as_ever(fresh: Build) -> None:
    """Six minutes before the deadline it is not yet; so is a backfill, whose deadline was days ago."""
    root = fresh(job=JOB + due(7) + CARRY, days=(day_ago(1), day_ago(6)))
    run(load("mini", root), day_ago(1))
    for day in (day_ago(0), day_ago(5)):
        with pytest.raises(NotYet):
            run(load("mini", root), day)
    run(load("mini", root), day_ago(6))
    write_job(root, JOB + due(3) + CARRY)
    with pytest.raises(NotYet):
        run(load("mini", root), day_ago(5))
    with pytest.raises(NotYet):  # asked for by a person
        run(load("mini", root), day_ago(0), force=True)


def test_nothing_older_than_the_day_before_is_carried_forward(fresh: Build) -> None:
    """Yesterday failed, or is held: the night waits as without a ladder, and says why."""
    root = fresh(job=JOB + due(3) + CARRY, days=(day_ago(2), day_ago(1)))
    run(load("mini", root), day_ago(2))
    with pytest.raises(NotYet, match=f"{day_ago(1)}, the day before by the schedule, is not published"):
        run(load("mini", root), day_ago(0))
    write_job(root, JOB + "  - {name: never, sql: SELECT false}\n" + due(3) + CARRY)
    with pytest.raises(Held):
        run(load("mini", root), day_ago(1))
    with pytest.raises(NotYet, match="nothing can be carried forward"):
        run(load("mini", root), day_ago(0))


def test_a_row_that_is_carried_on_keeps_the_day_that_it_was_made_on(fresh: Build) -> None:
    """Two nights without data: the second has the rows of the first, which say their own day."""
    root = fresh(job=JOB + due(3) + CARRY, days=(day_ago(2),))
    run(load("mini", root), day_ago(2))
    deadline = NOW + dt.timedelta(minutes=3) - dt.timedelta(days=1)
    early = f'schedule: {{daily: "{deadline:%H:%M}"}}\ndeadline: {{at: "{deadline:%H:%M}"}}\n'
    write_job(root, JOB + early + CARRY)  # whose deadline of the day before is now
    assert run(load("mini", root), day_ago(1)).degraded
    write_job(root, JOB + due(3) + CARRY)
    again = run(load("mini", root), day_ago(0))
    assert again.degraded and again.degraded.carried_from == day_ago(1)
    found = published(root, day_ago(0))
    assert has_scores(found, scores(day_ago(2))) and is_made_by(found, f"carried from {day_ago(2)}")


OWN_PAST = """\
job: mini
about: How often each id has been seen so far
owner: tests
inputs:
  rows: {path: data/lake/rows, partition: day, lookback: 9, calendar: none}
  before: {table: mini_scores, lookback: 9, columns: {id: BIGINT, n: BIGINT}}
features: totals.sql
key: [id]
keep: [n]
model: none
"""
TOTALS = """\
WITH known AS (SELECT id, n FROM before WHERE day = (SELECT max(day) FROM before)),
added AS (
    SELECT id, count(*) AS n FROM rows
    WHERE day > coalesce((SELECT max(day) FROM before), DATE '0001-01-01') GROUP BY id
)
SELECT id, CAST(sum(n) AS BIGINT) AS n FROM (FROM known UNION ALL BY NAME FROM added) GROUP BY id
"""


def test_totals_do_not_go_on_from_a_day_that_was_carried_forward(fresh: Build) -> None:
    """The data of such a day comes after it: the next night counts it. The truth is the number of days."""
    root = fresh(rows=30, days=(day_ago(2),))
    (root / "jobs/mini/totals.sql").write_text(TOTALS)
    run(write_job(root, OWN_PAST), day_ago(2))
    deadline = NOW + dt.timedelta(minutes=3) - dt.timedelta(days=1)
    early = f'schedule: {{daily: "{deadline:%H:%M}"}}\ndeadline: {{at: "{deadline:%H:%M}"}}\n'
    assert run(write_job(root, OWN_PAST + early + CARRY), day_ago(1)).degraded
    for day in (day_ago(1), day_ago(0)):
        write_day(root, day, 30)
    receipt = run(write_job(root, OWN_PAST + due(300) + CARRY), day_ago(0))
    seen = receipt.days_seen["before"]
    assert published(root, day_ago(0))["n"].to_pylist() == [3] * 30
    assert seen.missing == (day_ago(1),)
    assert receipt.degraded_inputs == {"before": (f"{day_ago(1)} carried from {day_ago(2)}, left out",)}
    strict = OWN_PAST + "policy: {gaps: fail}\n" + due(300) + CARRY
    told = f"missing {day_ago(1)}.*carried forward.*"
    told += f" and so not gone on from: {day_ago(1)}; .*run mini --day {day_ago(1)}"
    with pytest.raises(NotYet, match=told):
        run(write_job(root, strict), day_ago(0))


def test_who_reads_a_degraded_day_says_so(fresh: Build, capsys: pytest.CaptureFixture[str]) -> None:
    """In the receipt of a job downstream, until it has run again with the whole day."""
    root = fresh(job=JOB + due(3) + CARRY, days=(day_ago(1),), rows=300)
    carried(root)
    (root / "jobs/chain").mkdir()
    (root / "jobs/chain/f.sql").write_text("SELECT id, score FROM scored WHERE day = getvariable('day')")
    (root / "jobs/chain/job.yaml").write_text(
        "job: chain\nabout: Reads another job\nowner: tests\nschedule: {after: [mini_scores]}\n"
        "inputs: {scored: {table: mini_scores, lookback: 2}}\n"
        "features: f.sql\nkey: [id]\nkeep: [score]\nmodel: none\n"
    )
    receipt = run(load("chain", root), day_ago(0))
    told = f"{day_ago(0)} carried from {day_ago(1)}"
    assert receipt.degraded_inputs == {"scored": (told,)} and receipt.degraded is None
    call(["--workspace", str(root), "receipts", "chain", "--day", day_ago(0), "--json"])
    assert json.loads(capsys.readouterr().out)[0]["degraded_inputs"] == {"scored": [told]}
    write_day(root, day_ago(0), 70)
    run(load("mini", root), day_ago(0))
    whole = run(load("chain", root), day_ago(0))
    assert (whole.status, whole.rows.published, whole.degraded_inputs) == ("published", 70, {})


def test_an_audit_forbids_it_and_one_that_needs_the_inputs_is_said(fresh: Build) -> None:
    """The day is held with the rows of yesterday, until the data comes or a person releases it."""
    reads = '  - {name: as many as read, sql: "SELECT (SELECT count(*) FROM scores) = count(*) FROM rows '
    reads += "WHERE day = getvariable('day')\"}\n"
    root = fresh(job=JOB + FORBID + reads + due(3) + CARRY, days=(day_ago(1),))
    run(load("mini", root), day_ago(1))
    with pytest.raises(Held, match="every row made in full"):
        run(load("mini", root), day_ago(0))
    assert published(root, day_ago(0)).num_rows == 0
    [held] = read_held_days(open_workspace(root))
    assert held.receipt.degraded and held.receipt.degraded.carried_from == day_ago(1)
    audits = {one.name: (one.passed, one.severity, one.detail) for one in held.receipt.audits}
    assert audits["as many as read"][:2] == (False, "warn") and "not asked" in audits["as many as read"][2]
    who = ["--by", "Ada", "--because", "better than none"]
    assert call(["--workspace", str(root), "release", "mini", "--day", day_ago(0), *who]) == 0
    assert is_made_by(published(root, day_ago(0)), f"carried from {day_ago(1)}")
    write_day(root, day_ago(0), 300)
    assert run(load("mini", root), day_ago(0)).degraded is None
    assert has_scores(published(root, day_ago(0)), scores(day_ago(0), 300))


@pytest.mark.disk_only(reason="an audit's SQL, which is the same wherever the tables lie")
@pytest.mark.parametrize(
    "mistake",
    [
        "{name: as many rows as ever, sql: SELECT count(nothing) > 0 FROM mini_top}",
        "{name: of all rows, sql: \"SELECT CASE WHEN count(*) > 0 THEN error('two rows') END FROM scores\"}",
    ],
)
def test_an_audit_that_fails_is_not_taken_for_one_that_reads_an_input(fresh: Build, mistake: str) -> None:
    """`rows` is an input's name, and a word: as on any night the audit fails, and nothing is published."""
    root = fresh(job=JOB + due(3) + CARRY, days=(day_ago(1),))
    run(load("mini", root), day_ago(1))
    write_job(root, JOB + f"  - {mistake}\n" + due(3) + CARRY)
    with pytest.raises(Broken, match="audit '"):
        run(load("mini", root), day_ago(0))
    assert published(root, day_ago(0)).num_rows == 0


@pytest.mark.disk_only(reason="a file of the table is damaged on the disk")
def test_damaged_rows_of_yesterday_are_not_carried_forward(fresh: Build) -> None:
    """A file that is not the one of the receipt: broken, and nothing is published."""
    root = fresh(job=JOB + due(3) + CARRY, days=(day_ago(1),))
    run(load("mini", root), day_ago(1))
    files = list((root / "data/tables/mini_scores").rglob("*.parquet"))
    bytes_ = bytearray(files[0].read_bytes())
    bytes_[len(bytes_) // 2] ^= 1
    files[0].chmod(0o644)
    files[0].write_bytes(bytes_)
    with pytest.raises(Broken):
        run(load("mini", root), day_ago(0))
    assert published(root, day_ago(0)).num_rows == 0


@pytest.mark.disk_only(reason="a process is killed between two steps, which are the same in a bucket")
@pytest.mark.parametrize(
    "at",
    [
        "publication",
        *(pytest.param(at, marks=pytest.mark.slow) for at in REST_OF_THE_STEPS),
    ],
)
def test_a_night_killed_while_it_carries_is_ended_by_the_next(fresh: Build, at: str) -> None:
    """None or all of the tables; the next run publishes the same rows, or finds them published."""
    root = fresh(rows=300, job=JOB + due(3) + CARRY, days=(day_ago(1),))
    run(load("mini", root), day_ago(1))
    assert night(root, day_ago(0), Fault(at)).killed
    seen = [published(root, day_ago(0), name).num_rows for name in ("mini_scores", "mini_top")]
    assert seen in ([0, 0], [300, 10])
    if at in ("carry", "audit"):
        assert run(load("mini", root), day_ago(0)).degraded
    else:  # it was decided, and the next run completes it first
        with pytest.raises(NotYet):
            run(load("mini", root), day_ago(0))
    for name in ("mini_scores", "mini_top"):
        assert is_made_by(published(root, day_ago(0), name), f"carried from {day_ago(1)}")
    assert has_scores(published(root, day_ago(0)), scores(day_ago(1), 300))
    assert call(["--workspace", str(root), "verify"]) == 0


def test_a_night_that_is_still_scoring_is_carried_forward_then_made_whole(fresh: Build) -> None:
    """Past the margin no piece begins; the run after it scores all of them."""
    root = fresh(job=JOB + due(-3) + CARRY, days=(day_ago(1), day_ago(0)))
    assert run(load("mini", root), day_ago(1), force=True).degraded is None
    receipt = run(load("mini", root), day_ago(0))
    assert receipt.degraded and "not scored at" in receipt.degraded.why
    assert has_scores(published(root, day_ago(0)), scores(day_ago(1)))
    assert run(load("mini", root), day_ago(0)).degraded is None
    found = published(root, day_ago(0))
    assert has_scores(found, scores(day_ago(0))) and is_made_by(found, "full")


def test_a_night_that_will_be_in_time_goes_on(fresh: Build) -> None:
    """Past the margin, and the nights before took a second: it is published in full."""
    root = fresh(job=JOB + due(3) + CARRY, days=(day_ago(1), day_ago(0)))
    run(load("mini", root), day_ago(1))
    assert read_paces(open_workspace(root), "mini")
    assert run(load("mini", root), day_ago(0)).degraded is None


@pytest.fixture
def quick(fresh: Build) -> Path:
    """A job with a variant rung, whose night has three pieces, and what a bake-off would have written."""
    root = fresh(rows=MANY, job=JOB + due(20) + QUICK + BUDGET, days=(day_ago(0),))
    take_variant(root)
    return root


def take_variant(root: Path, weight: float = float(NEAR)) -> None:
    """variant.yaml of a model that is a little off, as within the job's budget."""
    from nightscore.store.documents import variant_file as files
    from nightscore.store.documents.versions import library_versions

    job = load("mini", root)
    linear_model(root / "data/variants/mini/quick.onnx", (1.0, weight))
    own = {name: root / path for name, path in (("model", "data/variants/mini/quick.onnx"),)}
    reference = root / "data/models/linear.onnx"
    files.write_variant(
        job,
        files.VariantFile(
            variant="quick", technique="pruning", why="taken: in a test",
            model=files.ModelOf(path="data/variants/mini/quick.onnx", sha256=file_sha256(own["model"])),
            how=files.VariantSettings(kind="onnx", device="cpu", threads=1, chunk_rows=4096),
            reference=files.ModelOf(path="data/models/linear.onnx", sha256=file_sha256(reference)),
            budget=files.accuracy_budget_for(job), machine=files.machine_facts(),
            versions=library_versions(),
            evidence=files.BakeoffEvidence(
                day=day_ago(1), held_out=None, rows=1, rows_per_second=2, reference_rows_per_second=1,
                change={}, held_out_change={},
            ),
        ),
    )  # fmt: skip


class Stopped(Exception):
    """The process of a run has ended."""


class StopAfterOne(InOrder):
    """Scores one piece, and is stopped."""

    def map(self, job: Job, plan: Plan, pieces: Sequence[Piece], *_: object) -> list[StagedFile]:
        super().map(job, plan, pieces[:1])
        raise Stopped


@pytest.mark.disk_only(reason="what a bake-off has taken is held to its file on this machine's disk")
def test_a_variant_scores_what_is_not_scored_yet(quick: Path) -> None:
    """One piece by the job's own model, before the margin; a run that goes on past it: the others quicker."""
    ladder = "overdue: [{variant: fastest within budget, before: 10m}]\n"
    own = write_job(quick, JOB + due(20) + ladder + BUDGET)
    with pytest.raises(Stopped):
        run(own, day_ago(0), executor=StopAfterOne())
    late = write_job(quick, JOB + due(20) + QUICK + BUDGET)  # its margin is thirty minutes: it is late
    receipt = run(late, day_ago(0))
    assert receipt.degraded and receipt.degraded.variant
    assert receipt.degraded.variant.sha256 == file_sha256(quick / "data/variants/mini/quick.onnx")
    counts = {rung.made_by: rung.rows for rung in receipt.degraded.rungs}
    assert set(counts) == {"full", "variant quick"} and sum(counts.values()) == MANY
    found = published(quick, day_ago(0))
    id_, full = scores(day_ago(0), MANY)
    near = scores(day_ago(0), MANY, NEAR)[1]
    is_full = np.array([one == "full" for one in found["made_by"].to_pylist()])
    assert np.array_equal(found["id"].to_numpy(), id_) and is_full.sum() == counts["full"]
    assert is_full[: counts["full"]].all()  # the first piece
    got = found["score"].to_numpy()
    assert np.array_equal(got[is_full], full[is_full])
    assert np.abs(got - near)[~is_full].max() < 1e-6 and np.abs(near - full)[~is_full].max() > 5e-4
    top = published(quick, day_ago(0), "mini_top")  # any score may have gone into it
    assert is_made_by(top, "variant quick") and top["id"].to_pylist() == best((id_, got))
    assert receipt.score_sample and receipt.score_sample.rows >= 16 and "quick" in receipt.score_sample.by
    assert call(["--workspace", str(quick), "verify"]) == 0
    whole = run(late, day_ago(0))
    assert (whole.status, whole.degraded) == ("published", None)
    assert has_scores(published(quick, day_ago(0)), (id_, full))
    assert run(late, day_ago(0)).status == "unchanged"


@pytest.mark.disk_only(reason="what a bake-off has taken is held to its file on this machine's disk")
@pytest.mark.parametrize("becomes", ["nothing", "another"])
def test_a_run_whose_variant_is_not_there_any_more_is_begun_anew(quick: Path, becomes: str) -> None:
    """One piece by the variant, then its file goes: no process could prove that piece; each would fail."""
    with pytest.raises(Stopped):
        run(load("mini", quick), day_ago(0), executor=StopAfterOne())
    file = quick / "data/variants/mini/quick.onnx"
    file.unlink()
    if becomes == "another":
        linear_model(file, (1.0, 2.5))
    assert night(quick, day_ago(0)).status == "published"
    found = published(quick, day_ago(0))
    assert has_scores(found, scores(day_ago(0), MANY)) and is_made_by(found, "full")


@pytest.mark.disk_only(reason="what a bake-off has taken is held to its file on this machine's disk")
def test_before_the_margin_the_variant_waits(quick: Path) -> None:
    """With the rung the job's own model scores, though variant.yaml is there: it is for late nights."""
    job = write_job(quick, JOB + due(20) + QUICK.replace("budget}", "budget, before: 10m}") + BUDGET)
    assert run(job, day_ago(0)).degraded is None
    assert has_scores(published(quick, day_ago(0)), scores(day_ago(0), MANY))


@pytest.mark.disk_only(reason="what a bake-off has taken is held to its file on this machine's disk")
@pytest.mark.parametrize("case", ["none measured", "beyond the budget", "another model"])
def test_a_variant_that_may_not_be_used_is_said_and_not_taken(fresh: Build, case: str) -> None:
    """The night is late by its own model, and its receipt warns of the rung that it does not have."""
    root = fresh(job=JOB + due(-3) + QUICK + BUDGET, days=(day_ago(0),))
    if case != "none measured":
        take_variant(root, 2.5 if case == "beyond the budget" else float(NEAR))
    weight = np.float32(4 if case == "another model" else 2)
    linear_model(root / "data/models/linear.onnx", (1.0, float(weight)))
    receipt = run(load("mini", root), day_ago(0))
    assert receipt.degraded is None
    assert has_scores(published(root, day_ago(0)), scores(day_ago(0), weight=weight))
    said = [one.detail for one in receipt.audits if not one.passed and one.severity == "warn"]
    reasons = {
        "none measured": "no bake-off",
        "beyond the budget": "a score moves by 0.5",
        "another model": "the model is",
    }
    assert len(said) == 1 and reasons[case] in said[0]


@pytest.mark.disk_only(reason="records are removed from the disk")
def test_a_degraded_day_is_named_without_the_record_of_its_run(
    fresh: Build, capsys: pytest.CaptureFixture[str]
) -> None:
    """A night whose record could not be written is published all the same: its receipt says what it is."""
    root = fresh(job=JOB + due(3) + CARRY, days=(day_ago(1),), rows=100)
    carried(root)
    shutil.rmtree(root / "data/attempts")
    write_day(root, day_ago(0), 10)
    assert call(["--workspace", str(root), "missing", "mini"]) == 1
    assert f"carried from {day_ago(1)}" in " ".join(capsys.readouterr().out.split())


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hook]:
    """An HTTP server, as the connection `hook`."""
    with hook_server() as server:
        monkeypatch.setenv("AIRFLOW_CONN_HOOK", f"{server.address}/nights")
        yield server


def test_it_is_told_and_stands_where_people_look(
    fresh: Build, hook: Hook, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message, the receipt, runs, missing, why, and the report say that the day is no usual one."""
    tells = "notify: [{webhook: hook}]\n"
    root = fresh(job=JOB + tells + due(3) + CARRY, days=(day_ago(1),))
    receipt = carried(root)
    [told] = [body for body in hook.bodies if body["event"] == "degraded"]
    assert told["subject"] == f"mini {day_ago(0)} is published, degraded" and told["run"] == receipt.run_id
    assert f"2,000 rows carried from {day_ago(1)}" in told["message"]
    assert f"nightscore run mini --day {day_ago(0)}" in told["what_to_do"]

    def said(*words: str) -> str:
        call(["--workspace", str(root), *words])
        return " ".join(capsys.readouterr().out.split())

    marked = f"carried from {day_ago(1)}"
    assert "DEGRADED" in said("receipts", "mini", "--day", day_ago(0)) or marked in said("receipts", "mini")
    assert "published, degraded" in said("runs", "mini")
    assert day_ago(0) not in said("missing", "mini")  # its data is not there
    write_day(root, day_ago(0), 10)
    assert f"mini {day_ago(0)}: published" in said("missing", "mini")
    [one] = [x for x in json.loads(said("missing", "mini", "--json")) if x["day"] == day_ago(0)]
    assert marked in one["degraded"]
    row = explain_row(load("mini", root), dt.date.fromisoformat(day_ago(0)), {"id": "7"})
    assert row.features is None and row.scores and row.scores["made_by"] == marked
    assert f"nightscore why mini --day {day_ago(1)}" in row.note
    page = root / "report.html"
    assert call(["--workspace", str(root), "report", "mini", "--day", day_ago(0), "--out", str(page)]) == 0
    html = page.read_text()
    assert 'class="band bad" id="degraded"' in html and marked in html
    run(load("mini", root), day_ago(0))
    assert day_ago(0) not in said("missing", "mini")
