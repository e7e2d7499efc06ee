"""The proof: rows in = scored + rejected, keys unique, key hash in = out; what was staged is read back."""

import datetime as dt
import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightscore import Broken, load, run
from nightscore.pipeline.publish import reconcile
from nightscore.pipeline.request import RunRequest
from nightscore.pipeline.steps import plan_day, publish_day, score_piece
from nightscore.store.documents.plan import Plan
from nightscore.store.tables.staging import StagedFile
from tests.behaviour.conftest import MANY, ROWS, Build
from tests.behaviour.world import DAY, TABLES, Truth, ours, receipts, tree
from tests.support.workspace import JOB, rows_of, write_day

SQL_JOB = JOB.replace("features: rows", "features: features.sql")
KEYS = ["id", "name"]
TWO_KEYS = JOB.replace("key: [id]", "key: [id, name]").replace("SELECT id,", "SELECT id, name,")
TOP = """\
SELECT id, name, score, row_number() OVER (ORDER BY score DESC, id, name) AS rank
FROM scores QUALIFY rank <= getvariable('n')
"""


def recount(rows: Iterable[tuple[object, ...]]) -> str:
    """The key hash by hashlib: the sums of the halves of each key's md5."""
    lower = upper = 0
    for row in rows:
        texts = [str(value).encode() for value in row]
        digest = hashlib.md5(b",".join(b"%d:%s" % (len(t), t) for t in texts)).digest()  # noqa: S324 - as stored
        lower += int.from_bytes(digest[:8], "little")
        upper += int.from_bytes(digest[8:], "little")
    return f"{upper % 2**64:016x}{lower % 2**64:016x}"


def partition(root: Path) -> Path:
    return root / f"data/lake/rows/day={DAY}"


def with_names(root: Path, names: list[str | None], ids: list[int] | None = None) -> None:
    """The day's input: rows with a second key column of text."""
    rows = rows_of(DAY, len(names)).append_column("name", pa.array(names))
    rows = rows if ids is None else rows.set_column(0, "id", pa.array(ids))
    pq.write_table(rows, partition(root) / "part-0.parquet")


@pytest.fixture
def keyed(fresh: Build) -> Path:
    root = fresh(rows=1, job=TWO_KEYS, days=(DAY,))
    (root / "jobs/mini/top.sql").write_text(TOP)
    return root


