"""Days that an older version published wrong are named, with the cause, and with what would move.

`touched_workspace.tar.xz` was written by commit e01cff6 with DuckDB 2.0.0 (`make.py` beside it, run by that
commit). What is right is computed here by pandas and NumPy, of the input files as pyarrow reads them; what is
published is read by deltalake and pandas.
"""

import contextlib
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from nightscore import Restate, load, run
from nightscore.cli.main import call
from tests.behaviour.world import copy
from tests.support.archives import unpack

pytestmark = pytest.mark.keeps_times
made_on_disk = pytest.mark.disk_only(reason="what was said of a whole recheck on disk is looked at")

ARCHIVE = Path(__file__).parents[1] / "data/touched_workspace/touched_workspace.tar.xz"
DAYS = ("2020-01-01", "2020-01-02", "2020-01-04")
ODD = (DAYS[0], DAYS[2])
TOUCHED = {  # job -> the kind of its finding, and the days
    "nans": ("NaN compared", ODD),
    "texts": ("plain text nulls", DAYS),
    "holes": ("hole in lookback", DAYS[2:]),
    "lake": ("input refused", DAYS),
    "others": ("files overlooked", ODD),
    "neighbours": ("neighbours", DAYS),
    "filled": ("fill cast", ODD),
    "large": ("value lost", ODD),
    "swapped": ("model refused", DAYS),
    "sums": ("", ()),
    "plain": ("", ()),
    "chain": ("NaN compared", DAYS),
    "decided": ("NaN compared", DAYS),
    "structs": ("NaN compared", ODD),
    "cents": ("fill cast", ODD),
    "listed": ("files listed, not there", ODD),
}
REFUSED = {"lake", "neighbours", "large", "swapped", "listed"}
MOVED = ("nans", "texts", "filled", "others", "chain", "structs", "cents")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace `w` as it was, every time of change with it. Not to be written to."""
    return unpack(ARCHIVE, tmp_path_factory.mktemp("touched"))


@pytest.fixture
def root(folder: Path, tmp_path: Path) -> Path:
    """The same, to be written to."""
    return copy(folder / "w", tmp_path / "w")


@pytest.fixture(scope="module")
def looked_at(folder: Path) -> tuple[Path, dict[tuple[str, str], Any]]:
    """The workspace, and what a whole recheck of it says, by job and day."""
    before = state(folder / "w")
    code, said = recheck(folder / "w")
    assert code == 1
    assert state(folder / "w") == before  # nothing is published, nothing is left behind
    return folder / "w", {(one["job"], one["day"]): one for one in said}


def recheck(root: Path, *arguments: str) -> tuple[int, list[Any]]:
    """How the command ends, and its JSON."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        code = call(["--workspace", str(root), "recheck", "--json", "--since", DAYS[0], *arguments])
    return code, json.loads(out.getvalue())


def state(root: Path) -> set[tuple[str, int]]:
    """Every file below tables and runs, with its size."""
    folders = (root / "data/tables", root / "data/runs")
    return {(str(p), p.stat().st_size) for folder in folders for p in folder.rglob("*") if p.is_file()}


def lake(root: Path, job: str, day: str) -> pd.DataFrame:
    """The input rows of a day, of all files whatever they are called."""
    files = sorted((root / f"data/lake/{job}/day={day}").iterdir())
    return pd.concat([pq.ParquetFile(f).read().to_pandas() for f in files], ignore_index=True)


def published(root: Path, job: str, day: str) -> pd.Series:
    """The scores of a day by id, as deltalake lists the files."""
    table = DeltaTable(root / f"data/tables/{job}_scores")
    files = [f for f in table.file_uris() if f"day={day}" in f]
    rows = pd.concat([pq.ParquetFile(f).read().to_pandas() for f in files])
    return rows.set_index("id")["score"].astype(float).sort_index()


