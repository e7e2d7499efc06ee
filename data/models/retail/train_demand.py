"""Train the model of `demand`: what product categories sell in the next 14 days, beside the last 28.

    python data/models/retail/train_demand.py      # some minutes on two cores

Three sets of trees, for the median, the 10 % and the 90 % quantile of lines sold in 14 days over the
14-day mean of the 28 days before; one model for all categories. The bounds are moved apart by what makes
them hold four times in five in weeks after those that they were fitted to (conformal, Romano et al.
2019), and the shift is in the model. Features come from the job itself (`nightscore.features`). Nothing
after 2017-09-30 is seen in training, neither as a feature nor as a label; settings were chosen on June to
September, with a fit on the weeks before; October to December are for the figures.

What stays, beside this script, is demand.onnx, demand_expected.parquet, demand_metrics.json and
demand_card.md.
"""

import datetime as dt
import json
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
import onnx
import pyarrow.compute as pc
import pyarrow.parquet as pq
from demand_card import demand_card
from onnx import TensorProto, helper
from onnxmltools import convert_lightgbm
from onnxmltools.convert.common.data_types import FloatTensorType

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))  # the root, for data.lakes

from data.lakes.retail import write_lake
from data.models.expected import edge_rows, write_expected
from data.models.trees import REPEATABLE
from nightscore import Job, features, load
from nightscore.evaluation.recipes.distil import exact_in_float32
from nightscore.scorers.arrays import matrix

JOB = "demand"
HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[2]
AHEAD = dt.timedelta(days=14)
LAST_SEEN = dt.date(2017, 9, 30)
FIRST = dt.date(2017, 3, 26)  # 84 days of receipts lie before it
TRAINING_DAYS = [FIRST + dt.timedelta(days=4 * step) for step in range(44)]  # the last: 2017-09-14
HELD_OUT_DAYS = [dt.date(2017, 10, 1) + dt.timedelta(days=7 * step) for step in range(12)]  # to 2017-12-17
CUTS = [
    dt.date(2017, 6, 20),
    dt.date(2017, 7, 20),
    dt.date(2017, 8, 19),
]  # fit before, measure four weeks after
WITHIN = 0.8
LARGEST = 4.0  # a label beyond counts as this much: a category that was hardly sold says nothing more
SIZES = {"below 20": (0, 20), "20 to 200": (20, 200), "200 and more": (200, np.inf)}  # lines in 14 days
TREES = 150
OBJECTIVES: dict[str, dict[str, Any]] = {
    "low": {"objective": "quantile", "alpha": 0.1},
    "mid": {"objective": "regression_l1"},
    "high": {"objective": "quantile", "alpha": 0.9},
}
PARAMETERS: dict[str, Any] = {
    "num_leaves": 7,
    "learning_rate": 0.05,
    "feature_fraction": 0.5,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "min_data_in_leaf": 100,
    "lambda_l2": 5.0,
    "seed": 7,
    **REPEATABLE,
}

Numbers = npt.NDArray[Any]
Trees = dict[str, lgb.Booster]


@dataclass(frozen=True)
class Sample:
    """Categories on days [n]: features [n, columns], the 14-day mean of 28 days, and what 14 days brought."""

    rows: npt.NDArray[np.float32]
    columns: list[str]
    day: Numbers
    before: Numbers
    sold: Numbers

    def some(self, kept: npt.NDArray[np.bool_]) -> "Sample":
        """Some of them."""
        return Sample(self.rows[kept], self.columns, self.day[kept], self.before[kept], self.sold[kept])


