"""The volatility model once more, in pandas from the raw prices and the weights that its metrics name."""

import json

import numpy as np
import pandas as pd

from data.lakes.finance import INDICES, PRICES
from tests.workspace.finance.world import REPOSITORY

METRICS = json.loads((REPOSITORY / "data/models/finance/volatility_metrics.json").read_text())
SPANS = {"variance_1": 1, "variance_5": 5, "variance_22": 22, "variance_66": 66, "variance_252": 252}


def read_returns() -> pd.DataFrame:
    """The log returns [days, stocks] of all days."""
    return np.log(pd.read_parquet(PRICES).set_index("day").drop(columns=list(INDICES))).diff()


def forecasts(returns: pd.DataFrame) -> pd.DataFrame:
    """The volatility of each day [days, stocks] as it was forecast the day before."""
    index = np.log(pd.read_parquet(PRICES).set_index("day")["SP500"]).diff()
    variance = METRICS["weights"]["constant"] * 1e-4 + 0 * returns
    for name, days in SPANS.items():
        variance += METRICS["weights"][name] * (returns**2).rolling(days).mean()
    for days in (5, 22):
        variance += METRICS["weights"][f"down_{days}"] * (returns.clip(upper=0) ** 2).rolling(days).mean()
    variance = variance.add(METRICS["weights"]["index_5"] * (index**2).rolling(5).mean(), axis=0)
    return np.sqrt(variance).shift(1)
