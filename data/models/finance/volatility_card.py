"""How good the volatility model is on days that it has not seen, and the card that says so."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from volatility_opponents import LEVELS, Opponent, opponents, scaled

Numbers = npt.NDArray[Any]
LAGS = 10  # trading days over which losses may hang together


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
    """What the model's forecasts are worth on days that it has not seen, and what it has to beat.

    `places` are the row and column of each forecast, `volatility` the forecasts, `quantiles` the model's
    standardised ones.
    """
    row, column = places
    labels, day = returns.values[row + 1, column], returns.days[row + 1]
    model = scaled(volatility, quantiles)
    found = [Opponent("model", model)] + [
        Opponent(one.name, {name: values[places] for name, values in one.forecast.items()}, one.not_converged)
        for one in opponents(returns.days, returns.values, int(row.min()))
    ]
    losses = {one.name: _losses(labels, one.forecast) for one in found}
    return {
        "first_day": str(returns.days[row].min()),
        "last_day": str(returns.days[row].max()),
        "forecasts": len(labels),
        "figures": {one.name: _figures(labels, day, one.forecast) for one in found},
        "against": {
            who: {name: _against(losses["model"][name], loss, day) for name, loss in other.items()}
            for who, other in losses.items()
            if who != "model"
        },
        "below_quantile_1_by_year": _by_year(labels < model["quantile_1"], day),
        "not_converged": {
            one.name: [returns.symbols[at] for at in one.not_converged] for one in found if one.not_converged
        },
    }


def _losses(labels: Numbers, forecast: dict[str, Numbers]) -> dict[str, Numbers]:
    """The loss of each forecast: pinball by quantile and, of a volatility, QLIKE."""
    found = {name: pinball(labels, forecast[name], level) for name, level in LEVELS.items()}
    return found | ({"qlike": qlike(labels, forecast["volatility"])} if "volatility" in forecast else {})


def _figures(labels: Numbers, day: Numbers, forecast: dict[str, Numbers]) -> dict[str, Any]:
    losses = _losses(labels, forecast)
    found: dict[str, Any] = {
        name: {
            "pinball": round(float(losses[name].mean()) * 1e4, 4),
            "below": round(float(np.mean(labels < forecast[name])), 4),
            "below_error": round(standard_error(by_day((labels < forecast[name]).astype(float), day)), 5),
        }
        for name in LEVELS
    }
    return found | ({"qlike": round(float(losses["qlike"].mean()), 4)} if "qlike" in losses else {})


def _against(model: Numbers, other: Numbers, day: Numbers) -> dict[str, float]:
    """The model's mean loss over another's less 1, and Diebold and Mariano's t of their difference."""
    difference = by_day(model - other, day)
    t = difference.mean() / standard_error(difference, LAGS)
    return {"gain": round(float(model.mean() / other.mean() - 1), 4), "t": round(float(t), 2)}


def _by_year(is_below: Numbers, day: Numbers) -> dict[str, float]:
    years = day.astype("datetime64[Y]").astype(str)
    return {str(year): round(float(is_below[years == year].mean()), 4) for year in np.unique(years)}


def pinball(labels: Numbers, quantile: Numbers, level: float) -> Numbers:
    """The pinball loss of each forecast quantile (Koenker and Bassett, 1978); smaller is better."""
    over = labels - quantile
    found: Numbers = np.maximum(level * over, (level - 1) * over)
    return found


def qlike(labels: Numbers, volatility: Numbers) -> Numbers:
    """QLIKE of each forecast, log(v) + r² / v of the variance v (Patton, 2011); smaller is better."""
    found: Numbers = np.log(volatility**2) + (labels / volatility) ** 2
    return found


def by_day(values: Numbers, day: Numbers) -> Numbers:
    """The mean of each day: the stocks of a day move together, so that days are what is independent."""
    _, at = np.unique(day, return_inverse=True)
    found: Numbers = np.bincount(at, values) / np.bincount(at)
    return found


