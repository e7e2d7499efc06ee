"""A scorecard and the expected credit loss that follows from it, as one ONNX graph in float64.

One row, a loan on a day, in; one row out; an input a column, each float64 [rows]. The scorecard's columns are
those of the `Scorecard`; a NaN is in the bin for what is missing. The others:

    balance          owed now, US dollars, >= 0
    months           n, until the last instalment falls due, 1 to 60
    monthly_rate     r, of the loan itself, > 0: it discounts, and it shapes the annuity
    lgd              loss given default, a share of what is owed then
    stage            1, 2 or 3
    late_share       of loans as late as this one, the share that defaults within `late_months`; 0: it is not late
    late_months      m, >= 1; of a loan with fewer months left, those
    shift_downturn, shift_upturn     what a scenario adds to the log-odds of default
    weight_downturn, weight_upturn   how likely a scenario is; the base scenario has the rest

Outputs, float64: `scorecard_pd` (within 12 months of the application), `pd` and `pd_lifetime` (within the next
12 months, and until the last instalment; base scenario; 1 in stage 3), `score` (points) and `loss`,
`loss_12_months`, `loss_lifetime` (US dollars, weighted over scenarios), each [rows]; `points_lost`
[rows, features]; `scenario_losses` [rows, 3] (downturn, base, upturn; the loan's own stage).

The loss of a scenario, with p the scorecard's probability and l the `late_share`, both with the scenario's shift
on their log-odds:

    hazard of month t                    the larger of -log(1 - p) / 12 and, for t <= m, -log(1 - l) / m
    probability of default in month t    exp(-H(t - 1)) - exp(-H(t)), H(t) being the sum of hazards to t
    exposure in month t                  balance ((1 + r)^n - (1 + r)^(t - 1)) / ((1 + r)^n - 1): an annuity
    loss                                 lgd * sum over t of probability * exposure / (1 + r)^t

over t = 1 to n for a lifetime and to 12 for twelve months; stage 3 is in default, and its loss is
lgd * balance. So a share that was measured over m months is that of m months, and no hazard runs on from it: a
late loan that has not defaulted by then has the hazard of its application. As IFRS 9 has it: 12 months in stage 1
(5.5.5), a lifetime in stages 2 and 3 (5.5.3), weighted over scenarios (5.5.17, B5.5.41), 12-month losses being
the part of lifetime losses that default within 12 months causes (B5.5.43), discounted at the effective interest
rate (B5.5.44), for which the loan's own rate stands in: fees are not known. The sum over months is the usual one
(Bellini, IFRS 9 and CECL Credit Risk Modelling and Validation, 2019). That a loan may be repaid early is left
out, which makes lifetime losses too large. Points: Siddiqi, Intelligent Credit Scoring (2017).
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
    "balance", "months", "monthly_rate", "lgd", "stage", "late_share", "late_months", "shift_downturn",
    "shift_upturn", "weight_downturn", "weight_upturn",
)  # fmt: skip
OUTPUTS = ("scorecard_pd", "pd", "pd_lifetime", "score", "loss", "loss_12_months", "loss_lifetime")
LONGEST, YEAR = 60, 12  # months
SCORE, ODDS, DOUBLE = 600.0, 30.0, 20.0  # 600 points are 30 good loans to a bad one; 20 more double that
FACTOR = DOUBLE / np.log(2)
OPSET, IR = 20, 10
BEFORE = np.arange(LONGEST, dtype=np.float64)  # months that are over when month t begins
FIRST_YEAR = (BEFORE < YEAR).astype(np.float64)

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
    """`scorecard_pd`, `score` and `points_lost`."""
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
    at_even = SCORE - FACTOR * np.log(ODDS)
    g.op("Sub", at_even, g.op("Mul", log_odds, FACTOR), name="score")


def _losses(g: Graph) -> None:
    """All but the scorecard's own; axes are [rows, scenarios, months]."""
    hazard = _hazard(g)
    _probabilities(g, hazard)
    of_month = g.op("Sub", 1.0, g.op("Exp", g.op("Neg", hazard)))
    last = g.constant(np.array(2, np.int64))
    alive = g.op("Exp", g.op("Neg", g.op("CumSum", hazard, last, exclusive=1)))  # when the month begins
    loss = g.op("Mul", g.op("Mul", alive, of_month), g.column(_discounted_exposure(g), (1,)))
    lifetime = g.op("Mul", g.total(loss, 2), g.column("lgd"))
    year = g.op("Mul", g.total(g.op("Mul", loss, FIRST_YEAR), 2), g.column("lgd"))
    in_default = g.column(g.op("Mul", "balance", "lgd"))
    later = g.op("Where", g.op("Less", g.column("stage"), 2.5), lifetime, in_default)
    g.op("Where", g.op("Less", g.column("stage"), 1.5), year, later, name="scenario_losses")
    rest = g.op("Sub", g.op("Sub", 1.0, "weight_downturn"), "weight_upturn")
    weights = g.op("Concat", *(g.column(w) for w in ("weight_downturn", rest, "weight_upturn")), axis=1)
    for losses, name in ((year, "loss_12_months"), (lifetime, "loss_lifetime"), ("scenario_losses", "loss")):
        g.total(g.op("Mul", losses, weights), 1, name=name)


