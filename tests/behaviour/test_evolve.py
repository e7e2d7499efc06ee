"""The columns of a published table change: what comes is null before, what goes is null from then on.

The truth is NumPy and pandas over deltalake, and Polars where it is installed; ours has to say the same.
"""

import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from nightscore import load, query, run
from nightscore.cli.main import call
from nightscore.common.errors import Broken
from nightscore.common.workspace import open_workspace
from nightscore.review.verify import verify_days
from tests.behaviour.conftest import Build
from tests.behaviour.world import DAY
from tests.support.workspace import JOB, rows_of

NEXT, LAST = "2020-01-03", "2020-01-01"
EVOLVE = JOB + "on_schema_change: evolve\n"
ROWS = 300


def write(root: Path, job: str, top: str = "") -> None:
    (root / "jobs/mini/job.yaml").write_text(job)
    if top:
        (root / "jobs/mini/top.sql").write_text(top)


def kept(columns: str, job: str = EVOLVE) -> str:
    return job.replace("keep: [a]", f"keep: [{columns}]")


def head(root: Path, day: str, table: str = "mini_scores") -> pd.DataFrame:
    """A day as pandas has it through deltalake, by id."""
    frame = DeltaTable(str(root / "data/tables" / table)).to_pandas()
    return frame[frame["day"].astype(str) == day].sort_values("id").reset_index(drop=True)


def seen(root: Path, columns: str, day: str, table: str = "mini_scores") -> pd.DataFrame:
    sql = f"SELECT {columns} FROM {table} WHERE day = $1 ORDER BY id"
    return query(sql, root, values=[day]).to_pandas()


def holds(root: Path) -> bool:
    return all(not one.differences for one in verify_days(open_workspace(root)))


def test_a_new_column_is_refused_until_the_job_may_evolve(fresh: Build) -> None:
    """As a new user would add one: told the difference and both ways on; then it is there, null before."""
    root = fresh(rows=ROWS)
    assert run(load("mini", root), DAY).status == "published"
    write(root, kept("a, b", JOB))
    for force in (False, True):
        with pytest.raises(
            Broken, match=r"'b' is absent in the published table.*`nightscore evolve mini .*evolve"
        ):
            run(load("mini", root), NEXT, force=force)
    write(root, kept("a, b"))
    receipt = run(load("mini", root), NEXT)
    assert receipt.status == "published" and "b" in receipt.tables["mini_scores"].columns
    assert head(root, DAY)["b"].isna().all() and len(head(root, DAY)) == ROWS
    truth = rows_of(NEXT, ROWS).to_pandas()
    assert head(root, NEXT)["b"].tolist() == truth["b"].tolist() == seen(root, "b", NEXT)["b"].tolist()
    assert seen(root, "b", DAY)["b"].isna().all()
    assert holds(root)
    assert run(load("mini", root), NEXT).status == "unchanged"
    assert run(load("mini", root), DAY).status == "published"  # another job: keeps b now
    assert head(root, DAY)["b"].tolist() == rows_of(DAY, ROWS).to_pandas()["b"].tolist()


def test_a_column_that_goes_is_null_from_then_on_and_may_come_back(fresh: Build) -> None:
    """Days before keep it; so do readers of Delta."""
    root = fresh(rows=ROWS, job=kept("a, b"))
    run(load("mini", root), LAST)
    write(root, kept("a"))
    receipt = run(load("mini", root), DAY)
    assert "b" not in receipt.tables["mini_scores"].columns
    assert head(root, LAST)["b"].tolist() == rows_of(LAST, ROWS).to_pandas()["b"].tolist()
    assert head(root, DAY)["b"].isna().all() and seen(root, "b", DAY)["b"].isna().all()
    write(root, kept("a, b"))
    run(load("mini", root), NEXT)
    assert seen(root, "b", NEXT)["b"].tolist() == rows_of(NEXT, ROWS).to_pandas()["b"].tolist()
    assert holds(root)


