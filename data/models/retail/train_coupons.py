"""Train the model of `coupon_response`: the chance that a household redeems a coupon within its campaign.

    python data/models/retail/train_coupons.py      # some minutes on two cores

The features are read from the job itself (`nightscore.features`), on the first day of each campaign, so there
is no second implementation of them. Trained on the campaigns 6 to 13, which ended by 2017-09-24; figures are
of campaigns from 2017-10-18 on. Settings were chosen by leaving out campaigns among the training ones, and so
are the factors by which the job calibrates: redemptions over what trees expect that did not see them.

Everything happens in a workspace of its own that is thrown away; what stays, beside this script, is
coupon_response.onnx, coupon_response_expected.parquet, coupon_calibration.parquet, coupon_metrics.json and
coupon_card.md.
"""

import datetime as dt
import json
import shutil
import sys
import tempfile
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from coupon_card import coupon_card
from coupon_quality import Offers, evaluate

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))  # the root, for data.lakes

from data.lakes.retail import write_lake
from data.models.expected import edge_rows, write_expected
from data.models.trees import REPEATABLE, classifier_to_onnx
from nightscore import Job, features, load
from nightscore.evaluation.recipes.distil import exact_in_float32
from nightscore.scorers.arrays import matrix

JOB = "coupon_response"
HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[2]
MODEL, CALIBRATION = HERE / "coupon_response.onnx", HERE / "coupon_calibration.parquet"
TRAINING = (6, 7, 8, 9, 10, 11, 12, 13)
LEFT_OUT = ((8,), (13,), (6, 7, 9, 10), (11, 12))  # together: those of type A alone, others in turn
TESTED = {"18 (type A)": (18,), "17, 19, 20, 22 (types B, C)": (17, 19, 20, 22)}
ENOUGH = 20  # redemptions in training that a campaign type needs for a factor of its own
TREES = 200
PARAMETERS: dict[str, Any] = {
    "objective": "binary",
    "num_leaves": 7,
    "learning_rate": 0.03,
    "feature_fraction": 0.4,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "min_data_in_leaf": 100,
    "lambda_l2": 5.0,
    "seed": 7,
    **REPEATABLE,
}

Numbers = npt.NDArray[Any]


def main() -> int:
    """Train, calibrate, export, measure and write; returns the exit code."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="nightscore-train-") as folder:
        workspace = prepare(Path(folder))
        job = load(JOB, workspace=workspace)
        offers = read_offers(job, workspace / "data/lake/retail")
    training = offers.some(offers.is_in(TRAINING))
    booster = fit(training)
    expect(booster, training)
    factors = calibration(training)
    MODEL.write_bytes(to_onnx(booster, training.columns))
    pq.write_table(factors, CALIBRATION)
    metrics = evaluate(offers, booster.predict(offers.rows), factors, TESTED)
    metrics["training"] = _training_facts(booster, training)
    (HERE / "coupon_metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
    (HERE / "coupon_card.md").write_text(coupon_card(metrics, MODEL.stat().st_size))
    print(f"written to {HERE} after {time.perf_counter() - started:.0f} s")
    return 0


def prepare(workspace: Path) -> Path:
    """A workspace with the sample lake, this repository's job, and a stand-in for its factors."""
    write_lake(workspace)
    folder = Path("jobs/retail/coupon_response")
    shutil.copytree(REPOSITORY / folder, workspace / folder)
    target = workspace / CALIBRATION.relative_to(REPOSITORY)
    target.parent.mkdir(parents=True)
    pq.write_table(_factors({"all": (0.0, 0)}), target)
    return workspace


