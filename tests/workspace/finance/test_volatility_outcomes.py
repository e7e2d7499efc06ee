"""What forecasts of volatility were worth: the job's SQL, held to pandas, SciPy and statsmodels."""

import datetime as dt
from functools import cache
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import statsmodels.api as sm
import yaml
from scipy.stats import kstest, norm

from tests.workspace.finance.volatility import METRICS, forecasts, read_returns
from tests.workspace.finance.world import REPOSITORY

FOLDER = REPOSITORY / "jobs/finance/volatility_outcomes"
SHAPE = REPOSITORY / "data/models/finance/volatility_shape.parquet"
PARAMS = {
    name: one["default"] for name, one in yaml.safe_load((FOLDER / "job.yaml").read_text())["params"].items()
}
LEVELS = {1: 0.01, 5: 0.05}
CALM, FALL = dt.date(2017, 12, 29), dt.date(2020, 6, 30)  # a year of few falls, and one with March 2020


@cache
def market() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Returns, what was forecast for each of them the day before, and RiskMetrics' volatility of then."""
    returns = read_returns().loc[dt.date(2013, 1, 1) : FALL]
    weights = 0.97 ** np.arange(250)
    usual = sum((returns**2).shift(lag) * weight for lag, weight in enumerate(weights)) / weights.sum()
    return returns, forecasts(read_returns()).loc[returns.index], np.sqrt(usual).shift(1)


