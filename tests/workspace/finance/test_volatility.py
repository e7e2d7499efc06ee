"""The volatility job: what it knows of a day, and how good its model is on days that it has not seen."""

import datetime as dt
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import statsmodels.api as sm
import yaml
from arch import arch_model

from data.lakes.finance import PRICES
from nightscore import Restate, features, load, query, run
from nightscore.common.errors import Broken
from tests.workspace.finance.recount import DECAY, INDEX_SLOPE, SPAN, Recount, index_shock
from tests.workspace.finance.volatility import METRICS, SPANS, forecasts, read_returns
from tests.workspace.finance.world import DAYS, REPOSITORY

MODELS = REPOSITORY / "data/models/finance"


def recounted(day: str) -> dict[str, pd.DataFrame]:
    """The features [501 days, symbols] of a run of `day`, from the raw prices, by column."""
    closes = pd.read_parquet(PRICES).set_index("day").drop(columns="VIX")
    returns = np.log(closes).diff().loc[: pd.Timestamp(day).date()]
    falls = returns.clip(upper=0)
    index = returns.pop("SP500")
    found = {name: (returns**2).rolling(n).mean() for name, n in SPANS.items()}
    found |= {f"down_{n}": (falls[returns.columns] ** 2).rolling(n).mean() for n in (5, 22)}
    mean = (index**2).rolling(5).mean()
    found["index_5"] = pd.DataFrame(dict.fromkeys(returns, mean), index=returns.index)
    found["log_return"] = returns
    return {name: frame.iloc[-501:] for name, frame in found.items()}


@pytest.mark.slow
@pytest.mark.parametrize("day", DAYS)
def test_features_are_a_recount_s_from_the_raw_prices(workspace: Path, recount: Recount, day: str) -> None:
    """All columns of all 10,020 rows, the volatility proxy among them."""
    table = features(load("volatility", workspace=workspace), day).to_pandas()
    assert len(table) == 501 * 20
    at = recount.index(day)
    proxy = pd.DataFrame(recount.volatility, recount.closes.index, recount.closes.columns)
    wanted = recounted(day) | {"proxy": proxy.iloc[at - 500 : at + 1]}
    for name, frame in wanted.items():
        found = table.pivot_table(index="made_on", columns="symbol", values=name)
        # The rolling means of pandas are running sums, which lose digits after a large return.
        np.testing.assert_allclose(found, frame[found.columns], rtol=1e-6, atol=1e-12, err_msg=name)


def test_the_volatility_proxy_moves_as_the_vix_did_in_years_that_it_has_not_seen() -> None:
    """By pandas, of the index, 2017 and 2018: it falls on rallies and rises on falls, by as much."""
    table = pd.read_parquet(PRICES).set_index("day")
    table.index = pd.to_datetime(table.index)
    returns = np.log(table["SP500"]).diff()
    fading = DECAY ** np.arange(SPAN - 1, -1, -1)
    smooth = (returns**2).rolling(SPAN).apply(lambda x: x @ (fading / fading.sum()), raw=True) ** 0.5
    proxy = smooth * np.exp(INDEX_SLOPE * index_shock())
    moves = pd.DataFrame(
        {"index": returns, "proxy": np.log(proxy).diff(), "vix": np.log(table["VIX"]).diff()}
    )
    unseen = moves.loc["2017":"2018"].dropna()
    up, down = unseen[unseen["index"] > 0.015], unseen[unseen["index"] < -0.015]
    assert (len(unseen), len(up), len(down)) == (502, 12, 25)
    assert 0.85 < unseen["proxy"].std() / unseen["vix"].std() < 1.15
    assert unseen["proxy"].corr(unseen["vix"]) > 0.8
    assert unseen["proxy"].corr(unseen["index"]) < -0.7
    for large, sign in ((up, -1), (down, 1)):
        mean, truth = sign * large["proxy"].mean(), sign * large["vix"].mean()
        assert 0.75 * truth < mean < 1.25 * truth
        assert truth > 0.1
    metrics = json.loads((MODELS / "implied_volatility_metrics.json").read_text())
    found = metrics["figures"]["the proxy"]["not seen"]
    assert found["deviation"] == pytest.approx(unseen["proxy"].std(ddof=0), abs=1e-3)
    assert found["up"] == pytest.approx(up["proxy"].mean(), abs=1e-3)
    assert found["down"] == pytest.approx(down["proxy"].mean(), abs=1e-3)