def standard_error(values: Numbers, lags: int = 0) -> float:
    """Of a mean of days that follow each other (Newey and West, 1987, with so many `lags`)."""
    centred = values - values.mean()
    variance = centred @ centred
    for lag in range(1, lags + 1):
        variance += 2 * (1 - lag / (lags + 1)) * (centred[lag:] @ centred[:-lag])
    return float(np.sqrt(variance) / len(values))


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
not seen. Pinball loss in hundredths of a percent and QLIKE, log(v) + r²/v, smaller is better; *below* is the
share of days with a return below the forecast, which should be 1 % and 5 %.

| forecast by | 1 %: pinball | below | 5 %: pinball | below | QLIKE |
|---|---|---|---|---|---|
{table}

The model's loss against that of each; in brackets the t of Diebold and Mariano (1995): means of days,
Newey-West with {lags} lags. Beyond -2 the model is better by more than chance.

| against | 1 % | 5 % | QLIKE |
|---|---|---|---|
{against}

- *GJR-GARCH* (Glosten, Jagannathan and Runkle 1993, skewed t of Hansen 1994) is fitted to each stock alone
  up to 2014 by the package arch, filtered forward, with each stock's own empirical quantiles: what a
  validator would try first. Of the fit that begins in 1990 {not_converged} did not converge (of its first
  1,000 returns more than two thirds are 0), which flatters the model; the fit from 2000 on, where all
  converge, is the opponent to look at.
- *last 500 days* is the empirical quantile of each stock's own last 500 returns: the plain historical one.
- *EWMA 0.94* is RiskMetrics (1996): exponentially weighted volatility times the normal quantile, or times
  the quantile of the training years, as the model has it.

## Where it fails

- Extreme days are more frequent than forecast: {below_1:.2%} of returns are below the 1 % quantile,
  {z_1:.1f} standard errors (clustered by day: {error_1:.2%}) too many. Below the 5 % quantile are
  {below_5:.2%}, {z_5:.1f} standard errors ({error_5:.2%}) too many.
- By year, below the 1 % quantile:
{years}

## Weights

| column | weight |
|---|---|
{weights}

The constant is the weight of a variance of 0.0001.
"""


def volatility_card(metrics: dict[str, Any], size: int) -> str:
    """The card in Markdown."""
    model = metrics["figures"]["model"]
    given = {key: metrics[key] for key in ("training_rows", "first_training_day", "forecasts", "first_day")}
    return CARD.format(
        **given,
        **metrics["quantiles"],
        last_day=metrics["last_day"],
        bytes=size,
        lags=LAGS,
        table="\n".join(_row(who, found) for who, found in metrics["figures"].items()),
        against="\n".join(_against_row(who, found) for who, found in metrics["against"].items()),
        not_converged=" and ".join(
            symbol for failed in metrics["not_converged"].values() for symbol in failed
        ),
        **{f"below_{n}": model[f"quantile_{n}"]["below"] for n in (1, 5)},
        **{f"error_{n}": model[f"quantile_{n}"]["below_error"] for n in (1, 5)},
        **{f"z_{n}": _too_many(model[f"quantile_{n}"], n / 100) for n in (1, 5)},
        years="\n".join(
            f"  {year} {share:.2%}," for year, share in metrics["below_quantile_1_by_year"].items()
        ).rstrip(",")
        + ".",
        weights="\n".join(f"| {name} | {weight:.4f} |" for name, weight in metrics["weights"].items()),
    )


def _too_many(found: dict[str, float], level: float) -> float:
    return (found["below"] - level) / found["below_error"]


def _row(who: str, found: dict[str, Any]) -> str:
    cells = [
        text for name in LEVELS for text in (f"{found[name]['pinball']:.3f}", f"{found[name]['below']:.2%}")
    ]
    return f"| {who} | {' | '.join(cells)} | {format(found['qlike'], '.4f') if 'qlike' in found else '-'} |"


def _against_row(who: str, found: dict[str, dict[str, float]]) -> str:
    cells = [f"{found[name]['gain']:+.1%} ({found[name]['t']:+.1f})" for name in LEVELS]
    last = f"({found['qlike']['t']:+.1f})" if "qlike" in found else "-"  # a loss below 0 has no share
    return f"| {who} | {' | '.join(cells)} | {last} |"
