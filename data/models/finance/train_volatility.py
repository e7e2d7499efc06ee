"""Train the volatility model: how much a stock may move on the next trading day.

    python data/models/finance/train_volatility.py      # half a minute

The variance of tomorrow's log return is a weighted sum of mean squared returns over several spans (the
heterogeneous autoregressive model of Corsi, 2009, with falls counted once more and the index beside the
stock); the weights are at least 0 and minimise QLIKE, log(v) + r²/v (Patton, 2011). Quantiles are the
volatility times the quantiles of r / volatility in training. One model for all 20 stocks.

The features are read from the job `volatility` itself (`nightscore.features`), so there is no second
implementation of them. Nothing after 2014-12-31 is seen in training, neither as a feature nor as a label;
2015 to 2022 are for the figures of the model card. Spans were chosen on 2010 to 2014, with a fit on the years
before.

Everything happens in a workspace of its own that is thrown away; what stays, beside this script, is
volatility.onnx, volatility_expected.parquet, volatility_shape.parquet (the distribution that the quantiles
are of, which the job volatility_outcomes reads), volatility_metrics.json and volatility_card.md.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
from onnx import TensorProto, helper, numpy_helper
from scipy.optimize import minimize
from volatility_card import Returns, evaluate, volatility_card
from volatility_reviews import Forecasts, false_alarms, proxy, reviews

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))  # the root, for data.lakes

from data.lakes.finance import INDICES, PRICES, write_lake
from data.models.expected import write_expected
from nightscore import Job, features, load

JOB = "volatility"
HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[2]
LAST_SEEN_DAY = np.datetime64("2014-12-31")
LARGEST_RETURN = 0.3  # a label beyond counts as this much: one such day would outweigh years
UNIT = 1e-4  # the constant is a weight of this, so that it is of the size of the others
LEVELS = {"quantile_1": 0.01, "quantile_5": 0.05}
NIGHT = 501  # forecasts that a run of the job makes for each stock

Numbers = npt.NDArray[Any]


def main() -> int:
    """Train, export, evaluate and write; returns the exit code."""
    returns = read_returns()
    with tempfile.TemporaryDirectory(prefix="nightscore-train-") as folder:
        job = prepare(Path(folder))
        table = all_features(job, returns.days)
    columns = [name for name in table.column_names if name not in (*job.spec.key, *job.spec.keep)]
    values = np.column_stack([table[name].to_numpy() for name in columns])
    row, column = returns.places(table)  # of the day on which a forecast is made
    known = row + 1 < len(returns.days)
    labels = np.where(known, returns.values[np.minimum(row + 1, len(returns.days) - 1), column], np.nan)
    training = known & (returns.days[np.minimum(row + 1, len(returns.days) - 1)] <= LAST_SEEN_DAY)
    weights = fit(values[training], labels[training])
    volatility = forecast(values, weights)
    standardised = labels[training] / volatility[training]
    quantiles = {name: float(np.quantile(standardised, level)) for name, level in LEVELS.items()}
    model = to_onnx(columns, weights, quantiles)
    (HERE / "volatility.onnx").write_bytes(model)
    expect(columns, values[:: len(values) // 400], weights, quantiles)
    shape = shape_of(standardised)
    pq.write_table(shape, HERE / "volatility_shape.parquet", write_page_checksum=True)
    held_out = known & (returns.days[row] >= LAST_SEEN_DAY)

    def of(days: Numbers) -> tuple[Numbers, Forecasts]:
        return forecasts(returns, (row[days] + 1, column[days]), volatility[days], quantiles, shape)

    metrics = {
        "weights": {
            name: round(float(w), 6) for name, w in zip([*columns, "constant"], weights, strict=True)
        },
        "quantiles": {name: round(value, 4) for name, value in quantiles.items()},
        "training_rows": int(training.sum()),
        "first_training_day": str(returns.days[row[training]].min()),
        **evaluate(returns, (row[held_out], column[held_out]), volatility[held_out], quantiles),
        "reviews": reviews(*of(held_out)) | {"of_a_right_model": false_alarms(*of(training))},
    }
    (HERE / "volatility_metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
    (HERE / "volatility_card.md").write_text(volatility_card(metrics, len(model)))
    return 0


def expect(columns: list[str], rows: Numbers, weights: Numbers, quantiles: dict[str, float]) -> None:
    """Write what NumPy gives some rows."""
    volatility = forecast(rows, weights)
    scores = {"volatility": volatility, **{name: at * volatility for name, at in quantiles.items()}}
    write_expected(HERE / "volatility_expected.parquet", dict(zip(columns, rows.T, strict=True)), scores)


def read_returns() -> Returns:
    """The log returns of all stocks, from the prices that the lake is made of."""
    table = pq.read_table(PRICES).drop_columns(list(INDICES))
    symbols = sorted(table.column_names[1:])
    closes = np.log(np.column_stack([table[symbol].to_numpy() for symbol in symbols]))
    moves = np.vstack([np.full((1, len(symbols)), np.nan), np.diff(closes, axis=0)])
    return Returns(table["day"].to_numpy().astype("datetime64[D]"), symbols, moves)


def prepare(workspace: Path) -> Job:
    """The job in a workspace with the sample lake; its model is not opened."""
    write_lake(workspace, positions=1)
    folder = Path("jobs/finance/volatility")
    shutil.copytree(REPOSITORY / folder, workspace / folder)
    return load(JOB, workspace=workspace)


def all_features(job: Job, days: Numbers) -> pa.Table:
    """The job's rows of every day from 1991 on: a night holds those of its 501 days."""
    nights = [features(job, str(day)) for day in days[::-NIGHT]]
    return pa.concat_tables([night for night in nights if night.num_rows])