def read_offers(job: Job, lake: Path) -> Offers:
    """Every pair of the campaigns that are trained on or tested, as the first day of each campaign has it."""
    wanted = {*TRAINING, *(campaign for some in TESTED.values() for campaign in some)}
    campaigns = pq.read_table(lake / "campaign_descriptions.parquet").to_pylist()
    starts = {one["campaign_id"]: one["start_date"] for one in campaigns if one["campaign_id"] in wanted}
    parts = []
    for day in sorted(set(starts.values())):
        parts.append(_begun(features(job, day), day))
        print(f"features of {day}: {parts[-1].num_rows:,} rows", flush=True)
    table = pa.concat_tables(parts)
    columns = [n for n in table.column_names if n not in (*job.spec.key, *job.spec.keep)]
    rows = matrix(table.combine_chunks().to_batches()[0], columns, np.float32)
    return Offers.of(table, rows, columns, lake)


def _begun(table: pa.Table, day: dt.date) -> pa.Table:
    return table.filter(pa.array(table["start_date"].to_numpy() == np.datetime64(day)))


def fit(offers: Offers) -> lgb.Booster:
    """A classifier of pairs: redeemed within the campaign or not."""
    data = lgb.Dataset(
        offers.rows, offers.redeemed, feature_name=offers.columns, params={"verbose": -1, "num_threads": 1}
    )
    return exact_in_float32(lgb.train(PARAMETERS, data, TREES))


def expect(booster: lgb.Booster, offers: Offers) -> None:
    """Write what LightGBM gives some pairs, and rows at the edges of its splits."""
    rows = np.concatenate([offers.rows[:: len(offers.rows) // 200], edge_rows(booster, 200)])
    features = dict(zip(offers.columns, rows.T, strict=True))
    write_expected(HERE / "coupon_response_expected.parquet", features, {"score": booster.predict(rows)})


def calibration(offers: Offers) -> pa.Table:
    """What scores are to be multiplied by, for all campaign types and for each with enough redemptions."""
    expected = np.empty(len(offers.redeemed))
    for campaigns in LEFT_OUT:
        unseen = offers.is_in(campaigns)
        expected[unseen] = fit(offers.some(~unseen)).predict(offers.rows[unseen])
        print(f"left out {campaigns}: {expected[unseen].sum():.0f} expected", flush=True)
    kinds = {"all": np.full(len(expected), True)} | {
        kind: offers.kind == kind for kind in np.unique(offers.kind) if _is_enough(offers, kind)
    }
    return _factors({k: (float(expected[m].sum()), int(offers.redeemed[m].sum())) for k, m in kinds.items()})


def _is_enough(offers: Offers, kind: str) -> bool:
    return bool(offers.redeemed[offers.kind == kind].sum() >= ENOUGH)


def _factors(counts: dict[str, tuple[float, int]]) -> pa.Table:
    factors = [redeemed / expected if expected else 1.0 for expected, redeemed in counts.values()]
    return pa.table(
        {
            "campaign_type": pa.array(counts.keys(), pa.string()),
            "factor": pa.array([Decimal(f"{factor:.6f}") for factor in factors], pa.decimal128(9, 6)),
            "expected": pa.array([round(expected, 3) for expected, _ in counts.values()], pa.float64()),
            "redeemed": pa.array([redeemed for _, redeemed in counts.values()], pa.int32()),
        }
    )


def to_onnx(booster: lgb.Booster, columns: list[str]) -> bytes:
    """The model as ONNX: `features` float32 [N, columns] -> `probabilities` float32 [N, 2]."""
    about = "Chance that a household redeems a coupon within its campaign. See coupon_card.md."
    return classifier_to_onnx(booster, JOB, columns, about)


def _training_facts(booster: lgb.Booster, training: Offers) -> dict[str, Any]:
    gain = booster.feature_importance("gain")
    share = (gain / gain.sum()).round(4).tolist()
    return {
        "campaigns": list(TRAINING),
        "pairs": len(training.redeemed),
        "redeemed": int(training.redeemed.sum()),
        "left_out": LEFT_OUT,
        "enough": ENOUGH,
        "trees": booster.num_trees(),
        "parameters": PARAMETERS,
        "lightgbm": lgb.__version__,
        "share_of_gain": dict(zip(training.columns, share, strict=True)),
    }


if __name__ == "__main__":
    sys.exit(main())