def test_a_column_that_came_later_does_not_go_without_a_word(fresh: Build) -> None:
    """Nor is it renamed so; one that has gone by a person's word is not missed again."""
    root = fresh(rows=ROWS)
    run(load("mini", root), LAST)
    write(root, kept("a, b", JOB))
    at = ["--workspace", str(root), "evolve", "mini", "--by", "Ada", "--because", "the CRM"]
    assert call(at) == 0
    assert run(load("mini", root), DAY).status == "published"
    write(root, JOB)
    with pytest.raises(Broken, match=r"column 'b' is float in the published table and would be absent"):
        run(load("mini", root), NEXT)
    write(root, JOB)
    assert call(at) == 0
    assert run(load("mini", root), NEXT).status == "published"
    assert head(root, NEXT)["b"].isna().all() and head(root, DAY)["b"].notna().all()
    write(root, kept("a, b", JOB))
    run(load("mini", root), NEXT)
    assert head(root, NEXT)["b"].notna().all(), "back"
    write(root, JOB)
    with pytest.raises(Broken, match="would be absent"):
        run(load("mini", root), NEXT)
    top = (root / "jobs/mini/top.sql").read_text()
    write(root, kept("a, b"), top.replace("AS rank", "AS rank, 'gold' AS label"))
    run(load("mini", root), NEXT)
    write(root, kept("a, b"), top.replace("AS rank", "AS rank, 'gold' AS tag"))
    with pytest.raises(Broken, match=r"'label' is string .* absent; column 'tag' .*renamed"):
        run(load("mini", root), NEXT)
    assert holds(root)


def test_decisions_rejects_and_outputs_evolve_too(fresh: Build) -> None:
    """A decision table with one column more; a narrower type is stored as the table's."""
    root = fresh(rows=ROWS, job=EVOLVE)
    run(load("mini", root), DAY)
    before = DeltaTable(str(root / "data/tables/mini_top")).schema().to_arrow()
    top = (root / "jobs/mini/top.sql").read_text()
    write(
        root,
        EVOLVE,
        top.replace("AS rank", "AS rank, 'gold' AS label"),
    )
    run(load("mini", root), NEXT)
    assert head(root, NEXT, "mini_top")["label"].tolist() == ["gold"] * 10
    assert head(root, DAY, "mini_top")["label"].isna().all()
    narrow = top.replace("SELECT id, score,", "SELECT id, score, 'gold' AS label,").replace(
        "row_number() OVER (ORDER BY score DESC, id) AS rank",
        "(row_number() OVER (ORDER BY score DESC, id))::INTEGER AS rank",
    )
    write(root, EVOLVE, narrow)
    run(load("mini", root), LAST)
    now = pa.schema(DeltaTable(str(root / "data/tables/mini_top")).schema().to_arrow())
    assert now.field("rank").type == pa.schema(before).field("rank").type == pa.int64()
    assert sorted(head(root, LAST, "mini_top")["rank"]) == list(range(1, 11))
    assert sorted(seen(root, "id, rank", LAST, "mini_top")["rank"]) == list(range(1, 11))
    assert holds(root)


def test_what_would_lose_or_rename_is_refused_and_named(fresh: Build) -> None:
    """A wider type than the table's, a text for a number, and one column that goes while its like comes."""
    root = fresh(rows=ROWS, job=EVOLVE)
    run(load("mini", root), DAY)
    top = (root / "jobs/mini/top.sql").read_text()
    write(root, EVOLVE, top.replace("SELECT id, score,", "SELECT id, score::DOUBLE AS score,"))
    with pytest.raises(
        Broken, match=r"'score' is float in the published table and would be double.*another name"
    ):
        run(load("mini", root), NEXT)
    write(root, EVOLVE, top.replace("SELECT id, score,", "SELECT id, score::VARCHAR AS score,"))
    with pytest.raises(Broken, match=r"'score' is float in the published table and would be string"):
        run(load("mini", root), NEXT)
    write(root, kept("b"), top)
    with pytest.raises(Broken, match=r"'a' is float .* absent; column 'b' .*renamed .*evolve mini"):
        run(load("mini", root), NEXT)


