"""What other engines do to a published table: `verify` names it, `repair` puts it back or takes it as it is.

The other engine is deltalake itself; what a table holds is told by pandas through it, or by NumPy.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from nightscore import load, query, run
from nightscore.cli.main import call
from nightscore.common.errors import Broken
from nightscore.common.workspace import open_workspace
from nightscore.pipeline.publish.foreign_head import ForeignHead
from nightscore.pipeline.publish.repair import repair_table
from nightscore.review.verify import Verified, verify_days
from nightscore.store.published.catalog import read_catalog
from nightscore.store.published.gc import collect_garbage
from nightscore.store.published.heads import compare_heads
from tests.behaviour.conftest import Build
from tests.behaviour.world import DAY, NO_GRACE, Truth, ours

OTHER_DAY, NEW_DAY = "2020-01-03", "2020-02-01"
WHO = {"by": "Ada", "because": "erasure request 17"}
SCORES = Truth(2_000)


def opened(root: Path, table: str = "mini_scores") -> DeltaTable:
    return DeltaTable(str(root / "data/tables" / table))


def head_ids(root: Path, day: str = DAY, table: str = "mini_scores") -> list[int]:
    """The ids of a day as pandas has them."""
    frame = opened(root, table).to_pandas()
    return sorted(frame[frame["day"].astype(str) == day]["id"].tolist())


def foreign_rows(day: str, **more: object) -> pa.Table:
    rows = {"id": [90_001], "a": np.float32([0.5]), "score": np.float32([1.5]), "run_id": ["someone"]}
    named = pa.table({**rows, **more})
    return named.append_column("day", pa.array([np.datetime64(day).item()], pa.date32()))


def append(root: Path, day: str, **more: object) -> None:
    write_deltalake(
        opened(root), foreign_rows(day, **more), mode="append", schema_mode="merge" if more else None
    )


def delete(root: Path) -> None:
    opened(root).delete("id < 1000 AND day = '2020-01-02'")


def update(root: Path) -> None:
    opened(root).update(updates={"score": "0.0"}, predicate="id = 7")


def restore(root: Path) -> None:
    opened(root).restore(0)


def overwrite(root: Path) -> None:
    write_deltalake(opened(root), foreign_rows(DAY), mode="overwrite", predicate=f"day = '{DAY}'")


CHANGES: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "delete": (
        delete,
        DAY,
        r"1,000 rows in 1 file at the head .*, 2,000 rows in 1 file by .*DELETE by delta-rs",
    ),
    "append": (lambda root: append(root, DAY), DAY, r"2,001 rows in 2 files at the head .*WRITE by delta-rs"),
    "a new day": (
        lambda root: append(root, NEW_DAY),
        NEW_DAY,
        r"1 rows in 1 file .*no receipt names the day",
    ),
    "update": (update, DAY, r"2,000 rows in 1 file at the head .*UPDATE by delta-rs"),
    "restore": (restore, DAY, r"0 rows in 0 files at the head .*RESTORE by delta-rs"),
    "overwrite": (overwrite, DAY, r"1 rows in 1 file at the head"),
    "a column": (lambda root: append(root, NEW_DAY, z=[1]), "", r"column 'z' is int64 at the head, absent"),
}


def found(root: Path) -> list[Verified]:
    return list(verify_days(open_workspace(root)))


def said(root: Path, day: str) -> list[str]:
    return [text for one in found(root) if one.day == day for text in one.differences]


@pytest.mark.parametrize(("change", "day", "says"), CHANGES.values(), ids=CHANGES.keys())
def test_what_another_engine_did_is_named_and_put_back(
    published: Path, change: Callable[[Path], None], day: str, says: str
) -> None:
    """Our readers are not moved by it; afterwards the head is what it was, and nothing differs."""
    before = head_ids(published)
    assert all(not one.differences for one in found(published))
    change(published)
    [text, *_] = said(published, day)
    assert re.search(says, text), text
    assert "nightscore repair mini_scores" in text
    assert ours(published, "mini_scores").is_(SCORES, "mini_scores")
    done = repair_table(open_workspace(published), "mini_scores", **WHO)
    assert {one.how for one in done} == {"put back"}
    assert head_ids(published) == before == list(range(2_000)) and head_ids(published, NEW_DAY) == []
    assert [field.name for field in opened(published).schema().fields] == [
        "id",
        "a",
        "score",
        "run_id",
        "day",
    ]
    assert all(not one.differences for one in found(published))
    assert ours(published, "mini_scores").is_(SCORES, "mini_scores")
    assert run(load("mini", published), DAY).status == "unchanged"
    info = opened(published).history(2)
    assert any(one.get("because") == WHO["because"] and one.get("by") == "Ada" for one in info)


def test_one_file_of_three_that_is_gone_comes_back_by_one_commit(fresh: Build) -> None:
    """Whole files deleted leave names of ours alone: they are missed, and the others stay."""
    root = fresh(rows=99_000, days=(DAY, OTHER_DAY))
    run(load("mini", root), DAY)
    opened(root).delete("id < 33000")  # by its statistics a whole file, which goes without another
    table = opened(root)
    assert 0 < len(head_ids(root)) < 99_000
    count = "SELECT count(*) AS n FROM mini_scores"
    assert query(count, root)["n"][0].as_py() == 99_000
    version = table.version()
    repair_table(open_workspace(root), "mini_scores", **WHO)
    assert opened(root).version() == version + 1
    assert head_ids(root) == list(range(99_000))
    assert all(not one.differences for one in found(root))
    [first, *_] = sorted(opened(root).file_uris())
    remove_live(root, first)
    run(load("mini", root), OTHER_DAY)  # names a later version, in which the day is a part of what it was
    assert len(head_ids(root)) < 99_000
    assert query(f"{count} WHERE day = '{DAY}'", root)["n"][0].as_py() == 99_000


def remove_live(root: Path, file: str) -> None:
    """Take a whole file out of the table, as a DELETE by another engine that finds all its rows meant."""
    ids = pq.read_table(file, columns=["id"], partitioning=None)["id"].to_numpy()
    opened(root).delete(f"id >= {ids.min()} AND id <= {ids.max()}")


def test_rows_in_other_files_are_harmless(fresh: Build) -> None:
    """An OPTIMIZE is a note of verify, which counts the rows; it refuses no run."""
    root = fresh(rows=99_000, days=(DAY,))
    run(load("mini", root), DAY)
    opened(root).optimize.compact()
    [one] = found(root)
    assert one.differences == [] and "mini_scores" in one.notes[0] and "OPTIMIZE" in one.notes[0]
    assert run(load("mini", root), DAY).status == "published"  # its files are not there, so again
    assert head_ids(root) == list(range(99_000)) and [one.notes for one in found(root)] == [[]]


@pytest.mark.parametrize("operation", ["WRITE", "OPTIMIZE"])
def test_scores_that_are_swapped_differ(fresh: Build, operation: str) -> None:
    """The sums of all columns are what they were, and a commit may call itself what it likes."""
    root = fresh(rows=100, days=(DAY,))
    run(load("mini", root), DAY)
    table = opened(root)
    rows = table.to_pandas()
    rows.loc[rows["id"].isin([3, 4]), "score"] = rows.loc[rows["id"].isin([3, 4]), "score"].to_numpy()[::-1]
    write_deltalake(table, pa.Table.from_pandas(rows, preserve_index=False), mode="overwrite")
    log = root / f"data/tables/mini_scores/_delta_log/{opened(root).version():020}.json"
    if operation == "OPTIMIZE":
        log.write_text(log.read_text().replace('"WRITE"', '"OPTIMIZE"').replace("true", "false"))
    [one] = found(root)
    assert one.notes == [] and "mini_scores" in one.differences[0] and operation in one.differences[0]


def test_what_is_accepted_counts_for_every_reader_of_ours(published: Path) -> None:
    """query, verify, a second run and the head agree; what was first reported stays."""
    delete(published)
    [done] = repair_table(open_workspace(published), "mini_scores", **WHO, accept=True)
    count = "SELECT count(*) AS n, min(id) AS low, sum(score::DOUBLE) AS s FROM mini_scores WHERE day = $1"
    [row] = query(count, published, values=[DAY]).to_pylist()
    truth = SCORES.table("mini_scores").to_pandas().query("id >= 1000")
    assert (row["n"], row["low"]) == (1_000, 1_000)
    assert row["s"] == pytest.approx(truth["score"].astype(float).sum(), rel=1e-12)
    assert head_ids(published) == list(range(1_000, 2_000))
    assert ours(published, "mini_top").is_(SCORES, "mini_top")
    assert [one.differences for one in found(published)] == [[]]
    [first] = query(count, published, values=[DAY], as_reported=True).to_pylist()
    assert first["n"] == 2_000
    receipt = run(load("mini", published), DAY)
    assert (receipt.status, receipt.run_id, receipt.rows.published) == ("unchanged", done.run_id, 1_000)
    assert receipt.accepted and (receipt.accepted.by, receipt.accepted.because) == ("Ada", WHO["because"])
    assert receipt.rows.read == 2_000 and receipt.tables["mini_scores"].columns["id"].sum == str(
        sum(range(1_000, 2_000))
    )
    assert run(load("mini", published), OTHER_DAY).status == "published"
    assert [row["n"] for row in query(count, published, values=[DAY]).to_pylist()] == [1_000]
    assert compare_heads(read_catalog(open_workspace(published)), ["mini_scores"]) == []
    run(load("mini", published), DAY, force=True)
    collect_garbage(open_workspace(published), NO_GRACE)
    accepted = read_catalog(open_workspace(published)).version or 0
    [row] = query(count, published, values=[DAY], as_of=accepted - 1).to_pylist()
    assert row["n"] == 1_000  # what was accepted is kept for whoever asks what was there then


def test_a_day_that_is_gone_is_accepted_as_gone(published: Path) -> None:
    """No rows for any reader; the other days and tables are as they were."""
    run(load("mini", published), OTHER_DAY)
    opened(published).delete(f"day = '{DAY}'")
    repair_table(open_workspace(published), "mini_scores", DAY, **WHO, accept=True)
    assert query("SELECT count(*) AS n FROM mini_scores", published)["n"][0].as_py() == 2_000
    assert ours(published, "mini_scores", OTHER_DAY).is_(Truth(2_000, day=OTHER_DAY), "mini_scores")
    assert ours(published, "mini_top").is_(SCORES, "mini_top")
    assert all(not one.differences for one in found(published))


def test_a_run_does_not_bury_what_another_engine_did_to_its_day(published: Path) -> None:
    """Its own day: refused, with the ways on; forced, the receipt says so. Others: a warning."""
    run(load("mini", published), OTHER_DAY)
    delete(published)
    Truth(2_000, (4.0, 1.0)).write_model(published)
    with pytest.raises(
        ForeignHead, match=r"1,000 rows .*nightscore repair mini_scores --day 2020-01-02 .*--force"
    ):
        run(load("mini", published), DAY)
    beside = run(load("mini", published), OTHER_DAY)
    assert beside.status == "published" and "1,000 rows" in beside.foreign["mini_scores"][0]
    forced = run(load("mini", published), DAY, force=True)
    assert "1,000 rows" in forced.foreign["mini_scores"][0]
    assert ours(published, "mini_scores").is_(Truth(2_000, (4.0, 1.0)), "mini_scores")
    assert head_ids(published) == list(range(2_000))
    assert run(load("mini", published), "2020-01-01").foreign == {}


def test_nothing_is_put_back_that_is_not_what_was_published(published: Path) -> None:
    """A file that a VACUUM took, or somebody changed: named, with the ways on, and no commit is made."""
    delete(published)
    [file] = (published / f"data/tables/mini_scores/day={DAY}").glob("2*-0.parquet")
    version = opened(published).version()
    file.unlink()
    with pytest.raises(Broken, match=rf"{file.name} is gone; nothing is repaired.*--accept"):
        repair_table(open_workspace(published), "mini_scores", **WHO)
    assert opened(published).version() == version
    assert any(f"{file.name} is gone" in text for text in said(published, DAY))


def test_deleted_rows_that_are_only_marked_are_named(published: Path) -> None:
    """A vector of deleted rows leaves the file's name as it was. deltalake writes none: crafted."""
    root = published / "data/tables/mini_scores"
    log = root / "_delta_log" / f"{2:020}.json"
    commit = [json.loads(line) for line in (root / "_delta_log" / f"{1:020}.json").read_text().splitlines()]
    [add] = [one["add"] for one in commit if "add" in one]
    add["deletionVector"] = {
        "storageType": "i",
        "pathOrInlineDv": "wi5b=000010000siXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L",
        "sizeInBytes": 40,
        "cardinality": 6,
    }  # fmt: skip
    features = {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": ["deletionVectors"],
                "writerFeatures": ["deletionVectors"]}  # fmt: skip
    lines = [
        {"commitInfo": {"operation": "DELETE", "engineInfo": "Apache-Spark/4.0"}},
        {"protocol": features},
        {"add": add},
    ]
    log.write_text("\n".join(map(json.dumps, lines)) + "\n")
    texts = [text for one in found(published) for text in one.differences]
    assert any("DELETE by Apache-Spark/4.0" in text for text in texts), texts
    assert ours(published, "mini_scores").is_(SCORES, "mini_scores")


