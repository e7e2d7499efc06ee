"""household_totals: kept day by day, held to pandas over all till receipts, and to its own full query."""

import hashlib
import shutil
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from nightscore import backfill, load, query, run
from nightscore.pipeline.publish.hold import Held
from tests.workspace.retail.world import REPOSITORY, SLICE

pytestmark = pytest.mark.slow  # real nights of whole jobs

JOB, FOLDER = "household_totals", Path("jobs/retail/household_totals")
COLUMNS = ["household_id", "trips", "lines", "units", "spend", "saved", "first_day", "last_day"]
PARITY = "the totals are those of all lines since the first"
MONEY = ["sales_value", "retail_disc", "coupon_disc", "coupon_match_disc"]


def add_totals(root: Path) -> Path:
    shutil.copytree(REPOSITORY / FOLDER, root / FOLDER)
    return root


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A workspace with the job and the fourteen days of the slice."""
    shutil.copytree(SLICE, tmp_path / "w/data/lake/retail")
    return add_totals(tmp_path / "w")


def receipts_of_the_till(lake: Path) -> pd.DataFrame:
    """Every line, with its day as its folder says, and money in whole cents."""
    parts = []
    for file in sorted(lake.glob("transactions/day=*/*.parquet")):
        part = pq.read_table(file, partitioning=None).to_pandas()
        part[MONEY] = (part[MONEY].astype(float) * 100).round().astype("int64")
        parts.append(part.assign(day=file.parent.name.removeprefix("day=")))
    return pd.concat(parts)


def by_pandas(lines: pd.DataFrame, day: str) -> list[tuple[object, ...]]:
    """The totals up to and including a day, by one group-by over all lines; money in cents."""
    known = lines[lines["day"] <= day]
    known = known.assign(saved=known[MONEY[1:]].sum(axis=1))
    grouped = known.groupby("household_id").agg(
        trips=("basket_id", "nunique"), lines=("basket_id", "size"), units=("quantity", "sum"),
        spend=("sales_value", "sum"), saved=("saved", "sum"),
        first_day=("day", "min"), last_day=("day", "max"),
    )  # fmt: skip
    return list(grouped.reset_index()[COLUMNS].itertuples(index=False, name=None))


def published(root: Path, day: str) -> list[tuple[object, ...]]:
    """The totals that were published for a day, money in cents."""
    sql = """
        SELECT household_id, trips, lines, units, (spend * 100)::BIGINT, (saved * 100)::BIGINT,
            first_day::VARCHAR, last_day::VARCHAR
        FROM household_totals_scores WHERE day = $1 ORDER BY household_id
    """
    columns = [column.to_pylist() for column in query(sql, root, values=[day]).columns]
    return list(zip(*columns, strict=True))


def is_due(day: str, every: int) -> bool:
    """Whether the parity audit is asked on a day, by its documented hash."""
    text = f"{JOB} full.sql scores {day}"
    return int(hashlib.sha256(text.encode()).hexdigest(), 16) % every == 0


def first_due(days: list[str], every: int) -> int:
    """The number of the first day after the first night on which the parity audit is asked."""
    return next((n for n, day in enumerate(days) if n and is_due(day, every)), 0)


def days_of(lake: Path) -> list[str]:
    return sorted(folder.name.removeprefix("day=") for folder in lake.glob("transactions/day=*"))


def set_every(root: Path, every: int) -> None:
    file = root / FOLDER / "job.yaml"
    file.write_text(file.read_text().replace("every: 30", f"every: {every}"))


def test_totals_are_those_of_all_lines(small: Path) -> None:
    """Each of five days is pandas' group-by over all lines so far; the full query is asked on days due."""
    set_every(small, 3)
    lines, days = receipts_of_the_till(small / "data/lake/retail"), days_of(small / "data/lake/retail")[:5]
    for n, day in enumerate(days):
        audit = next(a for a in run(load(JOB, small), day).audits if a.name == PARITY)
        asked = n == 0 or is_due(day, 3)
        assert audit.passed and ("as full.sql gives it" in audit.detail) == asked, audit
        assert published(small, day) == by_pandas(lines, day)