def test_a_person_lets_a_table_change_once(fresh: Build, capsys: pytest.CaptureFixture[str]) -> None:
    """Nightscore evolve: no row moves, the log says who and why, and the job that fails passes."""
    root = fresh(rows=ROWS)
    run(load("mini", root), DAY)
    write(root, kept("b", JOB))
    at = ["--workspace", str(root), "evolve", "mini", "--by", "Ada"]
    assert call([*at, "--because", ""]) == 1
    assert call([*at, "--because", "b instead of a", "--json"]) == 0
    [done] = json.loads(capsys.readouterr().out)
    assert done["table"] == "mini_scores" and len(done["changes"]) == 2
    info = DeltaTable(str(root / "data/tables/mini_scores")).history(1)[0]
    assert (info["by"], info["because"]) == ("Ada", "b instead of a")
    assert holds(root) and head(root, DAY)["a"].notna().all()
    run(load("mini", root), NEXT)
    assert head(root, NEXT)["a"].isna().all() and head(root, NEXT)["b"].notna().all()
    assert seen(root, "a", DAY)["a"].tolist() == rows_of(DAY, ROWS).to_pandas()["a"].tolist()
    assert call([*at, "--because", "again"]) == 0
    assert "nothing is done" in capsys.readouterr().out
    assert holds(root)


def test_the_option_is_no_cause_of_a_day(fresh: Build) -> None:
    """The same job with it and without is the same job: nothing is run again."""
    root = fresh(rows=ROWS)
    first = run(load("mini", root), DAY)
    write(root, EVOLVE)
    assert run(load("mini", root), DAY).run_id == first.run_id


READING = """\
job: reading
about: The column b of two days
owner: tests
inputs:
  rows: {table: mini_scores, lookback: 2}
features: features.sql
key: [id, of]
keep: [b]
model: {path: data/models/linear.onnx, columns: [a, score], columns_override: true, outputs: {y: y}}
"""


def test_a_job_reads_days_of_which_one_has_no_such_column(fresh: Build) -> None:
    """It is null there, and as it was written on the other."""
    root = fresh(rows=ROWS)
    run(load("mini", root), DAY)
    write(root, kept("a, b"))
    run(load("mini", root), NEXT)
    folder = root / "jobs/reading"
    folder.mkdir()
    (folder / "job.yaml").write_text(READING)
    (folder / "features.sql").write_text("SELECT id, day AS of, a, score, b FROM rows")
    assert run(load("reading", root), NEXT).rows.published == 2 * ROWS
    found = query("SELECT of::VARCHAR AS of, b FROM reading_scores ORDER BY of, id", root).to_pandas()
    assert found[found["of"] == DAY]["b"].isna().all() and (found["of"] == DAY).sum() == ROWS
    assert found[found["of"] == NEXT]["b"].tolist() == rows_of(NEXT, ROWS).to_pandas()["b"].tolist()
    assert seen(root, "b", DAY)["b"].isna().all() and holds(root)


@pytest.mark.disk_only(reason="looks at inodes")
def test_a_change_of_columns_writes_nothing_but_the_log(fresh: Build) -> None:
    """One commit without a file, and every file that was there is the same one."""
    root = fresh(rows=ROWS)
    run(load("mini", root), DAY)
    write(root, kept("a, b", JOB))

    def files() -> dict[str, tuple[int, int]]:
        found = ((path, path.stat()) for path in (root / "data").rglob("*") if path.is_file())
        return {str(path.relative_to(root)): (stat.st_ino, stat.st_mtime_ns) for path, stat in found}

    before = files()
    assert call(["--workspace", str(root), "evolve", "mini", "--by", "Ada", "--because", "b"]) == 0
    after = files()
    assert before.items() <= after.items()
    [log] = [name for name in after.keys() - before.keys() if "lock" not in name]
    assert log.startswith("data/tables/mini_scores/_delta_log/")
    actions = [next(iter(json.loads(line))) for line in (root / log).read_text().splitlines()]
    assert "metaData" in actions and not {"add", "remove"} & set(actions)
