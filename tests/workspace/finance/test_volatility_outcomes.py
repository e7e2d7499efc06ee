"""What forecasts of volatility were worth: the job's SQL, held to pandas, SciPy and statsmodels."""

import datetime as dt
import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import onnx
import pandas as pd
import pyarrow.parquet as pq
import pytest
import statsmodels.api as sm
import yaml
from arch.bootstrap import StationaryBootstrap
from deltalake import DeltaTable
from scipy.stats import kstest, norm

from data.lakes.finance import write_lake
from nightscore import Restate, load, run
from tests.workspace.finance.volatility import METRICS, forecasts, read_returns
from tests.workspace.finance.world import DAYS, REPOSITORY, SINCE

pytestmark = pytest.mark.slow  # real nights of whole jobs

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


def night(day: dt.date, days: int = 400, times: float = 1, **params: float) -> dict[str, pd.DataFrame]:
    """The job's tables of a day, by its SQL in plain DuckDB over what pandas forecast; `days` of lookback.

    Forecasts are so many `times` those of the model.
    """
    returns, volatility, usual = market()
    volatility = times * volatility
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


def test_a_year_of_forecasts_a_quarter_too_low_asks_for_a_review_and_a_real_one_does_not() -> None:
    """By the job's thresholds; the year to June 2020 has too many falls, no more than chance may bring."""
    for day in (CALM, FALL):
        real = year(day)["coverage"].set_index("symbol").loc["all"]
        assert not real["review"] and list(real["reasons"]) == []
        wrong = night(day, times=0.75)["coverage"].set_index("symbol").loc["all"]
        assert wrong["review"] and "too many below the 5 % quantile" in wrong["reasons"]
    assert year(FALL)["coverage"].set_index("symbol").loc["all", "errors_1"] > 2


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


@pytest.mark.parametrize(("n", "level"), LEVELS.items())
def test_how_often_the_thresholds_would_have_asked_is_a_recount_s(n: int, level: float) -> None:
    """By pandas' rolling means over all unseen days: of all stocks, and of the counts of each."""
    returns = read_returns().loc[dt.date(2015, 1, 1) :]
    volatility = forecasts(read_returns()).loc[returns.index]
    below = (returns < METRICS["quantiles"][f"quantile_{n}"] * volatility).astype(float)
    days = below.mean(axis=1)
    errors = (days.rolling(250).std(ddof=0) / 250**0.5).clip(lower=(level * (1 - level) / 5_000) ** 0.5)
    asked = ((days.rolling(250).mean() - level) / errors > PARAMS["review_errors"]).iloc[249:]
    found = METRICS["reviews"]
    assert found["nights"] == len(asked) == 1_763
    by_reason = found["by_reason"]
    assert by_reason[f"too many below the {n} % quantile"] == round(asked.mean(), 4)
    counts = below.rolling(250).sum().iloc[249:]
    stocks = (counts >= {1: 15, 5: 30}[n]).any(axis=1)
    assert by_reason[f"a stock has too many below the {n} % quantile"] == round(stocks.mean(), 4)
    assert max(by_reason.values()) <= found["anything"] <= sum(by_reason.values())


def statistics(frames: dict[str, pd.DataFrame], days: np.ndarray[Any, Any]) -> dict[str, float]:
    """What the thresholds are about, of some days, by parameter; the worst where there are several."""
    part = {name: frame.to_numpy()[days] for name, frame in frames.items()}
    found: dict[str, list[float]] = {name: [] for name in PARAMS}
    for n, level in LEVELS.items():
        below, least = part[f"below_{n}"], (level * (1 - level)) ** 0.5
        stocks = np.maximum(below.std(axis=0), least)
        together = max(below.mean(axis=1).std(), least / below.shape[1] ** 0.5)
        found["review_errors"].append((below.mean() - level) / together * len(days) ** 0.5)
        found["review_errors_stock"].append(((below.mean(axis=0) - level) / stocks).max() * len(days) ** 0.5)
        found["review_gain"].append(part[f"loss_{n}"].mean() / part[f"usual_loss_{n}"].mean() - 1)
    found["review_pit"].append(kstest(part["pit"].ravel(), "uniform").statistic)
    return {name: max(values) for name, values in found.items()}


def right_model() -> dict[str, pd.DataFrame]:
    """Days in training as a right model would have them, by pandas: each stock's PIT is its rank."""
    returns = read_returns()
    weights = 0.97 ** np.arange(250)
    usual = sum((returns**2).shift(lag) * weight for lag, weight in enumerate(weights)) / weights.sum()
    usual, volatility = np.sqrt(usual).shift(1), forecasts(returns)
    known = (volatility + usual).notna().all(axis=1) & (returns.index <= dt.date(2014, 12, 31))
    usual, volatility, z = usual[known], volatility[known], (returns / volatility)[known]
    shape = pq.read_table(SHAPE).to_pandas()
    pit = (z.rank(method="first") - 0.5) / len(z)
    made = pd.DataFrame(np.interp(pit, shape["probability"], shape["standardised"]), z.index, z.columns)
    found = {"pit": pit}
    for n, level in LEVELS.items():
        found[f"below_{n}"] = made < METRICS["quantiles"][f"quantile_{n}"]
        for name, quantile in (
            ("loss", METRICS["quantiles"][f"quantile_{n}"] * volatility),
            ("usual_loss", norm.ppf(level) * usual),
        ):
            over = made * volatility - quantile
            found[f"{name}_{n}"] = (level * over).where(over >= 0, (level - 1) * over)
    return found


