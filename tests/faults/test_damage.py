"""Flipped bits and files cut short: inputs, staged files, published files, at a seeded sample of places.

FAULTS_TIMES=100 takes a hundred times as many places, FAULTS_SEED=… repeats a sample.
"""

import datetime as dt
import os
import random
from collections import Counter
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightscore import load, run
from nightscore.common.workspace import Workspace
from nightscore.pipeline.executors import LOCAL_THREADS
from nightscore.pipeline.request import RunRequest
from nightscore.pipeline.steps import plan_day, publish_day
from nightscore.review.verify import verify_days
from tests.behaviour.conftest import Build
from tests.behaviour.world import DAY, TABLES, Truth, ours
from tests.faults.damage import SEED, TIMES, Flip, each_apart, flips, footer, outcome, pages, replace, said
from tests.faults.marks import mostly_slow
from tests.support.workspace import rows_of

pytestmark = pytest.mark.disk_only(reason="damage is done by children, which see a folder")

ROWS = 2_000  # as in tests/behaviour
PART = f"data/lake/rows/day={DAY}/part-0.parquet"
CODECS = ("none", "snappy", "zstd")


def write_part(root: Path, codec: str, checksums: bool) -> bytes:
    """The day's input as one file of four row groups; its bytes."""
    pq.write_table(
        rows_of(DAY, ROWS), root / PART, row_group_size=500, compression=codec, write_page_checksum=checksums,
        use_dictionary=["id"],
    )  # fmt: skip
    return (root / PART).read_bytes()


def forced(root: Path) -> str:
    """A run of the day, and whether what it published is right."""
    status = run(load("mini", root), DAY, force=True).status
    right = all(ours(root, name).is_(Truth(ROWS), name) for name in TABLES)
    return f"{'right' if right else 'WRONG'}: {status}"


def scored_from(flip: Flip, root: Path, good: bytes) -> str:
    replace(root / PART, good)
    flip(root / PART)
    return outcome(lambda: forced(root))


@pytest.mark.parametrize("codec", mostly_slow(CODECS, ["zstd"]))
def test_a_flipped_bit_in_a_page_that_has_a_checksum_is_never_scored(published: Path, codec: str) -> None:
    """P3, P5: wherever in the column chunks of an input: the run is broken, or what it publishes is right."""
    good = write_part(published, codec, checksums=True)
    sample = flips(pages(published / PART), 5)
    found = list(each_apart(scored_from, sample, published, good))
    assert said(found, "Broken", "right") == [], Counter(answer.split(":")[0] for _, answer in found)


def test_without_checksums_a_flipped_bit_of_an_input_is_published(published: Path) -> None:
    """NOT promised (P5): a page without a checksum is what it says; this shows that nobody notices.

    The receipt's own proof holds, for source and scores are read alike. Write inputs with page checksums.
    """
    good = write_part(published, "none", checksums=False)
    column = pq.read_metadata(published / PART).row_group(0).column(1)
    assert column.path_in_schema == "a"
    end = column.data_page_offset + column.total_compressed_size
    answers = [scored_from(Flip(end - 1 - 4 * i, 4), published, good) for i in (3, 5)]
    assert answers == ["WRONG: published"] * 2
    assert [one.differences for one in verify_days(Workspace(published))] == [[]]


@pytest.mark.slow
def test_a_flipped_bit_in_the_footer_of_an_input_never_ends_a_process_unheard(published: Path) -> None:
    """P9: a footer has no checksum. What can't be read is named; what crashes a parser is survived."""
    good = write_part(published, "snappy", checksums=True)
    more_rows = Flip(good.rindex(b"\xe8\x07"), 2)  # 500 rows of a group, as a varint, are 502
    sample = [more_rows, *flips([footer(published / PART)], 12)]
    found = list(each_apart(scored_from, sample, published, good))
    assert said(found, "Broken", "NotYet", "right", "killed by signal", "WRONG") == []
    assert all("part-0.parquet" in answer for _, answer in found if answer.startswith("Broken: data/"))


def cut_short(length: int, root: Path, good: bytes) -> str:
    replace(root / PART, good[:length])
    return outcome(lambda: forced(root))


def test_an_input_cut_short_anywhere_is_broken(published: Path) -> None:
    """P9: at any length, a file that is not whole is named; the published day stays as it was."""
    good = write_part(published, "zstd", checksums=False)
    lengths = random.Random(SEED).sample(range(len(good)), 4 * TIMES)  # noqa: S311
    found = list(each_apart(cut_short, [0, 4, 8, len(good) - 1, *lengths], published, good))
    assert said(found, f"Broken: {PART}: no Parquet file that can be read") == []
    assert all(ours(published, name).is_(Truth(ROWS), name) for name in TABLES)


# --- staged files ---


def staged_flip(flip: Flip, root: Path) -> str:
    """Score the day, flip a bit of the staged scores, publish."""
    job = load("mini", root)
    plan = plan_day(job, dt.date.fromisoformat(DAY), RunRequest(force=True))
    pieces = LOCAL_THREADS.map(job, plan, plan.pieces)
    flip(root / pieces[0].path)
    return outcome(lambda: f"{judged(root, publish_day(job, plan, pieces).run_id)}: published")


def judged(root: Path, run_id: str) -> str:
    """Whether all rows of a run's scores are right for those who read them all, and for those who search."""
    if not all(ours(root, name).is_(Truth(ROWS), name) for name in TABLES):
        return "WRONG"
    [file] = (root / f"data/tables/mini_scores/day={DAY}").glob(f"{run_id}-*.parquet")
    with duckdb.connect() as connection:
        for column, value in SOUGHT:
            sql = f"SELECT count(*) FROM read_parquet($1) WHERE {column} = $2"
            if connection.execute(sql, [str(file), value]).fetchall() != [(1,)]:
                return f"WRONG for those who seek {column} = {value}"
    return "right"


