"""An input with `since`: parameters with dates, of which a later row is no cause of an earlier day."""

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightscore import Broken, load, query, run
from nightscore.common.units import as_day
from nightscore.pipeline.publish.closing import Closed
from nightscore.pipeline.read.inputs import resolve_inputs
from nightscore.pipeline.steps import draft_plan
from nightscore.review.late_data import find_late_days
from tests.support.workspace import DAYS, make_workspace

FIRST, SECOND, THIRD = DAYS
RATES = [(dt.date(2019, 12, 1), 0.5), (dt.date(2020, 1, 2), 0.25), (dt.date(2020, 1, 3), 0.125)]
LATER, EARLIER = (dt.date(2020, 6, 1), 8.0), (dt.date(2019, 12, 31), 4.0)
JOB = """\
job: rated
about: Rows, and the rate that holds
owner: tests
inputs:
  rows: {path: data/lake/rows, partition: day}
  rates: {path: data/lake/rates.parquet, since: since, columns: {since: DATE NOT NULL, rate: DOUBLE}}
features: features.sql
key: [id]
keep: [rate, rates]
model: none
close: true
"""
SQL = """\
SELECT id, (SELECT arg_max(rate, since) FROM rates) AS rate, (SELECT count(*) FROM rates) AS rates FROM rows
"""


def write(root: Path, rates: list[tuple[dt.date, float]], **options: object) -> None:
    table = pa.table({"since": pa.array([r[0] for r in rates], pa.date32()), "rate": [r[1] for r in rates]})
    pq.write_table(table, root / "data/lake/rates.parquet", **options)


@pytest.fixture
def books(tmp_path: Path) -> Path:
    """A job that closes its days, with three rates of which the first two days see one and two."""
    root = make_workspace(tmp_path, rows=20)
    folder = root / "jobs/rated"
    folder.mkdir()
    (folder / "job.yaml").write_text(JOB)
    (folder / "features.sql").write_text(SQL)
    write(root, RATES)
    for day in DAYS:
        run(load("rated", root), day)
    return root


def test_a_day_sees_the_rows_that_hold_by_then(books: Path) -> None:
    """Without a condition in SQL: none of a later day."""
    found = query("SELECT DISTINCT day::VARCHAR AS day, rate, rates FROM rated_scores ORDER BY day", books)
    assert [tuple(row.values()) for row in found.to_pylist()] == [
        (FIRST, 0.5, 1), (SECOND, 0.25, 2), (THIRD, 0.125, 3),
    ]  # fmt: skip


def with_later(root: Path) -> None:
    write(root, [*RATES, LATER])


def in_another_order(root: Path) -> None:
    write(root, [LATER, *reversed(RATES)], compression="zstd", row_group_size=2, version="1.0")


def a_later_one_is_another(root: Path) -> None:
    write(root, [*RATES[:2], (RATES[2][0], 7.0), LATER])


@pytest.mark.parametrize("change", [with_later, in_another_order, a_later_one_is_another])
@pytest.mark.sample(1)
def test_a_row_of_a_later_day_is_no_cause(books: Path, change: Callable[[Path], None]) -> None:
    """A closed day stays as it is, and is not late: whatever becomes of the later rows."""
    job = load("rated", books)
    before = draft_plan(job, as_day(SECOND)).fingerprint
    change(books)
    assert draft_plan(job, as_day(SECOND)).fingerprint == before
    assert [run(job, day).status for day in (FIRST, SECOND)] == ["unchanged", "unchanged"]
    late = [one.day for one in find_late_days(job, as_day(FIRST), list_only=True)]
    assert late == ([THIRD] if change is a_later_one_is_another else [])


@pytest.mark.parametrize(
    "rates",
    [
        [EARLIER, *RATES],
        RATES[1:],
        [(RATES[0][0], 0.75), *RATES[1:]],
        [RATES[0], *RATES],
    ],
    ids=["added", "removed", "corrected", "twice"],
)
@pytest.mark.sample(1)
def test_a_row_up_to_the_day_is_a_cause(books: Path, rates: list[tuple[dt.date, float]]) -> None:
    """Each day that sees it is closed to it, and named as late."""
    write(books, rates)
    job = load("rated", books)
    for day in DAYS:
        with pytest.raises(Closed, match=r"data/lake/rates\.parquet"):
            run(job, day)
    assert [one.day for one in find_late_days(job, as_day(FIRST), list_only=True)] == list(DAYS)


def test_another_column_is_a_cause(books: Path) -> None:
    """As a file of another shape is, of any input."""
    job, path = load("rated", books), books / "data/lake/rates.parquet"
    before = resolve_inputs(job, as_day(FIRST))["rates"][0].fingerprint
    pq.write_table(pq.read_table(path).append_column("note", pa.nulls(3, pa.string())), path)
    assert resolve_inputs(job, as_day(FIRST))["rates"][0].fingerprint != before


def test_a_job_without_the_key_has_the_hash_and_the_causes_that_it_had(tmp_path: Path) -> None:
    """The whole file is a cause, as before, and the key is not in the job's hash."""
    root = make_workspace(tmp_path, rows=20)
    folder = root / "jobs/rated"
    folder.mkdir()
    (folder / "features.sql").write_text(SQL)
    (folder / "job.yaml").write_text(JOB.replace("since: since, ", ""))
    write(root, RATES)
    job = load("rated", root)
    assert "since" not in str(job.spec.model_dump(exclude_defaults=True)["inputs"]["rates"].keys())
    before = draft_plan(job, as_day(FIRST)).fingerprint
    with_later(root)
    assert draft_plan(job, as_day(FIRST)).fingerprint != before


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            ("since: since", "since: when"),
            r"job\.yaml:6: inputs\.rates\.since: .* has no column 'when'; it has since, rate",
        ),
        (("since: since", "since: rate"), r"column 'rate' is DOUBLE in .*; allowed: DATE"),
        (("data/lake/rates.parquet", "data/lake/many"), r"data/lake/many has 2 files; allowed: one"),
        (("day}", "day, since: id}"), r"inputs\.rows\.since: is for a table without partitions"),
    ],
)
@pytest.mark.sample(2)
def test_what_can_not_be_cut_is_refused(books: Path, change: tuple[str, str], says: str) -> None:
    """With the line, and what is allowed."""
    many = books / "data/lake/many"
    many.mkdir()
    for name in ("a", "b"):
        pq.write_table(pq.read_table(books / "data/lake/rates.parquet"), many / f"{name}.parquet")
    assert change[0] in JOB
    (books / "jobs/rated/job.yaml").write_text(JOB.replace(*change))
    with pytest.raises(Broken, match=says):
        run(load("rated", books), FIRST, force=True)


def test_a_row_without_a_date_is_refused(books: Path) -> None:
    """It would be seen on no day, without a word."""
    path = books / "data/lake/rates.parquet"
    table = pq.read_table(path)
    since = pa.array([None, *table["since"].to_pylist()[1:]], pa.date32())
    pq.write_table(table.set_column(0, "since", since), path)
    (books / "jobs/rated/job.yaml").write_text(
        JOB.replace(", columns: {since: DATE NOT NULL, rate: DOUBLE}", "")
        .replace("close: true\n", "")
        .replace("job: rated", "job: other")
    )
    with pytest.raises(Broken, match="column 'since' has 1 null;"):
        run(load("other", books), FIRST)
