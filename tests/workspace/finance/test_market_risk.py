"""VaR, ES and P&L of the job, held to a recount in NumPy from the raw prices."""

import datetime as dt
import hashlib
import shutil
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import QuantLib

from nightscore import Restate, features, load, query, run
from nightscore.common.errors import Broken
from nightscore.review.explain import explain_row
from nightscore.review.verify import verify_days
from nightscore.store.published.catalog import read_catalog
from tests.workspace.finance.recount import Recount, es_975, value_at_risk
from tests.workspace.finance.world import DAYS, POSITIONS, make_workspace, run_chain

pytestmark = pytest.mark.slow  # real nights of whole jobs

INPUTS = ("spot", "strike", "rate", "years", "volatility", "right")
DESKS = ("cash equity", "hedging", "market making", "options")


def risk(workspace: Path, day: str) -> pd.DataFrame:
    """The table of a day, by desk; decimals as floats."""
    table = query(f"SELECT * FROM market_risk WHERE day = DATE '{day}' ORDER BY desk", workspace).to_pandas()
    table["pnl"] = [np.array(pnl, np.float64) for pnl in table["pnl"]]
    money = ["value", "var_99", "var_975", "es_975", "component_var_99", "component_es_975"]
    money += ["var_99_historical", "var_975_historical", "es_975_historical"]
    return table.astype(dict.fromkeys(money, np.float64)).set_index("desk")


def scale(workspace: Path, day: str) -> np.ndarray[Any, Any]:
    """Tomorrow's forecast over that of each scenario's own day [500, symbols], the latest move first."""
    now = query(f"SELECT symbol, volatility FROM volatility WHERE day = DATE '{day}' ORDER BY 1", workspace)
    history = query(
        f"SELECT symbol, ago, forecast FROM volatility_history WHERE day = DATE '{day}' AND ago > 0",
        workspace,
    ).to_pandas()
    then = history.pivot_table(index="ago", columns="symbol", values="forecast")
    assert list(then.columns) == now["symbol"].to_pylist()
    return np.asarray(now["volatility"].to_numpy() / then.to_numpy())


def assert_equals_recount(
    found: pd.DataFrame, book: pd.DataFrame, base: np.ndarray[Any, Any], pnl: np.ndarray[Any, Any]
) -> None:
    """Every desk and the firm: to a cent for each position whose cent is rounded the other way."""
    assert set(found.index) == {*book["desk"], "firm"}
    for desk, row in found.iterrows():
        mine = np.ones(len(book), bool) if desk == "firm" else (book["desk"] == desk).to_numpy()
        by_scenario = pnl[mine].sum(axis=0)
        np.testing.assert_allclose(row["pnl"], by_scenario, rtol=0, atol=0.021)
        assert row["positions"] == mine.sum()
        assert row["value"] == pytest.approx(float((book["quantity"] * base)[mine].sum()), abs=0.5)
        assert row["var_99"] == pytest.approx(value_at_risk(by_scenario), abs=0.021)
        assert row["var_975"] == pytest.approx(value_at_risk(by_scenario, 0.975), abs=0.021)
        assert row["es_975"] == pytest.approx(es_975(by_scenario), abs=0.021)
    component = pnl[:, int(found.loc["firm", "scenario"]) - 1]
    for desk in DESKS:
        expected = -component[(book["desk"] == desk).to_numpy()].sum()
        assert found.loc[desk, "component_var_99"] == pytest.approx(expected, abs=0.021)


@pytest.mark.parametrize("day", DAYS)
def test_var_and_es_are_a_recount_s_from_the_raw_prices(workspace: Path, recount: Recount, day: str) -> None:
    """Each desk and the firm: P&L by scenario at today's volatility; value, VaR, ES, component VaR."""
    assert_equals_recount(risk(workspace, day), *recount.pnl(day, scale(workspace, day)))


