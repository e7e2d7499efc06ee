"""A table input with `as_reported: true`: rows as they were first published, whatever was restated since."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightscore import Broken, Restate, backfill, load, query, run
from nightscore.cli.main import call
from nightscore.common.units import as_day
from nightscore.pipeline.publish.closing import Closed
from nightscore.review.late_data import find_late_days
from nightscore.review.report.html import report
from nightscore.review.verify import verify_days
from nightscore.store.published.gc import collect_garbage
from tests.behaviour.conftest import ROWS, copied
from tests.behaviour.world import Truth
from tests.support.workspace import DAYS, JOB, make_workspace

FIRST, SECOND, THIRD = DAYS
AS_PUBLISHED, RERUN = (Truth(ROWS, weights, day=SECOND) for weights in ((1.0, 2.0), (4.0, 1.0)))
KNOWN = Restate("the market rose after all", "Ada")
HELD_TO = """\
job: held_to
about: What came, held to what was said the day before
owner: tests
inputs:
  said: {table: mini_top, lookback: 2, as_reported: true}
features: features.sql
key: [id]
model: {path: data/models/linear.onnx, columns: [score, rank], columns_override: true, outputs: {y: y}}
keep: [score]
close: true
"""
DAY_BEFORE = "SELECT id, score, rank::FLOAT AS rank FROM said WHERE day = getvariable('day') - 1"


def add_reader(root: Path, as_reported: bool = True) -> None:
    folder = root / "jobs/held_to"
    folder.mkdir(exist_ok=True)
    text = HELD_TO if as_reported else HELD_TO.replace(", as_reported: true", "")
    (folder / "job.yaml").write_text(text)
    (folder / "features.sql").write_text(DAY_BEFORE)


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return close_days(tmp_path_factory.mktemp("closed") / "w")


def close_days(root: Path) -> Path:
    """A workspace whose job `mini` has closed three days, and a job that holds each to the day before."""
    make_workspace(root, ROWS, JOB + "close: true\n")
    add_reader(root)
    for day in DAYS:
        assert run(load("mini", root), day).closed
    return root


@pytest.fixture
def books(request: pytest.FixtureRequest) -> Path:
    """The same, to be written to."""
    return copied(request, "closed", close_days)


def rerun(root: Path) -> None:
    """The second day again with another model, after the third is known: a restatement, for it is closed."""
    RERUN.write_model(root)
    with pytest.raises(Closed):
        run(load("mini", root), SECOND, force=True)
    assert run(load("mini", root), SECOND, restate=KNOWN).restatement
    AS_PUBLISHED.write_model(root)


def read_by_the_reader(root: Path) -> list[tuple[int, float]]:
    rows = query("SELECT id, score FROM held_to_scores WHERE day = $1 ORDER BY id", root, values=[THIRD])
    return [tuple(row.values()) for row in rows.to_pylist()]


def top(truth: Truth) -> list[tuple[int, float]]:
    found = truth.table("mini_top")
    return list(zip(found["id"].to_pylist(), found["score"].to_pylist(), strict=True))


@pytest.mark.slow
def test_what_is_restated_later_is_not_what_a_day_is_held_to(books: Path) -> None:
    """The validator's case: rerun yesterday, then hold today to it. It is held to what was said first."""
    rerun(books)
    assert top(AS_PUBLISHED) != top(RERUN)
    receipt = run(load("held_to", books), THIRD)
    assert read_by_the_reader(books) == top(AS_PUBLISHED)
    assert receipt.as_reported == {"said": (SECOND,)}
    in_force = query("SELECT id, score FROM mini_top WHERE day = $1 ORDER BY id", books, values=[SECOND])
    assert [tuple(row.values()) for row in in_force.to_pylist()] == top(RERUN)


@pytest.mark.slow
def test_without_the_key_the_day_is_held_to_the_rerun(books: Path) -> None:
    """So the key is what does it, and not anything else."""
    add_reader(books, as_reported=False)
    rerun(books)
    receipt = run(load("held_to", books), THIRD)
    assert read_by_the_reader(books) == top(RERUN)
    assert receipt.as_reported == {}


@pytest.mark.slow
def test_a_restatement_changes_nothing_that_such_a_job_reads(books: Path) -> None:
    """The closed day stays unchanged, is not late and verifies; a table read as it is in force is late."""
    job = load("held_to", books)
    assert run(job, THIRD).as_reported == {"said": ()}
    rerun(books)
    assert run(job, THIRD).status == "unchanged"
    assert list(find_late_days(job, as_day(FIRST))) == []
    assert not [d for d in verify_days(job.workspace, "held_to") if d.differences]
    add_reader(books, as_reported=False)
    (late,) = find_late_days(load("held_to", books), as_day(FIRST), list_only=True)
    assert late.causes.inputs


def test_the_files_of_the_first_run_outlive_the_collection_of_garbage(books: Path) -> None:
    """Whatever gc removes after the restatement, what was first published can be read."""
    rerun(books)
    collect_garbage(load("held_to", books).workspace, grace_hours=0)
    run(load("held_to", books), THIRD)
    assert read_by_the_reader(books) == top(AS_PUBLISHED)


def test_first_files_that_are_gone_are_said_and_nothing_is_published(books: Path) -> None:
    """Another engine's VACUUM has taken them: broken, with the line, the file and a way on."""
    first = query("SELECT run_id FROM mini_top WHERE day = $1 LIMIT 1", books, values=[SECOND])["run_id"]
    rerun(books)
    (file,) = (books / "data/tables/mini_top").glob(f"day={SECOND}/{first[0].as_py()}-*.parquet")
    file.unlink()
    with pytest.raises(Broken) as found:
        run(load("held_to", books), THIRD)
    said = str(found.value)
    assert said.startswith("jobs/held_to/job.yaml:5: inputs.said.as_reported: table mini_top can't be read")
    assert file.name in said and "VACUUM" in said and "restore them from a backup" in said
    with pytest.raises(Broken, match="held_to_scores"):
        query("SELECT * FROM held_to_scores", books)


