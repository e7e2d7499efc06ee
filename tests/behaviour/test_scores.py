"""Scores equal a direct ONNX Runtime call on the same rows, however the day is cut."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightscore import Broken, load, query, run
from nightscore.common.workspace import open_workspace
from nightscore.store.published.catalog import read_catalog
from tests.behaviour.conftest import Build
from tests.behaviour.processes import night
from tests.behaviour.world import DAY, READERS, ours, receipts
from tests.support.workspace import JOB, linear_model, rows_of, write_day

SQL_JOB = JOB.replace("features: rows", "features: features.sql")
WEIGHTS = (0.1, -0.7)  # no powers of two: every rounding shows


def chunked(job: str, rows: int | str) -> str:
    return job.replace("params:", f"scoring: {{chunk_rows: {rows}}}\nparams:")


def direct(root: Path, rows: pa.Table) -> np.ndarray:
    """The model's answer to all rows at once."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(root / "data/models/linear.onnx"), options)
    matrix = np.column_stack([rows.column("a").to_numpy(), rows.column("b").to_numpy()])
    return session.run(None, {"X": matrix})[0][:, 0]


def equals_direct(root: Path, rows: pa.Table) -> None:
    found = ours(root, "mini_scores").rows
    assert found.column("id").equals(rows.column("id"))
    assert found.column("a").equals(rows.column("a"))
    assert found.column("score").to_numpy().tobytes() == direct(root, rows).tobytes()