@pytest.mark.parametrize("day", DAYS)
def test_the_historical_simulation_beside_it_is_a_recount_s(
    workspace: Path, recount: Recount, day: str
) -> None:
    """VaR at both levels and ES by moves as they were, of each desk and the firm, in both jobs' tables."""
    book, base, pnl = recount.pnl(day)
    beside, own = (
        risk(workspace, day),
        query(f"SELECT * FROM historical_simulation WHERE day = DATE '{day}'", workspace)
        .to_pandas()
        .set_index("desk"),
    )
    assert set(own.index) == set(beside.index) == {*DESKS, "firm"}
    for desk, row in beside.iterrows():
        mine = np.ones(len(book), bool) if desk == "firm" else (book["desk"] == desk).to_numpy()
        by_scenario = pnl[mine].sum(axis=0)
        assert row["var_99_historical"] == pytest.approx(value_at_risk(by_scenario), abs=0.021)
        assert row["var_975_historical"] == pytest.approx(value_at_risk(by_scenario, 0.975), abs=0.021)
        assert row["es_975_historical"] == pytest.approx(es_975(by_scenario), abs=0.021)
        assert row["var_99"] != row["var_99_historical"]
        assert float(own.loc[desk, "var_99"]) == row["var_99_historical"]
        assert float(own.loc[desk, "value"]) == row["value"]
        assert own.loc[desk, "positions"] == mine.sum()
        number = int(own.loc[desk, "scenario"])
        assert -by_scenario[number - 1] == pytest.approx(row["var_99_historical"], abs=0.021)
    assert float((book["quantity"] * base).sum()) == pytest.approx(beside.loc["firm", "value"], abs=0.5)


def test_prices_are_the_graph_s_and_quantlib_s(workspace: Path) -> None:
    """Every price by the ONNX graph, every hundredth option's by QuantLib: within 1e-9 of a dollar."""
    job = load("market_risk", workspace=workspace)
    rows = features(job, DAYS[1])
    given = {name: rows[name].to_numpy() for name in INPUTS}
    table = query(
        f"SELECT price FROM market_risk_scores WHERE day = DATE '{DAYS[1]}' ORDER BY position_id, scenario",
        workspace,
    )
    found = table["price"].to_numpy()
    graph = onnxruntime.InferenceSession(workspace / "data/models/finance/black_scholes.onnx")
    assert len(found) > 50_000
    assert np.abs(found - graph.run(["price"], given)[0]).max() <= 1e-9
    options = np.flatnonzero((given["strike"] > 0) & (given["years"] > 0))[::100]
    for i in options:
        spot, strike, rate, years, volatility, right = (given[name][i] for name in INPUTS)
        kind, discount = (QuantLib.Option.Call if right > 0 else QuantLib.Option.Put), np.exp(-rate * years)
        deviation = volatility * np.sqrt(years)
        wanted = QuantLib.blackFormula(kind, strike, spot / discount, deviation, discount)
        assert found[i] == pytest.approx(wanted, rel=0, abs=1e-9)
    assert len(options) > 100


def test_the_receipt_says_which_scorer_it_was(workspace: Path) -> None:
    """The formula's file is the model, by its bytes; `verify` and `why` know the day as any other."""
    job = load("market_risk", workspace=workspace)
    day = dt.date.fromisoformat(DAYS[1])
    receipt = read_catalog(job.workspace).read_receipt("market_risk", day)
    sha256 = hashlib.sha256((workspace / "scorers/black_scholes.py").read_bytes()).hexdigest()
    assert receipt and receipt.model and receipt.variant
    assert (receipt.model.path, receipt.model.sha256) == ("scorers/black_scholes.py", sha256)
    assert receipt.model.code == sha256 and receipt.variant.kind == "scorers/black_scholes.py"
    assert [one.differences for one in verify_days(job.workspace, "market_risk")] == [[], []]
    row = query("SELECT position_id, scenario, price FROM market_risk_scores LIMIT 1", workspace).to_pylist()[
        0
    ]
    key = {name: str(row[name]) for name in job.spec.key}
    found = explain_row(job, dt.date.fromisoformat(DAYS[1]), key)
    assert found.model == receipt.model and found.features and set(INPUTS) <= set(found.features)