def test_the_job_has_the_fitted_proxy() -> None:
    """The defaults of its parameters are those of the metrics that the script wrote."""
    params = yaml.safe_load((REPOSITORY / "jobs/finance/volatility/job.yaml").read_text())["params"]
    metrics = json.loads((MODELS / "implied_volatility_metrics.json").read_text())
    names = ("decay", "index_decay", "index_slope")
    assert {name: params[name]["default"] for name in names} == {name: metrics[name] for name in names}


@pytest.mark.slow
def test_a_price_after_the_day_changes_nothing(workspace: Path, tmp_path: Path) -> None:
    """With or without the last day, the features of the day before are the same."""
    root = tmp_path / "w"
    shutil.copytree(workspace, root)
    before = features(load("volatility", workspace=workspace), DAYS[0])
    shutil.rmtree(root / f"data/lake/finance/prices/day={DAYS[1]}")
    assert features(load("volatility", workspace=root), DAYS[0]).equals(before)


def with_closes(workspace: Path, root: Path, day: str, symbol: str, times: float | None) -> Path:
    """The workspace once more; a stock's close of a day is multiplied, or (None) not there."""
    shutil.copytree(workspace, root)
    file = root / f"data/lake/finance/prices/day={day}/part-0.parquet"
    table = pq.read_table(file, partitioning=None).to_pandas()
    one = table["symbol"] == symbol
    table.loc[one, "close"] *= times or 1
    table[~one | (times is not None)].to_parquet(file)
    return root


@pytest.mark.slow
@pytest.mark.slow
@pytest.mark.parametrize("times", [0.5, 0.25, 100])
def test_a_split_or_a_price_in_cents_holds_the_night(workspace: Path, tmp_path: Path, times: float) -> None:
    """The close of a day is half, a quarter, a hundred times what it was: positions would be worth that."""
    root = with_closes(workspace, tmp_path / "w", DAYS[1], "AAPL", times)
    with pytest.raises(Broken, match="a split or a wrong price is likelier"):
        run(load("volatility", workspace=root), DAYS[1], restate=Restate("a split", by="a test"))


def test_no_real_move_since_the_book_began_is_taken_for_a_split() -> None:
    """By pandas; so that a backfill from 2015 stops at no night."""
    params = yaml.safe_load((REPOSITORY / "jobs/finance/volatility/job.yaml").read_text())["params"]
    closes = pd.read_parquet(PRICES).set_index("day").drop(columns=["SP500", "VIX"])
    moves = np.log(closes).diff().abs().stack()
    days = pd.to_datetime(moves.index.get_level_values("day"))
    assert moves[days >= "2001"].max() < params["largest_move"]["default"] < np.log(2)
    assert moves[days >= "2015"].max() == pytest.approx(0.4206, abs=1e-4)  # AMD, 2016-04-22


@pytest.mark.slow
@pytest.mark.slow
def test_a_close_that_is_missing_long_ago_holds_the_night(workspace: Path, tmp_path: Path) -> None:
    """More than 501 trading days back, where the move after it would be one of two days without a word."""
    root = with_closes(workspace, tmp_path / "w", "2020-07-01", "XOM", None)
    with pytest.raises(Broken, match="no stock lacks a close"):
        run(load("volatility", workspace=root), DAYS[1], restate=Restate("a hole", by="a test"))


@pytest.mark.slow
def test_the_past_is_forecast_by_the_same_model(workspace: Path) -> None:
    """What was forecast on the first night stands in the history of the second."""
    found = query(
        "SELECT first.volatility, history.forecast "
        "FROM volatility AS first JOIN volatility_history AS history "
        f"ON history.symbol = first.symbol AND history.day = DATE '{DAYS[1]}' AND history.ago = 1 "
        f"WHERE first.day = DATE '{DAYS[0]}'",
        workspace,
    )
    assert found.num_rows == 20
    assert found["volatility"].equals(found["forecast"])


def test_the_model_is_better_than_its_baselines_on_years_that_it_has_not_seen() -> None:
    """The card's pinball losses: below those of all opponents, at both levels."""
    figures = json.loads((MODELS / "volatility_metrics.json").read_text())["figures"]
    for level in ("quantile_1", "quantile_5"):
        model = figures["model"][level]["pinball"]
        assert len(figures) == 6
        assert all(model < other[level]["pinball"] for who, other in figures.items() if who != "model")


@pytest.fixture(scope="module")
def unseen() -> tuple[dict[str, Any], pd.DataFrame]:
    """The card's figures, and the log returns by stock of all days, from the raw prices."""
    return METRICS, read_returns()