def right(root: Path, job: str, day: str) -> pd.Series:
    """The scores as they have to be: DuckDB's NaN is the largest number, a null is what the job says."""
    rows = lake(root, "plain" if job == "chain" else job, day)
    if job in {"nans", "chain"}:
        first = (rows["a"] > 2) | rows["a"].isna()
    elif job == "structs":  # pandas has null and NaN alike; a null is not above 2
        first = pd.Series([v["a"] is not None and not v["a"] <= 2 for v in rows["s"]])
    elif job == "filled":
        first = rows["flag"].map({True: 1.0, False: 0.0}).fillna(-1.0)
    elif job == "cents":
        first = rows["cost"].map(lambda cost: 0.005 if cost is None else float(cost))
    else:
        rows = rows[rows["colour"].isna()] if job == "texts" else rows
        first = rows["a"]
    score = first.to_numpy(np.float32) + np.float32(2) * rows["b"].to_numpy(np.float32)
    return pd.Series(score.astype(float), index=rows["id"].to_numpy()).sort_index()


@made_on_disk
@pytest.mark.parametrize("job", TOUCHED)
def test_each_cause_is_found_on_its_days_and_on_no_other(
    looked_at: tuple[Path, dict[tuple[str, str], Any]], job: str
) -> None:
    """One kind a job; clean days and jobs have no finding and no doubt, and none is left out."""
    kind, days = TOUCHED[job]
    _, found = looked_at
    assert len(found) == len(TOUCHED) * len(DAYS)
    for day in DAYS:
        one = found[job, day]
        assert {f["kind"] for f in one["findings"]} == ({kind} if day in days else set()), one
        assert (one["doubts"], one["held"]) == ([], False)
        assert bool(one["problem"]) == (day in days and job in REFUSED)
        assert one["closed"] == (job == "nans")


@made_on_disk
@pytest.mark.parametrize("job", MOVED)
@pytest.mark.parametrize("day", DAYS)
def test_what_would_move_is_what_pandas_says(
    looked_at: tuple[Path, dict[tuple[str, str], Any]], job: str, day: str
) -> None:
    """Rows changed, added and removed, and the sum's difference; a day that has none is not tried."""
    root, found = looked_at
    was, now = published(root, job, day), right(root, job, day)
    both = was.index.intersection(now.index)
    counts = (
        int((was[both] != now[both]).sum()),
        len(now.index.difference(was.index)),
        len(was.index.difference(now.index)),
    )
    tables = found[job, day]["tables"]
    if tables is None:
        assert counts == (0, 0, 0)
        return
    change = tables[f"{job}_scores"]
    assert (change["changed"], change["added"], change["removed"]) == counts
    assert sum(counts) > 0  # the day was really published wrong
    assert float(change["moved"]["score"]) == pytest.approx(now.sum() - was.sum())


@made_on_disk
def test_a_decision_that_compared_nan_of_the_scores_would_move(
    looked_at: tuple[Path, dict[tuple[str, str], Any]],
) -> None:
    """The scores stay; of the decision all rows with NaN were missing."""
    root, found = looked_at
    for day in DAYS:
        nans = int(lake(root, "decided", day)["a"].isna().sum())
        tables = found["decided", day]["tables"]
        assert nans > 0
        assert tables["decided_scores"]["changed"] == 0
        assert (tables["decided_big"]["rows_before"], tables["decided_big"]["added"]) == (0, nans)


@pytest.mark.disk_only(reason="it looks at the archive alone")
def test_the_archive_holds_wrong_scores_where_a_trial_is_refused(root: Path) -> None:
    """By pandas: columns swapped, deleted rows, the chunk's mean, an integer's neighbour; and all audited."""
    for day in ODD:
        rows = lake(root, "swapped", day).set_index("id")
        assert (published(root, "swapped", day) != rows["a"] + 2 * rows["b"]).sum() > 0
        live = DeltaTable(root / "data/lake/lake").to_pandas(filters=[("day", "=", day)])
        assert len(published(root, "lake", day)) > len(live)
        rows = lake(root, "neighbours", day).set_index("id")
        alone = rows["a"] + 2 * rows["b"]
        assert np.allclose(published(root, "neighbours", day), alone - alone.mean(), atol=1e-5)
        rows = lake(root, "large", day).set_index("id")
        assert (published(root, "large", day) != rows["n"] + 2 * rows["b"]).sum() > 0