def test_filtered_scenarios_are_scaled_by_forecast_volatility(workspace: Path, recount: Recount) -> None:
    """Each log return times tomorrow's forecast over that of its own day; volatilities as without it."""
    day, job = DAYS[0], load("market_risk", workspace=workspace)
    plain, scaled = (
        features(job, day, {"simulation": how}).to_pandas().set_index(job.spec.key)
        for how in ("historical", "filtered")
    )
    symbols = list(recount.closes.columns)
    forecasts = query(f"SELECT * FROM volatility WHERE day = DATE '{day}'", workspace).to_pandas()
    history = query(f"SELECT * FROM volatility_history WHERE day = DATE '{day}'", workspace).to_pandas()
    now = forecasts.set_index("symbol")["volatility"][symbols]
    then = history.pivot_table(index="ago", columns="symbol", values="forecast")[symbols]
    symbol = recount.book(dt.date.fromisoformat(day)).set_index("position_id")["symbol"]
    moved = scaled[scaled.index.get_level_values("scenario") > 0].reset_index()
    names = symbol[moved["position_id"]].to_numpy()
    factor = now[names].to_numpy() / then.stack()[list(zip(moved["scenario"], names, strict=True))].to_numpy()
    at = list(zip(moved["position_id"], moved["scenario"], strict=True))
    close = recount.closes.loc[dt.date.fromisoformat(day)][names].to_numpy()
    wanted = close * (plain.loc[at, "spot"].to_numpy() / close) ** factor
    np.testing.assert_allclose(moved["spot"], wanted, rtol=1e-12)
    assert scaled.drop(columns="spot").equals(plain.drop(columns="spot"))
    assert np.abs(factor - 1).max() > 0.2


def test_hypothetical_pnl_is_that_of_the_book_of_the_day_before(workspace: Path, recount: Recount) -> None:
    """Positions of the 27th, held unchanged, at the closes of the 27th and the 28th."""
    book, pnl = recount.hypothetical(DAYS[1])
    found = query(
        f"SELECT * FROM market_risk_hypothetical WHERE day = DATE '{DAYS[1]}' ORDER BY desk", workspace
    ).to_pandas()
    assert set(found["held_on"].astype(str)) == {DAYS[0]}
    for row in found.itertuples():
        mine = np.ones(len(book), bool) if row.desk == "firm" else (book["desk"] == row.desk).to_numpy()
        assert row.positions == mine.sum()
        assert float(row.hypothetical_pnl) == pytest.approx(pnl[mine].sum(), abs=0.021)


def test_each_book_is_valued_at_the_rate_of_its_own_day(workspace: Path, tmp_path: Path) -> None:
    """Of the latest change up to the day; the book of the day before keeps that day's; a shift adds."""
    root = tmp_path / "w"
    shutil.copytree(workspace, root, ignore=shutil.ignore_patterns("runs"))
    changes = [dt.date(2022, 11, 3), dt.date.fromisoformat(DAYS[1]), dt.date(2022, 12, 29)]
    rates = pd.DataFrame({"since": changes, "rate": [0.03, 0.05, 0.9]})
    rates.to_parquet(root / "data/lake/finance/rates.parquet")
    rows = features(load("market_risk", workspace=root), DAYS[1], {"rate_shift": 0.01}).to_pandas()
    assert set(rows.loc[rows["scenario"] < 0, "rate"]) == {0.03 + 0.01}
    assert set(rows.loc[rows["scenario"] >= 0, "rate"]) == {0.05 + 0.01}


def test_the_latest_scenario_is_today_s_own_move(workspace: Path, recount: Recount) -> None:
    """A share in scenario 1 makes the day's own move once more, at today's volatility, to the cent."""
    shares = query(
        "SELECT symbol, quantity, pnl[1] AS pnl FROM market_risk_pnl "
        f"WHERE day = DATE '{DAYS[1]}' AND kind = 'stock'",
        workspace,
    ).to_pandas()
    before, close = (recount.closes.loc[pd.Timestamp(day).date()] for day in DAYS)
    factor = scale(workspace, DAYS[1])[0]
    move = (close * ((close / before) ** factor - 1))[shares["symbol"]].to_numpy() * shares[
        "quantity"
    ].to_numpy()
    assert len(shares) > POSITIONS / 4
    np.testing.assert_allclose(shares["pnl"].astype(float), move, rtol=0, atol=0.0051)