def main() -> int:
    """Train, widen, export, measure and write; returns the exit code."""
    with tempfile.TemporaryDirectory(prefix="nightscore-train-") as folder:
        job = prepare(Path(folder))
        sample = read_sample(job, Path(folder) / "data/lake/retail", [*TRAINING_DAYS, *HELD_OUT_DAYS])
    training = sample.some(sample.day <= np.datetime64(LAST_SEEN - AHEAD))
    widening = widened(training)
    trees = fit(training)
    model = to_onnx(trees, widening, sample.columns)
    (HERE / "demand.onnx").write_bytes(model)
    expect(trees, widening, training)
    unseen = sample.some(sample.day > np.datetime64(LAST_SEEN))
    metrics = evaluate(unseen, predicted(trees, widening, unseen), by_size(training, unseen))
    metrics["training"] = {
        "first_day": str(training.day.min()), "last_day": str(training.day.max()), "rows": len(training.sold),
        "trees": TREES, "parameters": PARAMETERS, "lightgbm": lgb.__version__, "widening": round(widening, 4),
    }  # fmt: skip
    (HERE / "demand_metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
    (HERE / "demand_card.md").write_text(demand_card(metrics, len(model)))
    return 0


def prepare(workspace: Path) -> Job:
    """The job in a workspace with the sample lake."""
    write_lake(workspace)
    folder = Path("jobs/retail/demand")
    shutil.copytree(REPOSITORY / folder, workspace / folder)
    return load(JOB, workspace=workspace)


def read_sample(job: Job, lake: Path, days: list[dt.date]) -> Sample:
    """What the job would score on these days, and what was sold afterwards."""
    sold, parts = _sold_by_day(lake), []
    for day in days:
        table = features(job, day).combine_chunks()
        columns = [n for n in table.column_names if n not in (*job.spec.key, *job.spec.keep)]
        after = np.zeros(table.num_rows)
        for step in range(1, AHEAD.days + 1):
            lines = sold.get(day + dt.timedelta(days=step), {})  # no such day: 25 December
            after += [lines.get(category, 0) for category in table["category"].to_pylist()]
        rows = matrix(table.to_batches()[0], columns, np.float32)
        before = table["lines_28_days"].to_numpy() / 2
        parts.append(Sample(rows, columns, np.full(table.num_rows, np.datetime64(day)), before, after))
        print(f"{day}: {table.num_rows} categories", flush=True)
    stacked = (np.concatenate([getattr(p, n) for p in parts]) for n in ("rows", "day", "before", "sold"))
    rows, *others = stacked
    return Sample(rows, parts[0].columns, *others)


def _sold_by_day(lake: Path) -> dict[dt.date, dict[str, int]]:
    """Lines of each category on each day."""
    products = pq.read_table(
        lake / "products.parquet", columns=["product_id", "product_category", "department"]
    )
    category = pc.coalesce(products["product_category"], products["department"])
    products = products.select(["product_id"]).append_column("category", category)
    found = {}
    for file in (lake / "transactions").glob("day=*/*.parquet"):
        lines = pq.read_table(file, columns=["product_id"], partitioning=None).join(products, "product_id")
        counts = lines.group_by("category").aggregate([([], "count_all")]).to_pydict()
        day = dt.date.fromisoformat(file.parent.name.removeprefix("day="))
        found[day] = dict(zip(counts["category"], counts["count_all"], strict=True))
    return found


def fit(sample: Sample) -> Trees:
    """The three sets of trees; the middle one counts a category by its size, as the figures do."""
    label = np.minimum(sample.sold / sample.before, LARGEST)
    return {
        name: exact_in_float32(
            lgb.train(
                {**PARAMETERS, **objective},
                lgb.Dataset(
                    sample.rows, label, weight=sample.before if name == "mid" else None,
                    feature_name=sample.columns, params={"verbose": -1, "num_threads": 1},
                ),
                TREES,
            )
        )
        for name, objective in OBJECTIVES.items()
    }  # fmt: skip


def widened(sample: Sample) -> float:
    """The share of its width by which an interval's bounds move, so that it holds in weeks after a fit."""
    beyond = []
    for cut in CUTS:
        seen = sample.day <= np.datetime64(cut - AHEAD)
        later = (sample.day > np.datetime64(cut)) & (sample.day <= np.datetime64(cut + 2 * AHEAD))
        part = sample.some(later)
        raw = {name: one.predict(part.rows) for name, one in fit(sample.some(seen)).items()}
        ratio = part.sold / part.before
        width = np.maximum(raw["high"] - raw["low"], 1e-6)
        beyond.append(np.maximum(np.maximum(raw["low"], 0) - ratio, ratio - raw["high"]) / width)
    return float(np.quantile(np.concatenate(beyond), WITHIN))


def predicted(trees: Trees, widening: float, sample: Sample) -> dict[str, Numbers]:
    """Lines in 14 days, as the job decides: bounds moved, none below 0, none across the middle."""
    raw = {name: one.predict(sample.rows) for name, one in trees.items()}
    step = widening * (raw["high"] - raw["low"])
    mid = np.maximum(raw["mid"], 0)
    return {
        "low": sample.before * np.minimum(np.maximum(raw["low"] - step, 0), mid),
        "mid": sample.before * mid,
        "high": sample.before * np.maximum(raw["high"] + step, mid),
    }


def expect(trees: Trees, widening: float, sample: Sample) -> None:
    """Write what LightGBM gives some rows, and rows at the edges of its splits, with the bounds moved."""
    edges = [edge_rows(one, 100) for one in trees.values()]
    rows = np.concatenate([sample.rows[:: len(sample.rows) // 200], *edges])
    raw = {name: one.predict(rows) for name, one in trees.items()}
    step = widening * (raw["high"] - raw["low"])  # that none is below 0 is the SQL's part
    scores = {"low": raw["low"] - step, "mid": raw["mid"], "high": raw["high"] + step}
    features = dict(zip(sample.columns, rows.T, strict=True))
    write_expected(HERE / "demand_expected.parquet", features, scores)


def by_size(training: Sample, sample: Sample) -> dict[str, Numbers]:
    """Bounds without a model: the quantiles in training of categories of the same size."""
    found = {"low": np.empty(len(sample.sold)), "high": np.empty(len(sample.sold))}
    for least, most in SIZES.values():
        seen = (training.before >= least) & (training.before < most)
        here = (sample.before >= least) & (sample.before < most)
        ratio = training.sold[seen] / training.before[seen]
        for name, level in (("low", 0.1), ("high", 0.9)):
            found[name][here] = sample.before[here] * np.quantile(ratio, level)
    return found


def interval_score(sample: Sample, found: dict[str, Numbers]) -> Numbers:
    """Width, and 10 times what was sold beyond a bound (Gneiting and Raftery 2007): less is better, [n]."""
    below, above = found["low"] - sample.sold, sample.sold - found["high"]
    return found["high"] - found["low"] + 10 * (np.maximum(below, 0) + np.maximum(above, 0))


def evaluate(sample: Sample, found: dict[str, Numbers], simple: dict[str, Numbers]) -> dict[str, Any]:
    """Figures of all held-out days, of each, and of categories by size; `simple`: bounds without a model."""
    inside = (found["low"] <= sample.sold) & (sample.sold <= found["high"])
    inside_simple = (simple["low"] <= sample.sold) & (sample.sold <= simple["high"])
    score, score_simple = (interval_score(sample, bounds) for bounds in (found, simple))

    def figures(kept: npt.NDArray[np.bool_]) -> dict[str, Any]:
        sold = sample.sold[kept]
        return {
            "categories": int(kept.sum()),
            "lines": int(sold.sum()),
            "wape": round(float(np.abs(sold - found["mid"][kept]).sum() / sold.sum()), 4),
            "wape_as_before": round(float(np.abs(sold - sample.before[kept]).sum() / sold.sum()), 4),
            "coverage": round(float(inside[kept].mean()), 4),
            "coverage_by_size": round(float(inside_simple[kept].mean()), 4),
            "score": round(float(score[kept].sum() / sold.sum()), 4),
            "score_by_size": round(float(score_simple[kept].sum() / sold.sum()), 4),
        }

    return {
        "all": figures(np.full(len(inside), True)),
        "days": {str(day): figures(sample.day == day) for day in np.unique(sample.day)},
        "sizes": {
            name: figures((sample.before >= least) & (sample.before < most))
            for name, (least, most) in SIZES.items()
        },
    }


def to_onnx(trees: Trees, widening: float, columns: list[str]) -> bytes:
    """One graph: `features` float32 [N, columns] -> `low`, `mid`, `high` float32 [N, 1]."""
    shape = [("features", FloatTensorType([None, len(columns)]))]
    nodes, made_for = [], []
    for name, booster in trees.items():
        text = booster.model_to_string().replace("objective=quantile", "objective=regression")
        text = text.replace("objective=regression_l1", "objective=regression")
        one = convert_lightgbm(lgb.Booster(model_str=text), name, shape, target_opset=15)
        [ensemble] = [node for node in one.graph.node if node.op_type == "TreeEnsembleRegressor"]
        ensemble.name, ensemble.input[:], ensemble.output[:] = name, ["features"], [f"{name}_raw"]
        nodes.append(ensemble)
        made_for = one.opset_import
    share = helper.make_tensor("widening", TensorProto.FLOAT, [], [widening])
    nodes += [
        helper.make_node("Sub", ["high_raw", "low_raw"], ["width"]),
        helper.make_node("Mul", ["width", "widening"], ["step"]),
        helper.make_node("Sub", ["low_raw", "step"], ["low"]),
        helper.make_node("Identity", ["mid_raw"], ["mid"]),
        helper.make_node("Add", ["high_raw", "step"], ["high"]),
    ]
    given = [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", len(columns)])]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 1]) for name in OBJECTIVES]
    graph = helper.make_graph(nodes, JOB, given, outputs, [share])
    opsets = sorted(made_for, key=lambda one: one.domain)
    if not any(one.domain == "" for one in opsets):
        opsets.append(helper.make_opsetid("", 15))
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    model.doc_string = "Lines in the next 14 days over the 14-day mean of the last 28. See demand_card.md."
    onnx.helper.set_model_props(model, {"columns": json.dumps(columns)})
    onnx.checker.check_model(model)
    serialized: bytes = model.SerializeToString(deterministic=True)
    return serialized


if __name__ == "__main__":
    sys.exit(main())
