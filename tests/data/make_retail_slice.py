"""Cut `retail_slice/` from the real data: six households, two weeks, small enough to check by hand.

    python tests/data/make_retail_slice.py

Household 552 has one single purchase and no demographics, 1550 has no demographics; 661 and 2376 are in one
segment, 20 and 906 each in another. One product that is bought is left out of the catalogue, and ten products
that none of them buys are in it, some of them without a category.
"""

import datetime as dt
import shutil
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the root, for data.lakes

from data.lakes.retail import LAKE, write_lake

SLICE = Path(__file__).parent / "retail_slice"
HOUSEHOLDS = pa.array([20, 552, 661, 906, 1550, 2376], pa.int32())
DAYS = [dt.date(2017, 10, 20) + dt.timedelta(days=i) for i in range(14)]
NEVER_BOUGHT = 10


def main() -> None:
    """Write the slice again."""
    shutil.rmtree(SLICE, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        write_lake(Path(folder))
        lake = Path(folder) / LAKE
        bought = [_cut_day(lake, day) for day in DAYS]
        products = pc.unique(pa.concat_arrays(bought)).sort()
        catalogue = pq.read_table(lake / "products.parquet").sort_by("product_id")
        known = pc.is_in(catalogue["product_id"], products[1:])
        others = pc.invert(pc.is_in(catalogue["product_id"], products))
        rest = catalogue.filter(others).slice(0, NEVER_BOUGHT)
        _write("products.parquet", pa.concat_tables([rest, catalogue.filter(known)]).sort_by("product_id"))
        catalogue = pq.read_table(SLICE / "products.parquet")
        rules = pq.read_table(lake / "eligibility.parquet")
        _write(
            "eligibility.parquet",
            rules.filter(pc.is_in(rules["product_type"], catalogue["product_type"].combine_chunks())),
        )
        demographics = pq.read_table(lake / "demographics.parquet")
        _write(
            "demographics.parquet", demographics.filter(pc.is_in(demographics["household_id"], HOUSEHOLDS))
        )


def _cut_day(lake: Path, day: dt.date) -> pa.Array:
    """Write the households' lines of one day; gives the products in them."""
    name = f"transactions/day={day}/part-0.parquet"
    table = pq.read_table(lake / name, partitioning=None)
    table = table.filter(pc.is_in(table["household_id"], HOUSEHOLDS))
    _write(name, table)
    return table["product_id"].combine_chunks()


def _write(name: str, table: pa.Table) -> None:
    path = SLICE / name
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = table.replace_schema_metadata(None)
    small = {"use_dictionary": False, "write_statistics": False, "store_schema": False}
    pq.write_table(plain, path, compression="zstd", **small)


if __name__ == "__main__":
    main()
