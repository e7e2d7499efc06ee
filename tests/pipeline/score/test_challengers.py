"""Challengers score every row of the night, in columns of their own, and can cost it nothing else."""

import json
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from onnx import TensorProto, helper, numpy_helper

from nightscore.common.errors import Broken
from nightscore.job.loader import Job, load
from nightscore.pipeline import executors, replay
from nightscore.pipeline.score.challengers import SPARED, Challengers
from nightscore.pipeline.score.open_model import close_models, open_planned_scorer
from nightscore.pipeline.steps import check_job, plan_day, publish_day, score_piece
from nightscore.review.explain import explain_row
from nightscore.store import catalog
from nightscore.store.documents.receipt import ChallengerResult, Receipt
from tests.support.workspace import DAYS, JOB, linear_model, make_workspace

NEXT = "data/models/next.onnx"
PATH = "  path: data/models/linear.onnx\n"


def contest(*challengers: str, job: str = JOB) -> str:
    """The job with a champion and challengers."""
    beside = "".join(f"\n    - {path}" for path in challengers)
    said = f"  champion: data/models/linear.onnx\n  challengers:{beside}\n"
    return job.replace(PATH, said if challengers else "  champion: data/models/linear.onnx\n")


def workspace(root: Path, *challengers: str, rows: int = 500, job: str = JOB) -> Path:
    make_workspace(root, rows=rows, job=contest(*challengers, job=job))
    linear_model(root / NEXT, (3.0, -1.0))
    return root


def rewrite(root: Path, text: str) -> Job:
    (root / "jobs/mini/job.yaml").write_text(text)
    return load("mini", root)


def run(root: Path, day: str = DAYS[0], **options: object) -> Receipt:
    return executors.run(load("mini", root), day, **options)


def the_one(receipt: Receipt) -> ChallengerResult:
    [one] = receipt.challengers
    return one


def scores(root: Path, columns: str = "*", day: str = DAYS[0]) -> list[tuple]:
    found = catalog.query(f"SELECT {columns} FROM mini_scores WHERE day = '{day}' ORDER BY id", root)
    return list(zip(*found.to_pydict().values(), strict=True))


def failing_model(path: Path, bad: float = 0.9) -> None:
    """Of X[:, 0], y, by way of a Gather whose index lies outside where a value of the row is above `bad`."""
    x = helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 2])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])
    table = numpy_helper.from_array(np.array([[1.0]], np.float32), "table")
    limit, zero = (
        numpy_helper.from_array(np.array([v], np.float32), n) for v, n in ((bad, "limit"), (0, "z"))
    )
    first = numpy_helper.from_array(np.array([0]), "first")
    nodes = [
        helper.make_node("Gather", ["X", "first"], ["a"], axis=1),
        helper.make_node("Greater", ["a", "limit"], ["above"]),
        helper.make_node("Cast", ["above"], ["index"], to=TensorProto.INT64),
        helper.make_node("Squeeze", ["index", "axis"], ["flat"]),
        helper.make_node("Gather", ["table", "flat"], ["one"], axis=0),
        helper.make_node("Mul", ["one", "a"], ["y"]),
    ]
    axis = numpy_helper.from_array(np.array([1]), "axis")
    graph = helper.make_graph(nodes, "picky", [x], [y], [table, limit, zero, first, axis])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    helper.set_model_props(model, {"columns": json.dumps(["a", "b"])})
    path.write_bytes(model.SerializeToString())


