"""What is scored, and what the model is told about it."""

import math
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pytest

from nightscore import features, load
from tests.workspace.retail.recount import Recount
from tests.workspace.retail.world import DAY, JOB, SLICE, SPEC, Sql, sql_of

pytestmark = pytest.mark.slow  # real nights of whole jobs

REAL_HOUSEHOLDS = (1, 552, 1609)  # a regular one, one with few trips, one with many
COUNTED_ROWS = 40  # of each real household


COLUMNS = ("household_id", "product_id", "basket_id", "store_id", "quantity", "day")
MONEY = ("sales_value", "retail_disc")


def recounted(lake: Path, day: str) -> Recount:
    """Money as float64: a million decimals as Python's own take ten seconds."""
    columns = {name: ds.field(name) for name in COLUMNS}
    columns |= {name: ds.field(name).cast("float64") for name in MONEY}
    lines = ds.dataset(lake / "transactions", partitioning=ds.partitioning(flavor="hive"))
    return Recount.of(lines.to_table(columns).to_pandas(), pd.read_parquet(lake / "products.parquet"), day)


def assert_rows_equal(found: pd.DataFrame, recount: Recount) -> None:
    columns = [n for n in found.columns if n not in (*SPEC["key"], *SPEC["keep"])]
    for row in found.to_dict("records"):
        expected = recount.row(row["household_id"], row["product_id"])
        assert set(columns) == set(expected)
        for name in columns:
            a, b = row[name], expected[name]
            same = (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-6)
            assert same, f"{name} of {row['household_id']}, {row['product_id']}: {a}, recounted {b}"


def test_every_feature_of_the_slice_equals_a_recount_in_pandas(small: Path) -> None:
    """All rows and all columns; the candidates are the same set of pairs."""
    recount = recounted(SLICE, DAY)
    found = features(load(JOB, workspace=small), DAY).to_pandas()
    expected = {(h, p) for h in recount.lines["household_id"].unique() for p in recount.candidates(h)}
    assert set(zip(found["household_id"], found["product_id"], strict=True)) == expected
    assert_rows_equal(found, recount)


def test_products_of_no_kind_equal_a_recount_in_pandas() -> None:
    """Without a type a product is not recommended, and counts in its category; none is like another none."""
    kinds = ["product_type", "product_category", "department"]
    products = pd.read_parquet(SLICE / "products.parquet")
    for every, missing in ((5, [0, 2]), (7, [1, 2]), (11, [0, 1, 2])):
        products.loc[products.index % every == 0, [kinds[i] for i in missing]] = None
    sql = Sql.over(SLICE, DAY)
    sql.put("products", pa.Table.from_pandas(products, preserve_index=False))
    lines = sql.connection.sql("SELECT * FROM transactions").df()
    recount = Recount.of(lines, products, DAY)
    found = sql.table(sql_of("candidates.sql")).to_pandas()
    expected = {(h, p) for h in recount.lines["household_id"].unique() for p in recount.candidates(h)}
    assert set(zip(found["household_id"], found["product_id"], strict=True)) == expected
    assert_rows_equal(found, recount)


@pytest.mark.slow
def test_features_of_real_households_equal_a_recount_in_pandas(lake: Path, rows: pa.Table) -> None:
    """The same over the whole year, for the candidates of three households."""
    recount = recounted(lake, DAY)
    for household in REAL_HOUSEHOLDS:
        found = rows.filter(pc.equal(rows["household_id"], household)).to_pandas()
        assert set(found["product_id"]) == recount.candidates(household)
        assert_rows_equal(found.sample(min(COUNTED_ROWS, len(found)), random_state=7), recount)


def test_a_purchase_after_the_day_changes_nothing(small: Path) -> None:
    """Features are point-in-time: with or without the days after, they are the same bytes."""
    job = load(JOB, workspace=small)
    before = features(job, "2017-10-28")
    root = small / "data/lake/retail/transactions"
    for later in [p for p in root.iterdir() if p.name > "day=2017-10-28"]:
        shutil.rmtree(later)
    assert features(job, "2017-10-28").equals(before)
    shutil.copytree(root / "day=2017-10-21", root / "day=2017-10-29")
    assert features(job, "2017-10-28").equals(before)
    assert not features(job, "2017-10-29").equals(before)


def test_the_day_itself_is_known(small: Path) -> None:
    """A product bought on the scored day was bought 0 days ago, in the latest basket."""
    table = features(load(JOB, workspace=small), "2017-11-02").to_pandas()
    today = table[table["last_bought"] == pd.Timestamp("2017-11-02").date()]
    assert len(today) == 12
    assert (today["own_days_since"] == 0).all()
    assert today["own_trips_since"].min() == 1


def test_keys_are_unique_and_every_household_has_enough_to_choose_from(lake: Path, rows: pa.Table) -> None:
    """One row per household and product; at least 50 candidates for each household that ever shopped."""
    counted = rows.group_by(SPEC["key"]).aggregate([([], "count_all")])
    assert counted.num_rows == rows.num_rows
    assert all(rows[name].null_count == 0 for name in SPEC["key"])
    per_household = rows.group_by("household_id").aggregate([([], "count_all")])
    assert pc.min(per_household["count_all"]).as_py() >= 50
    shoppers = Sql.over(lake).table("SELECT count(DISTINCT household_id) AS n FROM transactions")
    assert per_household.num_rows == shoppers["n"][0].as_py()


def test_features_are_floats_without_infinities(rows: pa.Table) -> None:
    """Every column of the model is FLOAT; a null means missing, and no division ran away."""
    for name in set(rows.column_names) - {*SPEC["key"], *SPEC["keep"]}:
        assert rows.schema.field(name).type == pa.float32(), name
        assert not np.isinf(rows[name].to_numpy()).any(), name


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_the_same_rows_with_any_number_of_threads(lake: Path, rows: pa.Table, threads: int) -> None:
    """Bit for bit: no floating-point sum runs in the order of the threads. `rows` has one for each core."""
    found = Sql.over(lake, threads=threads).table(sql_of("candidates.sql"))
    found = found.sort_by([(name, "ascending") for name in SPEC["key"]])
    assert found.cast(rows.schema).equals(rows)
