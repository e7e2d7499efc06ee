"""Totals kept day by day as docs/job.md has them, and the parity audit that holds them to one full query."""

import re
import shutil
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightscore import Broken, load, query, run
from nightscore.pipeline.publish.hold import Held
from nightscore.pipeline.steps import check_job

DOCS = Path(__file__).parents[2] / "docs/job.md"
DAYS = [f"2020-03-0{n}" for n in range(1, 7)]
EDITS: dict[str, tuple[str, str, str]] = {
    "a column less": ("full.sql", ", CAST(sum(amount) AS DECIMAL(18, 2)) AS spend", "other in spend"),
    "another type": ("full.sql", "CAST(sum(amount) AS DECIMAL(18, 2))=sum(amount)", "other in spend"),
    "no such table": ("job.yaml", "every: 30=of: customers, every: 30", "'customers' is no table that"),
    "no such input": ("job.yaml", "{sales: 3650}={orders: 3650}", "'orders' is no input of the job"),
    "no such file": ("job.yaml", "full: full.sql=full: all.sql", "all.sql can't be read beside job.yaml"),
    "not the same at each run": ("full.sql", "count(*) AS orders=random()::BIGINT AS orders", "random"),
}  # fmt: skip


def sales_of(day: str) -> pd.DataFrame:
    """The sales of a day: customers and amounts, the same at each call."""
    rng = np.random.default_rng(int(day.replace("-", "")))
    rows = int(rng.integers(50, 80))
    cents = rng.integers(1, 10_000, rows)
    return pd.DataFrame({"day": day, "customer_id": rng.integers(0, 40, rows), "cents": cents})


def write_sales(root: Path, day: str, sales: pd.DataFrame) -> None:
    folder = root / f"data/lake/sales/day={day}"
    folder.mkdir(parents=True, exist_ok=True)
    amounts = [Decimal(int(c)) / 100 for c in sales["cents"]]
    columns = [pa.array(sales["customer_id"], pa.int64()), pa.array(amounts, pa.decimal128(9, 2))]
    pq.write_table(pa.table(columns, ["customer_id", "amount"]), folder / "part-0.parquet")


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """The example of docs/job.md, file by file, with six days of sales."""
    section = DOCS.read_text().split("## Totals that are kept day by day")[1].split("\n## ")[0]
    texts = re.findall(r"```(?:yaml|sql)\n(.*?)```", section, re.DOTALL)
    folder = tmp_path / "jobs/customer_totals"
    folder.mkdir(parents=True)
    for name, text in zip(("job.yaml", "totals.sql", "full.sql"), texts, strict=True):
        (folder / name).write_text(text)
    for day in DAYS:
        write_sales(tmp_path, day, sales_of(day))
    return tmp_path


def edit(root: Path, name: str, old: str, new: str) -> None:
    file = root / "jobs/customer_totals" / name
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))


def published(root: Path, day: str) -> list[tuple[int, int, int]]:
    columns = "customer_id, orders, (spend * 100)::BIGINT"
    sql = f"SELECT {columns} FROM customer_totals_scores WHERE day = $1 ORDER BY customer_id"
    return list(zip(*(c.to_pylist() for c in query(sql, root, values=[day]).columns), strict=True))


def by_pandas(days: list[str]) -> list[tuple[int, int, int]]:
    grouped = pd.concat(map(sales_of, days)).groupby("customer_id")["cents"].agg(["size", "sum"])
    return [tuple(map(int, row)) for row in grouped.reset_index().itertuples(index=False)]


@pytest.mark.slow
def test_the_example_of_the_docs_keeps_the_totals(shop: Path) -> None:
    """Night by night, as it stands there: what pandas adds up over all days."""
    for n, day in enumerate(DAYS, 1):
        (audit,) = run(load("customer_totals", shop), day).audits
        assert audit.passed and published(shop, day) == by_pandas(DAYS[:n])
        if n == 1:
            rows = f"{len(by_pandas(DAYS[:1]))} rows, each as full.sql gives it"
            assert audit.detail == f"{rows}; over 1 day of sales, 2020-03-01 to 2020-03-01"


@pytest.mark.slow
def test_a_night_reads_the_days_since_and_not_the_history(shop: Path) -> None:
    """The receipt's inputs are those of the lookback, also where the audit has read ten years."""
    edit(shop, "job.yaml", "lookback: 8", "lookback: 2")
    edit(shop, "job.yaml", "every: 30", "every: 1")
    for day in DAYS:
        receipt = run(load("customer_totals", shop), day)
    sales = [file.path for file in receipt.inputs if "/sales/" in file.path]
    assert sales == [f"data/lake/sales/day={day}/part-0.parquet" for day in DAYS[-2:]]
    assert "over 6 days of sales, 2020-03-01 to 2020-03-06" in receipt.audits[0].detail