def nan_model(path: Path) -> None:
    """The logarithm of a - 0.5: NaN where a is below one half."""
    x = helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 2])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])
    half = numpy_helper.from_array(np.array([0.5], np.float32), "half")
    first = numpy_helper.from_array(np.array([0]), "first")
    nodes = [
        helper.make_node("Gather", ["X", "first"], ["a"], axis=1),
        helper.make_node("Sub", ["a", "half"], ["d"]),
        helper.make_node("Log", ["d"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "logs", [x], [y], [half, first])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    helper.set_model_props(model, {"columns": json.dumps(["a", "b"])})
    path.write_bytes(model.SerializeToString())


def test_a_challenger_scores_every_row_in_its_own_column_and_decides_nothing(tmp_path):
    """Its column holds what it gives as champion; the champion's columns and decisions are as without it."""
    root = workspace(tmp_path / "with", NEXT)
    receipt = run(root)
    alone = make_workspace(tmp_path / "alone", rows=500)
    executors.run(load("mini", alone), DAYS[0])
    other = make_workspace(tmp_path / "other", rows=500)
    linear_model(other / "data/models/linear.onnx", (3.0, -1.0))
    executors.run(load("mini", other), DAYS[0])
    assert scores(root, "id, a, score") == scores(alone, "id, a, score")
    assert scores(root, "id, next__score") == scores(other, "id, score")
    top = "SELECT id, score, rank FROM mini_top ORDER BY rank"
    assert catalog.query(top, root) == catalog.query(top, alone)
    one = the_one(receipt)
    assert (one.path, one.rows, one.reason) == (NEXT, 500, "")
    assert one.cpu_seconds > 0
    assert run(root).status == "unchanged"


def test_without_challengers_nothing_has_changed(tmp_path):
    """`champion:` alone is `path:` under another name, and a plan without challengers has no new cause."""
    root = make_workspace(tmp_path, rows=50)
    plan = plan_day(load("mini", root), _day(DAYS[0]))
    assert plan.challengers == ()
    receipt = run(root)
    assert receipt.challengers == ()
    assert receipt.promotion is None
    rewrite(root, contest())
    assert run(root).rows.published == 50


def _day(text):
    from nightscore.common.units import as_day

    return as_day(text)


def test_challengers_come_and_go_and_the_published_table_stays_readable(tmp_path):
    """By us, by DuckDB over Delta's files and by deltalake: a day that has not their column has nulls."""
    root = make_workspace(tmp_path, rows=50)
    linear_model(root / NEXT, (3.0, -1.0))
    run(root, DAYS[0])
    rewrite(root, contest(NEXT))
    run(root, DAYS[1])
    rewrite(root, JOB)
    run(root, DAYS[2])
    counts = (
        "SELECT day::VARCHAR, count(score), count(next__score) FROM mini_scores GROUP BY day ORDER BY day"
    )
    found = list(zip(*catalog.query(counts, root).to_pydict().values(), strict=True))
    assert found == [(DAYS[0], 50, 0), (DAYS[1], 50, 50), (DAYS[2], 50, 0)]
    table = DeltaTable(str(root / "data/tables/mini_scores"))
    assert table.to_pyarrow_table().column("next__score").null_count == 100
    other = duckdb.sql(
        "SELECT count(score), count(next__score) FROM "
        f"read_parquet('{root}/data/tables/mini_scores/*/*.parquet', union_by_name = true)"
    ).fetchall()
    assert other == [(150, 50)]
    assert catalog.query("SELECT * FROM mini_scores", root, as_of=1).num_rows == 50


@pytest.mark.slow
def test_a_column_keeps_its_type(tmp_path):
    """The champion's other columns are held to the published table as before."""
    root = workspace(tmp_path, NEXT, rows=20)
    run(root)
    rewrite(root, contest(NEXT).replace("keep: [a]", "keep: []"))
    with pytest.raises(Broken, match="column 'a' is float in the published table and would be absent"):
        run(root, DAYS[1])


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "can't be read"), (b"no model at all", "next.onnx"), (b"", "is empty")],
)
@pytest.mark.sample(1)
def test_what_is_no_model_costs_its_columns_alone(tmp_path, content, reason):
    """The day is published, its column is null, the receipt says why; `check` said so before."""
    root = workspace(tmp_path, NEXT, rows=50)
    (root / NEXT).unlink() if content is None else (root / NEXT).write_bytes(content)
    assert "challenger data/models/next.onnx can't be used" in check_job(load("mini", root))
    receipt = run(root)
    assert (receipt.rows.published, the_one(receipt).rows) == (50, 0)
    assert reason in the_one(receipt).reason
    assert {row[0] for row in scores(root, "next__score")} == {None}
    linear_model(root / NEXT, (3.0, -1.0))  # it is repaired: that is another cause
    assert the_one(run(root)).rows == 50


