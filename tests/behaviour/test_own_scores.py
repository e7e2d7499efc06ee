"""A row's score is a function of the row: models that look elsewhere, and scores that lie elsewhere.

Whole nights. What is published is compared with NumPy; nothing is published where it would be wrong.
"""

import datetime as dt
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from onnx import TensorProto as T
from onnx import helper, numpy_helper

from nightscore import Broken, Receipt, load, query, run
from nightscore.pipeline.request import RunRequest
from nightscore.pipeline.steps import check_job, plan_day, publish_day, score_piece
from tests.behaviour.conftest import MANY, ROWS, Build
from tests.behaviour.world import DAY, TABLES, Truth, ours, receipts, tree
from tests.support.workspace import JOB, rows_of

node = helper.make_node


def write_model(
    root: Path, nodes: list[object], name: str = "linear", rank: int = 2, **constants: object
) -> None:
    """A model of X [rows, 2] that gives y; `own` is a + 2 b, as the job's own model computes it."""
    held = {"W": np.array([[1], [2]], np.float32), **constants}
    x = helper.make_tensor_value_info("X", T.FLOAT, [None, 2])
    y = helper.make_tensor_value_info("y", T.FLOAT, [None, 1][:rank])
    tensors = [numpy_helper.from_array(np.asarray(value), key) for key, value in held.items()]
    graph = helper.make_graph([node("MatMul", ["X", "W"], ["own"]), *nodes], "g", [x], [y], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    helper.set_model_props(model, {"columns": json.dumps(["a", "b"])})
    (root / f"data/models/{name}.onnx").write_bytes(model.SerializeToString())


LESS_MEAN = [node("ReduceMean", ["own"], ["m"], axes=[0], keepdims=1), node("Sub", ["own", "m"], ["y"])]
HIDDEN_DROPOUT = [  # a mode that no name tells: it is computed
    node("Shape", ["own"], ["shape"]),
    node("Size", ["shape"], ["rank"]),
    node("Cast", ["rank"], ["on"], to=T.BOOL),
    node("Dropout", ["own", "half", "on"], ["y"]),
]


@pytest.mark.parametrize("chunks", ["", "scoring: {chunk_rows: 100}\n"])
def test_a_model_that_looks_at_the_rows_beside_publishes_nothing(fresh: Build, chunks: str) -> None:
    """Broken with a row's key and both of its scores; no table is there, however the day is cut."""
    root = fresh(days=(DAY,), job=JOB + chunks)
    write_model(root, LESS_MEAN)
    with pytest.raises(
        Broken, match=r"depends on the rows beside it.* in halves, .* instead of .*\(id=\d+; "
    ):
        run(load("mini", root), DAY)
    assert tree(root / "data/tables") == {}


def test_chance_that_no_name_tells_is_found_by_scoring_twice(fresh: Build) -> None:
    """Dropout whose training mode is computed."""
    root = fresh(days=(DAY,))
    write_model(root, HIDDEN_DROPOUT, half=np.float32(0.5))
    with pytest.raises(Broken, match="twice, "):
        run(load("mini", root), DAY)
    assert tree(root / "data/tables") == {}


def test_chance_is_refused_by_name_before_a_row_is_read(fresh: Build) -> None:
    """`nightscore check` says so, with the line of job.yaml, the node and the way on."""
    root = fresh(days=())
    write_model(
        root, [node("RandomUniformLike", ["own"], ["r"], name="noise"), node("Add", ["own", "r"], ["y"])]
    )
    with pytest.raises(Broken, match=r"job\.yaml:\d+: .*node 'noise' \(RandomUniformLike\) draws by chance"):
        check_job(load("mini", root))


@pytest.mark.parametrize("rows", [1, ROWS])
def test_a_model_that_squeezes_a_chunk_of_one_row_scores_it_as_beside_others(fresh: Build, rows: int) -> None:
    """`squeeze()`: whether the last chunk has one row follows from memory, and changes no score."""
    root = fresh(rows=rows, days=(DAY,))
    write_model(root, [node("Squeeze", ["own"], ["y"])], rank=1)
    run(load("mini", root), DAY)
    published = query("SELECT id, score FROM mini_scores ORDER BY id", root).to_pydict()
    lake = pq.read_table(root / f"data/lake/rows/day={DAY}", partitioning=None).sort_by("id")
    a, b = (lake[name].to_numpy().astype(np.float32) for name in ("a", "b"))
    assert published["id"] == lake["id"].to_pylist() and len(lake) == rows
    assert np.allclose(published["score"], a + 2 * b, rtol=1e-6)


@pytest.mark.parametrize("rows", [0, 1, 2, 17])
@pytest.mark.sample(2)
def test_small_days_of_an_honest_model_are_published(fresh: Build, rows: int) -> None:
    """Where there are too few rows to ask about, the next night asks."""
    job = JOB + "policy: {empty: publish}\n"
    root = fresh(rows=rows, days=(DAY,), job=job)
    receipt = run(load("mini", root), DAY)
    assert receipt.rows.published == rows
    sampled = receipt.score_sample.rows if receipt.score_sample else 0
    # Of more than 16 rows places are drawn, which may overlap: by the run, and so by the moment.
    assert (rows if rows <= 16 else 4) <= sampled <= min(rows, 16)
    asked = list(load("mini", root).workspace.choices.glob("*.rows"))  # of this machine
    assert bool(asked) == (rows >= 16)


CALLS = """\
import pathlib
import numpy as np
import pyarrow as pa
from nightscore.scorers import Signature

LOG = pathlib.Path({log!r})

class Mine:
    signature = Signature(
        pa.schema([("a", pa.float64()), ("b", pa.float64())]), pa.schema([("score", pa.float64())])
    )
    mean = None

    def score(self, chunk):
        with LOG.open("a") as log:
            log.write(f"{{chunk.num_rows}}\\n")
        own = np.asarray(chunk.column("a")) + 2.0 * np.asarray(chunk.column("b"))
        {change}
        return pa.RecordBatch.from_arrays([pa.array(own)], schema=self.signature.outputs)

def open_scorer(model, options):
    return Mine()
"""
MINE = JOB.replace("  path: data/models/linear.onnx\n", "  kind: scorers/mine.py\n").replace(
    "score: y", "score: score"
)
FITS = "if self.mean is None and len(own): self.mean = own.mean()\n        own = own - (self.mean or 0)"


def with_scorer(root: Path, change: str = "") -> Path:
    """Gives the file in which the scorer notes the rows of each call."""
    log = root / "calls.log"
    (root / "scorers").mkdir(exist_ok=True)
    (root / "scorers/mine.py").write_text(CALLS.format(log=str(log), change=change or "pass"))
    return log


def test_a_scorer_that_remembers_the_first_rows_is_refused(fresh: Build) -> None:
    """What it gives depends on which piece came first: found by opening it once more."""
    root = fresh(days=(DAY,), job=MINE)
    with_scorer(root, FITS)
    with pytest.raises(Broken, match="opened anew"):
        run(load("mini", root), DAY)
    assert tree(root / "data/tables") == {}


def test_a_second_night_asks_nothing_and_another_scorer_is_asked_again(fresh: Build) -> None:
    """The verdict is kept by all that can change an answer; the night's own sample is scored on each."""
    root = fresh(days=(DAY, "2020-01-03"), job=MINE)
    log = with_scorer(root)
    calls = []
    for day in (DAY, "2020-01-03"):
        log.write_text("")
        assert run(load("mini", root), day).status == "published"
        calls.append([int(line) for line in log.read_text().split()])
    assert len(calls[0]) > len(calls[1]) + 20
    assert max(calls[1]) == ROWS
    with_scorer(root, "own = own - (own.mean() if len(own) else 0)")
    with pytest.raises(Broken, match="depends on the rows beside"):
        run(load("mini", root), DAY, force=True)


def test_a_challenger_that_looks_at_the_rows_beside_scores_none(fresh: Build) -> None:
    """It breaks nothing but itself: its columns are null, the receipt says why; the champion's are right."""
    others = "  champion: data/models/linear.onnx\n  challengers: [data/models/other.onnx]\n"
    job = JOB.replace("  path: data/models/linear.onnx\n", others)
    root = fresh(days=(DAY,), job=job)
    write_model(root, LESS_MEAN, "other")
    receipt = run(load("mini", root), DAY)
    assert receipt.challengers[0].rows == 0
    assert "depends on the rows beside it" in receipt.challengers[0].reason
    rows = ours(root, "mini_scores").rows
    assert rows.column("other__score").null_count == ROWS
    truth = Truth(ROWS).table("mini_scores")
    assert rows.select(["id", "a", "score"]).equals(truth)


def restage(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    """Files whose keys, counts, sums of keys and sha256 are right, and whose scores are not."""

    def rewrite(path: Path) -> None:
        table = pq.read_table(path, partitioning=None)
        place = table.schema.get_field_index("score")
        scores = change(table.column("score").to_numpy().copy())
        table = table.set_column(place, table.schema.field(place), pa.array(scores, pa.float32()))
        path.unlink()
        pq.write_table(table, path, compression="zstd", write_page_checksum=True)
        path.with_suffix(".sha256").write_text(hashlib.sha256(path.read_bytes()).hexdigest())
        # Else the file would not be the one that was proven: here it is what was scored that is wrong.
        (path.parent.with_name("proofs") / f"{path.stem}.json").unlink()

    return rewrite


def chunks_reversed(scores: np.ndarray) -> np.ndarray:
    return np.concatenate([scores[at : at + 1000][::-1] for at in range(0, len(scores), 1000)])


def pairs_swapped(scores: np.ndarray) -> np.ndarray:
    places = np.arange(len(scores)) ^ 1
    return scores[np.minimum(places, len(scores) - 1)]


FAULTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "shifted by one": lambda s: np.roll(s, 1),
    "each chunk backwards": chunks_reversed,
    "pairs swapped": pairs_swapped,
    "a constant": lambda s: np.full_like(s, s.mean()),
    "those of another model": lambda s: s * np.float32(1.001),
    "those of another day": lambda s: rows_of("2020-01-01", len(s)).column("a").to_numpy(),
    "all the same, in another order": np.sort,
}


@pytest.mark.parametrize("sql", [False, True])
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.sample(4)
def test_scores_that_are_not_their_rows_own_are_never_published(fresh: Build, fault: str, sql: bool) -> None:
    """Whatever staged them: the sample of the night finds it, by key, in each of the pieces."""
    job_text = JOB.replace("features: rows", "features: features.sql") if sql else JOB
    root = fresh(rows=MANY, days=(DAY,), job=job_text)
    job = load("mini", root)
    plan = plan_day(job, dt.date.fromisoformat(DAY), RunRequest())
    staged = [score_piece(job, plan, piece) for piece in plan.pieces]
    restage(FAULTS[fault])(root / staged[-1].path)
    with pytest.raises(
        Broken, match=r"rows that were scored again one by one, by onnx on cpu, .* id=\d+ has score"
    ):
        publish_day(job, plan, staged)
    assert receipts(root) == [] if (root / "data/tables/receipts").exists() else True
    assert tree(root / "data/tables") == {}


@pytest.mark.slow
def test_the_receipt_says_what_was_scored_again(fresh: Build) -> None:
    """Rows of each piece; the same rows for the same causes; a preview has a sample of its own."""
    root = fresh(rows=MANY, days=(DAY,))
    receipt = run(load("mini", root), DAY)
    sample = receipt.score_sample
    assert sample is not None
    assert 64 <= sample.rows <= 128
    assert (sample.by, sample.difference) == ("onnx on cpu", 0.0)  # weights are powers of two
    assert Receipt.model_validate_json(receipt.to_json()).score_sample == sample
    assert all(ours(root, name).is_(Truth(MANY), name) for name in TABLES)
    preview = run(load("mini", root), DAY, limit=500)
    assert preview.score_sample is not None
    assert 8 <= preview.score_sample.rows <= 16
