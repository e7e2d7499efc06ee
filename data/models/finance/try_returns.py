"""Can the next day's return of a stock be forecast from past prices? It was tried; no job does it.

    python data/models/finance/try_returns.py      # with the extra [train]; some seconds

A ridge regression and boosted trees (LightGBM, nothing tuned), pooled over the 20 stocks, on 13 features of
past prices; trained to 2014, tested on 2015 to 2022. The figure is the rank information coefficient:
Spearman's correlation between forecasts and returns over the stocks of a day, its mean over days, and the t
of that mean. What is found stands in returns_metrics.json, beside this script.
"""

import json
import sys
from pathlib import Path

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.parquet as pq
from sklearn.linear_model import Ridge

HERE = Path(__file__).resolve().parent
PRICES = HERE.parents[1] / "sources/prices.parquet"
LAST_SEEN_DAY = np.datetime64("2014-12-31")
SPANS = (1, 2, 5, 10, 22, 66, 132, 252)  # trading days
PENALTY = 10.0  # of the ridge regression, on standardised features
TREES = {"n_estimators": 200, "learning_rate": 0.02, "num_leaves": 15, "min_child_samples": 500}

Numbers = npt.NDArray[np.float64]


def main() -> int:
    """Train, test and write; returns the exit code."""
    prices = pq.read_table(PRICES).to_pandas().set_index("day").drop(columns="VIX")
    days = prices.index.to_numpy().astype("datetime64[D]")
    features, labels = read_features(prices)
    known = np.isfinite(features).all(axis=2) & np.isfinite(labels)
    # A label is the return of the day after: the last day of training has one that is known by then.
    training = known & (days < LAST_SEEN_DAY)[:, None]
    unseen = known & (days >= LAST_SEEN_DAY)[:, None]
    mean, deviation = features[training].mean(axis=0), features[training].std(axis=0)
    inputs = (features - mean) / deviation
    models = {
        "ridge regression": Ridge(alpha=PENALTY),
        "boosted trees": lgb.LGBMRegressor(**TREES, random_state=0, n_jobs=1, deterministic=True, verbose=-1),
    }
    metrics = {
        "features": features.shape[2],
        "training_rows": int(training.sum()),
        "first_unseen_day": str(days[unseen.any(axis=1)][0]),
        "last_unseen_day": str(days[unseen.any(axis=1)][-1]),
        "figures": {},
    }
    for name, model in models.items():
        model.fit(inputs[training], labels[training])
        forecasts = np.full(labels.shape, np.nan)
        forecasts[unseen] = model.predict(inputs[unseen])
        metrics["figures"][name] = figures(forecasts[unseen.all(axis=1)], labels[unseen.all(axis=1)])
    print(json.dumps(metrics, indent=1))
    (HERE / "returns_metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
    return 0


def read_features(prices: pd.DataFrame) -> tuple[Numbers, Numbers]:
    """What is known of each stock at each close, [days, stocks, 13], and its log return of the next day."""
    logs = np.log(prices)
    index = logs.pop("SP500")
    returns = logs.diff()
    found = [logs.diff(span) for span in SPANS]
    found += [returns.rolling(span).std() for span in (22, 66)]
    found.append(logs - logs.rolling(252).max())
    found += [pd.DataFrame({name: index.diff(span) for name in logs}) for span in (1, 5)]
    return np.stack([one.to_numpy() for one in found], axis=2), returns.shift(-1).to_numpy()


def figures(forecasts: Numbers, labels: Numbers) -> dict[str, float]:
    """The mean rank information coefficient of days, its t, and how often the sign was right."""
    ranks = [pd.DataFrame(values).rank(axis=1).to_numpy() for values in (forecasts, labels)]
    left, right = (values - values.mean(axis=1, keepdims=True) for values in ranks)
    daily = (left * right).sum(axis=1) / np.sqrt((left**2).sum(axis=1) * (right**2).sum(axis=1))
    return {
        "days": len(daily),
        "rank_ic": round(float(daily.mean()), 4),
        "t": round(float(daily.mean() / daily.std(ddof=1) * np.sqrt(len(daily))), 2),
        "hits": round(float(np.mean((forecasts > 0) == (labels > 0))), 4),
        "always_up": round(float(np.mean(labels > 0)), 4),
    }


if __name__ == "__main__":
    sys.exit(main())
