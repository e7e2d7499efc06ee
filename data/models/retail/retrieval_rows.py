"""Rows that the job `retail_retrieval` is held to: households, and their best hundred products by NumPy.

    python data/models/retail/retrieval_rows.py     # `train_retrieval.py` does it, too

Reads retrieval_items.parquet and retrieval_users.parquet, and writes retrieval_expected.parquet beside them:
each product's score is the product of its factors and a household's, in float64; a product that is denied or
not available is none. Households with two scores so near each other that float32 could change their order are
left out.
"""

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).resolve().parent
SEED, HOUSEHOLDS, OFFERED = 24, 200, 100
APART = 1e-6  # of scores up to about 1


def main(folder: Path = HERE) -> int:
    """Write the rows; returns the exit code."""
    items = pq.read_table(folder / "retrieval_items.parquet")
    ids, available = items["item"].to_numpy(), items["available"].to_numpy()
    users = np.stack(pq.read_table(folder / "retrieval_users.parquet")["factors"].to_numpy())
    factors = np.stack(items["factors"].to_numpy())
    chance = np.random.default_rng(SEED)
    rows = []
    for user in chance.choice(len(users), HOUSEHOLDS, replace=False):
        # Among the denied are some that it would be offered, and one that there is not.
        scores = factors.astype(np.float64) @ users[user].astype(np.float64)
        best = ids[np.argsort(-scores)[: 2 * OFFERED]]
        denied = np.append(chance.choice(best, chance.integers(0, OFFERED), replace=False), -1)
        offered = np.flatnonzero(available & ~np.isin(ids, denied))
        order = offered[np.argsort(-scores[offered], kind="stable")][: OFFERED + 1]
        if np.diff(-scores[order]).min() > APART:
            order = order[:OFFERED]
            rows.append((users[user], denied, ids[order], scores[order]))
    names = ("factors", "denied", "items", "scores")
    columns = {
        name: pa.array(list(column)) for name, column in zip(names, zip(*rows, strict=True), strict=True)
    }
    pq.write_table(pa.table(columns), folder / "retrieval_expected.parquet", compression="zstd")
    return 0


if __name__ == "__main__":
    sys.exit(main())
