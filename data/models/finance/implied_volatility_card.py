"""The card of the volatility proxy: what it was fitted to, and how it moves beside the VIX."""

from typing import Any

CARD = """# The volatility proxy

What stands in for implied volatility in `volatility`, `market_risk` and what reads them. Written by
`implied_volatility.py`; the figures are those of `implied_volatility_metrics.json`.

- **For**: the value of options, and how their volatility moves in a scenario and from day to day.
- **Rule**: exponentially weighted volatility of a stock's own 250 returns (decay {decay}) times
  exp({index_slope} x shock). The shock adds up the S&P 500's last 66 returns, each over the index's
  volatility by the day before, each older one {index_decay} times the next. A fall of the index by one daily
  standard deviation raises all volatilities by {rise:.1%} at once; after a week {left:.0%} of that is left,
  and the stock's own returns have been counted.
- **Fitted** to the VIX of {fitted_years} ({fitted_days} days): decays by R², the slope so that the proxy
  moves as much as the VIX (least squares: {least_squares_slope}). **Checked** on {unseen_years}
  ({unseen_days} days), which it has not seen.

## How it moves beside the VIX

Daily changes of the logarithm, the same rule applied to the index. *Up* and *down* are the means of days on
which the S&P 500 moved by more than 1.5 %.

| | years | standard deviation (VIX) | correlation | R² | up (VIX) | down (VIX) |
|---|---|---|---|---|---|---|
{table}

- A regression on the index's return, not over its volatility, is as good in these calm years, and not beyond
  them: on {fall_day} ({fall:.1%}), with volatilities high already, it would multiply them by {fall_beta}, the
  proxy by {fall_proxy}.
- **Why no scenario rescales it**: between the calmer and the wilder half of the days the index's moves grow
  {index_ratio} times, those of the log VIX {vix_ratio} times. A move of log volatility goes with how unusual
  the index's was, which scaling leaves as it is: with `simulation: filtered` a scenario has it untouched.

## What it does not know

- **Single stocks**: no series of their implied volatilities was to be had. They take the index's shock whole;
  single-stock volatilities move less than the VIX, so vega risk is rather too large than too small.
- **The level**: the VIX is an implied volatility with its premium, the proxy comes from returns that were
  made. There is no skew and no term structure: one volatility for all strikes and terms, and the VIX is one
  of 30 days, while longer ones move less.
- **Noise**: what the index does not explain of the VIX ({unexplained:.0%} of its variance in the years not
  seen) is made up in size by the slope, not in time.
"""


def implied_volatility_card(metrics: dict[str, Any]) -> str:
    """The card in Markdown."""
    unseen = metrics["figures"]["the proxy"]["not seen"]
    rows = [
        _row(who, metrics["years"][when], numbers)
        for who, found in metrics["figures"].items()
        for when, numbers in found.items()
    ]
    fall = metrics["largest_fall"]
    return CARD.format(
        fall_day=fall["day"],
        fall=fall["index"],
        fall_beta=fall["factors"]["beta x index return"],
        fall_proxy=fall["factors"]["the proxy"],
        **{name: metrics[name] for name in ("decay", "index_decay", "index_slope", "least_squares_slope")},
        rise=_rise(metrics["index_slope"]),
        left=metrics["index_decay"] ** 5,
        fitted_years=metrics["years"]["fitted"],
        unseen_years=metrics["years"]["not seen"],
        fitted_days=metrics["days"]["fitted"],
        unseen_days=metrics["days"]["not seen"],
        table="\n".join(rows),
        index_ratio=metrics["calm_and_wild"]["index"],
        vix_ratio=metrics["calm_and_wild"]["vix"],
        unexplained=1 - unseen["correlation"] ** 2,
    )


def _rise(slope: float) -> float:
    return float(2.718281828459045**-slope - 1)


def _row(who: str, years: str, numbers: dict[str, float]) -> str:
    return (
        f"| {who} | {years} | {numbers['deviation']:.2%} ({numbers['vix_deviation']:.2%}) | "
        f"{numbers['correlation']:.2f} | {numbers['r_squared']:.2f} | "
        f"{numbers['up']:+.1%} ({numbers['vix_up']:+.1%}) | "
        f"{numbers['down']:+.1%} ({numbers['vix_down']:+.1%}) |"
    )
