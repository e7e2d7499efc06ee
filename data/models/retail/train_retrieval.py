"""Train the factors of the job `retail_retrieval`: households and products that ALS places near each other.

    python data/models/retail/train_retrieval.py              # a few minutes on two cores

`implicit` factorises who bought what until 2017-09-30, with a seed and one thread, so that the same versions
give the same files. October to December are for the figures of the card, which come from real runs of the
job: what a household bought within 14 days and had never bought before, among the hundred products offered.

Everything happens in a workspace of its own that is thrown away; what stays, beside this script, is
retrieval_items.parquet (the model), retrieval_users.parquet (an input of the job), retrieval_expected.parquet
(what the job is held to, see retrieval_rows.py), retrieval_metrics.json and retrieval_card.md.
"""

import argparse
import datetime as dt
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from evaluate import HELD_OUT_DAYS, LABEL_DAYS
from implicit.cpu.als import AlternatingLeastSquares
from lists import Ints, Receipts, read_receipts
from retrieval_rows import main as write_rows
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))  # the root, for data.lakes

from data.lakes.retail import write_lake
from nightscore import Job, load, query, run

JOB = "retail_retrieval"
HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[2]
LAST_DAY = dt.date(2017, 9, 30)
OFFERED = 100
BUYERS = 10  # households that a product needs: with fewer its factors say little, and the file stays small
SOLD_DAYS = 84  # a product that nobody bought for so long is not offered
PARAMETERS: dict[str, Any] = {
    "factors": 32,
    "regularization": 10.0,
    "alpha": 1.0,
    "iterations": 15,
    "random_state": 7,
    "num_threads": 1,
}
Floats = npt.NDArray[np.float32]


def main(arguments: list[str] | None = None) -> int:
    """Train, evaluate and write; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--into", type=Path, default=HERE, metavar="DIR", help="default: beside the script")
    into = parser.parse_args(arguments).into
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="nightscore-train-") as folder:
        workspace = prepare(Path(folder))
        receipts = read_receipts(workspace)
        write_factors(workspace, receipts)
        write_rows(workspace / "data/models/retail")
        metrics = evaluate(load(JOB, workspace=workspace), receipts, HELD_OUT_DAYS)
        for name in ("items", "users", "expected"):
            file = f"retrieval_{name}.parquet"
            shutil.copy(workspace / "data/models/retail" / file, into / file)
    metrics["masked"] = True  # the job leaves out what eligibility rules out
    metrics["training"] = {**PARAMETERS, "last_day": str(LAST_DAY), "implicit": version("implicit")}
    (into / "retrieval_metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
    (into / "retrieval_card.md").write_text(card(metrics, into))
    print(f"written to {into} after {time.perf_counter() - started:.0f} s")
    return 0


def prepare(workspace: Path) -> Path:
    """A workspace with the sample lake, this repository's job, and a place for the factors."""
    write_lake(workspace)
    folder = Path("jobs/retail/retrieval")
    shutil.copytree(REPOSITORY / folder, workspace / folder)
    (workspace / "data/models/retail").mkdir(parents=True)
    return workspace


def write_factors(workspace: Path, receipts: Receipts) -> None:
    """Factorise, and write both files: the items, and the households with the average one."""
    known = receipts.until(LAST_DAY)
    catalogue = pq.read_table(workspace / "data/lake/retail/products.parquet")["product_id"].to_numpy()
    households, products, bought = matrix_of(known, catalogue)
    with threadpool_limits(1, "blas"):
        model = AlternatingLeastSquares(**PARAMETERS)
        model.fit(bought, show_progress=False)
    items, users = np.asarray(model.item_factors), np.asarray(model.user_factors)
    sold = np.unique(receipts.until(LAST_DAY, SOLD_DAYS).product)
    folder = workspace / "data/models/retail"
    columns = {"item": products, "factors": _lists(items), "available": np.isin(products, sold)}
    pq.write_table(
        pa.table(columns), folder / "retrieval_items.parquet", compression="zstd", use_dictionary=False
    )
    everybody = pa.array([*households.tolist(), None], pa.int32())
    average = users.astype(np.float64).mean(axis=0, keepdims=True).astype(np.float32)
    tastes = pa.table({"household_id": everybody, "factors": _lists(np.concatenate([users, average]))})
    pq.write_table(tastes, folder / "retrieval_users.parquet", compression="zstd", use_dictionary=False)


