"""A day's proof is the sum of its pieces'; what the publisher does not read is held to be what was proven."""

import datetime as dt
import json
import math
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from hypothesis import given, settings
from hypothesis import strategies as st

from nightscore import Broken, load, run
from nightscore.pipeline import Day, InOrder, RunRequest, plan_day, publish_day
from nightscore.pipeline.publish.piece_proof import read_proof
from nightscore.store import Tally, run_folder, storage
from nightscore.store.storage import homes
from tests.support.s3 import BUCKET, become_client
from tests.support.s3_proxy import Proxy
from tests.support.workspace import DAYS, JOB, make_workspace, rows_of

DAY = dt.date.fromisoformat(DAYS[0])
BARE = JOB[: JOB.index("decide:")]  # no decision, no audit: nobody reads the scores but the proof
PIECES = "scoring: {piece_rows: 1000}\n"

VALUES: dict[Any, st.SearchStrategy[Any]] = {
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.int8(): st.integers(-128, 127),
    pa.float64(): st.floats(),
    pa.float32(): st.floats(width=32),
    pa.decimal128(20, 4): st.integers(-(10**20) + 1, 10**20 - 1).map(lambda n: Decimal(n).scaleb(-4)),
    pa.bool_(): st.booleans(),
    pa.string(): st.text(max_size=3),
    pa.list_(pa.float64()): st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=3),
}


EXACT = (pa.decimal128(20, 4), pa.bool_())


def plain_sum(values: list[Any], *, is_float: bool) -> str:
    """By Python's fractions, rounded once where it is a float."""
    if not is_float:
        return str(sum(values[1:], values[0] + 0))
    try:
        return str(float(sum(map(Fraction, values), Fraction(0))))
    except OverflowError:
        return str(math.inf if sum(map(Fraction, values), Fraction(0)) > 0 else -math.inf)


@settings(max_examples=60)
@given(data=st.data(), kind=st.sampled_from(list(VALUES)))
def test_tallies_that_were_kept_and_merged_are_the_plain_sum(data: st.DataObject, kind: pa.DataType) -> None:
    """By Python's fractions, however the rows are cut."""
    values = data.draw(st.lists(st.one_of(st.none(), VALUES[kind]), max_size=30))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(values)), max_size=3)))
    total = Tally(kind)
    for start, stop in zip([0, *cuts], [*cuts, len(values)], strict=True):
        part = Tally(kind)
        part.add(pa.array(values[start:stop], kind))
        total.merge(Tally.restored(kind, json.loads(json.dumps(part.state()))))
    found = total.proof()
    there = [
        v for value in values if value is not None for v in (value if isinstance(value, list) else [value])
    ]
    assert found.nulls == sum(value is None for value in values)
    if kind == pa.string() or not there:
        assert found.sum is None
        return
    finite = [v for v in there if math.isfinite(v)]
    assert found.nans == sum(math.isnan(v) for v in there)
    if len(finite) == len(there):
        assert found.sum == plain_sum(there, is_float=not (pa.types.is_integer(kind) or kind in EXACT))
        assert (found.minimum, found.maximum) == (str(min(there)), str(max(there)))


def staged(root: Path, pieces: int = 3) -> tuple[Any, Any, Any]:
    """A job, a plan of some pieces, and what is staged of it."""
    job = load("mini", root)
    plan = plan_day(job, DAY)
    assert len(plan.pieces) == pieces
    return job, plan, InOrder().map(job, plan, plan.pieces)


def test_the_receipt_is_that_of_a_proof_in_one_go(tmp_path: Path) -> None:
    """Where proofs are missing, all is read again: the same rows, hashes and columns."""
    proven = []
    for name in ("sum", "whole"):
        job, plan, pieces = staged(make_workspace(tmp_path / name, 3000, JOB + PIECES))
        if name == "whole":
            run_folder.folder_of_plan(job.workspace, plan).proof(plan.pieces[1].fingerprint).remove()
        receipt = publish_day(job, plan, pieces)
        proven.append(
            (receipt.rows, receipt.key_hash, {t: (r.rows, r.columns) for t, r in receipt.tables.items()})
        )
    assert proven[0] == proven[1]
    score = proven[0][2]["mini_scores"][1]["a"]
    assert float(score.sum or 0) == math.fsum(rows_of(DAYS[0], 3000)["a"].to_numpy().astype(np.float64))


