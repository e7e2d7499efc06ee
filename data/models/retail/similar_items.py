"""The established products, for the job similar_products, out of what product_embeddings has published.

    make text                                              # once: the model of texts
    nightscore run product_embeddings --day 2017-11-01     # every night
    python data/models/retail/similar_items.py 2017-11-01  # now and then: who is established on that day
    nightscore run similar_products --day 2017-11-01       # every night, after the embeddings

Written beside this script: similar_items.parquet, 10 MB, not committed. An established product is one that
ten households or more have bought; of those with one description, the one that most have bought.
"""

import datetime as dt
import sys
from pathlib import Path

import pyarrow.parquet as pq

from nightscore import Broken, query

FILE = Path(__file__).with_name("similar_items.parquet")
HOUSEHOLDS = 10
ESTABLISHED = """
    SELECT CAST(product_id AS BIGINT) AS item, embedding AS factors
    FROM product_embeddings
    WHERE day = DATE '{day}' AND households >= {households}
    QUALIFY row_number() OVER (PARTITION BY description ORDER BY households DESC, product_id) = 1
    ORDER BY item
"""


def main(day: str) -> int:
    """Write the file; returns the exit code."""
    workspace = FILE.parents[3]
    on = dt.date.fromisoformat(day)
    try:
        items = query(ESTABLISHED.format(day=on, households=HOUSEHOLDS), workspace)
    except Broken as error:
        print(f"product_embeddings can't be read; has it been run? {error}", file=sys.stderr)
        return 1
    if not items.num_rows:
        print(f"product_embeddings has no established product on {on}; was it run?", file=sys.stderr)
        return 1
    pq.write_table(items, FILE, compression="zstd")
    print(f"{FILE.name}: {items.num_rows:,} products")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