def garch_by_hand(returns: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """GJR-GARCH fitted by arch from 2000 to 2014, filtered by a plain loop: volatilities, quantiles."""
    returns = returns.loc[dt.date(2000, 1, 3) :]
    fitted = returns.loc[: dt.date(2014, 12, 31)]
    volatility = pd.DataFrame(index=returns.index, columns=returns.columns, dtype=float)
    for symbol in returns:
        found = arch_model(100 * fitted[symbol], mean="Zero", p=1, o=1, q=1, dist="skewt", rescale=False)
        omega, alpha, gamma, beta = found.fit(disp="off").params.iloc[:4]
        decay = 0.94 ** np.arange(75)
        variance, found = decay @ (100 * returns[symbol][:75]) ** 2 / decay.sum(), []
        variance = (
            omega + (alpha + gamma / 2 + beta) * variance
        )  # of the days before the first, as arch has it
        for percent in 100 * returns[symbol]:
            found.append(variance)
            variance = omega + (alpha + gamma * (percent < 0)) * percent**2 + beta * variance
        volatility[symbol] = np.sqrt(found) / 100
    ratios = (returns / volatility).loc[: dt.date(2014, 12, 31)]
    return volatility, ratios.quantile([0.01, 0.05])


def losses(returns: pd.DataFrame, quantile: pd.DataFrame, level: float) -> pd.DataFrame:
    """The pinball loss of each stock and unseen day, in hundredths of a percent."""
    over = (returns - quantile).loc[dt.date(2015, 1, 1) :]
    return 1e4 * (level * over).where(over > 0, (level - 1) * over)


@pytest.mark.parametrize(("name", "level"), [("quantile_1", 0.01), ("quantile_5", 0.05)])
@pytest.mark.sample(1)
@pytest.mark.slow
def test_the_model_beats_garch_as_the_card_says(
    unseen: tuple[dict[str, Any], pd.DataFrame], name: str, level: float
) -> None:
    """Pinball losses and Diebold-Mariano's t by arch, a plain loop and statsmodels' HAC errors."""
    metrics, returns = unseen
    who = "GJR-GARCH, skewed t, 2000 to 2014"
    volatility, quantiles = garch_by_hand(returns)
    theirs = losses(returns, volatility * quantiles.loc[level], level)
    ours = losses(returns, forecasts(returns) * metrics["quantiles"][name], level)
    assert metrics["figures"][who][name]["pinball"] == pytest.approx(theirs.to_numpy().mean(), abs=2e-3)
    assert metrics["figures"]["model"][name]["pinball"] == pytest.approx(ours.to_numpy().mean(), abs=1e-3)
    days = (ours - theirs).mean(axis=1).to_numpy()
    fit = sm.OLS(days, np.ones(len(days))).fit(cov_type="HAC", cov_kwds={"maxlags": 10})
    assert metrics["against"][who][name]["t"] == pytest.approx(fit.tvalues[0], abs=0.03)
    assert fit.tvalues[0] < 0


@pytest.mark.parametrize(("name", "level"), [("quantile_1", 0.01), ("quantile_5", 0.05)])
def test_the_errors_of_the_coverage_are_of_days(
    unseen: tuple[dict[str, Any], pd.DataFrame], name: str, level: float
) -> None:
    """Shares below, and their standard errors clustered by day as statsmodels has them."""
    metrics, returns = unseen
    quantile = forecasts(returns) * metrics["quantiles"][name]
    below = (returns < quantile).loc[dt.date(2015, 1, 1) :].stack()
    fit = sm.OLS(below.to_numpy().astype(float), np.ones(len(below))).fit(
        cov_type="cluster",
        cov_kwds={"groups": below.index.codes[0], "use_correction": False},
    )
    found = metrics["figures"]["model"][name]
    assert (found["below"], found["below_error"]) == (round(fit.params[0], 4), round(fit.bse[0], 5))


def test_the_card_s_figures_of_the_historical_quantile_are_a_recount_s() -> None:
    """By pandas, from the raw prices: 2014-12-31 to 2022-12-27, all stocks."""
    metrics = json.loads((MODELS / "volatility_metrics.json").read_text())
    closes = pq.read_table(PRICES).to_pandas().set_index("day").drop(columns=["SP500", "VIX"])
    returns = np.log(closes).diff()
    for name, level in (("quantile_1", 0.01), ("quantile_5", 0.05)):
        quantile = returns.iloc[-3000:].rolling(500).quantile(level).shift(1)
        unseen = returns.index > pd.Timestamp("2014-12-31").date()
        over = (returns - quantile.reindex(returns.index))[unseen].to_numpy()
        loss = np.mean(np.maximum(level * over, (level - 1) * over)) * 1e4
        assert metrics["forecasts"] == over.size
        assert metrics["figures"]["last 500 days"][name]["pinball"] == pytest.approx(loss, abs=1e-3)