def matrix_of(known: Receipts, catalogue: Ints) -> tuple[Ints, Ints, csr_matrix]:
    """Households, products with enough buyers, and 1 + log(how often) the one bought the other."""
    pairs, times = np.unique(known.pairs(known.household, known.product), return_counts=True)
    household, product = pairs >> 32, pairs & 0xFFFFFFFF
    _, which, buyers = np.unique(product, return_inverse=True, return_counts=True)
    kept = (buyers[which] >= BUYERS) & np.isin(product, catalogue)
    households, rows = np.unique(household[kept], return_inverse=True)
    products, columns = np.unique(product[kept], return_inverse=True)
    weights = (1 + np.log(times[kept])).astype(np.float32)
    return households, products, csr_matrix((weights, (rows, columns)))


def _lists(factors: Floats) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(factors.ravel()), factors.shape[1])


def evaluate(job: Job, receipts: Receipts, days: Sequence[dt.date]) -> dict[str, Any]:
    """Run the job on each day; its lists and those of the baseline, each day and on average."""
    found = {}
    for day in days:
        print(f"scoring {day}", flush=True)
        run(job, day)
        found[str(day)] = _one_day(job, receipts, day)
    names = list(next(iter(found.values()))["lists"])
    return {
        "mean": {name: _mean([day["lists"][name] for day in found.values()]) for name in names},
        "days": found,
    }


def _one_day(job: Job, receipts: Receipts, day: dt.date) -> dict[str, Any]:
    known = receipts.until(day)
    before = np.unique(known.pairs(known.household, known.product))
    first_bought = np.setdiff1d(receipts.bought_after(day, LABEL_DAYS), before)
    first_bought = first_bought[np.isin(first_bought >> 32, before >> 32)]
    households = np.unique(first_bought >> 32)
    table = query(
        f"SELECT household_id, product_id, rank FROM {job.name} WHERE day = $1", job.workspace, values=[day]
    )
    offered = [table[name].to_numpy().astype(np.int64) for name in ("household_id", "product_id", "rank")]
    popular = most_popular_unbought(receipts.until(day, 28), before, households)
    lists = {JOB: measure(*offered, first_bought), "most popular, 28 days": measure(*popular, first_bought)}
    return {"households": len(households), "first_purchases": len(first_bought), "lists": lists}


def most_popular_unbought(lately: Receipts, before: Ints, households: Ints) -> tuple[Ints, Ints, Ints]:
    """The products that most households bought lately, less what each has bought itself: ids and ranks."""
    products, buyers = np.unique(
        np.unique(lately.pairs(lately.household, lately.product)) & 0xFFFFFFFF, return_counts=True
    )
    ranked = products[np.lexsort((products, -buyers))]
    rows = []
    for household in households:
        own = before[
            np.searchsorted(before, household << 32) : np.searchsorted(before, (household + 1) << 32)
        ]
        rows.append(ranked[~np.isin(ranked, own & 0xFFFFFFFF)][:OFFERED])
    each = np.array([len(row) for row in rows])
    ranks = np.concatenate([np.arange(1, count + 1) for count in each])
    return np.repeat(households, each), np.concatenate(rows), ranks


def measure(household: Ints, product: Ints, rank: Ints, bought: Ints) -> dict[str, float]:
    """Means over the households in `bought` (sorted pairs): recall is hits / min(places, products bought)."""
    households = np.unique(bought >> 32)
    total = np.bincount(np.searchsorted(households, bought >> 32))
    figures = {}
    for places in (10, OFFERED):
        kept = (rank <= places) & np.isin(household, households)
        hit = kept & np.isin(Receipts.pairs(household, product), bought)
        hits = np.bincount(np.searchsorted(households, household[hit]), minlength=len(households))
        figures[f"recall@{places}"] = round(float((hits / np.minimum(total, places)).mean()), 4)
        figures[f"hit_rate@{places}"] = round(float((hits > 0).mean()), 4)
    figures["products"] = float(len(np.unique(product[np.isin(household, households)])))
    return figures


def _mean(days: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: round(float(np.mean([day[name] for day in days])), 4) for name in days[0]}


