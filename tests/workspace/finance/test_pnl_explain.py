"""The lines of a day's P&L and the greeks by desk, held to QuantLib's greeks and to the recount's prices."""

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
import yaml

from nightscore import load, query, run
from tests.workspace.finance.greeks import GREEKS, greeks
from tests.workspace.finance.recount import Recount
from tests.workspace.finance.world import DAYS, REPOSITORY, add_jobs, make_workspace

pytestmark = pytest.mark.slow  # real nights of whole jobs

SPEC = yaml.safe_load((REPOSITORY / "jobs/finance/pnl_explain/job.yaml").read_text())
LINES = ("opening", *GREEKS, "unexplained", "new", "closed", "expired", "closing")
PNL = ("actual_pnl", "hypothetical_pnl", "risk_theoretical_pnl", "gross")
# After an expiry on Good Friday, no trading day; when the rate rose; when options expired at the close.
SPECIAL = ("2022-04-18", "2022-12-15", "2022-12-16")

Numbers = np.ndarray[Any, np.dtype[Any]]


@pytest.fixture(scope="module")
def special(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three days of a larger book."""
    root = make_workspace(tmp_path_factory.mktemp("special"), positions=300, since=dt.date(2019, 2, 15))
    add_jobs(root, "pnl_explain")
    for day in SPECIAL:
        for job in ("volatility", "pnl_explain"):
            run(load(job, workspace=root), day)
    return root


def published(root: Path, day: str, table: str = "pnl_explain") -> pd.DataFrame:
    """A table's rows of all stocks, by desk."""
    rows = query(f"SELECT * FROM {table} WHERE day = DATE '{day}' AND symbol = 'all'", root).to_pandas()
    return rows.set_index("desk")


def _instant(spot_step: Numbers, volatility_step: Numbers) -> list[Numbers]:
    """What delta, gamma, vega, vanna and volga are multiplied by."""
    squares = spot_step**2 / 2, volatility_step**2 / 2
    return [spot_step, squares[0], volatility_step, spot_step * volatility_step, squares[1]]


def explained_lines(recount: Recount, day: str) -> pd.DataFrame:
    """The lines once more, a row a position: from the table's description, not from the SQL."""
    at = recount.index(day)
    yesterday, today = recount.closes.index[at - 1], recount.closes.index[at]
    closes, volatility = recount.closes.to_numpy(), recount.volatility
    book = recount.book(yesterday)
    column = recount.closes.columns.get_indexer(book["symbol"])
    quantity, expiry = book["quantity"].to_numpy(), pd.to_datetime(book["expiry"])
    is_expired = (expiry <= pd.Timestamp(today)).to_numpy()
    is_stale = (expiry < pd.Timestamp(today)).to_numpy()  # expired before today's close was known
    spot = np.where(is_stale, closes[at - 1][column], closes[at][column])
    implied = np.where(is_stale, volatility[at - 1][column], volatility[at][column])
    right = np.where(book["kind"] == "put", -1, 1)
    payoff = np.maximum(right * (spot - book["strike"].to_numpy()), 0)
    before = recount.values(book, yesterday, closes[at - 1], volatility[at - 1])
    moved = recount.values(book, yesterday, closes[at], volatility[at])
    with np.errstate(invalid="ignore"):
        after = np.where(is_expired, payoff, recount.values(book, today, closes[at], volatility[at]))
    days = np.where(is_expired, (expiry - pd.Timestamp(yesterday)).dt.days, (today - yesterday).days)
    steps = spot - closes[at - 1][column], implied - volatility[at - 1][column]
    factor = greeks(recount, book, at - 1)
    rate_step = recount.rate(today) - recount.rate(yesterday)
    still = np.zeros(len(book))
    moves = np.column_stack([*_instant(*steps)[:3], days / 365, still + rate_step, *_instant(*steps)[3:]])
    risen = closes[at][column] - closes[at - 1][column]
    grown = volatility[at][column] - volatility[at - 1][column]
    moved_alone = _instant(risen, grown)
    instant = np.column_stack([*moved_alone[:3], still, still, *moved_alone[3:]])
    theoretical = (factor * instant).sum(axis=1)
    held = book["position_id"].isin(recount.book(today)["position_id"]).to_numpy()
    rows = {name: quantity * (factor * moves)[:, i] for i, name in enumerate(GREEKS)}
    rows |= {"opening": quantity * before, "new": 0 * before, "actual_pnl": quantity * (after - before)}
    rows |= {"hypothetical_pnl": quantity * (moved - before), "risk_theoretical_pnl": quantity * theoretical}
    rows |= {"gross": np.abs(quantity * before), "expired": np.where(is_expired, -quantity * after, 0)}
    rows |= {"closed": np.where(held | is_expired, 0, -quantity * after)}
    rows |= {"closing": np.where(held, quantity * after, 0)}
    gone = pd.DataFrame({"desk": book["desk"].to_numpy()} | rows)
    bought = recount.book(today).query("position_id not in @book.position_id")
    worth = bought["quantity"].to_numpy() * recount.values(bought, today, closes[at], volatility[at])
    came = pd.DataFrame({"desk": bought["desk"].to_numpy(), "new": worth, "closing": worth})
    return pd.concat([gone, came]).fillna(0.0)


@pytest.mark.parametrize("day", SPECIAL)
def test_every_line_is_a_recount_s_with_quantlib_s_greeks(special: Path, day: str) -> None:
    """Each desk and the firm, on days with new and closed positions, payoffs, a rate that rose."""
    lines = explained_lines(Recount(special / "data/lake/finance"), day)
    wanted = lines.groupby("desk").sum()
    wanted.loc["firm"] = wanted.sum()
    wanted["unexplained"] = wanted["actual_pnl"] - wanted[list(GREEKS)].sum(axis=1)
    found = published(special, day)[[*LINES, *PNL]].astype(np.float64)
    assert set(found.index) == set(wanted.index)
    np.testing.assert_allclose(found, wanted.loc[found.index, found.columns], rtol=0, atol=0.25)
    firm = found.loc["firm"]
    assert all(firm[name] != 0 for name in ("new", "closed", "theta", "unexplained"))
    assert ((firm["rho"] != 0), (firm["expired"] != 0)) == (day == SPECIAL[1], day != SPECIAL[1])


@pytest.mark.parametrize("day", DAYS)
def test_lines_add_up_to_the_cent(explained: Path, day: str) -> None:
    """The first ten of each row to the eleventh, stocks to desks, desks to the firm: in decimals."""
    rows = query(f"SELECT * FROM pnl_explain WHERE day = DATE '{day}'", explained).to_pylist()
    for row in rows:
        assert sum((row[name] for name in LINES[:-1]), Decimal(0)) == row["closing"]
    stocks, desks, firm = (
        [row for row in rows if (row["desk"] == "firm", row["symbol"] == "all") == level]
        for level in ((False, False), (False, True), (True, True))
    )
    assert (len(firm), len(desks)) == (1, 4) and len(stocks) > 40
    for name in (*LINES, *PNL):
        assert sum(row[name] for row in stocks) == sum(row[name] for row in desks) == firm[0][name]


def test_values_and_hypothetical_pnl_are_those_of_market_risk(explained: Path) -> None:
    """To the cent, by desk; and today's opening is what the day before closed at."""
    lines = published(explained, DAYS[1])
    for table, ours in (("market_risk", "closing"), ("market_risk_hypothetical", "hypothetical_pnl")):
        theirs = query(f"SELECT * FROM {table} WHERE day = DATE '{DAYS[1]}'", explained).to_pandas()
        name = "value" if table == "market_risk" else ours
        assert theirs.set_index("desk")[name].to_dict() == lines[ours].to_dict()
    assert lines["opening"].to_dict() == published(explained, DAYS[0])["closing"].to_dict()


def test_greeks_by_desk_are_quantlib_s_in_the_units_that_the_table_says(
    explained: Path, recount: Recount
) -> None:
    """US dollars: for 1 %, for a point of volatility, for a day, for a basis point."""
    at = recount.index(DAYS[1])
    book = recount.book(recount.closes.index[at])
    spot = recount.closes.to_numpy()[at][recount.closes.columns.get_indexer(book["symbol"])]
    units = np.column_stack(
        [spot / 100, (spot / 100) ** 2, *np.full((3, len(book)), [[0.01], [1 / 365], [1e-4]])]
    )
    wanted = pd.DataFrame(greeks(recount, book, at)[:, :5] * units * book["quantity"].to_numpy()[:, None])
    by_desk = wanted.groupby(book["desk"].to_numpy()).sum()
    by_desk.loc["firm"] = wanted.sum()
    found = published(explained, DAYS[1], "greeks")
    names = [
        "delta_per_percent",
        "gamma_per_percent",
        "vega_per_point",
        "theta_per_day",
        "rho_per_basis_point",
    ]
    assert set(found.index) == set(by_desk.index)
    np.testing.assert_allclose(found[names].astype(np.float64), by_desk.loc[found.index], rtol=0, atol=0.25)


@pytest.mark.parametrize("greek", [None, *GREEKS])
def test_a_greek_that_is_off_by_a_thousandth_fails_the_audit(explained: Path, greek: str | None) -> None:
    """Whichever it is; as they were scored they pass."""
    [audit] = [one["sql"] for one in SPEC["audit"] if one["name"].startswith("greeks are what")]
    sql = duckdb.connect()
    scores = query(f"SELECT * FROM pnl_explain_scores WHERE day = DATE '{DAYS[1]}'", explained)
    sql.register("given", scores)
    wrong = f"REPLACE ({greek} * 1.001 AS {greek})" if greek else ""
    sql.execute(f"CREATE TABLE scores AS SELECT * {wrong} FROM given")
    assert sql.sql("SELECT count(*) >= 3 FROM scores WHERE state = 'rate-'").fetchall() == [(True,)]
    assert sql.sql(audit).fetchall() == [(greek is None,)]