def test_a_piece_that_is_given_twice_is_not_two(tmp_path: Path) -> None:
    """Pieces of one size: rows alone would not tell."""
    job, plan, pieces = staged(make_workspace(tmp_path, 3000, JOB + PIECES))
    with pytest.raises(Broken, match=r"not unique|lost or changed"):
        publish_day(job, plan, [pieces[0], pieces[0], pieces[2]])


def test_a_key_that_is_in_two_pieces_is_found(tmp_path: Path) -> None:
    """Keys rise in each piece, and the pieces do not lie apart."""
    root = make_workspace(tmp_path, 3000, JOB + PIECES)
    path = root / f"data/lake/rows/day={DAYS[0]}/part-0.parquet"
    table = rows_of(DAYS[0], 3000)
    ids = table["id"].to_numpy().copy()
    ids[1000:] -= 1  # 999 ends the first piece, and begins the second
    pq.write_table(table.set_column(0, "id", pa.array(ids)), path, row_group_size=1000)
    job, plan, pieces = staged(root)
    with pytest.raises(Broken, match=r"the key is not unique within the day: id=999 \(2 rows\)"):
        publish_day(job, plan, pieces)


def test_a_staged_file_that_is_another_is_not_published(tmp_path: Path) -> None:
    """Not even with a sha256 of its own: it is not what was proven."""
    job, plan, pieces = staged(make_workspace(tmp_path / "one", 3000, BARE + PIECES))
    other = staged(
        make_workspace(tmp_path / "two", 3000, BARE.replace("keep: [a]\n", "keep: [b]\n") + PIECES)
    )
    for ending in (".parquet", ".sha256"):
        one, two = (
            storage.locate(each[0].workspace, each[2][1].path).with_suffix(ending)
            for each in ((job, plan, pieces), other)
        )
        one.write_bytes(two.read_bytes())
    with pytest.raises(Broken, match="is not the file that was proven"):
        publish_day(job, plan, pieces)
    assert not (tmp_path / "one/data/tables").exists()