def file_of_the_first_run(root: Path) -> Path:
    """The file of `mini_top` that was published first for the second day; that day is not run again yet."""
    [file] = (root / f"data/tables/mini_top/day={SECOND}").glob("*.parquet")
    return file


def other_scores(file: Path) -> None:
    """The same file with the scores the other way round, written in its place."""
    table = pq.read_table(file, partitioning=None)
    place = table.schema.get_field_index("score")
    scores = pa.array(table["score"].to_pylist()[::-1], table["score"].type)
    file.unlink()  # not its second name, in the run's folder
    pq.write_table(table.set_column(place, "score", scores), file, write_page_checksum=True)


def other_byte(file: Path) -> None:
    """The same size, and a byte of a page is another."""
    data = bytearray(file.read_bytes())
    data[len(data) // 3] ^= 1
    file.unlink()
    file.write_bytes(data)


@pytest.mark.parametrize("first_reported", [True, False])
@pytest.mark.parametrize(
    ("replace", "why"),
    [
        (other_scores, "it has [0-9,]+ bytes, and the table's log says [0-9,]+"),
        (other_byte, "its sha256 is [0-9a-f]{64}, which its receipt does not have"),
    ],
)
@pytest.mark.sample(2)
def test_a_file_that_was_replaced_in_its_place_is_not_read(
    books: Path, replace: Callable[[Path], None], why: str, first_reported: bool
) -> None:
    """A published file that is another by now stops whoever reads it, and is not read without a word."""
    add_reader(books, as_reported=first_reported)
    file = file_of_the_first_run(books)
    if first_reported:
        rerun(books)
    replace(file)
    with pytest.raises(Broken) as found:
        run(load("held_to", books), THIRD)
    said = str(found.value)
    assert said.startswith("jobs/held_to/job.yaml:5: inputs.said.table: data/tables/mini_top/day=2020-01-02/")
    assert file.name in said and "Restore it from a backup" in said
    assert re.search(why, said)


@pytest.mark.slow
def test_a_file_of_another_time_and_the_same_bytes_is_read(books: Path) -> None:
    """A copy, a checkout and a backup give files another time: they are held to the receipt's sha256."""
    file = file_of_the_first_run(books)
    rerun(books)
    os.utime(file, ns=(0, 0))
    assert run(load("held_to", books), THIRD).status == "published"
    assert read_by_the_reader(books) == top(AS_PUBLISHED)


@pytest.mark.slow
def test_what_a_job_reads_as_first_reported_is_verified(books: Path) -> None:
    """A restated day's first files count, where a job reads them; where none does, only those in force do."""
    file = file_of_the_first_run(books)
    rerun(books)
    workspace = load("mini", books).workspace
    first = [d for d in verify_days(workspace, "mini", SECOND) if d.first_reported]
    assert [(d.first_reported, d.files, d.differences) for d in first] == [(("mini_top",), 1, [])]
    other_byte(file)
    [found] = [d for d in verify_days(workspace, "mini") if d.differences]
    assert (found.day, found.run_id) == (SECOND, file.stem.rpartition("-")[0])
    assert found.differences[0].startswith(f"mini_top: {file.name} has sha256 ")
    add_reader(books, as_reported=False)
    assert not [d for d in verify_days(workspace, "mini") if d.differences or d.first_reported]


@pytest.mark.slow
def test_plan_and_run_say_what_is_read_as_first_reported(
    books: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A person sees which input is read so, and which of its days say something else by now."""
    rerun(books)
    line = f"as first reported said; published again since: {SECOND}"
    for verb in ("plan", "run"):
        assert call([verb, "held_to", "--day", THIRD, "--workspace", str(books)]) == 0
        assert line in capfd.readouterr().out
    call(["run", "held_to", "--day", THIRD, "--workspace", str(books), "--json"])
    assert json.loads(capfd.readouterr().out)["as_reported"] == {"said": [SECOND]}
    page = report("held_to", THIRD, books)
    assert f"<dt>said</dt><dd>as first reported; published again since: {SECOND}</dd>" in page


@pytest.mark.slow
def test_a_whole_lookback_is_read_as_first_published(books: Path) -> None:
    """Every day of it was rerun: all are read from the first runs, and their sha256 are held to those."""
    text = HELD_TO.replace("lookback: 2", "lookback: 3").replace("close: true\n", "verify_inputs: sha256\n")
    (books / "jobs/held_to/job.yaml").write_text(text.replace("key: [id]", "key: [id, of]"))
    (books / "jobs/held_to/features.sql").write_text(
        "SELECT id, day AS of, score, rank::FLOAT AS rank FROM said"
    )
    RERUN.write_model(books)
    ends = dict(backfill(load("mini", books), FIRST, THIRD))
    assert all(isinstance(end, Closed) for end in ends.values())
    for day in DAYS:
        run(load("mini", books), day, restate=KNOWN)
    assert run(load("held_to", books), THIRD).as_reported == {"said": DAYS}
    sums = query(
        "SELECT of::VARCHAR AS of, sum(score) AS s FROM held_to_scores GROUP BY of ORDER BY of", books
    )
    for row in sums.to_pylist():
        truth = Truth(ROWS, AS_PUBLISHED.weights, day=row["of"]).table("mini_top")["score"].to_numpy()
        assert row["s"] == pytest.approx(float(truth.astype(float).sum()), rel=1e-12)