def test_a_right_model_is_asked_about_on_one_night_in_a_hundred() -> None:
    """By pandas, SciPy and arch's stationary bootstrap: what the card says, and no threshold is idle."""
    frames = right_model()
    said = METRICS["reviews"]["of_a_right_model"]
    drawn = StationaryBootstrap(said["mean_run"], np.arange(len(frames["pit"])), seed=7)
    nights = [statistics(frames, days[0][0][:250]) for days in drawn.bootstrap(1_500)]
    asked = pd.DataFrame(nights) > pd.Series(PARAMS)
    share = asked.any(axis=1).mean()
    assert 0.003 < share < 0.017 and abs(share - said["anything"]) < 0.008
    assert 0.005 < said["anything"] < 0.015
    tight = pd.DataFrame(nights).quantile(0.99)  # a threshold far beyond this would never ask
    for name, threshold in PARAMS.items():
        assert tight[name] < threshold < 1.7 * tight[name]


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two nights of volatility and of its outcomes, over the real prices."""
    root = tmp_path_factory.mktemp("outcomes")
    write_lake(root, positions=1, since=SINCE)
    for name in ("volatility", "volatility_outcomes"):
        shutil.copytree(REPOSITORY / "jobs/finance" / name, root / "jobs/finance" / name)
    (root / "data/models/finance").mkdir(parents=True)
    for name in ("volatility.onnx", "volatility_shape.parquet", "volatility_expected.parquet"):
        shutil.copy(REPOSITORY / "data/models/finance" / name, root / "data/models/finance")
    for day in DAYS:
        for name in ("volatility", "volatility_outcomes"):
            run(load(name, root), day)
    return root


def receipt(root: Path, day: str) -> dict[str, Any]:
    """The receipt of a night of the outcomes, as the run's folder has it."""
    [file] = (root / f"data/runs/volatility_outcomes/{day}").glob("*/receipt.json")
    return dict(json.loads(file.read_text()))


def test_a_night_holds_the_returns_to_what_was_published_the_night_before(nights: Path) -> None:
    """By the tables' own files: forecasts of the first night, returns from the raw prices."""
    said = DeltaTable(nights / "data/tables/volatility").to_pandas()
    said = said[said["day"].astype(str) == DAYS[0]].set_index("symbol")
    found = DeltaTable(nights / "data/tables/volatility_outcomes").to_pandas().set_index("symbol")
    assert set(found["day"].astype(str)) == {DAYS[1]} and len(found) == 20
    returns = read_returns().loc[dt.date.fromisoformat(DAYS[1])]
    np.testing.assert_allclose(found["log_return"], returns[found.index], rtol=1e-12)
    for name in ("volatility", "quantile_1", "quantile_5"):
        np.testing.assert_array_equal(found[name], said[name][found.index])
    np.testing.assert_array_equal(found["is_below_5"], found["log_return"] < found["quantile_5"])


def test_the_first_night_says_that_nothing_was_held(nights: Path) -> None:
    """It publishes no row, and its first audit warns; on the second all pass, with no verdict yet."""
    first, second = (receipt(nights, day) for day in DAYS)
    assert [one["tables"]["volatility_outcomes"]["rows"] for one in (first, second)] == [0, 20]
    failed = [[audit["name"] for audit in one["audits"] if not audit["passed"]] for one in (first, second)]
    assert failed == [["every stock's return is held to the forecast of the trading day before"], []]
    assert len(second["audits"]) == 4


def test_a_forecast_that_was_run_again_once_the_day_was_known_changes_nothing(
    nights: Path, tmp_path: Path
) -> None:
    """The night is unchanged, and run anew it has the forecasts that were published first."""
    root = tmp_path / "again"
    shutil.copytree(nights, root)
    model = onnx.load(root / "data/models/finance/volatility.onnx")
    for constant in model.graph.initializer:
        if constant.name == "weight_quantile_1":
            constant.CopyFrom(onnx.numpy_helper.from_array(np.array(-9.0), constant.name))
    onnx.save(model, root / "data/models/finance/volatility.onnx")
    file = root / "jobs/finance/volatility/job.yaml"  # that model is none that was trained
    file.write_text("".join(line for line in file.open() if not line.startswith("  expected:")))
    run(load("volatility", root), DAYS[0], restate=Restate("the day is known now", by="nobody"))
    job = load("volatility_outcomes", root)
    assert run(job, DAYS[1]).status == "unchanged"
    again = run(job, DAYS[1], force=True, restate=Restate("to be sure", by="nobody"))
    assert again.restatement and all(
        (one.changed, one.added, one.removed) == (0, 0, 0) for one in again.restatement.tables.values()
    )
