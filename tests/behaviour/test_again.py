"""A second run: it writes nothing, unless a cause has changed."""

import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightscore import Broken, load, query, run
from tests.behaviour.conftest import ROWS, Build
from tests.behaviour.processes import night
from tests.behaviour.world import DAY, TABLES, Truth, ours, receipts, tree
from tests.support.workspace import JOB, rows_of, write_day

FOLDER = "jobs/mini"


def edit(root: Path, file: str, old: str, new: str) -> None:
    path = root / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def touch(root: Path) -> None:
    os.utime(root / f"data/lake/rows/day={DAY}/part-0.parquet")


def rewrite(root: Path) -> None:
    table = rows_of(DAY, ROWS)
    changed = table.set_column(1, "a", pa.compute.multiply(table.column("a"), pa.scalar(0.5, pa.float32())))
    pq.write_table(changed, root / f"data/lake/rows/day={DAY}/part-0.parquet", row_group_size=1_000)


CAUSES: dict[str, Callable[[Path], object]] = {
    "an input file's time": touch,
    "an input file's rows": rewrite,
    "another file in the partition": lambda root: pq.write_table(
        rows_of(DAY, 1).set_column(0, "id", pa.array([ROWS])),
        root / f"data/lake/rows/day={DAY}/part-1.parquet",
    ),
    "the model file": Truth(ROWS, (4.0, 1.0)).write_model,
    "the decision's SQL": lambda root: edit(
        root, f"{FOLDER}/top.sql", "score DESC, id", "score DESC, id DESC"
    ),
    "a parameter's default": lambda root: edit(root, f"{FOLDER}/job.yaml", "default: 10", "default: 11"),
    "the key": lambda root: edit(root, f"{FOLDER}/job.yaml", "key: [id]\nkeep: [a]", "key: [id, a]"),
    "an audit": lambda root: edit(root, f"{FOLDER}/job.yaml", "as many as asked for", "as many as wanted"),
    "the policy": lambda root: edit(
        root, f"{FOLDER}/job.yaml", "params:", "policy: {empty: publish}\nparams:"
    ),
    "the size of a chunk": lambda root: edit(
        root, f"{FOLDER}/job.yaml", "params:", "scoring: {chunk_rows: 7}\nparams:"
    ),
    "the columns' order": lambda root: edit(
        root, f"{FOLDER}/job.yaml", "outputs:", "columns: [b, a]\n  columns_override: true\n  outputs:"
    ),
}
TEXTS: dict[str, Callable[[Path], object]] = {
    "about": lambda root: edit(root, f"{FOLDER}/job.yaml", "Rows scored by", "What is scored by"),
    "owner": lambda root: edit(root, f"{FOLDER}/job.yaml", "owner: tests", "owner: somebody else"),
    "a comment in job.yaml": lambda root: edit(
        root, f"{FOLDER}/job.yaml", "key: [id]", "key: [id]  # unique"
    ),
    "the schedule": lambda root: edit(
        root, f"{FOLDER}/job.yaml", "inputs:", 'schedule: {daily: "02:00"}\ninputs:'
    ),
    "memory": lambda root: edit(root, f"{FOLDER}/job.yaml", "inputs:", "memory: 300MB\ninputs:"),
    "the features' file, which is not used": lambda root: edit(root, f"{FOLDER}/features.sql", "% 2", "% 3"),
    "another day of the input": lambda root: write_day(root, "2020-01-01", 10),
    "a later day of the input": lambda root: write_day(root, "2020-01-04", 10),
    "hidden files in the partition": lambda root: (root / f"data/lake/rows/day={DAY}/_x.parquet").write_text(
        "x"
    ),
}


def test_a_second_run_writes_nothing(published: Path) -> None:
    """Status `unchanged`, the same run, and not one byte or name below data/tables and data/runs differs."""
    before = tree(published / "data")
    found = run(load("mini", published), DAY)
    assert (found.status, found.run_id) == ("unchanged", receipts(published)[0][2])
    assert found.rows.published == ROWS
    assert tree(published / "data") == before


def test_a_second_process_finds_the_day_unchanged(published: Path) -> None:
    """Nothing of what makes a day `unchanged` is kept in the process."""
    assert night(published, DAY).status == "unchanged"


TIMED = pytest.param(
    "an input file's time",
    marks=pytest.mark.disk_only(reason="times of a bucket are its own, and in whole seconds"),
)


@pytest.mark.parametrize("cause", [TIMED if cause == TIMED.values[0] else cause for cause in CAUSES])
@pytest.mark.sample(3)
def test_a_changed_cause_runs_again(published: Path, cause: str) -> None:
    """One new run replaces the old day, and then the day is unchanged again."""
    CAUSES[cause](published)
    if cause == "the key":  # `a` moves into the key, so that the table's columns stay
        edit(published, f"{FOLDER}/job.yaml", "model:", "keep: []\nmodel:")
    job = load("mini", published)
    found = run(job, DAY)
    assert (found.status, len(receipts(published))) == ("published", 2)
    assert ours(published, "mini_scores").runs == {found.run_id}
    assert run(job, DAY).status == "unchanged"


@pytest.mark.parametrize("text", TEXTS)
def test_what_cannot_change_a_row_does_not_run_again(published: Path, text: str) -> None:
    """Texts for people, schedules and the partitions of other days are no causes."""
    TEXTS[text](published)
    before = tree(published / "data/tables")
    assert run(load("mini", published), DAY).status == "unchanged"
    assert tree(published / "data/tables") == before


