"""The established products, for the job similar_products, out of what product_embeddings has published.

    make text                                              # once: the model of texts
    nightscore run product_embeddings --day 2017-11-01     # every night
    python data/models/retail/similar_items.py 2017-11-01  # now and then: who is established on that day
    nightscore run similar_products --day 2017-11-01       # every night, after the embeddings

Written beside this script: similar_items.parquet, 10 MB, not committed. An established product is one that
ten households or more have bought; of those with one description, the one that most have bought.

And similar_items_expected.parquet, which the job is held to: some products, established ones and others, and
the ten that are most like each by NumPy, in float64. Left out are those with two likenesses so near each
other that float32 could change their order.
"""

import datetime as dt
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nightscore import Broken, query

FILE = Path(__file__).with_name("similar_items.parquet")
EXPECTED = FILE.with_name(f"{FILE.stem}_expected.parquet")
HOUSEHOLDS = 10
LISTED, ASKED = 10, 100  # in a list, as the job has it; products of each kind that lists are expected of
APART = 1e-6  # of cosines
ESTABLISHED = """
    SELECT CAST(product_id AS BIGINT) AS item, embedding AS factors
    FROM product_embeddings
    WHERE day = DATE '{day}' AND households >= {households}
    QUALIFY row_number() OVER (PARTITION BY description ORDER BY households DESC, product_id) = 1
    ORDER BY item
"""
SOME = """
    SELECT CAST(product_id AS BIGINT) AS product, embedding
    FROM product_embeddings
    WHERE day = DATE '{day}'
    QUALIFY {asked} >= row_number() OVER (
        PARTITION BY households >= {households} ORDER BY md5(CAST(product_id AS VARCHAR))
    )
    ORDER BY product
"""


def main(day: str) -> int:
    """Write the file; returns the exit code."""
    workspace = FILE.parents[3]
    on = dt.date.fromisoformat(day)
    try:
        items = query(ESTABLISHED.format(day=on, households=HOUSEHOLDS), workspace)
        some = query(SOME.format(day=on, households=HOUSEHOLDS, asked=ASKED), workspace)
    except Broken as error:
        print(f"product_embeddings can't be read; has it been run? {error}", file=sys.stderr)
        return 1
    if not items.num_rows:
        print(f"product_embeddings has no established product on {on}; was it run?", file=sys.stderr)
        return 1
    pq.write_table(items, FILE, compression="zstd")
    expected = lists_of(some, items)
    pq.write_table(expected, EXPECTED, compression="zstd")
    print(f"{FILE.name}: {items.num_rows:,} products; {EXPECTED.name}: {expected.num_rows} lists")
    return 0


def lists_of(products: pa.Table, items: pa.Table) -> pa.Table:
    """What each product's list should be: the job's columns of features and of scores, a row a list."""
    ids = items["item"].to_numpy()
    factors = np.array(items["factors"].to_pylist(), np.float64)
    rows = []
    for product, embedding in zip(*(column.to_pylist() for column in products.columns), strict=True):
        scores = factors @ np.array(embedding, np.float64)
        others = np.flatnonzero(ids != product)
        order = others[np.argsort(-scores[others], kind="stable")][: LISTED + 1]
        if len(order) > 1 and np.diff(-scores[order]).min() > APART:
            best = order[:LISTED]
            row = {"embedding": embedding, "itself": [product], "items": ids[best], "scores": scores[best]}
            rows.append(row)
    numbers, floats = pa.list_(pa.int64()), pa.list_(pa.float32())
    columns = {"embedding": floats, "itself": numbers, "items": numbers, "scores": pa.list_(pa.float64())}
    return pa.Table.from_pylist(rows, pa.schema([*columns.items()]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
