"""A scorecard and the expected credit loss that follows from it, as one ONNX graph in float64.

One row, a loan on a day, in; one row out; an input a column, each float64 [rows]. The scorecard's columns are
those of the `Scorecard`; a NaN is in the bin for what is missing. The others:

    balance          owed now, US dollars, >= 0
    months           n, until the last instalment falls due, 1 to 60
    monthly_rate     r, of the loan itself, > 0: it discounts, and it shapes the annuity
    lgd              loss given default, a share of what is owed then
    unpaid_instalments   k, >= 0: those that are unpaid when a loan defaults
    prepayment       q, the share of loans that is repaid early in a month, >= 0 and < 1
    bad_in_default   the share of what the scorecard calls bad that defaults, > 0 and <= 1
    late_share       l, of loans as late as this one, what defaults within `late_months`; 0: not late
    late_months      m, >= 1; of a loan with fewer months left, those
    stage_by_arrears   1, 2 or 3, by the days that it is late
    stage_held       the least stage that its past allows, 1, 2 or 3
    stage_2_times, stage_2_from   the risk has risen significantly where `pd` is both so many times
                     `pd_at_origination` and at least that
    shift_downturn, shift_upturn     what a scenario adds to the log-odds of default
    weight_downturn, weight_upturn   how likely a scenario is; the base scenario has the rest

Outputs, float64:

    scorecard_pd, score, points_lost [rows, features]   of going bad within 12 months; points
    pd_at_origination   p, of default within them
    pd, pd_lifetime     within the next 12 months, and until the last instalment; base scenario; 1 in stage 3
    stage_without_cure  the worse of `stage_by_arrears` and, where the risk has risen significantly, 2
    stage               the worse of that and `stage_held`
    exposure_at_default   balance (1 + r)^k: of a loan that defaults at once, US dollars
    loss, loss_12_months, loss_lifetime     US dollars, weighted over scenarios; `loss` is that of the stage
    scenario_losses [rows, 3]   downturn, base, upturn; of the stage

Each is [rows] unless it says otherwise. The loss of a scenario, p and l with its shift on their log-odds:

    hazard of month t                    the larger of -log(1 - p) (1 - q)^(t - 1) / (sum of that power over
                                         the first 12 months) and, for t <= m, -log(1 - l) / m
    probability of default in month t    exp(-H(t - 1)) - exp(-H(t)), H(t) being the sum of hazards to t
    exposure in month t                  balance ((1 + r)^n - (1 + r)^s) / ((1 + r)^n - 1) * (1 + r)^min(t, k)
                                         with s = max(t - 1 - k, 0): an annuity that is k months behind
    loss                                 lgd * sum over t of probability * exposure / (1 + r)^t

over t = 1 to n for a lifetime and to 12 for twelve months; stage 3 is in default, and its loss is
lgd * exposure_at_default. So:

- A share that was measured over m months is that of m months, and no hazard runs on from it: a late loan
  that has not defaulted by then has the hazard of its application.
- A loan that defaults is k instalments behind the contract's annuity, and owes the interest of k months.
- p was measured on loans of which some were repaid early (modeldata calls good what is "fully paid back or
  currently on-time"), so it is the same for any q: early repayment shapes what is made of it for the months
  after the first twelve. Late loans are not repaid early.

As IFRS 9 has it: 12 months in stage 1 (5.5.5), a lifetime in stages 2 and 3 (5.5.3); stage 2 where the
risk has risen significantly since origination (5.5.9), told by 12-month probabilities, which stand in for
lifetime ones (B5.5.13); weighted over scenarios (5.5.17, B5.5.41); 12-month losses are the part of
lifetime losses that default within 12 months causes (B5.5.43); discounted at the effective interest rate
(B5.5.44), for which the loan's own rate stands in: fees are not known. The sum over months is the usual
one (Bellini, IFRS 9 and CECL Credit Risk Modelling and Validation, 2019). Points: Siddiqi, Intelligent
Credit Scoring (2017).
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
    "balance", "months", "monthly_rate", "lgd", "unpaid_instalments", "prepayment", "bad_in_default",
    "late_share", "late_months", "stage_by_arrears", "stage_held", "stage_2_times", "stage_2_from",
    "shift_downturn", "shift_upturn", "weight_downturn", "weight_upturn",
)  # fmt: skip
OUTPUTS = (
    "scorecard_pd", "score", "pd_at_origination", "pd", "pd_lifetime", "stage_without_cure", "stage",
    "exposure_at_default", "loss", "loss_12_months", "loss_lifetime",
)  # fmt: skip
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
    g.op("Mul", "scorecard_pd", "bad_in_default", name="pd_at_origination")
    hazard = _hazard(g)
    _probabilities_and_stages(g, hazard)
    discounted = _discounted_exposure(g)
    of_month = g.op("Sub", 1.0, g.op("Exp", g.op("Neg", hazard)))
    last = g.constant(np.array(2, np.int64))
    alive = g.op("Exp", g.op("Neg", g.op("CumSum", hazard, last, exclusive=1)))  # when the month begins
    loss = g.op("Mul", g.op("Mul", alive, of_month), g.column(discounted, (1,)))
    lifetime = g.op("Mul", g.total(loss, 2), g.column("lgd"))
    year = g.op("Mul", g.total(g.op("Mul", loss, FIRST_YEAR), 2), g.column("lgd"))
    in_default = g.column(g.op("Mul", "exposure_at_default", "lgd"))
    later = g.op("Where", g.op("Less", g.column("stage"), 2.5), lifetime, in_default)
    g.op("Where", g.op("Less", g.column("stage"), 1.5), year, later, name="scenario_losses")
    rest = g.op("Sub", g.op("Sub", 1.0, "weight_downturn"), "weight_upturn")
    weights = g.op("Concat", *(g.column(w) for w in ("weight_downturn", rest, "weight_upturn")), axis=1)
    for losses, name in ((year, "loss_12_months"), (lifetime, "loss_lifetime"), ("scenario_losses", "loss")):
        g.total(g.op("Mul", losses, weights), 1, name=name)


def _hazard(g: Graph) -> str:
    """The hazard of each month by scenario, [rows, 3, 60]; 0 after the last instalment."""
    stays = g.op("Pow", g.column(g.op("Sub", 1.0, "prepayment")), BEFORE)
    year = g.column(g.total(g.op("Mul", stays, FIRST_YEAR), 1))
    share = g.op("Div", stays, year)  # of a month in the hazard of twelve
    by_application = g.op("Mul", g.column(_whole_hazard(g, "pd_at_origination"), (2,)), g.column(share))
    months = g.op("Min", "months", "late_months")
    is_late = g.op("Cast", g.op("Less", BEFORE, g.column(months)), to=TensorProto.DOUBLE)
    by_lateness = g.op("Div", _whole_hazard(g, "late_share"), g.column(months))
    by_lateness = g.op("Mul", g.column(by_lateness, (2,)), g.column(is_late))
    is_due = g.op("Cast", g.op("Less", BEFORE, g.column("months")), to=TensorProto.DOUBLE)
    return g.op("Mul", g.op("Max", by_application, by_lateness), g.column(is_due))


def _whole_hazard(g: Graph, probability: str) -> str:
    """-log(1 - p) of a probability < 1 by scenario, [rows, 3]: p of 0 stays 0, which has no log-odds."""
    odds = g.op("Div", probability, g.op("Sub", 1.0, probability))
    none = g.op("Mul", odds, 0.0)
    shifts = g.op("Concat", *(g.column(s) for s in ("shift_downturn", none, "shift_upturn")), axis=1)
    return g.op("Log", g.op("Add", 1.0, g.op("Mul", g.column(odds), g.op("Exp", shifts))))


def _probabilities_and_stages(g: Graph, hazard: str) -> None:
    """`pd` and `pd_lifetime` of the base scenario, and both stages."""
    base = g.op("Gather", hazard, g.constant(np.array(1, np.int64)), axis=1)
    year, life = (
        g.op("Sub", 1.0, g.op("Exp", g.op("Neg", g.total(considered, 1))))
        for considered in (g.op("Mul", base, FIRST_YEAR), base)
    )
    risen = g.op("GreaterOrEqual", year, g.op("Mul", "pd_at_origination", "stage_2_times"))
    significant = g.op("And", risen, g.op("GreaterOrEqual", year, "stage_2_from"))
    by_risk = g.op("Add", 1.0, g.op("Cast", significant, to=TensorProto.DOUBLE))
    g.op("Max", "stage_by_arrears", by_risk, name="stage_without_cure")
    g.op("Max", "stage_without_cure", "stage_held", name="stage")
    for probability, name in ((year, "pd"), (life, "pd_lifetime")):
        g.op("Where", g.op("Less", "stage", 2.5), probability, 1.0, name=name)


def _discounted_exposure(g: Graph) -> str:
    """What is owed by a loan that defaults in each month, discounted from its end: [rows, 60].

    And `exposure_at_default`. At the loan's own rate the interest of k months takes back as much discount.
    """
    growth = g.op("Add", 1.0, "monthly_rate")
    g.op("Mul", "balance", g.op("Pow", growth, "unpaid_instalments"), name="exposure_at_default")
    whole = g.op("Pow", growth, "months")
    paid, discounted = (
        g.op("Max", g.op("Sub", months, g.column("unpaid_instalments")), 0.0)
        for months in (BEFORE, BEFORE + 1)
    )
    grown = g.op("Pow", g.column(growth), paid)
    owed = g.op("Div", g.op("Sub", g.column(whole), grown), g.column(g.op("Sub", whole, 1.0)))
    left = g.op("Mul", owed, g.column("balance"))
    return g.op("Div", left, g.op("Pow", g.column(growth), discounted))