CARD = """# Retrieval factors

{factors} numbers for each household and each product; their products say what a household may like that it
has never bought. Written by `train_retrieval.py`; the figures are those of `retrieval_metrics.json`.

- **For**: the job `retail_retrieval`, which publishes a hundred products a household each night that it has
  never bought: for discovery, or as candidates of another job. For what it will buy *again*, which is most of
  a grocery basket, there is the basket ranker.
- **Model**: `retrieval_items.parquet`, {items:,} products that {buyers} households or more have bought; the
  {unavailable:,} that nobody bought in the last {sold_days} days of training are marked as not available.
  `retrieval_users.parquet`, {users:,} households and the average one, which stands in for those that are new.
  {megabytes:.1f} MB together.
- **Trained by** implicit {implicit}, alternating least squares on who bought what, 1 + log(how often), from
  2017-01-01 to {last_day}: {iterations} iterations, regularization {regularization}, alpha {alpha}.
- **Data**: The Complete Journey (84.51°), 2,469 households of one grocer, 2017. See `data/README.md`.
- **Not for**: other shops or years. A score is no probability, only an order within one household.

## How good it is

Means over {held_out} scored days from {first} to {last}: what households bought in the {label_days} days
after, and had never bought before, {purchases} purchases of {households} households a day. All 68,509
products count, with or without factors. The lists come from real runs of the job.

| a hundred products by | recall@100 | hit rate@100 | recall@10 | hit rate@10 | different products |
|---|---|---|---|---|---|
{table}

- recall@100 is hits / min(100, products first bought). *most popular* are the products that most households
  bought in the 28 days before, less what the household itself has bought: it knows the weeks since
  {last_day}, which the factors don't.
- recall@100 is **{gain:+.1%}** against it. First purchases are hard to foresee: most are of products that
  few households buy.
{unmasked}- Settings were chosen on the first days of October and November among a handful, so the figures
  may flatter the factors a little.

### As candidates of the recommendations

With these lists as one more road to candidates (`tests/workspace/retail/test_retrieval.py` has the change),
the job `retail_recommendations` scores a third more pairs: 695,000 a day instead of 519,000 on 2017-10-18,
2017-11-15 and 2017-12-15. They hold 41.2 % of all purchases instead of 39.1 %, but the published ten stay
the same but for a few households (recall@10 0.3039 instead of 0.3040): the ranker, which was trained without
such candidates, gives low scores to what was never bought. Hence it is not the default.
"""


UNMASKED = """- **Measured before the mask**: these lists still named what `eligibility` rules out (4,013 of
  245,200 places of 2017-11-01); the job no longer does. What was sold nowhere in 28 days it may name (7,319).
"""


def card(metrics: dict[str, Any], into: Path) -> str:
    """The card in Markdown."""
    files = [into / "retrieval_items.parquet", into / "retrieval_users.parquet"]
    items, users = (pq.read_table(file) for file in files)
    mean, days = metrics["mean"], metrics["days"]
    baseline = mean["most popular, 28 days"]
    return CARD.format(
        **metrics["training"],
        unmasked="" if metrics.get("masked") else UNMASKED,
        items=len(items),
        unavailable=items["available"].to_pylist().count(False),
        buyers=BUYERS,
        sold_days=SOLD_DAYS,
        users=len(users) - 1,
        megabytes=sum(file.stat().st_size for file in files) / 1e6,
        held_out=len(days),
        first=min(days),
        last=max(days),
        label_days=LABEL_DAYS,
        purchases=_span([day["first_purchases"] for day in days.values()]),
        households=_span([day["households"] for day in days.values()]),
        table="\n".join(_row(name, figures) for name, figures in mean.items()),
        gain=mean[JOB]["recall@100"] / baseline["recall@100"] - 1,
    )


def _row(name: str, figures: dict[str, float]) -> str:
    shown = [f"{figures[key]:.4f}" for key in ("recall@100", "hit_rate@100", "recall@10", "hit_rate@10")]
    return f"| {name} | {' | '.join(shown)} | {figures['products']:,.0f} |"


def _span(values: Sequence[int]) -> str:
    return f"{min(values):,} to {max(values):,}"


if __name__ == "__main__":
    sys.exit(main())
