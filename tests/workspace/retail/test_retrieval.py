"""A hundred new products for each household: real nights, recounted, and as another job's candidates."""

import datetime as dt
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml

from nightscore import Broken, load, query, run
from tests.workspace.retail.world import DAY, FOLDER, MODEL, REPOSITORY, make_slice
from tests.workspace.retail.world import JOB as RECOMMENDATIONS

pytestmark = pytest.mark.slow  # real nights of whole jobs

JOB = "retail_retrieval"
RETRIEVAL = Path("jobs/retail/retrieval")
ITEMS, USERS = MODEL / "retrieval_items.parquet", MODEL / "retrieval_users.parquet"
DATE = dt.date.fromisoformat(DAY)
METRICS = json.loads((MODEL / "retrieval_metrics.json").read_text())
ROAD = """
    UNION
    -- What households with a taste like its own buy, and it has never bought.
    SELECT household_id, product_id
    FROM retrieval
"""


def add_retrieval(workspace: Path) -> Path:
    """Put the job, its model and its users into a workspace."""
    shutil.copytree(REPOSITORY / RETRIEVAL, workspace / RETRIEVAL)
    for file in (ITEMS, USERS, MODEL / "retrieval_expected.parquet"):
        shutil.copy(file, workspace / "data/models/retail" / file.name)
    return workspace


def take_candidates_from_it(workspace: Path) -> None:
    """Change the recommendations in a workspace so that the published lists are candidates too."""
    spec, sql = workspace / FOLDER / "job.yaml", workspace / FOLDER / "candidates.sql"
    job = yaml.safe_load(spec.read_text())
    job["inputs"]["retrieval"] = {"table": JOB}
    spec.write_text(yaml.safe_dump(job, sort_keys=False))
    before, end, after = sql.read_text().partition("),\nranked AS (")  # behind the last road
    assert end
    sql.write_text(before.rstrip() + ROAD + end + after)


@pytest.fixture
def slice_(tmp_path: Path) -> Path:
    """A workspace with the slice and both jobs."""
    return add_retrieval(make_slice(tmp_path / "w"))


def published(workspace: Path) -> pa.Table:
    return query(f"SELECT * FROM {JOB} WHERE day = DATE '{DAY}' ORDER BY household_id, rank", workspace)


def until_the_day(workspace: Path) -> pa.Table:
    """Who bought what on or before the scored day."""
    files = (workspace / "data/lake/retail/transactions").glob("day=*/*.parquet")
    return pa.concat_tables(
        pq.read_table(file, columns=["household_id", "product_id"], partitioning=None)
        for file in files
        if file.parent.name <= f"day={DAY}"
    )


def expected(workspace: Path, household: int) -> list[int]:
    """The best hundred by a plain sum in float64, of what may be given and was not bought."""
    lines = until_the_day(workspace)
    bought = set(lines.filter(pc.equal(lines["household_id"], household))["product_id"].to_pylist())
    lake = workspace / "data/lake/retail"
    rules = pq.read_table(lake / "eligibility.parquet").to_pylist()
    ruled = {r["product_type"] for r in rules if r["from"] <= DATE <= (r["until"] or DATE)}
    products = pq.read_table(lake / "products.parquet").to_pylist()
    masked = {row["product_id"] for row in products if row["product_type"] in ruled}
    file = workspace / "data/models/retail/retrieval_users.parquet"
    users = {row["household_id"]: row["factors"] for row in pq.read_table(file).to_pylist()}
    taste = np.array(users.get(household) or users[None])
    scored = [
        (-float(np.float32(np.array(row["factors"]) @ taste)), row["item"])
        for row in pq.read_table(ITEMS).to_pylist()
        if row["available"] and row["item"] not in bought | masked
    ]
    return [item for _, item in sorted(scored)[:100]]


def test_a_night_publishes_the_best_hundred_that_were_never_bought(slice_: Path) -> None:
    """Every household of the slice: as a recount has it, best first, and all audits passed."""
    receipt = run(load(JOB, workspace=slice_), DAY)
    assert receipt.status == "published" and {audit.passed for audit in receipt.audits} == {True}
    found = published(slice_)
    households = sorted(set(found["household_id"].to_pylist()))
    assert len(households) == 6 == receipt.rows.published
    for household in households:
        mine = found.filter(pc.equal(found["household_id"], household))
        assert mine["rank"].to_pylist() == list(range(1, 101))
        assert mine["product_id"].to_pylist() == expected(slice_, household)
        assert (np.diff(mine["score"].to_numpy()) <= 0).all()
    assert set(found["has_factors"].to_pylist()) == {True}


def test_what_eligibility_rules_out_is_in_no_list(slice_: Path) -> None:
    """A rule for the type of what was named: on its days others move up, before them nothing changes."""
    job, file = load(JOB, workspace=slice_), slice_ / "data/lake/retail/eligibility.parquet"
    run(job, DAY)
    free, rules = published(slice_).drop_columns("run_id"), pq.read_table(file)
    products = pq.read_table(slice_ / "data/lake/retail/products.parquet").to_pylist()
    listed = set(free["product_id"].to_pylist())
    kind = next(row["product_type"] for row in products if row["product_id"] in listed)
    ruled = {row["product_id"] for row in products if row["product_type"] == kind}
    for first, until, named in ((DATE, DATE, False), (DATE + dt.timedelta(1), None, True)):
        rule = {"product_type": kind, "from": first, "until": until, "reason": "a trial"}
        pq.write_table(pa.Table.from_pylist([*rules.to_pylist(), rule], rules.schema), file)
        receipt = run(job, DAY)
        assert receipt.status == "published" and {audit.passed for audit in receipt.audits} == {True}
        found = published(slice_).drop_columns("run_id")
        assert bool(set(found["product_id"].to_pylist()) & ruled) == named
        assert found.equals(free) == named
        mine = found.filter(pc.equal(found["household_id"], 661))["product_id"].to_pylist()
        assert mine == expected(slice_, 661)