@made_on_disk
def test_the_evidence_names_what_a_person_looks_for(
    looked_at: tuple[Path, dict[tuple[str, str], Any]],
) -> None:
    """File and column of NaN and its count, the missing day, the overlooked file, both lists of columns."""
    root, found = looked_at
    said = {key: " ".join(f["evidence"] for f in one["findings"]) for key, one in found.items()}
    nans = int(lake(root, "nans", DAYS[0])["a"].isna().sum())
    assert f"compares a, which has {nans} NaN" in said["nans", DAYS[0]]
    assert "data/lake/nans/day=2020-01-01/part-0.parquet" in said["nans", DAYS[0]]
    assert "1 of 2, missing 2020-01-03" in said["holes", DAYS[2]]
    assert "part-1.PARQUET" in said["others", DAYS[0]]
    assert "[b, a]" in said["swapped", DAYS[0]]
    assert "[a, b]" in said["swapped", DAYS[0]]
    assert "_delta_log" in said["lake", DAYS[0]]
    assert "part-1.parquet" in said["listed", DAYS[0]]
    assert "data/tables/plain_scores" in said["chain", DAYS[0]]
    lost = int((lake(root, "large", DAYS[0])["n"] > 1 << 24).sum())
    assert f"{lost} rows have a value of n" in said["large", DAYS[0]]
    assert any("last bits" in note for note in found["sums", DAYS[0]]["notes"])


@pytest.mark.slow
def test_list_only_finds_the_same_and_scores_nothing(
    root: Path, looked_at: tuple[Path, dict[tuple[str, str], Any]]
) -> None:
    """The same findings; no trial is run."""
    code, said = recheck(root, "--list-only")
    assert code == 1
    assert all(one["tables"] is None for one in said)
    findings = {(one["job"], one["day"]): one["findings"] for one in said}
    assert findings == {key: one["findings"] for key, one in looked_at[1].items()}


def test_a_clean_job_ends_with_0_and_an_unknown_one_with_1(root: Path) -> None:
    """The exit code is that of what was found."""
    code, said = recheck(root, "plain")
    assert (code, len(said)) == (0, len(DAYS))
    assert call(["--workspace", str(root), "recheck", "nobody", "--since", DAYS[0]]) == 1


