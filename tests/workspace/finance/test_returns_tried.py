"""That daily returns were tried and not forecast: the figures, by another way to the same numbers."""

import datetime as dt
import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr, ttest_1samp

from data.lakes.finance import PRICES
from tests.workspace.finance.volatility import read_returns
from tests.workspace.finance.world import REPOSITORY

METRICS = json.loads((REPOSITORY / "data/models/finance/returns_metrics.json").read_text())
LAST = dt.date(2014, 12, 31)


@pytest.mark.slow
def test_the_rank_correlation_is_a_recount_s() -> None:
    """Ridge by its normal equations, Spearman and t by SciPy; features from sums of returns."""
    returns = read_returns()
    index = np.log(pd.read_parquet(PRICES).set_index("day")["SP500"]).diff()
    found = {f"r{n}": returns.rolling(n).sum() for n in (1, 2, 5, 10, 22, 66, 132, 252)}
    found |= {f"v{n}": returns.rolling(n).std() for n in (22, 66)}
    level = returns.fillna(0).cumsum()
    found["high"] = level - level.rolling(252).max()
    found |= {f"i{n}": returns.mul(0).add(index.rolling(n).sum(), axis=0) for n in (1, 5)}
    rows = pd.concat({name: frame.stack() for name, frame in found.items()}, axis=1)
    rows["label"] = returns.shift(-1).stack()
    rows = rows.dropna()
    past = rows.index.get_level_values(0) < LAST
    features, labels = rows[list(found)], rows["label"]
    scaled = ((features - features[past].mean()) / features[past].std(ddof=0)).to_numpy()
    x, y = scaled[past], labels[past].to_numpy()
    weights = np.linalg.solve(x.T @ x + 10 * np.eye(x.shape[1]), x.T @ (y - y.mean()))
    unseen = labels[~past].to_frame("label").assign(forecast=scaled[~past] @ weights)
    daily = [spearmanr(day["forecast"], day["label"]).statistic for _, day in unseen.groupby(level=0)]
    ridge = METRICS["figures"]["ridge regression"]
    assert (METRICS["features"], METRICS["training_rows"], ridge["days"]) == (13, len(x), len(daily))
    assert ridge["rank_ic"] == pytest.approx(np.mean(daily), abs=2e-4)
    assert ridge["t"] == pytest.approx(ttest_1samp(daily, 0).statistic, abs=0.03)
    assert ridge["always_up"] == round(float((unseen["label"] > 0).mean()), 4)


def test_no_model_s_sign_is_right_more_often_than_always_up() -> None:
    """What README says once: it was tried, and is not forecast."""
    for figures in METRICS["figures"].values():
        assert figures["hits"] < figures["always_up"] and figures["rank_ic"] < 0.02