def test_one_that_does_not_fit_the_features_says_so(tmp_path):
    """A column that the features have not, and outputs of another type, are reasons, not errors."""
    root = workspace(tmp_path, NEXT, rows=50)
    linear_model(root / NEXT, (1.0, 2.0), ("a", "income"))
    assert "needs column 'income'" in the_one(run(root)).reason


def test_a_file_that_is_gone_between_plan_and_score_costs_its_columns(tmp_path):
    """And the next run of the day, in which it is still gone, has other causes than that plan had."""
    root = workspace(tmp_path, NEXT, rows=50)
    job = load("mini", root)
    plan = plan_day(job, _day(DAYS[0]))
    (root / NEXT).unlink()
    close_models()  # as in another process: this one has it open
    receipt = publish_day(job, plan, [score_piece(job, plan, piece) for piece in plan.pieces])
    assert "can't be read" in the_one(receipt).reason
    assert {row[0] for row in scores(root, "next__score")} == {None}
    assert run(root).status == "published"


def test_one_that_raises_on_some_rows_is_null_in_these_alone(tmp_path):
    """Whatever the chunks are: the rows before and between those at fault keep their scores."""
    root = workspace(tmp_path, NEXT, rows=300)
    failing_model(root / NEXT, bad=0.9)
    receipt = run(root)
    rows = scores(root, "a, next__score")
    bad = [i for i, (a, _) in enumerate(rows) if a > 0.9]
    assert 0 < len(bad) < SPARED
    assert [i for i, (_, y) in enumerate(rows) if y is None] == bad
    assert all(y == a for a, y in rows if y is not None)
    assert the_one(receipt).rows == 300 - len(bad)
    assert "indices element out of data bounds" in the_one(receipt).reason
    before = [y for _, y in rows]
    rewrite(root, contest(NEXT) + "scoring: {chunk_rows: 7}\n")
    run(root)
    assert [y for _, y in scores(root, "a, next__score")] == before


@pytest.mark.slow
def test_one_that_fails_on_many_rows_is_given_up_at_the_same_row_whatever_the_chunks(tmp_path):
    """After the hundredth row that fails of a piece nothing of it is asked any more."""
    root = workspace(tmp_path, NEXT, rows=1_000)
    failing_model(root / NEXT, bad=0.5)
    receipt = run(root)
    rows = scores(root, "a, next__score")
    last = [i for i, (a, _) in enumerate(rows) if a > 0.5][SPARED - 1]
    assert [y is None for _, y in rows] == [i > last or a > 0.5 for i, (a, _) in enumerate(rows)]
    assert the_one(receipt).reason.startswith("given up after 100 rows of a piece")
    rewrite(root, contest(NEXT) + "scoring: {chunk_rows: 64}\n")
    run(root)
    assert scores(root, "a, next__score") == rows


def test_nan_becomes_null_and_no_reject(tmp_path):
    """Of a challenger: of the champion the same would have stopped the run."""
    root = workspace(tmp_path, NEXT, rows=200)
    nan_model(root / NEXT)
    receipt = run(root)
    rows = scores(root, "a, next__score")
    assert [y is None for _, y in rows] == [a < 0.5 for a, _ in rows]
    assert the_one(receipt).reason == "gives NaN for some rows"
    assert receipt.rows.rejected == 0


def test_decisions_and_audits_see_the_champion_by_plain_names_and_challengers_in_a_view(tmp_path):
    """`SELECT * FROM scores` has no column of a challenger, so that none changes a decision's columns."""
    root = workspace(tmp_path, NEXT, rows=50)
    (root / "jobs/mini/top.sql").write_text(
        "SELECT * FROM scores QUALIFY row_number() OVER (ORDER BY id) < 5"
    )
    question = "  - {name: both score, sql: SELECT count(next__score) = count(score) FROM challengers}\n"
    rewrite(root, contest(NEXT).partition("audit:")[0] + "audit:\n" + question)
    receipt = run(root)
    assert [audit.passed for audit in receipt.audits] == [True]
    assert catalog.query("SELECT * FROM mini_top", root).column_names == ["id", "a", "score", "run_id", "day"]


