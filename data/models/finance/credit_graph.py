"""A scorecard and the expected credit loss that follows from it, as one ONNX graph in float64.

One row, a loan on a day, in; one row out; an input a column, each float64 [rows]. The scorecard's columns are
those of the `Scorecard`; a NaN is in the bin for what is missing. The others:

    balance          owed now, US dollars, >= 0
    months           until the last instalment falls due, 1 to 60
    monthly_rate     of the loan itself, > 0: it discounts, and it shapes the annuity
    lgd              loss given default, a share of what is owed then
    stage            1, 2 or 3
    pd_floor         the probability of default is at least this, >= 0 and < 1
    shift_downturn, shift_upturn     what a scenario adds to the log-odds of default
    weight_downturn, weight_upturn   how likely a scenario is; the base scenario has the rest

Outputs, float64: `scorecard_pd`, `pd` (within 12 months, base scenario, from the floor on; 1 in stage 3),
`score` (points) and `loss`, `loss_12_months`, `loss_lifetime` (US dollars, weighted over scenarios), each
[rows]; `points_lost` [rows, features]; `scenario_losses` [rows, 3] (downturn, base, upturn; the loan's own
stage).

The loss of a scenario, with p its probability of default within 12 months, h = 1 - p:

    probability of default in month t    h^((t - 1) / 12) - h^(t / 12): a constant hazard
    exposure in month t                  balance ((1 + r)^n - (1 + r)^(t - 1)) / ((1 + r)^n - 1): an annuity
    loss                                 lgd * sum over t of probability * exposure / (1 + r)^t

over t = 1 to n for a lifetime and to 12 for twelve months; stage 3 is in default, and its loss is
lgd * balance. As IFRS 9 has it: 12 months in stage 1 (5.5.5), a lifetime in stages 2 and 3 (5.5.3), weighted
over scenarios (5.5.17, B5.5.41), 12-month losses being the part of lifetime losses that default within
12 months causes (B5.5.43), discounted at the effective interest rate (B5.5.44), for which the loan's own rate
stands in: fees are not known. The sum over months is the usual one (Bellini, IFRS 9 and CECL Credit Risk
Modelling and Validation, 2019). That a loan may be repaid early is left out, which makes lifetime losses too
large. Points: Siddiqi, Intelligent Credit Scoring (2017).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

LOAN = (
    "balance", "months", "monthly_rate", "lgd", "stage", "pd_floor", "shift_downturn", "shift_upturn",
    "weight_downturn", "weight_upturn",
)  # fmt: skip
OUTPUTS = ("scorecard_pd", "pd", "score", "loss", "loss_12_months", "loss_lifetime")
LONGEST, YEAR = 60, 12  # months
SCORE, ODDS, DOUBLE = 600.0, 30.0, 20.0  # 600 points are 30 good loans to a bad one; 20 more double that
FACTOR = DOUBLE / np.log(2)
OPSET, IR = 20, 10

Numbers = npt.NDArray[Any]


@dataclass(frozen=True)
class Scorecard:
    """Bins and what each adds to the log-odds of default, feature by feature; the intercept is added once.

    Feature i has the bins x <= edges[i][0], … , x > edges[i][-1], and one for NaN at the end: `weights[i]`
    has two numbers more than `edges[i]`.
    """

    features: tuple[str, ...]
    edges: tuple[Numbers, ...]
    weights: tuple[Numbers, ...]
    intercept: float

    def points_lost(self, i: int) -> Numbers:
        """How many points each bin of a feature has less than its best."""
        lost: Numbers = FACTOR * (self.weights[i] - self.weights[i].min())
        return lost

    def log_odds(self, values: dict[str, Numbers]) -> Numbers:
        """The log-odds of default of loans, [loans]; `values` are the features, float64 [loans]."""
        found = np.full(len(values[self.features[0]]), self.intercept)
        for name, edges, weights in zip(self.features, self.edges, self.weights, strict=True):
            found += weights[bins(values[name], edges)]
        return found


def bins(column: Numbers, edges: Numbers) -> Numbers:
    """The bin of each value; NaN has the last."""
    found: Numbers = np.where(np.isnan(column), len(edges) + 1, np.searchsorted(edges, column, "left"))
    return found


class Graph:
    """Nodes in the making; `op` takes names of values, or numbers, and gives the name of a new value."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def op(self, kind: str, *operands: str | float | Numbers, name: str = "", **attributes: Any) -> str:
        """One operator of the standard set."""
        given = [one if isinstance(one, str) else self.constant(np.asarray(one, float)) for one in operands]
        result = name or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, given, [result], **attributes))
        return result

    def constant(self, value: Numbers) -> str:
        """A tensor of the array's own type."""
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def column(self, name: str, axes: tuple[int, ...] = (1,)) -> str:
        """An input [rows] with more axes of length 1."""
        return self.op("Unsqueeze", name, self.constant(np.array(axes, np.int64)))

    def total(self, value: str, axis: int, name: str = "") -> str:
        """The sum over an axis."""
        return self.op("ReduceSum", value, self.constant(np.array([axis], np.int64)), keepdims=0, name=name)


