"""Figures of docs/finance.md, of what holds and what does not: each is one that the metrics files have."""

import json
from typing import Any

import pytest

from tests.workspace.finance.volatility import METRICS
from tests.workspace.finance.world import REPOSITORY

MODELS = REPOSITORY / "data/models/finance"
SECTION = " ".join(
    (REPOSITORY / "docs/finance.md").read_text(encoding="utf-8")
    .partition("## What holds, and what does not")[2]
    .partition("\n## ")[0]
    .split()
)  # fmt: skip


def metrics(name: str) -> dict[str, Any]:
    """A metrics file."""
    return dict(json.loads((MODELS / f"{name}_metrics.json").read_text()))


def percent(share: float, digits: int = 1) -> str:
    """As README writes a share."""
    return f"{100 * share:.{digits}f} %"


def gain(who: str, name: str) -> str:
    """The model's loss against another's, with Diebold and Mariano's t."""
    found = METRICS["against"][who][name]
    return f"{percent(found['gain'])}, t {found['t']:.1f}"


def test_volatility() -> None:
    """Against RiskMetrics and GJR-GARCH, coverage in clustered errors, how often a review is asked for."""
    who = "GJR-GARCH, skewed t, 2000 to 2014"
    smooth = METRICS["against"]["EWMA 0.94, empirical"]["quantile_1"]
    assert f"{percent(smooth['gain'])} at the 1 % quantile, t {smooth['t']:.1f})" in SECTION
    five = f"at the 5 % quantile {gain(who, 'quantile_5')}"
    assert f"GJR-GARCH ({gain(who, 'quantile_1')}; {five}" in SECTION
    below = METRICS["figures"]["model"]["quantile_1"]
    errors = (below["below"] - 0.01) / below["below_error"]
    share = percent(below["below"], 2)
    assert f"{share} of returns are below the 1 % quantile: {errors:.1f} standard errors" in SECTION
    asked = METRICS["reviews"]
    right = asked["of_a_right_model"]
    assert f"on {percent(right['anything'])} of the nights of a right model" in SECTION
    assert f"on {percent(right['found']['0.8'], 0)} where volatilities are a fifth too low" in SECTION
    assert f"on {percent(asked['anything'])} of those since 2015" in SECTION


def test_vega() -> None:
    """The proxy beside the VIX in the years that it had not seen."""
    found = metrics("implied_volatility")["figures"]["the proxy"]["not seen"]["correlation"]
    assert f"correlate {found:.2f} with the VIX's" in SECTION


def test_returns() -> None:
    """Rank correlations, their t, and the share of right signs."""
    figures = metrics("returns")["figures"]
    for name, called in (("ridge regression", "ridge"), ("boosted trees", "trees")):
        found = figures[name]
        assert f"{found['rank_ic']:.3f} (t {found['t']:.1f}) by {called}" in SECTION
        assert f"right on {percent(found['hits'])} of days" in SECTION
        assert f'"always up" is on {percent(found["always_up"])}' in SECTION


@pytest.mark.parametrize(("name", "model"), [("credit", "scorecard"), ("credit_default", "boosted trees")])
def test_credit(name: str, model: str) -> None:
    """No better than the sub-grade: the interval of the difference holds 0."""
    low, high = metrics(name)["out_of_fold"][model]["against_sub_grade_interval"]
    assert low < 0 < high and "as the lender's own sub-grade does, no better" in SECTION