def _hazard(g: Graph) -> str:
    """The hazard of each month by scenario, [rows, 3, 60]; 0 after the last instalment."""
    by_application = g.op("Div", _whole_hazard(g, "scorecard_pd"), float(YEAR))
    months = g.op("Min", "months", "late_months")
    is_late = g.op("Cast", g.op("Less", BEFORE, g.column(months)), to=TensorProto.DOUBLE)
    by_lateness = g.op("Div", _whole_hazard(g, "late_share"), g.column(months))
    by_lateness = g.op("Mul", g.column(by_lateness, (2,)), g.column(is_late))
    is_due = g.op("Cast", g.op("Less", BEFORE, g.column("months")), to=TensorProto.DOUBLE)
    larger = g.op("Max", g.column(by_application, (2,)), by_lateness)
    return g.op("Mul", larger, g.column(is_due))


def _whole_hazard(g: Graph, probability: str) -> str:
    """-log(1 - p) of a probability < 1 by scenario, [rows, 3]: p of 0 stays 0, which has no log-odds."""
    odds = g.op("Div", probability, g.op("Sub", 1.0, probability))
    none = g.op("Mul", odds, 0.0)
    shifts = g.op("Concat", *(g.column(s) for s in ("shift_downturn", none, "shift_upturn")), axis=1)
    return g.op("Log", g.op("Add", 1.0, g.op("Mul", g.column(odds), g.op("Exp", shifts))))


def _probabilities(g: Graph, hazard: str) -> None:
    """`pd` and `pd_lifetime`, of the base scenario."""
    base = g.op("Gather", hazard, g.constant(np.array(1, np.int64)), axis=1)
    for considered, name in ((g.op("Mul", base, FIRST_YEAR), "pd"), (base, "pd_lifetime")):
        survives = g.op("Exp", g.op("Neg", g.total(considered, 1)))
        g.op("Where", g.op("Less", "stage", 2.5), g.op("Sub", 1.0, survives), 1.0, name=name)


def _discounted_exposure(g: Graph) -> str:
    """What is owed in each month, discounted from its end: [rows, 60], 0 after the last instalment."""
    growth = g.op("Add", 1.0, "monthly_rate")
    whole = g.op("Pow", growth, "months")
    grown = g.op("Pow", g.column(growth), BEFORE)
    owed = g.op("Div", g.op("Sub", g.column(whole), grown), g.column(g.op("Sub", whole, 1.0)))
    left = g.op("Mul", g.op("Max", owed, 0.0), g.column("balance"))
    return g.op("Div", left, g.op("Mul", grown, g.column(growth)))