@pytest.mark.parametrize("wrong", ["a name of small letters", "no rule"])
def test_a_mask_that_masks_nothing_holds_the_night(slice_: Path, wrong: str) -> None:
    """Tobacco that is spelt otherwise than in the catalogue, and a file without a row."""
    file = slice_ / "data/lake/retail/eligibility.parquet"
    table = pq.read_table(file)
    small = pc.utf8_lower(table["product_type"])
    at = table.schema.get_field_index("product_type")
    pq.write_table(table[:0] if wrong == "no rule" else table.set_column(at, "product_type", small), file)
    with pytest.raises(Broken, match="there are rules of eligibility today"):
        run(load(JOB, workspace=slice_), DAY)


def test_a_new_household_gets_what_the_average_one_likes(slice_: Path) -> None:
    """Less what it has bought, which is known; an audit warns where too many are new."""
    file = slice_ / "data/models/retail/retrieval_users.parquet"
    users = pq.read_table(file)
    pq.write_table(users.filter(pc.field("household_id").is_null() | (pc.field("household_id") != 552)), file)
    receipt = run(load(JOB, workspace=slice_), DAY)
    assert receipt.status == "published"
    assert [audit.name for audit in receipt.audits if not audit.passed] == [
        "nine in ten households have factors of their own"
    ]
    found = published(slice_)
    assert set(found.filter(~pc.field("has_factors"))["household_id"].to_pylist()) == {552}
    mine = found.filter(pc.field("household_id") == 552)["product_id"].to_pylist()
    assert mine == expected(slice_, 552)


def test_the_same_night_again_gives_the_same_rows(slice_: Path) -> None:
    """Forced, and with chunks of one row."""
    job = load(JOB, workspace=slice_)
    run(job, DAY)
    first = published(slice_).drop_columns("run_id")
    text = job.file.read_text()
    assert "scoring: {sql_threads: auto}" in text
    job.file.write_text(text.replace("sql_threads: auto", "chunk_rows: 1"))
    assert run(load(JOB, workspace=slice_), DAY).status == "published"
    assert published(slice_).drop_columns("run_id").equals(first)


def test_the_recommendations_can_take_their_candidates_from_it(slice_: Path) -> None:
    """With the lists as one more road to candidates, each of them that sold is scored."""
    take_candidates_from_it(slice_)
    job = load(RECOMMENDATIONS, workspace=slice_)
    run(load(JOB, workspace=slice_), DAY)
    receipt = run(job, DAY)
    assert receipt.status == "published" and {a.passed for a in receipt.audits if a.severity == "fail"} == {
        True
    }
    asked = f"""
        SELECT count(*) AS lists, count(scores.product_id) AS scored
        FROM {JOB} AS lists
        LEFT JOIN {RECOMMENDATIONS}_scores AS scores USING (day, household_id, product_id)
        WHERE day = DATE '{DAY}'
    """
    [found] = query(asked, slice_).to_pylist()
    catalogue = pq.read_table(slice_ / "data/lake/retail/products.parquet")["product_id"]
    sold = set(until_the_day(slice_)["product_id"].to_pylist()) & set(catalogue.to_pylist())
    listed = published(slice_)["product_id"].to_pylist()
    assert found == {"lists": 600, "scored": sum(product in sold for product in listed)}
    assert found["scored"] > 0


def test_without_lists_of_the_day_the_variant_does_not_run(slice_: Path) -> None:
    """Candidates of another day would be stale: the night ends, and says which input lacks which day."""
    take_candidates_from_it(slice_)
    with pytest.raises(
        Broken, match=f"no partition of {DAY} in retrieval; the policy for a missing day is fail"
    ):
        run(load(RECOMMENDATIONS, workspace=slice_), DAY)


def test_the_factors_are_small_and_saw_nothing_of_the_held_out_months() -> None:
    """Under 3 MB together; trained before the first day that is evaluated."""
    assert ITEMS.stat().st_size + USERS.stat().st_size < 3_000_000
    first = min(dt.date.fromisoformat(day) for day in METRICS["days"])
    assert dt.date.fromisoformat(METRICS["training"]["last_day"]) < first
    assert len(METRICS["days"]) == 6


def test_the_lists_hold_more_first_purchases_than_the_best_sellers() -> None:
    """On average over the held-out days, by the committed figures, and in more different products."""
    ours, baseline = METRICS["mean"][JOB], METRICS["mean"]["most popular, 28 days"]
    assert ours["recall@100"] > 1.05 * baseline["recall@100"]
    assert ours["hit_rate@100"] > baseline["hit_rate@100"]
    assert ours["products"] > 3 * baseline["products"]