def test_what_differs_is_counted_and_shown(shop: Path) -> None:
    """One customer is another, one is not there: two rows here, one there, and an example of each."""
    run(load("customer_totals", shop), DAYS[0])
    edit(shop, "job.yaml", "every: 30", "every: 1")
    edit(
        shop, "totals.sql", "FROM (FROM known UNION ALL BY NAME FROM added)",
        "FROM (FROM known UNION ALL BY NAME FROM added UNION ALL BY NAME "
        "SELECT * FROM (VALUES (7, 1, 0), (99, 1, 1)) AS wrong(customer_id, orders, spend))",
    )  # fmt: skip
    with pytest.raises(Held) as held:
        run(load("customer_totals", shop), DAYS[1])
    right = {customer: (orders, cents) for customer, orders, cents in by_pandas(DAYS[:2])}
    rows = len(right)
    orders, cents = right[7]
    spend = f"{cents // 100}.{cents % 100:02d}"
    assert (
        f"2 of {rows + 1} rows are not among those of full.sql, of whose {rows} 1 are not here; scores has "
        f"customer_id=7, orders={orders + 1}, spend={spend}; full.sql has customer_id=7, orders={orders}, "
        f"spend={spend}"
    ) in str(held.value)


@pytest.mark.parametrize("sales", [1, 3])
@pytest.mark.sample(1)
def test_days_between_the_totals_and_a_shorter_lookback_are_asked_for(shop: Path, sales: int) -> None:
    """Four nights were left out, and the sales reach back less far than the totals: held, with the days."""
    edit(shop, "job.yaml", "partition: day, lookback: 8", f"partition: day, lookback: {sales}")
    edit(shop, "job.yaml", "every: 30", "every: 10000")
    run(load("customer_totals", shop), DAYS[0])
    with pytest.raises(Held) as held:
        run(load("customer_totals", shop), DAYS[5])
    assert (
        f"asked since {5 - sales} days of sales, {DAYS[1]} to {DAYS[5 - sales]}, lie between {DAYS[0]}, the "
        "newest day of the job's own table, and the lookback"
    ) in str(held.value)
    edit(shop, "job.yaml", f"partition: day, lookback: {sales}", "partition: day, lookback: 5")
    (audit,) = run(load("customer_totals", shop), DAYS[5]).audits
    assert audit.detail.startswith("not asked") and published(shop, DAYS[5]) == by_pandas(DAYS)


def test_days_that_an_input_does_not_have_are_not_asked_for(shop: Path) -> None:
    """A shop that is closed for three days: the night after them has left nothing out."""
    edit(shop, "job.yaml", "partition: day, lookback: 8", "partition: day, lookback: 1")
    edit(shop, "job.yaml", "every: 30", "every: 10000")
    for day in DAYS[1:4]:
        shutil.rmtree(shop / f"data/lake/sales/day={day}")
    run(load("customer_totals", shop), DAYS[0])
    (audit,) = run(load("customer_totals", shop), DAYS[4]).audits
    assert audit.detail.startswith("not asked")
    assert published(shop, DAYS[4]) == by_pandas([DAYS[0], DAYS[4]])


def test_rows_count_as_often_as_they_are_there(shop: Path) -> None:
    """A decision table is a multiset: twice the same row is another table."""
    edit(shop, "job.yaml", "policy:", "decide:\n  spenders: spenders.sql\npolicy:")
    edit(shop, "job.yaml", "full: full.sql", "full: full.sql, of: spenders")
    folder = shop / "jobs/customer_totals"
    (folder / "spenders.sql").write_text("FROM scores UNION ALL FROM scores")
    with pytest.raises(Held, match=r"of \d+ rows are not among"):
        run(load("customer_totals", shop), DAYS[0])
    (folder / "spenders.sql").write_text("FROM scores")
    assert run(load("customer_totals", shop), DAYS[0]).status == "published"


@pytest.mark.parametrize("case", EDITS)
@pytest.mark.disk_only(reason="refused before data/ is looked at")
def test_what_can_not_be_compared_is_refused_at_check(shop: Path, case: str) -> None:
    """With the line, or the file, and what is allowed."""
    name, change, said = EDITS[case]
    old, _, new = change.partition("=")
    edit(shop, name, old, new)
    with pytest.raises(Broken) as found:
        check_job(load("customer_totals", shop))
    assert said in str(found.value)


@pytest.mark.disk_only(reason="it looks at no data")
def test_an_input_without_days_has_no_lookback(shop: Path) -> None:
    """A table without partitions is read whole by the full query as by the night."""
    pq.write_table(pa.table({"x": [1]}), shop / "data/lake/rates.parquet")
    edit(shop, "job.yaml", "inputs:\n", "inputs:\n  rates: {path: data/lake/rates.parquet}\n")
    edit(shop, "job.yaml", "{sales: 3650}", "{sales: 3650, rates: 2}")
    with pytest.raises(Broken, match=r"audit\.0\.parity\.lookback\.rates: is a table without partitions"):
        check_job(load("customer_totals", shop))


def test_the_full_query_is_part_of_the_job(shop: Path) -> None:
    """Another one is another job: the day is run again, and held to it."""
    before = load("customer_totals", shop)
    run(before, DAYS[0])
    edit(shop, "full.sql", "FROM sales", "FROM sales WHERE true")
    assert load("customer_totals", shop).hash != before.hash
    assert run(load("customer_totals", shop), DAYS[0]).status == "published"