def test_since_leaves_earlier_days_out(root: Path) -> None:
    """Only days from it on."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        call(["--workspace", str(root), "recheck", "plain", "--json", "--since", DAYS[1]])
    assert [one["day"] for one in json.loads(out.getvalue())] == list(DAYS[1:])


def test_a_restated_day_is_no_finding_any_more(root: Path) -> None:
    """The restatement moves what was said, and the day is held to all of it from then on."""
    job = load("nans", root)
    receipt = run(job, DAYS[0], force=True, restate=Restate("NaN was left out", "Ada"))
    assert receipt.restatement is not None
    assert receipt.restatement.tables["nans_scores"].changed == 4
    assert published(root, "nans", DAYS[0]).equals(right(root, "nans", DAYS[0]))
    _, said = recheck(root, "nans", "--list-only")
    assert [one["held"] for one in said] == [True, False, False]
    assert [bool(one["findings"]) for one in said] == [False, False, True]


def test_what_has_changed_since_cannot_be_rechecked_and_is_never_fine(root: Path) -> None:
    """A file that was overwritten or is gone, a model that is gone, a job that was edited or removed."""
    day = root / "data/lake/plain" / f"day={DAYS[0]}" / "part-0.parquet"
    pq.write_table(pq.ParquetFile(day).read().slice(1), day)
    (root / "data/lake/plain" / f"day={DAYS[1]}" / "part-0.parquet").unlink()
    code, said = recheck(root, "plain", "--list-only")
    assert code == 1
    assert [bool(one["doubts"]) for one in said] == [True, True, False]
    assert "changed since or are gone" in said[0]["doubts"][0]

    (root / "data/models/sums.onnx").unlink()
    code, said = recheck(root, "sums", "--list-only")
    assert code == 1
    assert all("sums.onnx" in " ".join(one["doubts"]) and not one["findings"] for one in said)

    sql = root / "jobs/holes/features.sql"
    sql.write_text(sql.read_text().replace("sum(n)", "max(n)"))
    code, said = recheck(root, "holes", "--list-only")
    assert code == 1
    assert all("the job" in one["doubts"][0] for one in said)

    (root / "jobs/texts/job.yaml").unlink()
    code, said = recheck(root, "texts", "--list-only")
    assert code == 1
    assert all("no job.yaml" in one["doubts"][0] for one in said)


@pytest.mark.slow
def test_without_its_snapshot_a_day_is_tried_and_not_called_fine(root: Path) -> None:
    """The features are gone: --list-only says so, and a whole recheck makes them again."""
    for snapshot in (root / "data/runs/sums").rglob("features.parquet"):
        snapshot.unlink()
    code, said = recheck(root, "sums", "--list-only")
    assert code == 1
    assert all("snapshot" in one["doubts"][0] for one in said)
    code, said = recheck(root, "sums")
    assert code == 0
    assert all(one["tables"]["sums_scores"]["changed"] == 0 for one in said)


def test_a_late_file_is_a_doubt_and_no_overlooked_one(root: Path) -> None:
    """A file that came after the run is late data."""
    folder = root / "data/lake/plain" / f"day={DAYS[0]}"
    table = pq.ParquetFile(folder / "part-0.parquet").read().slice(0, 2)
    pq.write_table(table.set_column(0, "id", pa.array([70, 71])), folder / "part-9.parquet")
    _, said = recheck(root, "plain", "--list-only")
    assert not said[0]["findings"]
    assert "part-9.parquet" in said[0]["doubts"][0]


def test_a_person_reads_the_way_on(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A closed day is called closed, with the command that restates it."""
    assert call(["--workspace", str(root), "recheck", "nans", "--since", DAYS[0]]) == 1
    out = capfd.readouterr().out
    assert f"nans {DAYS[0]}: closed" in out
    assert f"nightscore run nans --day {DAYS[0]} --force --restate --because TEXT" in out
    assert "would move nans_scores: 4 rows changed, 0 added, 0 removed" in out
    assert "3 published days: 2 to be looked at" in out


@pytest.mark.disk_only(reason="a bucket has no links")
def test_a_linked_folder_that_was_not_read_is_named(root: Path) -> None:
    """Older versions did not follow links; the rows behind one would be added."""
    elsewhere = root / "data/elsewhere"
    elsewhere.mkdir()
    table = pq.ParquetFile(root / f"data/lake/filled/day={DAYS[1]}/part-0.parquet").read().slice(0, 2)
    pq.write_table(table.set_column(0, "id", pa.array([70, 71])), elsewhere / "part-9.parquet")
    (root / f"data/lake/filled/day={DAYS[1]}/more").symlink_to("../../../elsewhere")
    _, said = recheck(root, "filled")
    assert [f["kind"] for f in said[1]["findings"]] == ["files overlooked"]
    change = said[1]["tables"]["filled_scores"]
    assert (change["changed"], change["added"], change["removed"]) == (0, 2, 0)


@pytest.mark.keeps_times
def test_a_damaged_file_is_a_doubt_and_stops_no_other_day(root: Path) -> None:
    """Its size, time and footer are those of the receipt; only a look at the column shows it."""
    path = root / f"data/lake/nans/day={DAYS[0]}/part-0.parquet"
    when, bytes_ = path.stat().st_mtime_ns, bytearray(path.read_bytes())
    chunk = pq.read_metadata(path).row_group(0).column(1)
    assert chunk.path_in_schema == "a"
    start = chunk.data_page_offset
    bytes_[start : start + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    path.with_name(".part").write_bytes(bytes_)
    os.utime(path.with_name(".part"), ns=(when, when))
    path.with_name(".part").rename(path)
    code, said = recheck(root, "nans", "--list-only")
    assert code == 1
    assert [bool(one["doubts"]) for one in said] == [True, False, False]
    assert [bool(one["findings"]) for one in said] == [False, False, True]
