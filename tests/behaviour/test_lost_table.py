"""A table whose folder, or a file of it, somebody removed: it costs that table a message, no other anything.

The truth of the others is pandas over the files of their tables, by deltalake.
"""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from nightscore import load, query, run
from nightscore.cli.main import call
from nightscore.common.errors import Broken
from nightscore.common.workspace import open_workspace
from nightscore.store import storage
from tests.behaviour.world import DAY, Truth, ours

OTHER_DAY = "2020-01-03"
COUNT = "SELECT count(*) AS n FROM mini_top"


def remove_table(root: Path, table: str = "mini_scores") -> None:
    (storage.tables(open_workspace(root)) / table).remove()


def remove_file(root: Path, table: str = "mini_scores", day: str = DAY) -> str:
    """Remove one live file of a day, as a VACUUM that keeps nothing does; gives its name."""
    [file, *_] = (storage.tables(open_workspace(root)) / table).glob(f"day={day}", "*.parquet")
    file.remove()
    return file.name


def test_another_table_is_read_and_listed_after_a_folder_is_removed(
    published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """query, tables, jobs and receipts go on; a query of the table itself names it, its day and a way on."""
    remove_table(published)
    assert ours(published, "mini_top").is_(Truth(2_000), "mini_top")
    assert query("SELECT count(*) AS n FROM receipts", published)["n"][0].as_py() == 1
    with pytest.raises(Broken, match=rf"table mini_scores: .*gone.* of {DAY}, run .*publish the day again"):
        query("SELECT count(*) FROM mini_scores", published)
    shown = query("SELECT column_name AS c FROM (DESCRIBE mini_top)", published)
    assert shown["c"].to_pylist() == ["id", "score", "rank", "run_id", "day"]
    at = ["--workspace", str(published)]
    for command in ("jobs", "receipts"):
        assert call([*at, command]) == 0
    capsys.readouterr()
    assert call([*at, "tables", "--json"]) == 1
    done = capsys.readouterr()
    listed = {one["table"]: one for one in json.loads(done.out)["tables"]}
    assert (listed["mini_top"]["days"], listed["mini_top"]["rows"]) == (1, 10)
    assert "is gone" in listed["mini_scores"]["problem"] and "problem" not in listed["mini_top"]
    assert "table mini_scores" in done.err


def test_a_file_that_a_vacuum_took_is_named_by_whoever_reads_its_table(published: Path) -> None:
    """With its day; and nothing is said of a file system, which the person did not ask for."""
    name = remove_file(published)
    assert ours(published, "mini_top").is_(Truth(2_000), "mini_top")
    with pytest.raises(Broken, match=rf"table mini_scores: day={DAY}/{name} is gone") as told:
        query("SELECT count(*) FROM mini_scores", published)
    assert "disabled" not in str(told.value) and "nightscore run" in str(told.value)


@pytest.mark.slow
def test_the_way_on_that_is_named_works(published: Path) -> None:
    """The day published again, the table is there: of a folder that was removed, too, day by day."""
    run(load("mini", published), OTHER_DAY)
    remove_table(published)
    assert run(load("mini", published), DAY, force=True).status == "published"
    with pytest.raises(Broken, match=f"table mini_scores: .* of {OTHER_DAY}"):
        query("SELECT count(*) FROM mini_scores", published)
    assert run(load("mini", published), OTHER_DAY, force=True).status == "published"
    for day in (DAY, OTHER_DAY):
        assert ours(published, "mini_scores", day).is_(Truth(2_000, day=day), "mini_scores")
    with pytest.raises(Broken, match="table mini_scores"):  # what was there before is gone, and not another's
        query("SELECT count(*) FROM mini_scores", published, as_of=1)


def test_the_next_night_runs_after_a_folder_is_removed(published: Path) -> None:
    """Nobody is asked to force it: what is gone is named, and the table begins anew with that day."""
    remove_table(published)
    receipt = run(load("mini", published), OTHER_DAY)
    assert "holds no table any more" in receipt.foreign["mini_scores"][0]
    assert DeltaTable(str(published / "data/tables/mini_scores")).to_pandas()["id"].nunique() == 2_000
    at = ["--workspace", str(published), "repair", "mini_scores", "--by", "Ada", "--because", "x"]
    assert call([*at, "--day", OTHER_DAY]) == 0
    with pytest.raises(Broken, match=f"table mini_scores: .* of {DAY}"):
        query("SELECT count(*) FROM mini_scores", published)


@pytest.mark.disk_only(reason="deltalake and pandas read the folder")
def test_the_tables_that_are_left_are_what_other_engines_read(published: Path) -> None:
    """By deltalake and pyarrow."""
    shutil.rmtree(published / "data/tables/mini_scores")
    frame = DeltaTable(str(published / "data/tables/mini_top")).to_pandas().sort_values("id")
    assert frame["id"].tolist() == ours(published, "mini_top").rows["id"].to_pylist()
    assert pq.read_table(published / "data/tables/mini_top")["score"].null_count == 0
