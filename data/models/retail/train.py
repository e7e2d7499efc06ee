"""Train the basket ranker: the chance that a household buys a product within the next 14 days.

    python data/models/retail/train.py              # everything: a few minutes on two cores
    python data/models/retail/train.py --keep       # the model as it is: its figures and its card alone

The features are read from the job `retail_recommendations` itself (`nightscore.features`), so there is no
second implementation of them. Nothing after 2017-09-30 is seen in training, neither as a feature nor as a
label; October to December are for the figures of the model card, which come from real runs of the job.

Everything happens in a workspace of its own that is thrown away; what stays, beside this script, is
basket_ranker.onnx, basket_ranker.txt (the same model for LightGBM), basket_ranker_expected.parquet (what that
gives some rows, to which the job is held), metrics.json and model_card.md.
"""

import argparse
import datetime as dt
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from card import model_card
from evaluate import evaluate
from lists import Receipts, read_receipts

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))  # the root, for data.lakes

from data.lakes.retail import write_lake
from data.models.expected import edge_rows, write_expected
from data.models.trees import REPEATABLE, classifier_to_onnx
from nightscore import Job, features, load
from nightscore.evaluation.recipes.distil import exact_in_float32
from nightscore.scorers.arrays import matrix

JOB = "retail_recommendations"
EXPECTED = "basket_ranker_expected.parquet"
HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[2]
LABEL_DAYS = 14
FIRST_UNSEEN_DAY = dt.date(2017, 10, 1)
# Every eighth day, so that each day of the week occurs: "days since" moves with it. The last one's label
# window ends on 30 September. Days before July know too little of a household to resemble a night in autumn.
TRAINING_DAYS = [FIRST_UNSEEN_DAY - dt.timedelta(days=1 + LABEL_DAYS + 8 * back) for back in range(10)][::-1]
TREES = 250
PARAMETERS: dict[str, Any] = {
    "objective": "binary",
    "num_leaves": 47,
    "learning_rate": 0.05,
    "feature_fraction": 0.4,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "min_data_in_leaf": 200,
    "lambda_l2": 5.0,
    "seed": 7,
    **REPEATABLE,
    "num_threads": 2,
}


def main(arguments: list[str] | None = None) -> int:
    """Train, export, evaluate and write; returns the exit code."""
    options = _parser().parse_args(arguments)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="nightscore-train-") as folder:
        workspace = prepare(Path(folder))
        receipts = read_receipts(workspace)
        job = load(JOB, workspace=workspace)
        booster = _model(job, receipts, options)
        columns = booster.feature_name()
        expect(booster, options.into)
        for name in ("basket_ranker.onnx", EXPECTED):
            shutil.copy(options.into / name, (workspace / job.spec.model.path).with_name(name))
        print("evaluating: real runs of the held-out days")
        metrics = evaluate(load(JOB, workspace=workspace), receipts)
        metrics["training"] = _training_facts(booster, options.days)
        metrics["defaults"] = {name: param.default for name, param in job.spec.params.items()}
    (options.into / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
    (options.into / "model_card.md").write_text(model_card(metrics, columns))
    print(f"written to {options.into} after {time.perf_counter() - started:.0f} s")
    return 0


def _model(job: Job, receipts: Receipts, options: argparse.Namespace) -> lgb.Booster:
    """The model in `options.into`, both of its files: trained now, or as it lies there."""
    text = options.into / "basket_ranker.txt"
    if options.keep:
        return lgb.Booster(model_file=str(text))
    booster = fit(job, receipts, TRAINING_DAYS[-options.days :])
    (options.into / "basket_ranker.onnx").write_bytes(to_onnx(booster, booster.feature_name()))
    booster.save_model(str(text))
    return booster


def expect(booster: lgb.Booster, folder: Path) -> None:
    """Write what LightGBM gives rows at the edges of its splits."""
    rows = edge_rows(booster, 400)
    features = dict(zip(booster.feature_name(), rows.T, strict=True))
    write_expected(folder / EXPECTED, features, {"score": booster.predict(rows)})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Afterwards: pytest tests/retail, and nightscore run retail_recommendations --day 2017-11-01.",
    )  # fmt: skip
    parser.add_argument(
        "--days", type=int, default=len(TRAINING_DAYS), choices=range(1, len(TRAINING_DAYS) + 1), metavar="N",
        help=f"train on the last N of the {len(TRAINING_DAYS)} training days; fewer is faster (default: all)",
    )  # fmt: skip
    parser.add_argument("--keep", action="store_true", help="train nothing: evaluate the model that is there")
    parser.add_argument(
        "--into", type=Path, default=HERE, metavar="DIR",
        help="write the five files into this folder instead of beside the script",
    )  # fmt: skip
    return parser


def prepare(workspace: Path) -> Path:
    """A workspace with the sample lake, this repository's job, and a place for the model."""
    write_lake(workspace)
    folder = Path("jobs/retail/recommendations")
    shutil.copytree(REPOSITORY / folder, workspace / folder)
    (workspace / "data/models/retail").mkdir(parents=True)
    return workspace


def fit(job: Job, receipts: Receipts, days: list[dt.date]) -> lgb.Booster:
    """A classifier of (household, product) rows: bought within the 14 days after the features' day or not."""
    rows, labels, columns = [], [], [""]
    for day in days:
        table = features(job, day)
        columns = [n for n in table.column_names if n not in (*job.spec.key, *job.spec.keep)]
        rows.append(matrix(table.combine_chunks().to_batches()[0], columns, np.float32))
        labels.append(_labels(table, receipts, day))
        print(f"features of {day}: {table.num_rows:,} rows, {labels[-1].mean():.1%} bought", flush=True)
    data = lgb.Dataset(rows, np.concatenate(labels), feature_name=columns, params={"verbose": -1})
    started = time.perf_counter()
    booster = lgb.train(PARAMETERS, data, TREES)
    print(f"{TREES} trees after {time.perf_counter() - started:.0f} s", flush=True)
    return exact_in_float32(booster)


def _labels(table: pa.Table, receipts: Receipts, day: dt.date) -> npt.NDArray[np.int8]:
    if day + dt.timedelta(days=LABEL_DAYS) >= FIRST_UNSEEN_DAY:
        raise ValueError(f"the label window of {day} reaches into the held-out months")
    pairs = receipts.pairs(table["household_id"].to_numpy(), table["product_id"].to_numpy())
    return np.isin(pairs, receipts.bought_after(day, LABEL_DAYS)).astype(np.int8)


def to_onnx(booster: lgb.Booster, columns: list[str]) -> bytes:
    """The model as ONNX: `features` float32 [N, columns] -> `probabilities` float32 [N, 2]."""
    about = "Chance that a household buys a product within the next 14 days. See model_card.md."
    return classifier_to_onnx(booster, "basket_ranker", columns, about)


def _training_facts(booster: lgb.Booster, days: int) -> dict[str, Any]:
    gain = booster.feature_importance("gain")
    return {
        "days": [day.isoformat() for day in TRAINING_DAYS[-days:]],
        "label_days": LABEL_DAYS,
        "trees": booster.num_trees(),
        "parameters": PARAMETERS,
        "lightgbm": lgb.__version__,
        "share_of_gain": dict(
            zip(booster.feature_name(), (gain / gain.sum()).round(4).tolist(), strict=True)
        ),
    }


if __name__ == "__main__":
    sys.exit(main())