@pytest.mark.parametrize("compiled", [False, True])
def test_the_receipt_counts_what_was_read_and_scored(
    large: Path, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows and key hash equal an independent recount of the source, over three pieces."""
    if compiled:
        monkeypatch.setattr(reconcile, "COMPILED", 0)
    receipt = run(load("mini", large), DAY, force=True)
    rows = receipt.rows
    assert (rows.read, rows.scored, rows.rejected, rows.published) == (MANY, MANY, 0, MANY)
    assert rows.read == rows.scored + rows.rejected
    assert receipt.key_hash.in_ == receipt.key_hash.out == recount((i,) for i in range(MANY))


def test_the_key_hash_of_sql_features_is_that_of_the_rows_that_the_sql_gave(fresh: Build) -> None:
    """What goes in is what the features' SQL gives: here the even ids."""
    receipt = run(load("mini", fresh(job=SQL_JOB, days=(DAY,))), DAY)
    assert receipt.rows.read == ROWS // 2
    assert receipt.key_hash.in_ == receipt.key_hash.out == recount((i,) for i in range(0, ROWS, 2))


@pytest.mark.parametrize("compiled", [False, True])
def test_the_key_hash_tells_keys_of_two_columns_apart(
    keyed: Path, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Text of any kind: quotes, commas, NUL, other alphabets, and the empty text."""
    if compiled:
        monkeypatch.setattr(reconcile, "COMPILED", 0)
    names = ["", "a", "1:a", "a,1:b", "o'hara", 'say "x"', "nul\0inside", "żółw 🐢", "tab\there", "new\nline"]
    with_names(keyed, list(names))
    receipt = run(load("mini", keyed), DAY)
    assert receipt.key_hash.in_ == receipt.key_hash.out == recount(enumerate(names))
    assert ours(keyed, "mini_scores").rows.column("name").to_pylist() == names


@pytest.mark.parametrize("sql", [False, True])
def test_a_key_that_stands_twice_is_broken_with_examples(fresh: Build, sql: bool) -> None:
    """Nothing is published, and the message names some of the keys and how often they stand."""
    root = fresh(job=SQL_JOB if sql else JOB, days=(DAY,))
    rows = rows_of(DAY, 100)
    ids = np.arange(100)
    ids[[10, 11, 12]] = 8
    ids[51] = 50
    pq.write_table(rows.set_column(0, "id", pa.array(ids)), partition(root) / "part-0.parquet")
    with pytest.raises(Broken, match=r"not unique within the day: id=8 \([34] rows\); id=50"):
        run(load("mini", root), DAY)
    assert tree(root / "data/tables") == {}


def test_a_key_that_stands_in_two_files_is_broken(published: Path) -> None:
    """Duplicates across files and pieces count; the published day stays as it was."""
    pq.write_table(rows_of(DAY, 5), partition(published) / "part-1.parquet")
    with pytest.raises(Broken, match=r"id=0 \(2 rows\); id=1 \(2 rows\); id=2 \(2 rows\)"):
        run(load("mini", published), DAY)
    assert all(ours(published, name).is_(Truth(ROWS), name) for name in TABLES)


def test_one_column_of_a_key_may_repeat(keyed: Path) -> None:
    """Only the whole key is unique."""
    with_names(keyed, ["a", "b", "a", "b"], ids=[1, 1, 2, 2])
    assert run(load("mini", keyed), DAY).rows.published == 4


def test_a_null_in_a_key_is_broken(keyed: Path) -> None:
    """The message names the first; nothing is published."""
    with_names(keyed, ["a", None, "b", None])
    with pytest.raises(Broken, match="id=1, name=None: key column 'name' is null"):
        run(load("mini", keyed), DAY)
    assert tree(keyed / "data/tables") == {}


def rewritten(change: Callable[[pa.Table], pa.Table]) -> Callable[[Path, list[StagedFile]], list[StagedFile]]:
    def tamper(root: Path, pieces: list[StagedFile]) -> list[StagedFile]:
        path = root / pieces[0].path
        table = change(pq.read_table(path, partitioning=None))
        path.unlink()
        pq.write_table(table, path)
        return pieces

    return tamper


def set_id(table: pa.Table, value: int) -> pa.Table:
    ids = table.column("id").to_numpy().copy()
    ids[7] = value
    return table.set_column(0, "id", pa.array(ids))


TAMPERS: dict[str, Callable[[Path, list[StagedFile]], list[StagedFile]]] = {
    "a row dropped": rewritten(lambda t: t.slice(1)),
    "a row twice": rewritten(lambda t: pa.concat_tables([t, t.slice(0, 1)])),
    "a key changed": rewritten(lambda t: set_id(t, 10**9)),
    "a key replaced by another's": rewritten(lambda t: set_id(t, 8)),
    "a key lost": rewritten(lambda t: t.set_column(0, "id", pa.nulls(t.num_rows, pa.int64()))),
    "a piece left out": lambda _, pieces: pieces[1:],
    "a piece twice": lambda _, pieces: [*pieces, pieces[0]],
    "pieces of two exchanged for one": lambda _, pieces: [pieces[0], pieces[0], pieces[2]],
    "no piece": lambda *_: [],
}


def staged_day(root: Path) -> tuple[Plan, list[StagedFile]]:
    job = load("mini", root)
    plan = plan_day(job, dt.date.fromisoformat(DAY), RunRequest(force=True))
    return plan, [score_piece(job, plan, piece) for piece in plan.pieces]


@pytest.mark.parametrize("tamper", TAMPERS)
@pytest.mark.sample(3)
def test_a_staged_file_that_is_not_what_was_scored_is_never_published(large: Path, tamper: str) -> None:
    """Rows lost, gained or exchanged between staging and publishing: Broken, and the day stays."""
    plan, pieces = staged_day(large)
    assert len(pieces) == 3
    with pytest.raises(Broken):
        publish_day(load("mini", large), plan, TAMPERS[tamper](large, pieces))
    assert all(ours(large, name).is_(Truth(MANY), name) for name in TABLES)
    assert len(receipts(large)) == 1


def test_a_flipped_bit_in_a_staged_file_is_never_published(large: Path) -> None:
    """Each staged file is read back with its page checksums, scores included: one flipped bit is caught."""
    plan, pieces = staged_day(large)
    path = large / pieces[1].path
    data = bytearray(path.read_bytes())
    column = pq.read_metadata(path).row_group(0).column(2)
    assert column.path_in_schema == "score"
    data[column.data_page_offset + column.total_compressed_size // 2] ^= 4
    path.unlink()
    path.write_bytes(data)
    with pytest.raises(Broken):
        publish_day(load("mini", large), plan, pieces)
    assert len(receipts(large)) == 1


def test_a_staged_file_of_another_run_is_never_published(published: Path) -> None:
    """Files of a run under another model, passed by mistake: their keys are right, their run is not."""
    _, others = staged_day(published)
    Truth(ROWS, (4.0, 1.0)).write_model(published)
    plan, _ = staged_day(published)
    with pytest.raises(Broken):
        publish_day(load("mini", published), plan, others)
    assert all(ours(published, name).is_(Truth(ROWS), name) for name in TABLES)


def test_a_file_of_another_schema_among_the_inputs_is_broken(published: Path) -> None:
    """No cast of doubles to another file's integers, no column that only differs in case, or is in one."""
    write_day(published, DAY, ROWS, files=2)
    path = partition(published) / "part-1.parquet"
    rows = pq.read_table(path, partitioning=None)
    for changed, message in (
        (rows.set_column(0, "id", rows.column("id").cast(pa.float64())), "'id' is"),
        (rows.rename_columns(["id", "A", "b"]), "has 'A', one name to SQL"),
        (rows.rename_columns(["id", "c", "b"]), "has a column 'a'"),
    ):
        pq.write_table(changed, path)
        with pytest.raises(Broken, match=message):
            run(load("mini", published), DAY)
    assert len(receipts(published)) == 1