def fit(values: Numbers, labels: Numbers) -> Numbers:
    """The weights [columns + 1], the constant last, that minimise the mean of log(v) + r² / v.

    They are exponentials of what is searched, so never below 0.
    """
    with_constant = np.append(values, np.full((len(values), 1), UNIT), axis=1)
    squares = np.clip(labels, -LARGEST_RETURN, LARGEST_RETURN) ** 2

    def loss(logs: Numbers) -> tuple[float, Numbers]:
        weights = np.exp(logs)
        variance = with_constant @ weights
        slope = 1 / variance - squares / variance**2
        return float(np.mean(np.log(variance) + squares / variance)), (
            with_constant.T @ slope / len(labels) * weights
        )

    columns = with_constant.shape[1]
    found = minimize(
        loss, np.full(columns, -np.log(columns)), jac=True, method="L-BFGS-B", options={"maxiter": 1000}
    )
    weights: Numbers = np.exp(found.x)
    return weights


def forecast(values: Numbers, weights: Numbers) -> Numbers:
    """The volatility of a day, [rows]."""
    volatility: Numbers = np.sqrt(values @ weights[:-1] + UNIT * weights[-1])
    return volatility


def shape_of(standardised: Numbers) -> pa.Table:
    """The distribution of returns over forecasts in training: `probability`, `standardised`, both rising.

    Its quantiles in steps of half a percent. Where many are equal (a price that stood still), the value
    comes once, with the middle of their probabilities.
    """
    probability = np.linspace(0, 1, 201)
    values, at = np.unique(np.quantile(standardised, probability), return_inverse=True)
    middle = np.bincount(at, probability) / np.bincount(at)
    return pa.table({"probability": middle, "standardised": values})


def forecasts(
    returns: Returns, places: tuple[Numbers, Numbers], volatility: Numbers, quantiles: dict[str, float],
    shape: pa.Table,
) -> tuple[Numbers, Forecasts]:  # fmt: skip
    """The returns [days, stocks] and what was forecast for them; `places` are of the days of the returns.

    Of the days that have a forecast for every stock, RiskMetrics' too.
    """
    made = np.full_like(returns.values, np.nan)
    made[places] = volatility
    usual = np.vstack([np.full((1, len(returns.symbols)), np.nan), proxy(returns.values)[:-1]])
    whole = ~np.isnan(made + usual).any(axis=1)
    law = {name: shape[name].to_numpy() for name in ("standardised", "probability")}
    return returns.values[whole], Forecasts(made[whole], usual[whole], quantiles, **law)


def to_onnx(columns: list[str], weights: Numbers, quantiles: dict[str, float]) -> bytes:
    """The model: a float64 input [rows] for each column; outputs `volatility` and its quantiles."""
    nodes, constants, total = [], [], "constant"
    numbers = dict(zip([*columns, "constant"], [*weights[:-1], UNIT * weights[-1]], strict=True))
    for name, number in {**numbers, **quantiles}.items():
        at = "constant" if name == "constant" else f"weight_{name}"
        constants.append(numpy_helper.from_array(np.array(number, np.float64), at))
    for name in columns:
        nodes.append(helper.make_node("Mul", [name, f"weight_{name}"], [f"share_{name}"]))
        nodes.append(helper.make_node("Add", [total, f"share_{name}"], [f"with_{name}"]))
        total = f"with_{name}"
    nodes.append(helper.make_node("Sqrt", [total], ["volatility"]))
    nodes += [helper.make_node("Mul", ["volatility", f"weight_{name}"], [name]) for name in quantiles]
    infos = [
        helper.make_tensor_value_info(name, TensorProto.DOUBLE, ["rows"])
        for name in (*columns, "volatility", *quantiles)
    ]
    graph = helper.make_graph(nodes, JOB, infos[: len(columns)], infos[len(columns) :], constants)
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10, producer_name="nightscore"
    )
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


if __name__ == "__main__":
    sys.exit(main())
