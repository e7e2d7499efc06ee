"""The sample rows of a new workspace: invented, small, and the same at each call."""

import datetime as dt
import io
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

DAYS = ("2026-01-05", "2026-01-06", "2026-01-07")
HISTORY = "2025-10-01"  # a day of which is known by now who left
REGIONS, PLANS = ("east", "north", "south", "west"), ("basic", "plus", "pro")
CATEGORIES = ("bakery", "dairy", "drinks", "frozen", "fruit")
SHOPPERS, PRODUCTS = 200, 25
SHOPPING_DAYS = 10  # the last of them the last of DAYS


def cut_in_days(rows: pa.Table, known: int, a_day: int) -> dict[str, pa.Table]:
    """Rows in their order as those of HISTORY, so many, and then so many of each of DAYS."""
    days = {day: rows.slice(known + i * a_day, a_day) for i, day in enumerate(DAYS)}
    return {HISTORY: rows[:known], **days}


def customers(day: str, rows: int = 1_000) -> pa.Table:
    """The customers as they stand on a day, one a row.

    customer_id int64, region and plan string, tenure_months, visits_90d int32, complaints_90d int32 (null
    where the help desk does not know the customer), spend_90d float64 in euros, last_order date32.
    """
    same, rng = np.random.default_rng(20_260_105), np.random.default_rng(_number(day))
    tenure = same.integers(0, 72, rows) + 3 * (day > HISTORY)
    plan, region = same.integers(0, 3, rows), same.integers(0, 4, rows)
    visits = rng.poisson(4 + 3 * plan + tenure / 24)
    spend = np.round(visits * rng.gamma(4.0, 5.0 + 3.0 * plan, rows), 2)
    complaints = rng.poisson(0.6, rows)
    age = np.minimum(rng.exponential(60 / (1 + visits), rows).astype(int), 400)
    return pa.table(
        {
            "customer_id": pa.array(np.arange(10_001, 10_001 + rows)),
            "region": pa.array([REGIONS[i] for i in region]),
            "plan": pa.array([PLANS[i] for i in plan]),
            "tenure_months": pa.array(tenure, pa.int32()),
            "visits_90d": pa.array(visits, pa.int32()),
            "complaints_90d": pa.array(complaints, pa.int32(), mask=rng.random(rows) < 0.1),
            "spend_90d": pa.array(spend),
            "last_order": pa.array(dt.date.fromisoformat(day) - dt.timedelta(days=int(a)) for a in age),
        }
    )


def left(day: str = HISTORY, rows: int = 4_000) -> pa.Table:
    """Who of the customers of a day left within 90 days: customer_id int64, left bool."""
    known = customers(day, rows)
    plan = np.array([PLANS.index(name) for name in known["plan"].to_pylist()])
    complaints = np.array([value or 0 for value in known["complaints_90d"].to_pylist()])
    visits, tenure = known["visits_90d"].to_numpy(), known["tenure_months"].to_numpy()
    wish = -1.2 + 0.9 * complaints - 0.15 * visits - 0.02 * tenure - 0.3 * plan + 0.8 * (complaints > 2)
    chance = 1 / (1 + np.exp(-wish))
    gone = np.random.default_rng(_number(day) + 1).random(rows) < chance
    return pa.table({"customer_id": known["customer_id"], "left": pa.array(gone)})


def products() -> pa.Table:
    """The products of a shop: product_id int64, category string, price float64 in euros."""
    rng = np.random.default_rng(25)
    return pa.table(
        {
            "product_id": pa.array(np.arange(1, PRODUCTS + 1)),
            "category": pa.array([CATEGORIES[i % len(CATEGORIES)] for i in range(PRODUCTS)]),
            "price": pa.array(np.round(rng.gamma(3.0, 1.2, PRODUCTS) + 0.5, 2)),
        }
    )


def purchases(day: str) -> pa.Table:
    """What was bought on a day: customer_id int64, product_id int64, quantity int32."""
    liked = np.random.default_rng(17).dirichlet(np.full(PRODUCTS, 0.15), SHOPPERS)
    rng = np.random.default_rng(_number(day) + 2)
    who = np.flatnonzero(rng.random(SHOPPERS) < 0.6)
    found = [(customer, one) for customer in who for one in _basket(rng, liked[customer])]
    return pa.table(
        {
            "customer_id": pa.array([10_001 + int(customer) for customer, _ in found]),
            "product_id": pa.array([int(product) + 1 for _, product in found]),
            "quantity": pa.array(rng.integers(1, 4, len(found)), pa.int32()),
        }
    )


def customers_files() -> dict[str, bytes]:
    """The lake of customers, with who left: path in the workspace -> Parquet."""
    rows = {HISTORY: 4_000} | dict.fromkeys(DAYS, 1_000)
    days = {partition("customers", day): parquet(customers(day, n)) for day, n in rows.items()}
    return days | {"data/lake/left.parquet": parquet(left())}


def shop_files() -> dict[str, bytes]:
    """The lake of a shop: its products, and what was bought on ten days."""
    last = dt.date.fromisoformat(DAYS[-1])
    days = [(last - dt.timedelta(days=back)).isoformat() for back in range(SHOPPING_DAYS)]
    bought = {partition("purchases", day): parquet(purchases(day)) for day in sorted(days)}
    return bought | {"data/lake/products.parquet": parquet(products())}


def _basket(rng: np.random.Generator, liked: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.unique(rng.choice(PRODUCTS, rng.integers(1, 4), p=liked))


def partition(table: str, day: str) -> str:
    """The path in the workspace of a table's rows of a day."""
    return f"data/lake/{table}/day={day}/{table}.parquet"


def _number(day: str) -> int:
    return int(day.replace("-", ""))


def parquet(table: pa.Table) -> bytes:
    """A table as a file."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()