DAMAGES = {
    "rows": lambda text: text.replace('"rows": 1000', '"rows": 1001'),
    "bytes": lambda text: text.replace('"bytes": ', '"bytes": 1'),
    "rejected": lambda text: text.replace('"rejected": 0', '"rejected": 3'),
    "a sum": lambda text: text.replace('"total": "', '"total": "1'),
    "a type": lambda text: text.replace('"rows": 1000', '"rows": "1000"'),
    "no columns": lambda text: json.dumps({**json.loads(text), "columns": None}),
    "another schema": lambda text: text.replace('"schema": "', '"schema": "AAAA'),
    "cut": lambda text: text[: len(text) // 2],
    "no object": lambda text: text and "null",
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.sample(3)
def test_a_damaged_proof_is_not_believed(tmp_path: Path, damage: Callable[[str], str]) -> None:
    """What a proof has lost or changed is in no receipt, and in no log of the table: all is read again."""
    root = make_workspace(tmp_path, 3000, BARE + PIECES)
    job, plan, pieces = staged(root)
    place = run_folder.folder_of_plan(job.workspace, plan).proof(plan.pieces[0].fingerprint)
    text = place.read_text()
    assert damage(text) != text
    place.replace_text(damage(text))
    receipt = publish_day(job, plan, pieces)
    column = receipt.tables["mini_scores"].columns["a"]
    assert float(column.sum or 0) == math.fsum(rows_of(DAYS[0], 3000)["a"].to_numpy().astype(np.float64))
    assert receipt.rows.rejected == 0 and (column.nulls, column.nans) == (0, 0)
    added = DeltaTable(root / "data/tables/mini_scores").get_add_actions(flatten=True)
    files = pa.table(added).to_pydict()
    assert files["num_records"] == [1000] * 3
    assert files["size_bytes"] == [
        (root / "data/tables/mini_scores" / path).stat().st_size for path in files["path"]
    ]


def test_a_proof_of_another_run_is_not_believed(tmp_path: Path) -> None:
    """Nor one of another piece, whatever their rows."""
    job, plan, pieces = staged(make_workspace(tmp_path, 3000, BARE + PIECES))
    again = plan_day(job, DAY, RunRequest(force=True))
    InOrder().map(job, again, again.pieces)
    ours, theirs = (run_folder.folder_of_plan(job.workspace, each) for each in (plan, again))
    names = [piece.fingerprint for piece in plan.pieces]
    other = {names[0]: theirs.proof(names[0]).read_text(), names[1]: ours.proof(names[2]).read_text()}
    day = Day(job, plan)
    for name, text in other.items():
        ours.proof(name).replace_text(text)
    assert [read_proof(day, name) is None for name in names] == [True, True, False]
    assert publish_day(job, plan, pieces).rows.published == 3000


def test_a_damaged_file_that_was_removed_is_scored_and_proven_again(tmp_path: Path) -> None:
    """As the message says."""
    job, plan, pieces = staged(make_workspace(tmp_path, 3000, BARE + PIECES))
    file = storage.locate(job.workspace, pieces[1].path)
    file.write_bytes(file.read_bytes()[:-20] + bytes(20))
    with pytest.raises(Broken, match="damaged since it was staged"):
        publish_day(job, plan, pieces)
    file.unlink()
    assert run(job, DAY).rows.published == 3000


@pytest.fixture
def in_bucket(tmp_path: Path, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A workspace of twelve pieces a day whose `data/` is in a bucket."""
    become_client(monkeypatch, proxy.port, tmp_path / "scratch")
    monkeypatch.setenv("NIGHTSCORE_ROOT_DATA", f"s3://{BUCKET}/{tmp_path.name}")
    root = make_workspace(tmp_path / "source", 12_000, BARE + PIECES)
    bucket = homes.storage_of(load("mini", root).workspace)
    for file in (path for path in (root / "data").rglob("*") if path.is_file()):
        bucket.save_copy(file.relative_to(root).as_posix(), file)
    yield root
    homes._bucket.cache_clear()


def test_who_publishes_on_another_machine_fetches_no_scores_that_it_can_add(
    in_bucket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no SQL reads them."""
    _, plan, pieces = staged(in_bucket, 12)
    monkeypatch.setenv("NIGHTSCORE_SCRATCH", str(tmp_path / "another"))
    homes._bucket.cache_clear()
    job = load("mini", in_bucket)
    monkeypatch.setattr("nightscore.pipeline.publish.score_sample.SHARE", 10**9)  # 16 rows, in fours
    assert publish_day(job, plan, pieces).rows.published == 12_000
    fetched = [path.name for path in (tmp_path / "another").rglob("scores/*.parquet")]
    assert 0 < len(fetched) <= 4, "those of which rows are scored again"
    assert not [*(tmp_path / "another").rglob("mini_scores/**/*.parquet")], "a footer is a file's end"


@pytest.mark.slow
def test_an_object_that_is_another_than_was_proven_is_not_published(in_bucket: Path) -> None:
    """Nobody here reads it: its ETag says so."""
    job, plan, pieces = staged(in_bucket, 12)
    bucket = homes.storage_of(job.workspace)
    data = bucket.read(pieces[5].path)
    bucket.replace(pieces[5].path, data[:100] + bytes([data[100] ^ 1]) + data[101:])
    with pytest.raises(Broken, match="is not the file that was proven"):
        publish_day(job, plan, pieces)