@pytest.mark.slow
@pytest.mark.parametrize("nights", [32, pytest.param(60, marks=pytest.mark.rest)])
def test_days_of_increments_are_one_query_over_all_days(workspace: Path, tmp_path: Path, nights: int) -> None:
    """The whole year's real lines, from the first of January on: each of the nights is equal to pandas."""
    root, lake = add_totals(tmp_path / "w"), tmp_path / "w/data/lake/retail"
    days = days_of(workspace / "data/lake/retail")[:nights]
    for folder in (f"transactions/day={day}" for day in days):
        shutil.copytree(workspace / "data/lake/retail" / folder, lake / folder)
    ends = dict(backfill(load(JOB, root), days[0], days[-1]))
    assert [end.status for end in ends.values()] == ["published"] * nights  # type: ignore[union-attr]
    asked = [day for day, end in ends.items() if "as full.sql" in str(end.audits)]  # type: ignore[union-attr]
    assert [str(day) for day in asked] == [d for d in days if d == days[0] or is_due(d, 30)]
    lines = receipts_of_the_till(lake)
    for day in days:
        assert published(root, day) == by_pandas(lines, day), day


def test_a_wrong_increment_is_held_on_the_next_day_that_is_asked(small: Path) -> None:
    """Lines are counted for trips: published until the audit is asked, and then held."""
    days = days_of(small / "data/lake/retail")
    every, due = next((n, days[k]) for n in range(2, 5_000) for k in (2, 3) if first_due(days, n) == k)
    set_every(small, every)
    run(load(JOB, small), days[0])
    sql = small / FOLDER / "totals.sql"
    sql.write_text(sql.read_text().replace("count(DISTINCT basket_id) AS trips", "count(*) AS trips"))
    for day in days[1 : days.index(due)]:
        assert run(load(JOB, small), day).status == "published"
    with pytest.raises(Held) as held:
        run(load(JOB, small), due)
    assert PARITY in str(held.value) and "are not among those of full.sql" in str(held.value)
    assert published(small, due) == []


def test_a_history_that_begins_in_the_middle_is_held(small: Path) -> None:
    """The first night goes on from nothing, so it is asked whatever its hash says."""
    days = days_of(small / "data/lake/retail")
    set_every(small, 10_000)
    assert not is_due(days[10], 10_000)
    with pytest.raises(Held, match=r"are not among those of full\.sql"):
        run(load(JOB, small), days[10])
    assert run(load(JOB, small), days[0]).status == "published"


def test_a_night_that_was_left_out_is_made_up_for(small: Path) -> None:
    """The next one adds the lines of both days; a night that is run again counts nothing twice."""
    lake = small / "data/lake/retail"
    lines, days = receipts_of_the_till(lake), days_of(lake)
    for day in (days[0], days[3]):
        run(load(JOB, small), day)
    assert published(small, days[3]) == by_pandas(lines, days[3])
    again = run(load(JOB, small), days[3], force=True)
    assert again.status == "published" and published(small, days[3]) == by_pandas(lines, days[3])


def test_late_lines_of_an_earlier_day_are_found(small: Path) -> None:
    """They are in no total; the audit says so when next asked, and running on from that day mends it."""
    lake = small / "data/lake/retail"
    days = days_of(lake)
    file = next(lake.glob(f"transactions/day={days[1]}/*.parquet"))
    whole = pq.read_table(file, partitioning=None)
    pq.write_table(whole.slice(0, whole.num_rows - 5), file)
    set_every(small, 1)
    for day in days[:3]:
        run(load(JOB, small), day)
    pq.write_table(whole, file)
    with pytest.raises(Held, match=r"are not among those of full\.sql"):
        run(load(JOB, small), days[3])
    for day in days[1:4]:
        assert run(load(JOB, small), day).status == "published"
    assert published(small, days[3]) == by_pandas(receipts_of_the_till(lake), days[3])