@pytest.mark.slow
def test_another_job_reads_the_scores_over_days_with_and_without_a_challenger(tmp_path):
    """A day without the column is null in an input, instead of an input of two schemas."""
    root = make_workspace(tmp_path, rows=30)
    linear_model(root / NEXT, (3.0, -1.0))
    run(root, DAYS[0])
    rewrite(root, contest(NEXT))
    run(root, DAYS[1])
    folder = root / "jobs/other"
    folder.mkdir()
    text = JOB.replace("job: mini", "job: other").replace("mini_top", "other_top")
    text = text.replace(
        "rows: {path: data/lake/rows, partition: day}", "rows: {table: mini_scores, lookback: 2}"
    )
    (folder / "job.yaml").write_text(text.replace("features: rows", "features: f.sql").replace("[a]", "[n]"))
    (folder / "top.sql").write_text((root / "jobs/mini/top.sql").read_text())
    (folder / "f.sql").write_text(
        "SELECT id, count(next__score) AS n, max(a) AS a, max(score) AS b FROM rows GROUP BY id"
    )
    receipt = executors.run(load("other", root), DAYS[1])
    assert receipt.rows.published == 30
    assert catalog.query("SELECT DISTINCT n FROM other_scores", root).to_pylist() == [{"n": 1}]


@pytest.mark.slow
def test_a_replay_of_rejects_carries_the_challengers_scores(tmp_path):
    """The rows that were published keep theirs, and of one that came since they have none."""
    job = JOB + "policy: {bad_row: reject, max_rejected: 100%}\ndomain: {a: {max: 0.8}}\n"
    root = workspace(tmp_path, NEXT, rows=100, job=job)
    first = run(root)
    assert first.rows.rejected > 0
    before = dict(scores(root, "id, next__score"))
    linear_model(root / "data/models/late.onnx", (1.0, 1.0))
    text = contest(NEXT, "data/models/late.onnx", job=job).replace("domain: {a: {max: 0.8}}\n", "")
    receipt = replay.replay_rejects(rewrite(root, text), DAYS[0])
    assert receipt.rows.published == 100
    after = {i: (y, z) for i, y, z in scores(root, "id, next__score, late__score")}
    assert {i: after[i][0] for i in before} == before
    assert all(after[i][0] is not None for i in after)
    assert [i for i in after if after[i][1] is None] == list(before)
    assert [one.rows for one in receipt.challengers] == [100, first.rows.rejected]


def test_a_run_that_was_stopped_is_taken_up_with_what_it_knew_of_its_challengers(tmp_path):
    """Why a challenger failed in a piece that an earlier attempt scored stands in the receipt, too."""
    root = workspace(tmp_path, NEXT, rows=200)
    nan_model(root / NEXT)
    job = load("mini", root)
    plan = plan_day(job, _day(DAYS[0]))
    for piece in plan.pieces:
        score_piece(job, plan, piece)
    receipt = run(root)
    assert receipt.run_id == plan.run_id
    assert the_one(receipt).reason == "gives NaN for some rows"


@pytest.mark.slow
def test_a_closed_day_names_the_challenger_that_changed_and_a_restatement_counts_it(tmp_path):
    """Other bytes under a challenger's name are another cause; the champion's rows do not differ by it."""
    root = workspace(tmp_path, NEXT, rows=50)
    text = contest(NEXT) + "close: true\n"
    rewrite(root, text)
    run(root)
    linear_model(root / NEXT, (5.0, 5.0))
    with pytest.raises(Broken, match=r"the challenger data/models/next\.onnx: "):
        run(root)
    linear_model(root / "data/models/late.onnx", (1.0, 1.0))
    rewrite(root, contest("data/models/late.onnx") + "close: true\n")
    from nightscore.store.documents.plan import Restate

    receipt = run(root, restate=Restate("another challenger", "a test"))
    assert receipt.restatement is not None
    assert receipt.restatement.tables["mini_scores"].changed == 0