def test_components_and_desks_add_up_exactly(workspace: Path) -> None:
    """Decimals: to the cent, and to the hundredth of one for ES."""
    table = query(f"SELECT * FROM market_risk WHERE day = DATE '{DAYS[1]}'", workspace).to_pylist()
    [firm] = [row for row in table if row["desk"] == "firm"]
    desks = [row for row in table if row["desk"] != "firm"]
    assert sum(row["component_var_99"] for row in desks) == firm["component_var_99"] == firm["var_99"]
    assert sum(row["component_es_975"] for row in desks) == firm["component_es_975"] == firm["es_975"]
    for k in range(500):
        assert sum((row["pnl"][k] for row in desks), Decimal(0)) == firm["pnl"][k]


@pytest.mark.slow
def test_a_var_that_jumps_is_held(workspace: Path, tmp_path: Path) -> None:
    """With a factor of 1 the second day's VaR differs from the first's: nothing is published."""
    root = shutil.copytree(workspace, tmp_path / "w")
    before = query("SELECT run_id FROM market_risk", root)
    with pytest.raises(Broken, match="VaR is within a factor of that of the day before"):
        run(
            load("market_risk", workspace=root),
            DAYS[1],
            params={"var_factor": 1},
            restate=Restate("a limit that no night keeps to", by="a test"),
        )
    assert query("SELECT run_id FROM market_risk", root).equals(before)


@pytest.mark.slow
def test_a_price_that_came_late_fails_the_night(workspace: Path, tmp_path: Path) -> None:
    """Shares are held to the day's own prices, though their moves come from the table of another job."""
    root = tmp_path / "w"
    shutil.copytree(workspace, root)
    file = root / f"data/lake/finance/prices/day={DAYS[1]}/part-0.parquet"
    table = pq.read_table(file, partitioning=None).to_pandas()
    table.loc[table["symbol"] == "JPM", "close"] += 0.01
    table.to_parquet(file)
    with pytest.raises(Broken, match="shares are worth what they closed at"):
        run(load("market_risk", workspace=root), DAYS[1], restate=Restate("a late price", by="a test"))


@pytest.mark.slow
def test_a_rate_that_is_added_later_changes_no_day(workspace: Path, tmp_path: Path) -> None:
    """Of each job that reads the rates: next year's is nothing to it, and one of before is."""
    root = tmp_path / "w"
    shutil.copytree(workspace, root)
    file = root / "data/lake/finance/rates.parquet"
    rates = pq.read_table(file)

    def add(day: dt.date) -> None:
        row = pa.table({"since": pa.array([day]), "rate": pa.array([0.5])})
        pq.write_table(pa.concat_tables([row, rates]), file)

    readers = ("historical_simulation", "market_risk")
    add(dt.date(2022, 12, 29))
    assert [run(load(job, workspace=root), DAYS[1]).status for job in readers] == ["unchanged"] * 2
    add(dt.date(2022, 12, 28))
    for job in readers:
        with pytest.raises(Broken, match=r"rates\.parquet"):
            run(load(job, workspace=root), DAYS[1])


@pytest.mark.rest
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_month_of_real_nights(tmp_path: Path) -> None:
    """21 trading days, oldest first: every VaR a recount's, every exception what a recount calls one."""
    root = make_workspace(tmp_path, positions=100, since=dt.date(2019, 9, 1))
    recount = Recount(root / "data/lake/finance")
    days = [str(day) for day in recount.closes.index[-21:]]
    for day in days:
        run_chain(root, day)
    wanted = {day: value_at_risk(recount.pnl(day, scale(root, day))[2].sum(axis=0)) for day in days}
    found = query(
        "SELECT CAST(day AS VARCHAR) AS day, CAST(held_on AS VARCHAR) AS held_on, var_99, is_exception, days "
        "FROM market_risk_backtest WHERE desk = 'firm' ORDER BY day",
        root,
    ).to_pylist()
    assert [row["day"] for row in found] == days[1:]
    for i, row in enumerate(found):
        loss = -recount.hypothetical(row["day"])[1].sum()
        assert float(row["var_99"]) == pytest.approx(wanted[row["held_on"]], abs=0.03)
        assert row["is_exception"] == (loss > wanted[row["held_on"]])
        assert row["days"] == i + 1
