"""`nightscore verify`: a published day is recomputed from its tables' files, and what differs is named."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightscore import load, run
from nightscore.cli.main import call
from nightscore.common.errors import Broken
from nightscore.common.files import file_sha256
from nightscore.common.workspace import Workspace
from nightscore.review.verify import verify_days
from nightscore.store.documents.receipt import Receipt
from tests.behaviour.world import DAY, TABLES, Truth


def one_file(root: Path, table: str) -> Path:
    """The day's file of a table that holds one."""
    [file] = (root / "data/tables" / table / f"day={DAY}").glob("*.parquet")
    return file


def rewrite(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    """A file with other rows, as well made as the first."""
    table = change(pq.read_table(path, partitioning=None))
    path.unlink()  # not its second name, in the run's folder
    pq.write_table(table, path, write_page_checksum=True, compression="zstd")


def with_score(place: int, value: float) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        scores = table["score"].to_numpy().copy()
        scores[place] = value
        return table.set_column(table.schema.get_field_index("score"), "score", pa.array(scores))

    return change


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.unlink()
    path.write_bytes(data)


CHANGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "a score": (
        lambda path: rewrite(path, with_score(3, 0.5)),
        r"column score: sum is .*, the receipt says ",
    ),
    "two scores that cancel out": (
        lambda path: rewrite(path, lambda t: t.set_column(2, "score", pa.array(t["score"].to_numpy()[::-1]))),
        r"\.parquet has sha256 [0-9a-f]{64}, which is in no receipt",
    ),
    "a row is gone": (
        lambda path: rewrite(path, lambda t: t.slice(1)),
        r"mini_scores: 1,999 rows, the receipt says 2,000",
    ),
    "a null": (
        lambda path: rewrite(path, lambda t: t.set_column(1, "a", pa.array([None] * len(t), pa.float32()))),
        r"column a: nulls is 2000, the receipt says 0",
    ),
    "a bit": (flip, r"damaged since it was staged"),
    "the file is gone": (lambda path: path.unlink(), r"\.parquet is gone \(1 of 1 files\)"),
}


def test_a_published_day_holds(published: Path) -> None:
    """Every day that was published, table by table."""
    found = list(verify_days(Workspace(published)))
    assert [one.differences for one in found] == [[]] * len(found)
    assert {one.day for one in found} >= {DAY} and all(one.rows and one.files == 2 for one in found)


@pytest.mark.parametrize(("change", "says"), CHANGES.values(), ids=CHANGES.keys())
def test_what_differs_is_named(
    published: Path, change: Callable[[Path], None], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever touched a file, and however well: table, file or column, both values; exit code 1."""
    change(one_file(published, "mini_scores"))
    assert call(["--workspace", str(published), "verify", "mini", "--day", DAY]) == 1
    out = capsys.readouterr().out
    assert f"mini {DAY}: differs" in out and "  mini_scores: " in out
    assert re.search(says, out), out


def test_other_days_and_tables_are_not_blamed(published: Path) -> None:
    """Only what was changed differs."""
    rewrite(one_file(published, "mini_top"), with_score(0, 9.0))
    found = {one.day: one.differences for one in verify_days(Workspace(published))}
    assert all(one.startswith("mini_top: ") for one in found.pop(DAY))
    assert set(map(tuple, found.values())) <= {()}


def test_the_receipt_has_what_numpy_counts(published: Path) -> None:
    """Exact sums, bounds and nulls of each column of each table, and the sha256 of each file."""
    receipt: Receipt = run(load("mini", published), DAY)
    for name in TABLES:
        table = receipt.tables[name]
        truth = Truth(2_000).table(name)
        for column in truth.column_names:
            values = truth[column].to_numpy()
            found = table.columns[column]
            assert found.nulls == found.nans == 0
            assert float(found.sum or "nan") == float(np.sum(values.astype(np.longdouble)))
            if column == "id":
                assert (found.minimum, found.maximum) == (None, None), "those of a key are somebody's"
                continue
            assert (float(found.minimum or "nan"), float(found.maximum or "nan")) == (
                values.min(),
                values.max(),
            )
        assert table.sha256 == (file_sha256(one_file(published, name)),)


def test_it_speaks_json(published: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One document, for a machine that asks each morning."""
    assert call(["--workspace", str(published), "verify", "--json"]) == 0
    [first, *_] = json.loads(capsys.readouterr().out)
    named = {"job", "day", "run_id", "rows", "files", "differences", "notes", "first_reported", "removed"}
    named |= {"erased", "deliveries"}
    assert set(first) == named


def test_what_is_not_published_can_not_be_verified(published: Path) -> None:
    """That is no proof of anything."""
    with pytest.raises(
        Broken, match=r"mini 2031-01-01 is not published; `nightscore receipts` lists what is"
    ):
        list(verify_days(Workspace(published), "mini", "2031-01-01"))
    shutil.rmtree(published / "data/tables")
    with pytest.raises(Broken, match=r"^nothing is published yet; `nightscore run JOB --day DAY` does$"):
        list(verify_days(Workspace(published)))


def test_a_day_is_verified_after_later_ones(large: Path) -> None:
    """Each day's files are those of the table's version that its receipt names; pieces are many files."""
    found = list(verify_days(Workspace(large)))
    assert all(one.differences == [] for one in found)
    assert max(one.files for one in found) > 2