def test_why_and_previews_show_what_challengers_gave(tmp_path):
    """A row's scores have theirs beside the champion's."""
    root = workspace(tmp_path, NEXT, rows=20)
    assert "next__score" in run(root, limit=5).preview[0]
    run(root)
    row = explain_row(load("mini", root), _day(DAYS[0]), {"id": "3"}).scores
    assert row is not None
    assert row["next__score"] == pytest.approx(3 * row["a"] - (row["score"] - row["a"]) / 2, abs=1e-5)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("{path: a.onnx, champion: b.onnx, outputs: {s: y}}", "model.champion: path and champion both name"),
        (
            "{path: a.onnx, challengers: [b.onnx], outputs: {s: y}}",
            "model.challengers: stand beside champion",
        ),
        (
            "{champion: a.onnx, challengers: [x/b.onnx, y/b.onnx], outputs: {s: y}}",
            "'y/b.onnx' and 'x/b.onnx' would both have columns b__…; rename a file",
        ),
        (
            "{champion: a.onnx, challengers: [a__s.onnx], outputs: {s: y, a__s__s: z}}",
            "'a__s__s' stands twice",
        ),
        (
            "{champion: 'models:/r/latest', outputs: {s: y}}",
            "'models:/r/latest' names no model of a registry",
        ),
        (
            "{champion: a.onnx, challengers: [1,2,3], outputs: {s: y}}",
            "model.challengers.0: 1 is not allowed",
        ),
    ],
)
def test_mistakes_of_the_model_section_name_their_line(tmp_path, model, message):
    root = make_workspace(tmp_path, rows=5)
    before, after = JOB.split("model:\n")[0], JOB.split("outputs: {score: y}\n")[1]
    with pytest.raises(Broken) as error:
        rewrite(root, f"{before}model: {model}\n{after}")
    assert message in str(error.value)
    assert "jobs/mini/job.yaml:9: " in str(error.value)


def test_a_champion_among_the_challengers_is_none(tmp_path):
    """After a promotion the list still has it: it is scored once, in the columns that decide."""
    root = workspace(tmp_path, NEXT, "data/models/linear.onnx", rows=20)
    assert list(load("mini", root).spec.model.rivals) == ["next"]
    receipt = run(root)
    assert [one.name for one in receipt.challengers] == ["next"]
    staged = next((root / "data/tables/mini_scores").rglob("*.parquet"))
    assert pa.schema(pq.read_schema(staged)).names == ["id", "a", "score", "next__score", "run_id"]


def test_the_time_of_a_challenger_is_not_the_champions(tmp_path):
    """One that takes longer than limits.time is given up in that piece; the night is published in time."""
    root = workspace(tmp_path, NEXT, rows=40)
    failing_model(root / NEXT, bad=-1.0)
    slow = contest(NEXT) + "limits: {time: 1s}\nscoring: {chunk_rows: 10}\n"
    job = rewrite(root, slow)
    plan = plan_day(job, _day(DAYS[0]))
    beside = Challengers(job, plan, open_planned_scorer(job, plan))
    rows = pa.record_batch({name: np.zeros(10, np.float32) for name in ("a", "b")})
    beside._ones[0].seconds = 2.0
    assert [len(column) for column in beside.columns(rows)] == [10]
    assert beside._ones[0].reason == "takes longer than limits.time, 1s"
    assert beside.columns(rows)[0].null_count == 10
    assert run(root).rows.published == 40


REJECTING = JOB + "policy: {empty: publish, bad_row: reject, max_rejected: 100%}\ndomain: {a: {max: 0.9}}\n"


def put_rows(root: Path, a: list[float], day: str = DAYS[0]) -> None:
    """Instead of the day's input: one row for each value of a."""
    ids, values = pa.array(range(len(a)), pa.int64()), pa.array(a, pa.float32())
    folder = root / f"data/lake/rows/day={day}"
    pq.write_table(pa.table({"id": ids, "a": values, "b": values}), folder / "part-0.parquet")


@pytest.mark.parametrize(
    "values", [[], [5.0], [5.0, 6.0]], ids=["no row", "its row rejected", "all rejected"]
)
@pytest.mark.sample(1)
def test_a_day_of_which_no_row_is_scored_is_published(tmp_path, values):
    """As without the challenger; the receipt says 0 rows of it, and the days around it have their scores."""
    root = workspace(tmp_path, NEXT, rows=20, job=REJECTING)
    put_rows(root, values)
    receipt = run(root)
    assert (receipt.rows.read, receipt.rows.rejected, receipt.rows.published) == (len(values), len(values), 0)
    assert (the_one(receipt).rows, the_one(receipt).reason) == (0, "")
    assert run(root).status == "unchanged"
    assert the_one(run(root, DAYS[1])).rows == 20 - sum(a > 0.9 for a in day_of(root, DAYS[1]))
    assert the_one(run(root, force=True)).rows == 0


