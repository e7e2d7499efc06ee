"""Exceptions and their tests: SQL and graph, held to vartests, to SciPy and to the papers' formulas."""

import datetime as dt
import itertools
import shutil
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
import vartests
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import xlogy
from scipy.stats import binom, chi2

from nightscore import Restate, load, query, run
from nightscore.common.errors import Broken
from nightscore.scorers.files.model_file import read_model
from nightscore.scorers.onnx import runtime
from tests.workspace.finance.world import DAYS, REPOSITORY

pytestmark = pytest.mark.slow  # real nights of whole jobs

FOLDER = REPOSITORY / "jobs/finance/market_risk_backtest"
SPEC = yaml.safe_load((FOLDER / "job.yaml").read_text())
OUTPUTS = list(SPEC["model"]["outputs"])
SESSION = runtime.open_session(
    read_model(REPOSITORY / "data/models/finance/coverage_tests.onnx", "coverage_tests.onnx"), "cpu", 1
)
INPUTS = [one.name for one in SESSION.get_inputs()]
FIRST = dt.date(2020, 1, 1)
SHORTFALL = 100.01 / 125


def outcomes(exceptions: list[bool]) -> pd.DataFrame:
    """What the nights of some days would have published, one row a day: counted by pandas."""
    flags = pd.Series(exceptions, dtype=bool)
    before = flags.shift(1)
    table = pd.DataFrame(
        {
            "desk": "firm",
            "day": [FIRST + dt.timedelta(days=i + 1) for i in range(len(flags))],
            "is_exception": flags,
            "shortfall": np.where(flags, SHORTFALL, 0.0),
            "since": FIRST + dt.timedelta(days=1),
            "days": np.arange(1, len(flags) + 1),
            "exceptions": flags.cumsum(),
            "quiet_quiet": ((before == False) & ~flags).cumsum(),  # noqa: E712 - the first day has no day before
            "quiet_exception": ((before == False) & flags).cumsum(),  # noqa: E712
            "exception_quiet": ((before == True) & ~flags).cumsum(),  # noqa: E712
            "exception_exception": ((before == True) & flags).cumsum(),  # noqa: E712
            "shortfalls": np.where(flags, SHORTFALL, 0.0).cumsum(),
        }
    )
    for kind in ("actual", "975", "975_actual"):
        table[f"is_exception_{kind}"] = table["is_exception"]
        table[f"exceptions_{kind}"] = table["exceptions"]
    return table


