"""What credit_loss.onnx has to give for some rows, counted a loan and a month at a time.

Nothing here is a hazard, a closed form or an array, unlike the graph (credit_graph.py, which says what each
column is): a balance is paid down by its instalments, a share of the loans survives from month to month, and
a scenario moves the odds. The rows are drawn, with each feature at, or one float64 beside, an edge of its
bins, and one in eight missing.
"""

import sys
from bisect import bisect_left
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from credit_graph import DOUBLE, LOAN, LONGEST, ODDS, SCORE, YEAR, Scorecard

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))  # the root, for data.models

from data.models.expected import draw_beside

SEED, ROWS = 22, 256
SCENARIOS = ("downturn", "base", "upturn")
TOLD = 3  # reasons a loan
Row = Mapping[str, float]


def draw_rows(card: Scorecard) -> dict[str, npt.NDArray[np.float64]]:
    """The graph's inputs by name, each [rows]; a loan's lie in the ranges that credit_graph.py gives."""
    chance = np.random.default_rng(SEED)
    columns = {}
    for feature, edges in zip(card.features, card.edges, strict=True):
        marks = np.array([*edges, edges[0] - 1, edges[-1] + 1])
        columns[feature] = draw_beside(chance, marks, ROWS, missing=0.125)
    late = chance.choice(np.array([0.0, 0.23, 0.58, 0.75]), ROWS)
    loans = {
        "balance": np.round(chance.uniform(0, 40_000, ROWS), 2),
        "months": chance.integers(1, LONGEST + 1, ROWS),
        "monthly_rate": chance.uniform(0.004, 0.03, ROWS),
        "lgd": chance.uniform(0.1, 1, ROWS),
        "unpaid_instalments": chance.integers(0, 5, ROWS),
        "prepayment": chance.uniform(0, 0.05, ROWS),
        "bad_in_default": chance.uniform(0.1, 1, ROWS),
        "late_share": late,
        "late_months": chance.integers(1, 25, ROWS),
        "stage_by_arrears": np.where(late > 0.7, chance.integers(1, 4, ROWS), 1),
        "stage_held": chance.choice(np.array([1, 1, 1, 2, 3]), ROWS),
        "stage_2_times": chance.uniform(1.5, 3, ROWS),
        "stage_2_from": chance.uniform(0, 0.1, ROWS),
        "shift_downturn": chance.uniform(0, 1, ROWS),
        "shift_upturn": chance.uniform(-1, 0, ROWS),
        "weight_downturn": chance.uniform(0, 0.5, ROWS),
        "weight_upturn": chance.uniform(0, 0.5, ROWS),
    }
    return columns | {name: loans[name].astype(np.float64) for name in LOAN}


def count_outputs(
    card: Scorecard, reasons: Mapping[str, str], rows: Mapping[str, npt.NDArray[np.float64]]
) -> dict[str, list[Any]]:
    """The outputs of the job `credit_loss` by name, a value or list for each row."""
    each = [
        _loan(card, reasons, {name: float(column[i]) for name, column in rows.items()}) for i in range(ROWS)
    ]
    return {name: [loan[name] for loan in each] for name in each[0]}


def _loan(card: Scorecard, reasons: Mapping[str, str], row: Row) -> dict[str, Any]:
    log_odds, lost = _points(card, row)
    odds = np.exp(log_odds)
    origin = float(odds / (1 + odds)) * row["bad_in_default"]
    scenarios = [_scenario(row, origin, row.get(f"shift_{name}", 0.0)) for name in SCENARIOS]
    pd = scenarios[1]["pd"]
    risen = pd >= row["stage_2_times"] * origin and pd >= row["stage_2_from"]
    without_cure = max(row["stage_by_arrears"], 2.0 if risen else 1.0)
    stage = max(without_cure, row["stage_held"])
    at_default = row["balance"] * (1 + row["monthly_rate"]) ** row["unpaid_instalments"]
    by_stage = {1: "loss_12_months", 2: "loss_lifetime"}
    losses = [one[by_stage[int(stage)]] if stage < 3 else row["lgd"] * at_default for one in scenarios]
    weights = [
        row["weight_downturn"],
        1 - row["weight_downturn"] - row["weight_upturn"],
        row["weight_upturn"],
    ]
    told = sorted(((np.floor(p * 10 + 0.5) / 10, -i) for i, p in enumerate(lost)), reverse=True)[:TOLD]
    texts = [reasons[feature] for feature in card.features]
    return {
        "score": SCORE - DOUBLE / np.log(2) * (log_odds + np.log(ODDS)),
        "pd_at_origination": origin,
        "pd": 1.0 if stage == 3 else pd,
        "pd_lifetime": 1.0 if stage == 3 else scenarios[1]["pd_lifetime"],
        "stage_without_cure": without_cure,
        "stage": stage,
        "exposure_at_default": at_default,
        "points_lost": lost,
        "reasons": [texts[-i] for points, i in told if points > 0],
        "reason_points": [points for points, _ in told],
        "loss": _mean(weights, losses),
        "loss_12_months": _mean(weights, [one["loss_12_months"] for one in scenarios]),
        "loss_lifetime": _mean(weights, [one["loss_lifetime"] for one in scenarios]),
        "scenario_losses": losses,
    }


def _points(card: Scorecard, row: Row) -> tuple[float, list[float]]:
    """The log-odds of going bad, and how many points each feature's bin has less than its best."""
    log_odds, lost = card.intercept, []
    for feature, edges, weights in zip(card.features, card.edges, card.weights, strict=True):
        value = row[feature]
        weight = weights[-1] if np.isnan(value) else weights[bisect_left(list(edges), value)]
        log_odds += weight
        lost.append(float((weight - min(weights)) * DOUBLE / np.log(2)))
    return float(log_odds), lost


def _scenario(row: Row, origin: float, shift: float) -> dict[str, float]:
    """The chances of default and the losses of a loan, its odds moved by exp(shift)."""
    growth, months, unpaid = 1 + row["monthly_rate"], int(row["months"]), int(row["unpaid_instalments"])
    payment = row["balance"] * row["monthly_rate"] / (1 - growth**-months)
    counted = min(int(row["late_months"]), months)
    while_late = (1 - _moved(row["late_share"], shift)) ** (1 / counted)
    not_repaid = [(1 - row["prepayment"]) ** month for month in range(LONGEST)]
    stays_all_year = 1 - _moved(origin, shift)
    balances, alive = [row["balance"]], 1.0
    found = dict.fromkeys(("pd", "pd_lifetime", "loss_12_months", "loss_lifetime"), 0.0)
    for month in range(1, months + 1):
        stays = stays_all_year ** (not_repaid[month - 1] / sum(not_repaid[:YEAR]))
        if month <= counted:
            stays = min(stays, while_late)
        defaults = alive * (1 - stays)
        owed = balances[max(month - 1 - unpaid, 0)] * growth ** min(month, unpaid)
        lost = row["lgd"] * defaults * owed / growth**month
        found["pd_lifetime"] += defaults
        found["loss_lifetime"] += lost
        if month <= YEAR:
            found["pd"] += defaults
            found["loss_12_months"] += lost
        alive *= stays
        balances.append(balances[-1] * growth - payment)
    return found


def _moved(probability: float, shift: float) -> float:
    odds = probability / (1 - probability) * float(np.exp(shift))
    return odds / (1 + odds)


def _mean(weights: list[float], values: list[float]) -> float:
    return sum(weight * value for weight, value in zip(weights, values, strict=True))
