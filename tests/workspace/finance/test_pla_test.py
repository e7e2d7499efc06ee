"""The P&L attribution test: its SQL held to SciPy, and 250 real days of the book to the zones of the rule."""

import datetime as dt
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp, spearmanr

from nightscore import load, query, run
from tests.workspace.finance.greeks import greeks
from tests.workspace.finance.recount import Recount
from tests.workspace.finance.world import DAYS, REPOSITORY, add_jobs

pytestmark = pytest.mark.slow  # real nights of whole jobs

FOLDER = REPOSITORY / "jobs/finance/pla_test"
SPEC = yaml.safe_load((FOLDER / "job.yaml").read_text())
FIRST = dt.date(2020, 1, 1)

Numbers = np.ndarray[Any, np.dtype[Any]]


def verdicts(pnl: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What the job would publish of desks' hypothetical and risk-theoretical P&L by day: its SQL."""
    parts = [
        pd.DataFrame(
            {
                "desk": desk,
                "symbol": "all",
                "day": [FIRST + dt.timedelta(days=i) for i in range(len(hypothetical))],
                "hypothetical_pnl": hypothetical,
                "risk_theoretical_pnl": theoretical,
            }
        )
        for desk, (hypothetical, theoretical) in pnl.items()
    ]
    sql = duckdb.connect()
    sql.register("given", pd.concat(parts))
    money = ", ".join(f"{x}::DECIMAL(18, 2) AS {x}" for x in ("hypothetical_pnl", "risk_theoretical_pnl"))
    sql.execute(f"CREATE TABLE explained AS SELECT * REPLACE ({money}, day::DATE AS day) FROM given")
    sql.execute("CREATE TABLE scores AS " + (FOLDER / "attribution.sql").read_text())
    rows = sql.sql((FOLDER / "zones.sql").read_text()).to_arrow_table().to_pylist()
    return {row["desk"]: row for row in rows}


def assert_is_scipy_s(row: dict[str, Any], hypothetical: Numbers, theoretical: Numbers) -> None:
    """Of the last 250 days: Spearman's correlation, the distance of Kolmogorov and Smirnov, the share."""
    last, other = hypothetical[-250:], theoretical[-250:]
    assert row["days"] == len(last)
    assert row["ks"] == pytest.approx(ks_2samp(last, other).statistic, abs=1e-12)
    if len(set(last)) > 1 and len(set(other)) > 1:
        assert row["spearman"] == pytest.approx(spearmanr(last, other).statistic, abs=1e-9)
    else:
        assert row["spearman"] is None
    if len(set(last)) > 1:
        wanted = np.std(last - other, ddof=1) / np.std(last, ddof=1)
        assert row["unexplained_share"] == pytest.approx(wanted, rel=1e-9, abs=1e-12)


def by_desk(recount: Recount, at: int) -> dict[str, Numbers]:
    """Hypothetical P&L and what QuantLib's greeks make of it, on trading day `at`, by desk."""
    book, pnl = recount.hypothetical(str(recount.closes.index[at]))
    column = recount.closes.columns.get_indexer(book["symbol"])
    risen, grown = (
        (table[at] - table[at - 1])[column] for table in (recount.closes.to_numpy(), recount.volatility)
    )
    delta, gamma, vega, _, _, vanna, volga = greeks(recount, book, at - 1).T
    explained = (
        delta * risen + gamma * risen**2 / 2 + vega * grown + vanna * risen * grown + volga * grown**2 / 2
    )
    theoretical = book["quantity"].to_numpy() * explained
    both = pd.DataFrame({"hypothetical": pnl, "theoretical": theoretical})
    sums = both.groupby(book["desk"].to_numpy()).sum()
    return {desk: sums.loc[desk].to_numpy() for desk in sums.index} | {"firm": both.sum().to_numpy()}


CENTS = st.integers(-400, 400).map(lambda x: x / 4)


@settings(max_examples=40)
@given(st.lists(st.tuples(CENTS, CENTS), min_size=1, max_size=60))
def test_correlation_and_distance_are_scipy_s(pairs: list[tuple[float, float]]) -> None:
    """With ties within and between the two."""
    hypothetical, theoretical = np.array(pairs).T
    assert_is_scipy_s(verdicts({"firm": (hypothetical, theoretical)})["firm"], hypothetical, theoretical)


def test_zones_are_the_rule_s() -> None:
    """Green, amber, red by correlation and by distance, of the last 250 days; before that, none."""
    random = np.random.default_rng(3)
    base = np.round(random.standard_normal(300) * 1e4, 2)
    noise = np.round(random.standard_normal(300) * 1e4, 2)
    given = {
        "green": (base, np.round(base + 0.1 * noise, 2)),
        "amber by ks": (base, np.round(1.35 * base, 2)),
        "red by ks": (base, np.round(2.2 * base, 2)),
        "red by spearman": (base, np.round((base + 1.3 * noise) / np.hypot(1, 1.3), 2)),
        "few": (base[:249], base[:249]),
    }
    found = verdicts(given)
    for desk, row in found.items():
        assert_is_scipy_s(row, *given[desk])
        assert row["zone"] == (None if desk == "few" else desk.split()[0])
    assert found["amber by ks"]["spearman"] == pytest.approx(1)
    assert found["red by spearman"]["ks"] <= 0.12


def test_every_desk_of_the_real_book_is_green(recount: Recount) -> None:
    """250 days of the recount's prices and QuantLib's greeks; no more than 5 % are unexplained."""
    at = recount.index(DAYS[1])
    days = [by_desk(recount, i) for i in range(at - 249, at + 1)]
    pnl = {desk: np.array([day[desk] for day in days]).round(2).T for desk in days[0]}
    found = verdicts(pnl)
    assert len(found) == 5
    for desk, row in found.items():
        assert_is_scipy_s(row, *pnl[desk])
        assert row["zone"] == "green"
        assert row["unexplained_share"] <= 0.05


def test_the_job_tests_what_pnl_explain_has_published(explained: Path) -> None:
    """Of the days that there are; a desk that is not there would hold it."""
    add_jobs(explained, "pla_test")
    run(load("pla_test", workspace=explained), DAYS[1])
    rows = query("SELECT desk, days, zone FROM pla_test ORDER BY desk", explained).to_pylist()
    desks = ("cash equity", "firm", "hedging", "market making", "options")
    assert rows == [{"desk": desk, "days": 2, "zone": None} for desk in desks]