def night(
    past: pd.DataFrame, losses: tuple[float, float], desk: str = "firm"
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The outcomes and the backtest that the job would publish after some past: its SQL and its graph.

    `losses` are today's by hypothetical and actual P&L; VaR is 100 at 99 % and 80 at 97.5 %, ES is 125.
    """
    held_on = FIRST + dt.timedelta(days=len(past))
    day = held_on + dt.timedelta(days=1)
    sql = duckdb.connect()
    inputs = {
        "risk": {"desk": desk, "day": held_on, "var_99": 100.0, "var_975": 80.0, "es_975": 125.0},
        "hypothetical": {"desk": desk, "day": day, "held_on": held_on, "hypothetical_pnl": -losses[0]},
        "actual": {"desk": desk, "symbol": "all", "actual_pnl": -losses[1]},
    }
    for name, row in inputs.items():
        columns = {"day": "DATE"} | SPEC["inputs"][name]["columns"]
        values = [row.get(column) for column in columns]
        sql.execute(f"CREATE TABLE {name} ({', '.join(f'{c} {t}' for c, t in columns.items())})")
        sql.execute(f"INSERT INTO {name} VALUES ({', '.join('?' for _ in values)})", values)
    columns = {"day": "DATE"} | SPEC["inputs"]["past"]["columns"]
    sql.execute(f"CREATE TABLE past ({', '.join(f'{c} {t}' for c, t in columns.items())})")
    if len(past):
        sql.register("given", past.assign(desk=desk))
        sql.execute(
            "INSERT INTO past BY NAME SELECT * REPLACE (day::DATE AS day, since::DATE AS since) FROM given"
        )
    sql.execute(f"SET VARIABLE day = DATE '{day}'")
    counts = sql.sql((FOLDER / "exceptions.sql").read_text()).to_arrow_table()
    found = runtime.run_session(SESSION, OUTPUTS, {name: counts[name].to_numpy() for name in INPUTS}, "cpu")
    scores = counts.select(["desk", "span", *SPEC["keep"]])
    for name, values in zip(OUTPUTS, found, strict=True):
        scores = scores.append_column(name, [values])
    sql.register("scores", scores)
    kept = sql.sql((FOLDER / "outcomes.sql").read_text()).df().assign(day=day)
    [row] = sql.sql((FOLDER / "backtest.sql").read_text()).to_arrow_table().to_pylist()
    return kept[list(columns)], dict(row)


def backtested(exceptions: list[bool], desk: str = "firm") -> dict[str, Any]:
    """The row that the job would publish after days of which some were exceptions."""
    loss = 100.01 if exceptions[-1] else 50.0
    return night(outcomes(exceptions[:-1]), (loss, loss), desk)[1]


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
    assert (row["all_days"], row["all_exceptions"]) == (n, x)
    for name in ("kupiec_p", "independence_p", "coverage_p", "binomial_p", "z2"):
        assert row[f"all_{name}"] == pytest.approx(row[name], rel=1e-9)
    assert row["z2"] == pytest.approx(1 - x * SHORTFALL / (0.025 * n), rel=1e-9)
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
    row = backtested([True] * 60 + quiet + [True] * exceptions)
    plus = {5: 0.20, 6: 0.26, 7: 0.33, 8: 0.38, 9: 0.42}.get(exceptions, 0.0 if exceptions < 5 else 0.5)
    assert (row["zone"], row["days"], row["all_exceptions"]) == (zone, 250, 60 + exceptions)
    assert float(row["multiplier"]) == pytest.approx(1.5 + plus)
    assert row["keeps_model"] is None
    early = backtested([True] * min(exceptions, 249) + quiet[:-1])
    assert early["zone"] is early["multiplier"] is None


@pytest.mark.parametrize(
    ("exceptions", "keeps"), [(0, True), (12, True), (13, False), (30, False), (31, False)]
)
def test_a_desk_has_the_rule_of_12_and_30_and_no_zone(exceptions: int, keeps: bool) -> None:
    """MAR32: more than 12 at 99 % and a desk loses its model; the firm alone has zone and multiplier."""
    row = backtested([False] * (250 - exceptions) + [True] * exceptions, "options")
    assert (row["keeps_model"], row["zone"], row["multiplier"]) == (keeps, None, None)
    assert backtested([True] * 20 + [False] * 229, "options")["keeps_model"] is None


@pytest.mark.parametrize(("at_975", "keeps"), [(30, True), (31, False)])
def test_exceptions_at_975_count_by_themselves(at_975: int, keeps: bool) -> None:
    """No loss beyond the 99 % VaR, and 30 or 31 beyond the 97.5 % one."""
    past = outcomes([False] * 249)
    past["is_exception_975"] = [True] * (at_975 - 1) + [False] * (250 - at_975)
    _, row = night(past, (80.01, 50.0), "options")
    assert (row["worst_exceptions"], row["worst_exceptions_975"], row["keeps_model"]) == (0, at_975, keeps)


def test_the_worse_of_hypothetical_and_actual_counts() -> None:
    """Ten exceptions by actual P&L and none by hypothetical: red, and no test by hypothetical says so."""
    past = outcomes([False] * 249)
    past["is_exception_actual"] = [True] * 9 + [False] * 240
    _, row = night(past, (50.0, 100.01))
    assert (row["exceptions"], row["exceptions_actual"], row["worst_exceptions"]) == (0, 10, 10)
    assert (row["zone"], float(row["multiplier"]), row["is_exception"]) == ("red", 2.0, False)


@pytest.mark.parametrize("days", [1, 40, 250, 1000, 2011])
def test_the_power_of_the_tests_is_scipy_s(days: int) -> None:
    """Of 5 % tests against a VaR of 98 %: the chance of a number of exceptions that they refuse."""
    row = backtested([False] * days)
    k = np.arange(days + 1)
    likelihood = 2 * (xlogy(k, k / days / 0.01) + xlogy(days - k, (1 - k / days) / 0.99))
    power = binom.pmf(k[chi2.sf(likelihood, 1) < 0.05], days, 0.02).sum()
    assert row["all_kupiec_power"] == pytest.approx(power, rel=1e-9, abs=1e-12)
    least = next(x for x in range(days + 2) if binom.sf(x - 1, days, 0.01) <= 0.05)
    assert row["all_binomial_power"] == pytest.approx(binom.sf(least - 1, days, 0.02), rel=1e-9, abs=1e-12)


def test_counts_go_on_from_the_night_before() -> None:
    """60 nights, each from what the one before published: the same as counted from the start by pandas."""
    random = np.random.default_rng(7)
    losses = random.uniform(0, 120, 60)
    past = pd.DataFrame()
    for loss in losses:
        kept, row = night(past, (loss, loss))
        past = pd.concat([past, kept], ignore_index=True)
    beyond, wanted = losses > 100, outcomes([bool(loss > 100) for loss in losses])
    counted = ["days", "exceptions", *[n for n in INPUTS if "_" in n]]
    pd.testing.assert_frame_equal(past[counted], wanted[counted], check_dtype=False)
    assert row["all_exceptions"] == beyond.sum() == row["exceptions"]
    assert row["all_exceptions_975"] == (losses > 80).sum()
    z2 = 1 - (np.round(losses, 2)[losses > 80] / 125).sum() / (0.025 * 60)
    assert row["all_z2"] == pytest.approx(z2, rel=1e-9)


def test_clusters_are_found() -> None:
    """Five exceptions in a row are refused as independent, five far apart are not; coverage is the same."""
    row = [False] * 245 + [True] * 5
    apart = ([True] + [False] * 49) * 5
    assert backtested(row)["independence_p"] < 1e-6
    assert backtested(apart)["independence_p"] > 0.5
    assert backtested(row)["kupiec_p"] == pytest.approx(backtested(apart)["kupiec_p"])


def test_the_loss_of_a_day_is_held_to_the_var_of_the_day_before(whole: Path) -> None:
    """The second night's row of each desk: that night's hypothetical P&L, the first night's VaR."""
    rows = query(
        "SELECT backtest.desk, backtest.var_99 = risk.var_99 AS is_before, "
        "backtest.actual_pnl = explained.actual_pnl AS is_actual, "
        "backtest.hypothetical_pnl = hypothetical.hypothetical_pnl AS is_today, is_exception, days "
        "FROM market_risk_backtest AS backtest "
        f"JOIN market_risk AS risk ON risk.desk = backtest.desk AND risk.day = DATE '{DAYS[0]}' "
        "JOIN market_risk_hypothetical AS hypothetical ON hypothetical.desk = backtest.desk "
        "AND hypothetical.day = backtest.day "
        "JOIN pnl_explain AS explained ON explained.desk = backtest.desk AND explained.day = backtest.day "
        "AND explained.symbol = 'all' ORDER BY 1",
        whole,
    ).to_pylist()
    assert [row["desk"] for row in rows] == ["cash equity", "firm", "hedging", "market making", "options"]
    assert all(row["is_before"] and row["is_today"] and row["is_actual"] and row["days"] == 1 for row in rows)


def test_the_first_day_has_nothing_to_be_held_to(whole: Path) -> None:
    """No VaR of the day before: an empty day is published, and the audit warns."""
    receipts = query(
        "SELECT status, rows_scored, audits_failed FROM receipts "
        f"WHERE job = 'market_risk_backtest' AND day = DATE '{DAYS[0]}'",
        whole,
    )
    assert [(row["status"], row["rows_scored"]) for row in receipts.to_pylist()] == [("published", 0)]


def test_what_is_run_again_once_the_day_is_known_moves_no_backtest(whole: Path, tmp_path: Path) -> None:
    """The first night is closed; published again with another model, the backtest keeps to the first."""
    root = tmp_path / "w"
    shutil.copytree(whole, root)
    said = "SELECT desk, var_99, var_975, es_975, is_exception FROM market_risk_backtest ORDER BY desk"
    before = query(said, root).to_pylist()
    job, how = load("market_risk", workspace=root), {"simulation": "historical", "rate_shift": 0.01}
    with pytest.raises(Broken, match="is closed"):
        run(job, DAYS[0], params=how)
    run(job, DAYS[0], params=how, restate=Restate("another model, once the day was known", by="a validator"))
    restated = query(f"SELECT var_99 FROM market_risk WHERE day = DATE '{DAYS[0]}' AND desk = 'firm'", root)
    [firm] = [row for row in before if row["desk"] == "firm"]
    assert restated["var_99"][0].as_py() != firm["var_99"]
    backtest = load("market_risk_backtest", workspace=root)
    assert run(backtest, DAYS[1]).run_id == run(load("market_risk_backtest", workspace=whole), DAYS[1]).run_id
    run(backtest, DAYS[1], force=True, restate=Restate("once more", by="a validator"))
    assert query(said, root).to_pylist() == before