@pytest.mark.parametrize("features", ["streamed", "sql"])
@pytest.mark.parametrize("chunk_rows", [1, 7, 2048, 100_000, "auto"])
@pytest.mark.sample(3)
def test_scores_equal_a_direct_call_for_any_chunk(fresh: Build, chunk_rows: int | str, features: str) -> None:
    """Bit for bit, from several files, for streamed rows and for the rows of SQL."""
    count = 400 if chunk_rows == 1 else 5_000
    root = fresh(rows=1, job=chunked(JOB if features == "streamed" else SQL_JOB, chunk_rows), days=(DAY,))
    write_day(root, DAY, count, files=3, group=700)
    linear_model(root / "data/models/linear.onnx", WEIGHTS)
    assert run(load("mini", root), DAY).rows.published == (count if features == "streamed" else count // 2)
    rows = rows_of(DAY, count)
    equals_direct(
        root, rows if features == "streamed" else rows.take(list(range(0, count, 2))).combine_chunks()
    )


def test_pieces_of_several_files_keep_every_row_and_its_score(fresh: Build) -> None:
    """Three pieces over five files with odd row groups: each row once, with its own score."""
    root = fresh(rows=1, days=(DAY,))
    write_day(root, DAY, 99_991, files=5, group=3_001)
    linear_model(root / "data/models/linear.onnx", WEIGHTS)
    receipt = run(load("mini", root), DAY)
    assert receipt.tables["mini_scores"].files >= 3
    equals_direct(root, rows_of(DAY, 99_991))


def test_chunks_change_neither_bytes_nor_order_of_what_is_published(fresh: Build) -> None:
    """chunk_rows 7 and 2,048 publish the same rows in the same order: it is a matter of speed alone."""
    root = fresh(job=chunked(JOB, 7), days=(DAY,))
    run(load("mini", root), DAY)
    first = raw(root)
    (root / "jobs/mini/job.yaml").write_text(chunked(JOB, 2048))
    assert run(load("mini", root), DAY).status == "published"
    assert raw(root).equals(first)


def raw(root: Path) -> pa.Table:
    files = [f.path.local() for f in read_catalog(open_workspace(root)).files("mini_scores")]
    tables = [pq.read_table(f, partitioning=None).drop(["run_id"]) for f in files]
    return pa.concat_tables(tables).combine_chunks()


@pytest.mark.parametrize("features", ["streamed", "sql"])
@pytest.mark.parametrize("rows", [0, 1, 2])
@pytest.mark.sample(2)
def test_a_day_of_hardly_any_rows_is_scored_and_readable(fresh: Build, rows: int, features: str) -> None:
    """No row (with `empty: publish`), one and two: published with a receipt, and readable to all."""
    job = (JOB if features == "streamed" else SQL_JOB).replace("params:", "policy: {empty: publish}\nparams:")
    root = fresh(rows=rows, job=job, days=(DAY,))
    receipt = run(load("mini", root), DAY)
    expected = rows if features == "streamed" else -(-rows // 2)
    assert (receipt.status, receipt.rows.published) == ("published", expected)
    for name in ("mini_scores", "mini_top"):
        for reader in READERS:
            assert reader(root, name).rows.num_rows == expected, reader.__name__
    assert run(load("mini", root), DAY).status == "unchanged"
    assert len(receipts(root)) == 1


@pytest.mark.parametrize("features", ["streamed", "sql"])
def test_an_empty_day_is_broken_unless_the_job_says_otherwise(fresh: Build, features: str) -> None:
    """Nothing is published by accident."""
    root = fresh(rows=0, job=JOB if features == "streamed" else SQL_JOB, days=(DAY,))
    with pytest.raises(Broken, match="no rows to score on 2020-01-02; the policy for an empty day is fail"):
        run(load("mini", root), DAY)
    assert not (root / "data/tables").exists()


def test_an_empty_day_replaces_a_full_one(fresh: Build) -> None:
    """With `empty: publish`, a day whose rows are gone is empty for readers, and another day is as it was."""
    root = fresh(rows=50, job=JOB.replace("params:", "policy: {empty: publish}\nparams:"))
    job = load("mini", root)
    run(job, DAY)
    run(job, "2020-01-01")
    write_day(root, DAY, 0)
    assert not (root / f"data/lake/rows/day={DAY}/part-1.parquet").exists()
    empty = rows_of(DAY, 0)
    pq.write_table(empty, root / f"data/lake/rows/day={DAY}/part-0.parquet")
    assert run(job, DAY).rows.published == 0
    counts = query("SELECT day::VARCHAR AS d, count(*) AS n FROM mini_scores GROUP BY day", root).to_pylist()
    assert counts == [{"d": "2020-01-01", "n": 50}]


def test_a_nan_from_the_model_is_broken_and_names_the_row(fresh: Build) -> None:
    """A null feature is NaN to the model, which gives NaN: nothing is published."""
    root = fresh(days=(DAY,))
    rows = rows_of(DAY, 100)
    b = pa.array([None if i == 42 else float(i) for i in range(100)], pa.float32())
    pq.write_table(rows.set_column(2, "b", b), root / f"data/lake/rows/day={DAY}/part-0.parquet")
    end = night(root, DAY)
    assert end.error == "Broken"
    assert "id=42: the model gives NaN as score" in end.message
    assert not list((root / "data").glob("tables/*"))


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_an_infinite_score_is_broken_and_names_the_row(fresh: Build, value: float) -> None:
    """As NaN is: 3e38 + 2 * 3e38 is no float32."""
    root = fresh(days=(DAY,))
    b = pa.array([np.sign(value) * 3e38 if i == 42 else float(i) for i in range(100)], pa.float32())
    rows = rows_of(DAY, 100).set_column(2, "b", b)
    pq.write_table(rows, root / f"data/lake/rows/day={DAY}/part-0.parquet")
    end = night(root, DAY)
    assert end.error == "Broken"
    assert "id=42: the model gives an infinite number as score" in end.message
    assert not list((root / "data").glob("tables/*"))


def test_negative_zero_and_the_outermost_scores_are_published_as_they_are(fresh: Build) -> None:
    """The model's floats pass through bit for bit."""
    root = fresh(days=(DAY,))
    values = np.array([-3.4e38, 0.0, -0.0, 1e-45, 3.4e38], np.float32)
    linear_model(root / "data/models/linear.onnx", (1.0, 1.0))
    zero = pa.array(np.zeros(5, np.float32))
    rows = pa.table({"id": pa.array(range(5)), "a": pa.array(values), "b": zero})
    pq.write_table(rows, root / f"data/lake/rows/day={DAY}/part-0.parquet")
    run(load("mini", root), DAY)
    equals_direct(root, rows)
    assert ours(root, "mini_scores").rows.column("a").to_numpy().tobytes() == values.tobytes()