def test_a_parameter_given_at_the_call_runs_again_and_back(published: Path) -> None:
    """N 3, then the default again: two runs, for the tables hold one set of values."""
    job = load("mini", published)
    assert run(job, DAY, params={"n": "3"}).status == "published"
    assert run(job, DAY, params={"n": 3}).status == "unchanged"
    assert ours(published, "mini_top").rows.num_rows == 3
    assert run(job, DAY).status == "published"
    assert ours(published, "mini_top").rows.num_rows == 10
    assert len(receipts(published)) == 3


def test_back_to_the_first_cause_runs_again(published: Path) -> None:
    """Only what is in force counts: a day that was scored like this once before is scored again."""
    job = load("mini", published)
    for weights, runs in (((4.0, 1.0), 2), ((1.0, 2.0), 3)):
        Truth(ROWS, weights).write_model(published)
        assert run(job, DAY).status == "published"
        assert len(receipts(published)) == runs
        assert all(ours(published, name).is_(Truth(ROWS, weights), name) for name in TABLES)


def test_the_same_model_under_another_path_is_unchanged(published: Path) -> None:
    """The model's bytes are the cause, not its path."""
    other = published / "data/models/copy.onnx"
    other.write_bytes((published / "data/models/linear.onnx").read_bytes())
    assert run(load("mini", published), DAY, model="data/models/copy.onnx").status == "unchanged"


SQL = """\
SELECT r.id, r.a + 0 * o.total AS a, r.b, o.total, o.n
FROM rows r JOIN (
    SELECT id % 97 AS family, sum(a::DOUBLE * b) AS total, count(*) AS n FROM rows GROUP BY family
) o ON o.family = r.id % 97
WHERE r.id % 3 <> 0
"""
SQL_JOB = JOB.replace("features: rows", "features: features.sql").replace("keep: [a]", "keep: [total, n]")


@pytest.mark.slow
def test_forced_again_gives_the_same_bytes_of_predictions(large: Path) -> None:
    """All columns but the run's name are equal as Arrow and, written again, byte for byte; piece by piece."""
    job = load("mini", large)
    before = bare(large)
    again = run(job, DAY, force=True)
    assert again.status == "published"
    assert bare(large) == before
    assert len(before["mini_scores"]) == 3
    assert len(receipts(large)) == 2


@pytest.mark.slow
def test_memory_changes_no_byte(large: Path) -> None:
    """With the least that can be, and with a gigabyte: other chunks, fewer pieces at once, the same bytes."""
    found = []
    for memory in ("256MB", "1GB"):
        edit(large, f"{FOLDER}/job.yaml", "job: mini", f"memory: {memory}\njob: mini")
        run(load("mini", large), DAY, force=True)
        found.append(bare(large))
        edit(large, f"{FOLDER}/job.yaml", f"memory: {memory}\n", "")
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("files", "times"), [(5, 2), *(pytest.param(files, 4, marks=pytest.mark.slow) for files in (1, 5))]
)
@pytest.mark.slow
def test_forced_again_gives_the_same_bytes_from_sql_with_joins_and_aggregates(
    fresh: Build, files: int, times: int
) -> None:
    """Joins and sums of doubles over many row groups on two threads: the same bytes at each run."""
    root = fresh(rows=10, job=SQL_JOB, days=(DAY,))
    write_day(root, DAY, 40_000, files=files, group=2_048)
    edit(root, f"{FOLDER}/features.sql", (root / f"{FOLDER}/features.sql").read_text(), SQL)
    job = load("mini", root)
    run(job, DAY)
    before = bare(root)
    snapshots = set()
    for _ in range(times):
        receipt = run(job, DAY, force=True)
        assert receipt.status == "published"
        assert bare(root) == before
        snapshots.add((root / f"data/runs/mini/{DAY}/{receipt.run_id}/features.parquet").read_bytes())
    assert len(snapshots) == 1


def bare(root: Path) -> dict[str, list[bytes]]:
    """Each live file of the day without its column `run_id`, as bytes."""
    found: dict[str, list[bytes]] = {}
    for name in TABLES:
        run_id = receipts(root)[-1][2]
        for path in sorted((root / f"data/tables/{name}/day={DAY}").glob(f"{run_id}-*.parquet")):
            sink = pa.BufferOutputStream()
            pq.write_table(pq.read_table(path, partitioning=None).drop(["run_id"]), sink)
            found.setdefault(name, []).append(sink.getvalue().to_pybytes())
    return found


def test_a_table_that_was_rolled_back_is_published_again(published: Path) -> None:
    """A day whose receipt and tables disagree is not `unchanged`: told, and forced, they agree again."""
    from deltalake import DeltaTable

    job = load("mini", published)
    Truth(ROWS, (4.0, 1.0)).write_model(published)
    assert run(job, DAY).status == "published"
    DeltaTable(str(published / "data/tables/mini_top")).restore(1)
    with pytest.raises(Broken, match=r"mini_top 2020-01-02: .*RESTORE by .*repair mini_top.*--force"):
        run(job, DAY)
    assert run(job, DAY, force=True).status == "published"
    [(top, scores)] = [(ours(published, "mini_top"), ours(published, "mini_scores"))]
    assert top.runs == scores.runs == {receipts(published)[-1][2]}
    assert query("SELECT count(*) AS n FROM mini_top", published).to_pylist() == [{"n": 10}]