def day_of(root: Path, day: str) -> list[float]:
    return pq.read_table(root / f"data/lake/rows/day={day}/part-0.parquet", partitioning=None)[
        "a"
    ].to_pylist()


@pytest.mark.slow
def test_a_day_of_rejects_alone_is_replayed_with_its_challenger(tmp_path):
    """After the fix both score: what each gives is its weights times the row."""
    root = workspace(tmp_path, NEXT, rows=20, job=REJECTING)
    put_rows(root, [5.0, 6.0])
    run(root)
    job = rewrite(root, contest(NEXT, job=REJECTING.replace("max: 0.9", "max: 9")))
    assert the_one(replay.replay_rejects(job, DAYS[0])).rows == 2
    assert scores(root, "id, score, next__score") == [(0, 15.0, 10.0), (1, 18.0, 12.0)]


@pytest.mark.parametrize("there", [True, False], ids=["damaged", "gone"])
def test_on_a_day_without_rows_one_that_can_not_be_opened_costs_nothing_either(tmp_path, there):
    """The reason is in the receipt."""
    root = workspace(tmp_path, NEXT, rows=20, job=REJECTING)
    put_rows(root, [])
    (root / NEXT).write_bytes(b"no model") if there else (root / NEXT).unlink()
    one = the_one(run(root))
    assert one.rows == 0 and one.reason


BESIDE = """\
import pyarrow as pa

from nightscore.scorers import Signature


class Named:
    def __init__(self, name):
        self.name = name
        floats = [("a", pa.float32()), ("b", pa.float32())]
        self.signature = Signature(pa.schema(floats), pa.schema([("score", pa.float32())]))

    def score(self, chunk):
        if self.name == "next" and chunk.num_rows:
            {act}
        return pa.record_batch([pa.repeat(pa.scalar(1.0, pa.float32()), chunk.num_rows)], ["score"])


def open_scorer(model, options):
    return Named(model.data.decode())
"""
ACTS = {
    "raises": 'raise ValueError("no")',
    "exits": "raise SystemExit(3)",
    "is out of memory": "raise MemoryError()",
    "gives another type": "return pa.record_batch([pa.array([1] * chunk.num_rows)], ['score'])",
    "gives another column": "return pa.record_batch([pa.array([1.0] * chunk.num_rows)], ['other'])",
    "gives a row less": "return pa.record_batch([pa.array([1.0] * (chunk.num_rows - 1))], ['score'])",
    "gives none": "return None",
    "gives NaN": "return pa.record_batch([pa.array([float('nan')] * len(chunk), pa.float32())], ['score'])",
}


def beside(root: Path, act: str, more: str = "") -> Path:
    """A workspace whose scorer, a file of it, does something else for the challenger."""
    job = (
        contest("data/models/next.txt")
        .replace("linear.onnx", "linear.txt")
        .replace("{score: y}", "{score: score}")
    )
    make_workspace(root, rows=300, job=job.replace("model:\n", "model:\n  kind: scorers/named.py\n") + more)
    (root / "scorers").mkdir()
    (root / "scorers/named.py").write_text(BESIDE.format(act=act))
    for name in ("linear", "next"):
        (root / f"data/models/{name}.txt").write_text(name)
    return root


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
@pytest.mark.sample(2)
def test_whatever_a_challenger_does_the_day_is_published(tmp_path, act):
    """Its column is null, the receipt says why, the champion's scores are there."""
    root = beside(tmp_path, act)
    one = the_one(run(root))
    assert one.rows == 0 and one.reason
    found = catalog.query("SELECT count(*) n, sum(score) s, count(next__score) c FROM mini_scores", root)
    assert found.to_pylist() == [{"n": 300, "s": 300.0, "c": 0}]
