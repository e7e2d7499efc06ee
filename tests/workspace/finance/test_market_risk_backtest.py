"""Exceptions and their tests: SQL and graph, held to vartests, to SciPy and to the papers' formulas."""

import datetime as dt
import itertools
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest
import vartests
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import xlogy
from scipy.stats import chi2

from nightscore import query
from nightscore.scorers.model_file import read_model
from nightscore.scorers.onnx import runtime
from tests.workspace.finance.world import DAYS, REPOSITORY

FOLDER = REPOSITORY / "jobs/finance/market_risk_backtest"
SPEC = yaml.safe_load((FOLDER / "job.yaml").read_text())
OUTPUTS = list(SPEC["model"]["outputs"])
SESSION = runtime.open_session(
    read_model(REPOSITORY / "data/models/finance/coverage_tests.onnx", "coverage_tests.onnx"), "cpu", 1
)
INPUTS = [one.name for one in SESSION.get_inputs()]
FIRST = dt.date(2020, 1, 1)


def backtested(exceptions: list[bool]) -> dict[str, Any]:
    """The row that the job would publish after days of which some were exceptions: its SQL and its graph."""
    days = [FIRST + dt.timedelta(days=i) for i in range(len(exceptions) + 1)]
    risk = pd.DataFrame({"desk": "firm", "day": days[:-1], "var_99": 100.0})
    hypothetical = pd.DataFrame(
        {
            "desk": "firm",
            "day": days[1:],
            "held_on": days[:-1],
            "hypothetical_pnl": [-100.01 if one else -100.0 for one in exceptions],
        }
    )
    sql = duckdb.connect()
    sql.register("given_risk", risk)
    sql.register("given_hypothetical", hypothetical)
    for name in ("risk", "hypothetical"):
        sql.execute(f"CREATE TABLE {name} AS SELECT * REPLACE (day::DATE AS day) FROM given_{name}")
    sql.execute(f"SET VARIABLE day = DATE '{days[-1]}'")
    counts = sql.sql((FOLDER / "exceptions.sql").read_text()).to_arrow_table()
    feeds = {name: counts[name].to_numpy() for name in INPUTS}
    found = runtime.run_session(SESSION, OUTPUTS, feeds, "cpu")
    scores = counts.select(["desk", *SPEC["keep"]])
    for name, values in zip(OUTPUTS, found, strict=True):
        scores = scores.append_column(name, [values])
    sql.register("scores", scores)
    [row] = sql.sql((FOLDER / "backtest.sql").read_text()).to_arrow_table().to_pylist()
    return dict(row)


def independence(exceptions: list[bool]) -> float:
    """Christoffersen (1998), equations 9 to 11, by counting pairs."""
    pairs = list(itertools.pairwise(exceptions))
    n = {(a, b): pairs.count((a, b)) for a in (False, True) for b in (False, True)}

    def likelihood(quiet: int, loud: int) -> float:
        share = loud / max(quiet + loud, 1)
        return float(xlogy(quiet, 1 - share) + xlogy(loud, share))

    free = likelihood(n[False, False], n[False, True]) + likelihood(n[True, False], n[True, True])
    held = likelihood(n[False, False] + n[True, False], n[False, True] + n[True, True])
    return 2 * (free - held)


@settings(max_examples=40)
@given(st.integers(1, 250), st.sets(st.integers(0, 249), max_size=20))
def test_the_tests_are_those_of_vartests_and_of_the_paper(days: int, loud: set[int]) -> None:
    """Kupiec and the exact binomial as vartests; independence, coverage and p-values as SciPy."""
    exceptions = [day in loud for day in range(days)]
    row = backtested(exceptions)
    x, n = sum(exceptions), len(exceptions)
    kupiec = vartests.kupiec_test(x=x, n=n, risk_conf_level=0.99)
    binomial = vartests.binomial_test(x=x, n=n, risk_conf_level=0.99)
    assert (row["days"], row["exceptions"], row["is_exception"]) == (n, x, exceptions[-1])
    assert row["kupiec"] == pytest.approx(kupiec["statistic"], rel=1e-9, abs=1e-9)
    assert row["kupiec_p"] == pytest.approx(kupiec["p-value"], rel=1e-9, abs=1e-6)
    assert row["binomial_p"] == pytest.approx(binomial["p-value"], rel=1e-9)
    assert row["independence"] == pytest.approx(independence(exceptions), rel=1e-9, abs=1e-9)
    assert row["independence_p"] == pytest.approx(chi2.sf(row["independence"], 1), rel=1e-9)
    assert row["coverage"] == pytest.approx(row["kupiec"] + row["independence"], rel=1e-12)
    assert row["coverage_p"] == pytest.approx(chi2.sf(row["coverage"], 2), rel=1e-9)


@pytest.mark.parametrize(
    "exceptions, zone", [(0, "green"), (4, "green"), (5, "yellow"), (9, "yellow"), (10, "red"), (250, "red")]
)
def test_the_zones_are_basel_s(exceptions: int, zone: str) -> None:
    """Of 250 days; what was before them is not counted, and with fewer there is no zone yet."""
    quiet = [False] * (250 - exceptions)
    assert backtested([True] * 60 + quiet + [True] * exceptions)["zone"] == zone
    assert backtested([True] * min(exceptions, 249) + quiet[:-1])["zone"] is None


def test_clusters_are_found() -> None:
    """Five exceptions in a row are refused as independent, five far apart are not; coverage is the same."""
    row = [False] * 245 + [True] * 5
    apart = ([True] + [False] * 49) * 5
    assert backtested(row)["independence_p"] < 1e-6
    assert backtested(apart)["independence_p"] > 0.5
    assert backtested(row)["kupiec_p"] == pytest.approx(backtested(apart)["kupiec_p"])


def test_the_loss_of_a_day_is_held_to_the_var_of_the_day_before(workspace: Path) -> None:
    """The second night's row of each desk: that night's hypothetical P&L, the first night's VaR."""
    rows = query(
        "SELECT backtest.desk, backtest.var_99 = risk.var_99 AS is_before, "
        "backtest.hypothetical_pnl = hypothetical.hypothetical_pnl AS is_today, is_exception, days "
        "FROM market_risk_backtest AS backtest "
        f"JOIN market_risk AS risk ON risk.desk = backtest.desk AND risk.day = DATE '{DAYS[0]}' "
        "JOIN market_risk_hypothetical AS hypothetical ON hypothetical.desk = backtest.desk "
        "AND hypothetical.day = backtest.day ORDER BY 1",
        workspace,
    ).to_pylist()
    assert [row["desk"] for row in rows] == ["cash equity", "firm", "hedging", "market making", "options"]
    assert all(row["is_before"] and row["is_today"] and row["days"] == 1 for row in rows)


def test_the_first_day_has_nothing_to_be_held_to(workspace: Path) -> None:
    """No VaR of the day before: an empty day is published, and the audit warns."""
    receipts = query(
        "SELECT status, rows_scored, audits_failed FROM receipts "
        f"WHERE job = 'market_risk_backtest' AND day = DATE '{DAYS[0]}'",
        workspace,
    )
    assert [(row["status"], row["rows_scored"]) for row in receipts.to_pylist()] == [("published", 0)]