@pytest.mark.disk_only(reason="one look at the command")
def test_a_person_is_told_and_mends(published: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """verify, tables and repair at the terminal, and as JSON."""
    delete(published)
    at = ["--workspace", str(published)]
    assert call([*at, "verify"]) == 1
    assert "1,000 rows in 1 file at the head (version 2), 2,000 rows in 1 file" in capsys.readouterr().out
    assert call([*at, "tables"]) == 0
    assert "nightscore repair mini_scores --day 2020-01-02" in capsys.readouterr().err
    assert call([*at, "repair", "mini_scores", "--by", "Ada", "--because", " "]) == 1
    assert "because is empty" in capsys.readouterr().err
    assert call([*at, "repair", "mini_scores", "--by", "Ada", "--because", "a slip", "--json"]) == 0
    [done] = json.loads(capsys.readouterr().out)
    assert (done["table"], done["day"], done["how"]) == ("mini_scores", DAY, "put back")
    assert call([*at, "repair", "mini_scores", "--by", "Ada", "--because", "a slip"]) == 0
    assert "is as its receipts say" in capsys.readouterr().out
    assert call([*at, "verify"]) == 0
    assert (
        pq.read_table(DeltaTable(str(published / "data/tables/mini_scores")).file_uris()[0]).num_rows == 2_000
    )
