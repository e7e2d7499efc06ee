"""How good the volatility model is on days that it has not seen, and the card that says so."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Numbers = npt.NDArray[Any]
WINDOW = 500  # days of the plain historical quantile
DECAY = 0.94  # of the exponentially weighted mean: RiskMetrics' for daily returns
NORMAL = {"quantile_1": -2.3263478740408408, "quantile_5": -1.6448536269514722}
LEVELS = {"quantile_1": 0.01, "quantile_5": 0.05}


@dataclass(frozen=True)
class Returns:
    """Log returns [days, symbols]; the first row is NaN."""

    days: Numbers
    symbols: list[str]
    values: Numbers

    def places(self, table: pa.Table) -> tuple[Numbers, Numbers]:
        """The row (by `made_on`) and the column (by `symbol`) of each row of a table."""
        made_on = table["made_on"].to_numpy().astype("datetime64[D]")
        symbols = table["symbol"].to_numpy(zero_copy_only=False).astype(str)
        return np.searchsorted(self.days, made_on), np.searchsorted(self.symbols, symbols)


def evaluate(
    returns: Returns, places: tuple[Numbers, Numbers], volatility: Numbers, quantiles: dict[str, float]
) -> dict[str, Any]:
    """Pinball losses and shares of days below, of the model and what it has to beat.

    `places` are the row and column of each forecast, `volatility` the forecasts, `quantiles` the model's
    standardised ones.
    """
    row, column = places
    labels = returns.values[row + 1, column]
    every = np.sqrt(ewma(returns.values))
    smooth, usual = every[places], _standardised(returns, every, row.min())
    lists = {
        "model": {name: number * volatility for name, number in quantiles.items()},
        f"EWMA {DECAY}, normal": {name: number * smooth for name, number in NORMAL.items()},
        f"EWMA {DECAY}, empirical": {name: number * smooth for name, number in usual.items()},
        f"last {WINDOW} days": {name: historical(returns.values, a)[places] for name, a in LEVELS.items()},
    }
    return {
        "first_day": str(returns.days[row].min()),
        "last_day": str(returns.days[row].max()),
        "forecasts": len(labels),
        "figures": {
            who: {
                name: {
                    "pinball": round(pinball(labels, found[name], level) * 1e4, 4),
                    "below": round(float(np.mean(labels < found[name])), 4),
                }
                for name, level in LEVELS.items()
            }
            for who, found in lists.items()
        },
    }


def _standardised(returns: Returns, scale: Numbers, end: int) -> dict[str, float]:
    """The quantiles of returns over the scale of the day before, up to and including the day `end`."""
    ratios = returns.values[252 : end + 1] / np.maximum(scale[251:end], 1e-6)
    return {name: float(np.quantile(ratios, level)) for name, level in LEVELS.items()}


def pinball(labels: Numbers, quantile: Numbers, level: float) -> float:
    """The mean pinball loss of a forecast quantile (Koenker and Bassett, 1978); smaller is better."""
    over = labels - quantile
    return float(np.mean(np.maximum(level * over, (level - 1) * over)))


def ewma(returns: Numbers) -> Numbers:
    """The exponentially weighted mean of squared returns up to and including each day, [days, symbols]."""
    found = np.empty_like(returns)
    found[1] = np.mean(returns[1:251] ** 2, axis=0)
    found[0] = np.nan
    for day in range(2, len(returns)):
        found[day] = DECAY * found[day - 1] + (1 - DECAY) * returns[day] ** 2
    return found


def historical(returns: Numbers, level: float) -> Numbers:
    """The empirical quantile of the last 500 returns up to and including each day, [days, symbols]."""
    windows = np.lib.stride_tricks.sliding_window_view(returns, WINDOW, axis=0)
    found = np.full_like(returns, np.nan)
    for day in range(WINDOW, len(returns)):
        found[day] = np.quantile(windows[day - WINDOW + 1], level, axis=-1)
    return found


CARD = """# Volatility

The standard deviation of a stock's log return on the next trading day, and its 1 % and 5 % quantiles. Written
by `train_volatility.py`; the figures are those of `volatility_metrics.json`.

- **For**: the job `volatility`, whose forecasts `market_risk` reads to scale its scenarios.
- **Model**: the variance is a weighted sum of mean squared log returns over 1, 5, 22, 66 and 252 trading
  days, of falls alone over 5 and 22, and of the S&P 500 over 5 (Corsi 2009, with falls and the index added);
  quantiles are the volatility times {quantile_1} and {quantile_5}. ONNX in float64, {bytes:,} bytes.
- **Trained on** {training_rows:,} rows: 20 stocks from {first_training_day} to 2014-12-31, weights at least 0
  that minimise QLIKE (Patton 2011). Spans were chosen on 2010 to 2014, with a fit on the years before.
- **Data**: adjusted closes from skfolio, see `data/README.md`. The 20 stocks are ones that were large in
  2022, so those that failed are missing.
- **Not for**: other stocks, intraday risk, or days with news that is not in past prices.

## How good it is

{forecasts:,} forecasts, made on each trading day from {first_day} to {last_day}, which the model has
not seen. Pinball loss in hundredths of a percent, smaller is better; *below* is the share of days with a
return below the forecast, which should be 1 % and 5 %.

| forecast by | 1 %: pinball | below | 5 %: pinball | below |
|---|---|---|---|---|
{table}

- *last 500 days* is the empirical quantile of each stock's own last 500 returns: the plain historical one.
- *EWMA 0.94* is RiskMetrics (1996): exponentially weighted volatility times the normal quantile, or times the
  quantile of the training years, as the model has it.
- Against the plain historical quantile the model's loss is **{gain_1:+.1%}** at 1 % and **{gain_5:+.1%}**
  at 5 %; against EWMA with the same kind of quantile {ewma_1:+.1%} and {ewma_5:+.1%}.
- Extreme days remain more frequent than forecast: {below_1:.2%} of returns are below the 1 % quantile.

## Weights

| column | weight |
|---|---|
{weights}

The constant is the weight of a variance of 0.0001.
"""


def volatility_card(metrics: dict[str, Any], size: int) -> str:
    """The card in Markdown."""
    figures = metrics["figures"]
    model, _, smooth, plain = figures.values()

    def gain(other: dict[str, Any], name: str) -> float:
        return float(model[name]["pinball"] / other[name]["pinball"] - 1)

    given = {key: metrics[key] for key in ("training_rows", "first_training_day", "forecasts", "first_day")}
    return CARD.format(
        **given,
        **metrics["quantiles"],
        last_day=metrics["last_day"],
        bytes=size,
        table="\n".join(_row(who, found) for who, found in figures.items()),
        gain_1=gain(plain, "quantile_1"),
        gain_5=gain(plain, "quantile_5"),
        ewma_1=gain(smooth, "quantile_1"),
        ewma_5=gain(smooth, "quantile_5"),
        below_1=model["quantile_1"]["below"],
        weights="\n".join(f"| {name} | {weight:.4f} |" for name, weight in metrics["weights"].items()),
    )


def _row(who: str, found: dict[str, Any]) -> str:
    cells = [
        text for name in LEVELS for text in (f"{found[name]['pinball']:.3f}", f"{found[name]['below']:.2%}")
    ]
    return f"| {who} | {' | '.join(cells)} |"