def tall(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """One row per day and symbol."""
    return frame.rename_axis(index="day", columns="symbol").stack().rename(name).reset_index()


def night(day: dt.date, days: int = 400, **params: float) -> dict[str, pd.DataFrame]:
    """The job's tables of a day, by its SQL in plain DuckDB over what pandas forecast; `days` of lookback."""
    returns, volatility, usual = market()
    days_made = pd.Series(returns.index, returns.index).shift(1)
    made = tall(
        volatility.set_index(pd.Index(days_made, name="day")).iloc[1:].loc[:day], "volatility"
    ).dropna()
    made = made[made["day"] > day - dt.timedelta(days)]
    past = returns.loc[:day].index[-501:]
    history = tall(returns.loc[past], "log_return").rename(columns={"day": "made_on"})
    proxy = np.sqrt(252) * usual.shift(-1).loc[past]
    history = history.merge(tall(proxy, "proxy").rename(columns={"day": "made_on"}), how="left")
    history["ago"] = history["made_on"].map({one: ago for ago, one in enumerate(reversed(past))})
    for name, number in METRICS["quantiles"].items():
        made[name] = number * made["volatility"]
    sql = duckdb.connect()
    for name, frame in (("forecasts", made), ("history", history)):
        sql.register(f"given_{name}", frame)
        dates = ", ".join(f"{one}::DATE AS {one}" for one in frame if one in ("day", "made_on"))
        sql.execute(f"CREATE TABLE {name} AS SELECT * REPLACE ({dates}) FROM given_{name}")
    sql.register("shape", pq.read_table(SHAPE))
    for name, value in (PARAMS | params).items():
        sql.execute(f"SET VARIABLE {name} = {value}")
    sql.execute(f"SET VARIABLE day = DATE '{day}'")
    sql.execute(f"CREATE TABLE scores AS {(FOLDER / 'held.sql').read_text()}")
    found = {name: sql.sql((FOLDER / f"{name}.sql").read_text()).df() for name in ("outcomes", "coverage")}
    return found | {"scores": sql.table("scores").df()}


@cache
def year(day: dt.date) -> dict[str, pd.DataFrame]:
    """A night of `day` with the job's own parameters."""
    return night(day)


def expected(day: dt.date) -> dict[str, pd.DataFrame]:
    """The last 250 days by pandas, [days, stocks]: returns, below, pinball losses, PIT."""
    frames = [frame.loc[:day].iloc[-250:] for frame in market()]
    returns, volatility, usual = frames
    shape = pq.read_table(SHAPE).to_pandas()
    found = {"log_return": returns, "volatility": volatility}
    pit = np.interp(returns / volatility, shape["standardised"], shape["probability"])
    found["pit"] = pd.DataFrame(pit, returns.index, returns.columns)
    for n, level in LEVELS.items():
        for name, quantile in (
            ("loss", METRICS["quantiles"][f"quantile_{n}"] * volatility),
            ("usual_loss", norm.ppf(level) * usual),
        ):
            over = returns - quantile
            found[f"{name}_{n}"] = (level * over).where(over >= 0, (level - 1) * over)
        found[f"below_{n}"] = returns < METRICS["quantiles"][f"quantile_{n}"] * volatility
    return found


@pytest.mark.parametrize("day", [CALM, FALL])
def test_each_return_is_held_to_the_forecast_of_the_trading_day_before(day: dt.date) -> None:
    """Returns, forecasts, PIT and losses of 250 days and 20 stocks; the last day is the table of outcomes."""
    found, wanted = year(day)["scores"], expected(day)
    assert len(found) == 250 * 20
    for name in ("log_return", "volatility", "pit", "loss_1", "loss_5", "usual_loss_1", "usual_loss_5"):
        by_day = found.pivot_table(index="realised_on", columns="symbol", values=name)
        np.testing.assert_allclose(by_day, wanted[name][by_day.columns], rtol=1e-9, atol=1e-15, err_msg=name)
    outcomes = year(day)["outcomes"].set_index("symbol")
    assert set(outcomes["realised_on"].dt.date) == {day} and len(outcomes) == 20
    for n in LEVELS:
        assert outcomes[f"is_below_{n}"].to_dict() == wanted[f"below_{n}"].loc[day].to_dict()


@pytest.mark.parametrize("day", [CALM, FALL])
@pytest.mark.parametrize("symbol", ["all", "AAPL", "RRC"])
def test_coverage_and_loss_are_a_recount_s(day: dt.date, symbol: str) -> None:
    """Shares, losses against RiskMetrics, errors by statsmodels' clusters, distances by SciPy."""
    row = year(day)["coverage"].set_index("symbol").loc[symbol]
    frames = {name: one if symbol == "all" else one[[symbol]] for name, one in expected(day).items()}
    flat = {name: one.to_numpy().ravel() for name, one in frames.items()}
    assert (row["days"], row["forecasts"]) == (250, flat["pit"].size)
    for n, level in LEVELS.items():
        below = flat[f"below_{n}"].astype(float)
        groups = np.repeat(np.arange(250), frames["pit"].shape[1])
        fit = sm.OLS(below, np.ones(below.size)).fit(
            cov_type="cluster", cov_kwds={"groups": groups, "use_correction": False}
        )
        error = max(fit.bse[0], np.sqrt(level * (1 - level) / below.size))
        assert row[f"below_{n}"] == below.sum()
        assert row[f"error_{n}"] == pytest.approx(error, rel=1e-9)
        assert row[f"errors_{n}"] == pytest.approx((below.mean() - level) / error, rel=1e-9)
        assert row[f"loss_{n}"] == pytest.approx(flat[f"loss_{n}"].mean(), rel=1e-9)
        gain = flat[f"loss_{n}"].mean() / flat[f"usual_loss_{n}"].mean() - 1
        assert row[f"gain_{n}"] == pytest.approx(gain, rel=1e-9)
    assert list(row["pit_tenths"]) == np.histogram(flat["pit"], 10, (0, 1))[0].tolist()
    assert row["pit_distance"] == pytest.approx(kstest(flat["pit"], "uniform").statistic, rel=1e-9)


def test_a_year_with_a_crash_asks_for_a_review_and_a_calm_one_does_not() -> None:
    """The year to June 2020 has too many falls below the 1 % quantile; the thresholds are the job's."""
    calm, fall = (year(day)["coverage"].set_index("symbol").loc["all"] for day in (CALM, FALL))
    assert not calm["review"] or "below" not in " ".join(calm["reasons"])
    assert fall["review"] and "too many below the 1 % quantile" in fall["reasons"]


@pytest.mark.parametrize(
    ("name", "column", "reason"),
    [
        ("review_errors", "errors_1", "too many below the 1 % quantile"),
        ("review_gain", "gain_5", "no better than RiskMetrics at 5 %"),
        ("review_pit", "pit_distance", "another distribution"),
    ],
)
def test_a_threshold_asks_just_beyond_itself(name: str, column: str, reason: str) -> None:
    """At the measured value nothing is asked for; a little below it, it is."""
    measured = float(year(FALL)["coverage"].set_index("symbol").loc["all", column])
    for threshold, is_asked in ((measured + 1e-9, False), (measured - 1e-9, True)):
        row = night(FALL, **{name: threshold})["coverage"].set_index("symbol").loc["all"]
        assert (reason in row["reasons"]) == is_asked
        assert row["review"] == (len(row["reasons"]) > 0)


def test_nothing_is_asked_before_there_are_250_days() -> None:
    """With forecasts of a hundred calendar days the shares are there, and no verdict."""
    rows = night(FALL, days=100)["coverage"]
    assert 60 <= rows["days"].min() == rows["days"].max() < 75
    assert rows["review"].isna().all() and rows["share_1"].notna().all()


def test_the_distribution_is_the_one_of_the_model_s_quantiles() -> None:
    """Half percents of standardised returns, rising, with the model's own 1 % and 5 % among them."""
    shape: dict[str, Any] = pq.read_table(SHAPE).to_pydict()
    assert all(np.all(np.diff(values) > 0) for values in shape.values())
    assert (shape["probability"][0], shape["probability"][-1]) == (0, 1)
    for name, level in (("quantile_1", 0.01), ("quantile_5", 0.05)):
        value = np.interp(level, shape["probability"], shape["standardised"])
        assert METRICS["quantiles"][name] == pytest.approx(value, abs=1e-4)