SCORES = Truth(ROWS).table("mini_scores")
SOUGHT = [(name, SCORES[name][i].as_py()) for name in SCORES.column_names for i in (0, ROWS - 1)]


def scores_file(root: Path) -> Path:
    """A staged scores file as the next run will make it: the bytes but for the run's name."""
    [path] = (root / f"data/tables/mini_scores/day={DAY}").glob("*.parquet")
    return path


def test_a_flipped_bit_in_the_pages_of_staged_scores_is_never_published(published: Path) -> None:
    """P3: each byte of the column chunks is read back before the commit; what is published is right."""
    sample = flips(pages(scores_file(published)), 8)
    found = list(each_apart(staged_flip, sample, published))
    assert said(found, "Broken", "right") == [], Counter(answer.split(":")[0] for _, answer in found)


def wrong_bound(path: Path) -> Flip:
    """The bit of a footer by which the greatest id is 975 and not 1999: who seeks 1999 skips the file."""
    data = path.read_bytes()
    return Flip(data.rindex((ROWS - 1).to_bytes(8, "little")) + 1, 2)


@pytest.mark.slow
def test_a_flipped_bit_in_the_footer_of_staged_scores_is_never_published(published: Path) -> None:
    """P3: the footer says where rows are, and lets readers skip them: what is published is found by all."""
    sample = [wrong_bound(scores_file(published)), *flips([footer(scores_file(published))], 10)]
    found = list(each_apart(staged_flip, sample, published))
    assert said(found, "Broken", "right") == [], Counter(answer.split(":")[0] for _, answer in found)


@pytest.mark.parametrize("stage", mostly_slow(["audit", "read back"], ["read back"]))
def test_a_flipped_bit_in_a_staged_decision_is_never_published(published: Path, stage: str) -> None:
    """P3: between the decision and its commit, each decided row is read back too."""
    [before] = (published / f"data/tables/mini_top/day={DAY}").glob("*.parquet")
    place = pages(before)[1].stop - 3

    def hook(at: str, *_: int) -> None:
        if at == stage:
            paths = published.glob("data/runs/*/*/*/decide/mini_top.parquet")
            Flip(place, 2)(max(paths, key=lambda p: p.stat().st_mtime_ns))

    answer = outcome(lambda: run(load("mini", published), DAY, force=True, report=hook).status)
    assert answer.startswith("Broken"), answer
    assert all(ours(published, name).is_(Truth(ROWS), name) for name in TABLES)


# --- published files ---


def verified(flip: Flip, root: Path, table: str, good: bytes) -> str:
    [path] = (root / f"data/tables/{table}/day={DAY}").glob("*.parquet")
    replace(path, good)
    flip(path)
    return outcome(
        lambda: "; ".join(d for one in verify_days(Workspace(root)) for d in one.differences) or "nothing"
    )


@pytest.mark.parametrize("table", mostly_slow(TABLES, TABLES[:1]))
def test_a_bit_flipped_later_anywhere_in_a_published_file_is_named(published: Path, table: str) -> None:
    """P3, P9: `nightscore verify` names the table and the file, whatever the bit is; it is never killed."""
    [path] = (published / f"data/tables/{table}/day={DAY}").glob("*.parquet")
    no_such_column = Flip(path.read_bytes().index(b"run_id", footer(path).start), 6)
    sample = [no_such_column, *flips([range(path.stat().st_size)], 15), *flips([footer(path)], 15)]
    found = list(each_apart(verified, sample, published, table, path.read_bytes()))
    assert said(found, f"{table}: ") == []


def test_a_published_file_cut_short_is_named(published: Path) -> None:
    """P9: as any other change."""
    [path] = (published / f"data/tables/mini_scores/day={DAY}").glob("*.parquet")
    replace(path, path.read_bytes()[:-20])
    [one] = verify_days(Workspace(published))
    assert any(path.name in text for text in one.differences)


def test_a_flipped_bit_in_a_receipt_is_noticed(published: Path) -> None:
    """P3: what `verify` holds a day to is itself held to its checksums."""
    [path] = (published / f"data/tables/receipts/day={DAY}").glob("*.parquet")
    meta = pq.read_metadata(path).row_group(0)
    [column] = [c for c in map(meta.column, range(meta.num_columns)) if c.path_in_schema == "receipt"]
    assert column.has_dictionary_page  # the text itself; a page's header holds statistics of it, too
    place = column.data_page_offset - 20
    Flip(place, 0)(path)
    answer = outcome(
        lambda: "; ".join(d for one in verify_days(Workspace(published)) for d in one.differences)
    )
    assert answer, "verify says that all is well"
    assert answer.startswith("table receipts: ") and "is damaged" in answer, answer


def test_an_input_rewritten_beside_its_old_size_and_time_is_not_seen(fresh: Build) -> None:
    """NOT promised (P2, P5): other rows with the same size, time and footer are the same file to us."""
    root = fresh(days=(DAY,))
    write_part(root, "none", checksums=False)
    assert run(load("mini", root), DAY).status == "published"
    end = pages(root / PART)[1].stop
    stat = (root / PART).stat()
    with (root / PART).open("r+b") as file:
        file.seek(end - 8)
        file.write(b"\0\0\0\0")
    os.utime(root / PART, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert run(load("mini", root), DAY).status == "unchanged"
    assert not pa.table(pq.read_table(root / PART, partitioning=None)).equals(rows_of(DAY, ROWS))