def credit_loss(card: Scorecard, reasons: Mapping[str, str]) -> onnx.ModelProto:
    """The graph. Its metadata has the order of `points_lost`: `features`, and for each a text, `reasons`.

    `reasons` says of each feature of the card why it costs points; scorers/scorecard_points.py tells them.
    """
    g = Graph()
    _scorecard(g, card)
    _losses(g)
    given = [_info(name) for name in (*card.features, *LOAN)]
    found = [_info(name) for name in OUTPUTS]
    found += [_info("points_lost", len(card.features)), _info("scenario_losses", 3)]
    graph = helper.make_graph(g.nodes, "credit_loss", given, found, g.constants)
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=IR, producer_name="nightscore")
    texts = [reasons[feature] for feature in card.features]
    helper.set_model_props(model, {"features": json.dumps(card.features), "reasons": json.dumps(texts)})
    onnx.checker.check_model(model, full_check=True)
    return model


def _info(name: str, width: int | None = None) -> onnx.ValueInfoProto:
    shape: list[str | int] = ["rows"] if width is None else ["rows", width]
    return helper.make_tensor_value_info(name, TensorProto.DOUBLE, shape)


def _scorecard(g: Graph, card: Scorecard) -> None:
    """`scorecard_pd`, `pd`, `score` and `points_lost`."""
    log_odds, lost = g.constant(np.array(card.intercept)), []
    for i, feature in enumerate(card.features):
        above = g.op("Greater", g.column(feature), card.edges[i])
        # No comparison with NaN is true, so it would be in the first bin.
        steps = g.op("Cast", above, to=TensorProto.INT64)
        bin_of = g.op("ReduceSum", steps, g.constant(np.array([1], np.int64)), keepdims=0)
        last = g.constant(np.array(len(card.edges[i]) + 1, np.int64))
        bin_of = g.op("Where", g.op("IsNaN", feature), last, bin_of)
        log_odds = g.op("Add", log_odds, g.op("Gather", card.weights[i], bin_of))
        lost.append(g.column(g.op("Gather", card.points_lost(i), bin_of)))
    g.op("Concat", *lost, axis=1, name="points_lost")
    g.op("Sigmoid", log_odds, name="scorecard_pd")
    g.op("Max", "scorecard_pd", "pd_floor", name="floored_pd")
    g.op("Where", g.op("Less", "stage", 2.5), "floored_pd", 1.0, name="pd")
    at_even = SCORE - FACTOR * np.log(ODDS)
    g.op("Sub", at_even, g.op("Mul", log_odds, FACTOR), name="score")


def _losses(g: Graph) -> None:
    """`loss`, `loss_12_months`, `loss_lifetime` and `scenario_losses`; axes are [rows, scenarios, months]."""
    log_odds = g.op("Log", g.op("Div", "floored_pd", g.op("Sub", 1.0, "floored_pd")))
    of_base = g.op("Mul", "floored_pd", 0.0)
    shifts = g.op("Concat", *(g.column(s) for s in ("shift_downturn", of_base, "shift_upturn")), axis=1)
    pd = g.op("Sigmoid", g.op("Add", g.column(log_odds), shifts))
    hazard = g.op("Div", g.op("Log", g.op("Sub", 1.0, pd)), float(YEAR))  # of a month: log h / 12
    before = np.arange(LONGEST, dtype=np.float64)  # months that are over when month t begins
    alive = g.op("Exp", g.op("Mul", g.column(hazard, (2,)), before))
    default = g.op("Mul", alive, g.op("Sub", 1.0, g.op("Exp", g.column(hazard, (2,)))))
    loss = g.op("Mul", default, g.column(_discounted_exposure(g, before), (1,)))
    lifetime = g.op("Mul", g.total(loss, 2), g.column("lgd"))
    first = g.op("Mul", loss, (before < YEAR).astype(np.float64))
    year = g.op("Mul", g.total(first, 2), g.column("lgd"))
    in_default = g.column(g.op("Mul", "balance", "lgd"))
    later = g.op("Where", g.op("Less", g.column("stage"), 2.5), lifetime, in_default)
    g.op("Where", g.op("Less", g.column("stage"), 1.5), year, later, name="scenario_losses")
    rest = g.op("Sub", g.op("Sub", 1.0, "weight_downturn"), "weight_upturn")
    weights = g.op("Concat", *(g.column(w) for w in ("weight_downturn", rest, "weight_upturn")), axis=1)
    for losses, name in ((year, "loss_12_months"), (lifetime, "loss_lifetime"), ("scenario_losses", "loss")):
        g.total(g.op("Mul", losses, weights), 1, name=name)


def _discounted_exposure(g: Graph, before: Numbers) -> str:
    """What is owed in each month, discounted from its end: [rows, 60], 0 after the last instalment."""
    growth = g.op("Add", 1.0, "monthly_rate")
    whole = g.op("Pow", growth, "months")
    grown = g.op("Pow", g.column(growth), before)
    owed = g.op("Div", g.op("Sub", g.column(whole), grown), g.column(g.op("Sub", whole, 1.0)))
    left = g.op("Mul", g.op("Max", owed, 0.0), g.column("balance"))
    return g.op("Div", left, g.op("Mul", grown, g.column(growth)))
